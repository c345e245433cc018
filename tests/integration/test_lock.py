"""The host's lock: it ends with its owner, and its owner's hands end with it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.controllers import Machine, controller, machine, opened, this_machine
from support.labs import Lab

from gitops.channel import Held
from gitops.channel.failures import LockHeldError, LockLostError

pytestmark = pytest.mark.lab


def test_a_second_controller_is_refused_and_told_who_holds_it(lab: Lab) -> None:
    host = machine(lab, "h1")
    with opened(host) as channels, controller(host, "the night shift") as other:
        assert other.said == "locked"
        with pytest.raises(
            LockHeldError, match=rf"h1: .*the night shift \(process {other.process.pid} on .*since 20"
        ):
            channels["h1"].lock("me")
        assert other.ask("list").isdigit()


def test_a_released_lock_is_free_and_the_connection_stays(lab: Lab) -> None:
    with opened(machine(lab, "h1")) as channels:
        channel = channels["h1"]
        for _ in range(3):
            lock = channel.lock("me")
            assert not lock.lost()
            assert channel.fenced
            lock.release()
            assert lock.lost()
            assert not channel.fenced
        assert channel.run(["ls", "/var/lib/gitops/lock.owner"]).code != 0


def test_podman_edges_and_sudo_have_it_too(lab: Lab) -> None:
    hosts = (
        machine(lab, "p1"),
        machine(lab, "e1"),
        machine(lab, "h2", ansible_user="ops", ansible_become=True),
    )
    with opened(*hosts) as channels:
        locks = [channel.lock("me") for channel in channels.values()]
        assert not any(lock.lost() for lock in locks)
        for host in hosts:
            with controller(host) as other:
                assert other.said.startswith("LockHeldError")
        for lock in locks:
            lock.release()


def test_kill_9_of_the_holder_frees_the_lock_and_ends_its_sockets(lab: Lab) -> None:
    host = machine(lab, "h1")
    with opened(host) as channels, controller(host) as other:
        sockets = [path for path in other.folder.iterdir() if path.is_socket()]
        assert any(path.suffix == ".e" for path in sockets)
        masters = _masters(other.folder)
        assert masters
        os.kill(other.process.pid, signal.SIGKILL)
        _until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in masters))
        lock = _until(lambda: _taken(channels["h1"]))
        lock.release()
        assert all(_dead(path) for path in sockets)


def test_what_a_killed_holder_leaves_running_does_not_connect_anew(lab: Lab) -> None:
    with controller(machine(lab, "h1"), worker=True) as other:
        assert other.ask("run") == "done"
        masters = _masters(other.folder)
        os.kill(other.process.pid, signal.SIGKILL)
        _until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in masters))
        assert other.ask("run") == "LockLostError"
        assert other.ask("list") == "LockLostError"
        assert _masters(other.folder) == []


def test_a_cut_network_ends_the_lock_on_the_host_and_nowhere_else(lab: Lab) -> None:
    """Found by keep-alives of the connection: a holder that is stopped, but connected, keeps its lock."""
    cut, whole = machine(lab, "h2"), machine(lab, "h1")
    with controller(cut) as other, controller(whole, "one that is stopped") as stopped:
        assert (other.said, stopped.said) == ("locked", "locked")
        os.kill(stopped.process.pid, signal.SIGSTOP)
        lab.run("cut", "h2")
        try:
            _until(lambda: _free(lab, "h2"), 60)
            assert not _free(lab, "h1")
            _until(lambda: other.ask("lost") == "True")
        finally:
            lab.run("mend", "h2")
            os.kill(stopped.process.pid, signal.SIGCONT)
        assert other.ask("list") == "LockLostError"
        assert other.ask("run") == "LockLostError"
        assert stopped.ask("list").isdigit()
        with opened(cut) as channels:
            _until(lambda: _taken(channels["h2"])).release()


@pytest.mark.parametrize("user", ["deploy", "root"])
def test_a_stopped_controller_is_taken_over_and_can_do_nothing_more(lab: Lab, user: str) -> None:
    host = machine(lab, "h1", ansible_user=user)
    with opened(host) as channels, controller(host) as other:
        assert other.ask("list").isdigit()
        os.kill(other.process.pid, signal.SIGSTOP)
        try:
            with pytest.raises(LockHeldError):
                channels["h1"].lock("me")
            held = channels["h1"].holder()
            assert held.owner is not None
            assert held.owner.pid == other.process.pid
            assert channels["h1"].take_over() == held
            assert channels["h1"].holder() == Held(held=False, owner=None)
            lock = channels["h1"].lock("me")
        finally:
            os.kill(other.process.pid, signal.SIGCONT)
        assert other.ask("lost") == "True"
        assert other.ask("list") == "LockLostError"
        assert other.ask("run") == "LockLostError"
        assert not lock.lost()
        lock.release()


def test_taking_over_a_free_lock_does_nothing(lab: Lab) -> None:
    with opened(machine(lab, "h1")) as channels:
        assert channels["h1"].take_over() == Held(held=False, owner=None)
        channels["h1"].lock("me").release()


def test_a_process_that_lost_it_may_take_it_again(lab: Lab) -> None:
    host = machine(lab, "h1")
    with opened(host) as first, opened(host) as second:
        lost = first["h1"].lock("first")
        second["h1"].take_over()
        _until(lost.lost)
        with pytest.raises(LockLostError):
            first["h1"].run("true")
        lost.release()
        again = first["h1"].lock("first")
        assert first["h1"].run("echo on").stdout == b"on\n"
        again.release()


def test_two_names_of_one_host_share_its_lock(lab: Lab) -> None:
    edge, host = machine(lab, "h1"), Machine("alias", machine(lab, "h1").variables)
    with opened(edge, host) as channels:
        first = channels["h1"].lock("me")
        second = channels["alias"].lock("me")
        assert not second.lost()
        second.release()
        assert not first.lost()
        first.release()
        assert second.lost()


def test_a_lock_on_this_machine_ends_with_its_owner() -> None:
    with this_machine() as here, opened(here) as channels, controller(here) as other:
        assert other.said == "locked"
        with pytest.raises(LockHeldError, match="another controller"):
            channels["here"].lock("me")
        other.end()
        _until(lambda: _taken(channels["here"])).release()


def test_a_lock_for_a_playbook_lasts_as_long_as_it(lab: Lab) -> None:
    """A task's worker ends at once; the lock stays until `ansible-playbook` itself ends."""
    host = machine(lab, "h3")
    with opened(host) as channels, opened(host) as others:
        channel = channels["h3"]
        # The playbook: a process that has nothing to do with the worker beyond being watched.
        playbook = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        try:
            assert channel.lock_for(playbook.pid, "a playbook") is True
            with pytest.raises(LockHeldError, match="a playbook"):
                others["h3"].lock("me")
        finally:
            playbook.kill()
            playbook.communicate()
        _until(lambda: _taken(others["h3"])).release()


def test_the_worker_of_a_holder_needs_no_lock_of_its_own(lab: Lab) -> None:
    with opened(machine(lab, "h1")) as channels:
        lock = channels["h1"].lock("me")
        assert channels["h1"].lock_for(os.getppid(), "a task") is False
        lock.release()


def _taken(channel: object) -> object:
    try:
        return channel.lock("me")  # type: ignore[attr-defined]
    except LockHeldError:
        return None


def _free(lab: Lab, host: str) -> bool:
    """Whether a host's lock can be had, asked without the network."""
    return lab.on(host, "sh", "-c", "flock -n /var/lib/gitops/lock echo free || :") == "free"


def _masters(folder: Path) -> list[int]:
    """The SSH masters of a controller: processes whose title names a control path in its folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                title = (entry / "cmdline").read_bytes()
            except OSError:
                continue  # it has just ended
            if title.startswith(b"ssh:") and str(folder).encode() in title:
                found.append(int(entry.name))
    return found


def _dead(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as asked:
        return asked.connect_ex(str(path)) != 0


def _until(true: Callable[[], Any], seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, "did not come about in time"
        time.sleep(0.02)
    return found

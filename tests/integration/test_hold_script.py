"""The lock's shell on the host, under the shells that hosts have: whom it ends, and when."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gitops.channel.holder import TAKE_OVER
from gitops.channel.lock import HOLD
from gitops.channel.processes import start_time

OWNER = '{"name": "me", "host": "here", "pid": 1, "since": "2026-01-01T00:00:00Z"}'
SHELLS = [["sh"], ["bash", "--posix"], ["busybox", "sh"]]
DEADLINE_S = 30.0


@dataclass
class Held:
    """A lock that a shell holds for a process that stands for its sshd."""

    shell: subprocess.Popen[bytes]
    link: socket.socket  # its input and output
    errors: socket.socket  # what is to be sent back
    sshd: subprocess.Popen[bytes]
    folder: Path

    def free(self) -> bool:
        """Whether the lock can be had."""
        return _free(self.folder)


@pytest.fixture(params=SHELLS, ids=lambda words: words[0])
def held(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Held]:
    """Taken, with an echo every 0.2 s."""
    if shutil.which(request.param[0]) is None:
        pytest.fail(f"{request.param[0]} is missing")
    sshd = subprocess.Popen(["sleep", "600"])
    ours, theirs = socket.socketpair()
    errors, written = socket.socketpair()
    shell = subprocess.Popen(
        [*request.param, "-c", HOLD, "sh", str(tmp_path), OWNER, "0.2", str(sshd.pid)],
        stdin=theirs, stdout=theirs, stderr=written,
    )  # fmt: skip
    theirs.close()
    written.close()
    ours.settimeout(DEADLINE_S)
    errors.settimeout(DEADLINE_S)
    assert ours.recv(3) == b"ok\n"
    try:
        yield Held(shell, ours, errors, sshd, tmp_path)
    finally:
        for process in (shell, sshd):
            process.kill()
            process.wait()
        ours.close()
        errors.close()


def test_as_long_as_its_words_come_back_nothing_ends(held: Held) -> None:
    for _ in range(15):  # three times as many as may stay away
        held.link.sendall(held.errors.recv(1))
    assert held.sshd.poll() is None
    assert not held.free()
    assert (
        held.folder / "lock.owner"
    ).read_text() == f"{OWNER}\n{held.sshd.pid} {start_time(held.sshd.pid)}\n"


def test_when_they_stay_away_the_connection_ends(held: Held) -> None:
    held.link.sendall(held.errors.recv(1))
    assert held.sshd.wait(DEADLINE_S) == -9
    held.link.close()  # sshd's end is the end of the shell's input
    held.shell.wait(DEADLINE_S)
    assert held.free()


def test_a_holder_that_is_gone_takes_its_connection_with_it(held: Held) -> None:
    held.errors.recv(1)
    held.link.close()
    assert held.sshd.wait(DEADLINE_S) == -9
    held.shell.wait(DEADLINE_S)
    assert held.free()
    assert (held.folder / "lock.owner").exists(), "the last holder can see that nobody had it since"


def test_a_shell_that_is_killed_does_not_leave_the_connection_behind(held: Held) -> None:
    held.errors.recv(1)
    held.shell.kill()
    held.shell.wait(DEADLINE_S)
    assert held.free(), "the lock is nobody's but the shell's"
    assert held.sshd.wait(DEADLINE_S) == -9


def test_given_back_it_is_free_and_the_connection_stays(held: Held) -> None:
    held.errors.recv(1)
    held.link.sendall(b"release\n")
    assert held.link.recv(1) == b""
    held.shell.wait(DEADLINE_S)
    assert held.free()
    assert not (held.folder / "lock.owner").exists()
    while held.errors.recv(1 << 10):  # to the end: nothing is left that would keep the session open
        pass
    assert held.sshd.poll() is None


def test_taken_over_it_says_whose_it_was(held: Held) -> None:
    with _taking_over(held.folder) as taking:
        assert held.sshd.wait(DEADLINE_S) == -9
        held.link.close()
        said, _ = taking.communicate(timeout=DEADLINE_S)
    assert (taking.returncode, said) == (0, f"{OWNER}\n")
    assert held.free()
    assert not (held.folder / "lock.owner").exists(), "the last holder can see that somebody had it since"


@pytest.mark.parametrize(
    ("note", "why"),
    [
        ("", "has not signed"),
        (f"{OWNER}\n \n", "a process of the host itself"),
    ],
)
def test_what_has_no_connection_is_not_taken_over(tmp_path: Path, note: str, why: str) -> None:
    (tmp_path / "lock.owner").write_text(note)
    with subprocess.Popen(["flock", str(tmp_path / "lock"), "cat"], stdin=subprocess.PIPE) as holder:
        _until(lambda: not _free(tmp_path))
        with _taking_over(tmp_path) as taking:
            said, _ = taking.communicate(timeout=DEADLINE_S)
        assert (taking.returncode, why in said) == (1, True), said
        holder.communicate()


def _taking_over(folder: Path) -> subprocess.Popen[str]:
    command = ["sh", "-c", TAKE_OVER, "sh", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _free(folder: Path) -> bool:
    return subprocess.run(["flock", "-n", str(folder / "lock"), "true"], check=False).returncode == 0


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline, "did not come about in time"
        time.sleep(0.02)

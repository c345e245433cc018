"""Channels to a lab's hosts, and a second controller as a process of its own.

Run as a program it is that controller: it takes a host's lock, says so, and then
does what each line of its input asks.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.labs import Lab

from gitops.channel import Channel, close_channels, open_channels, own_folder, ssh
from gitops.channel.folder import end_folder
from gitops.errors import GitopsError


@dataclass(frozen=True)
class Machine:
    """A host with its connection variables."""

    name: str
    variables: tuple[tuple[str, Any], ...]


def machine(lab: Lab, name: str, **changes: Any) -> Machine:
    """A host of the lab; `changes` are variables on top of those of the lab's inventory."""
    variables = {
        "ansible_host": lab.address(name),
        "ansible_user": "deploy",
        "ansible_ssh_private_key_file": lab.data["ssh_key"],
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={lab.data['known_hosts']}",
        **changes,
    }
    return Machine(name, tuple(sorted(variables.items())))


@contextmanager
def stopped(processes: Iterable[int]) -> Iterator[None]:
    """Processes that do nothing for the time of the block."""
    held = list(processes)
    for pid in held:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in held:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def opened(*machines: Machine) -> Iterator[dict[str, Channel]]:
    """Channels to the machines, closed at the end."""
    # Below the process's own folder, so that several sets of one process do not share connections.
    folder = Path(tempfile.mkdtemp(prefix="t", dir=own_folder()))
    channels = open_channels(machines, folder)
    try:
        yield channels
    finally:
        close_channels(channels.values(), folder)
        with suppress(OSError):
            folder.parent.rmdir()  # unless another set lies there


class Controller:
    """Another controller that holds a host's lock."""

    def __init__(self, host: Machine, name: str, *, worker: bool = False) -> None:
        # Not in the usual place, where the next controller to start would sweep it.
        self.folder = Path(tempfile.mkdtemp(prefix="c"))
        asked = {"name": host.name, "variables": host.variables, "owner": name, "folder": str(self.folder)}
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "support.controllers",
                json.dumps({**asked, "role": "parent" if worker else "alone"}),
            ],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.said = self._line()

    def ask(self, what: str) -> str:
        """One question and its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        """Ends it however it is, and what it leaves."""
        self.process.kill()
        self.process.communicate()
        end_folder(self.folder)


@contextmanager
def this_machine(**variables: Any) -> Iterator[Machine]:
    """The machine of the tests as a host of its own: one test at a time, for it has one lock."""
    with Path(tempfile.gettempdir(), "gitops-tests-local.lock").open("w", encoding="utf-8") as mutex:
        fcntl.flock(mutex, fcntl.LOCK_EX)
        lock = Path("/var/lib/gitops/lock")
        before = lock.exists()
        yield Machine("here", (("ansible_connection", "local"), *sorted(variables.items())))
        if not before:
            lock.unlink(missing_ok=True)


@contextmanager
def controller(
    host: Machine, name: str = "another controller", *, worker: bool = False
) -> Iterator[Controller]:
    """Another controller, ended at the end; with `worker` it is a process that it started who answers."""
    other = Controller(host, name, worker=worker)
    try:
        yield other
    finally:
        other.end()


def _main() -> None:
    asked = json.loads(sys.argv[1])
    host = Machine(asked["name"], tuple((key, value) for key, value in asked["variables"]))
    if asked["role"] == "worker":
        plugin = ssh.plugin(host.name, dict(host.variables), Path(asked["folder"]))
        _answer(Channel.from_connection(plugin, variables={"inventory_hostname": host.name}), lambda: False)
        return
    channel = open_channels([host], Path(asked["folder"]))[host.name]
    try:
        lock = channel.lock(asked["owner"])
    except GitopsError as error:
        _say(f"{type(error).__name__}: {error}")
        return
    _say("locked")
    if asked["role"] == "parent":
        worker = json.dumps({**asked, "role": "worker"})
        subprocess.run([sys.executable, "-m", "support.controllers", worker], check=True)
    else:
        _answer(channel, lock.lost)


def _answer(channel: Channel, lost: Callable[[], bool]) -> None:
    """Does what each line of the input asks."""
    engine = channel.engine() if channel.facts.engine.path else None
    for line in sys.stdin:
        try:
            match line.strip():
                case "list" if engine is not None:
                    answer = str(len(engine.containers()))
                case "run":
                    answer = channel.run("echo done").stdout.decode().strip()
                case "lost":
                    answer = str(lost())
                case other:
                    answer = f"what is {other}?"
        except GitopsError as error:
            answer = type(error).__name__
        _say(answer)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _main()

"""Runs `gitops` commands in processes that have imported it already: for each a second of processor less.

Run as a program it is the process that they are forked from: each connection to its socket is one
command. What it costs to start is measured by `make bench`; tests of the start itself start a process.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, NoReturn, Self

PROGRAMS = {"gitops.cli": "gitops.cli", "gitops.lab": "gitops.lab.cli"}
"""What `python -m` names -> the module with its `main`."""

IMPORTED_LATER = (
    "ansible.inventory.manager",
    "ansible.parsing.dataloader",
    "ansible.plugins.connection.ssh",
    "ansible.plugins.loader",
    "ansible.template",
    "ansible.vars.manager",
    "gitops.checkup.doctor",
    "gitops.desired.inventory",
    "gitops.maintenance",
    "gitops.session",
    "gitops.unlock",
)
"""What commands import when they need it."""


class Command:
    """One command, as far as tests need of it what `subprocess.Popen` has; the end of the block kills it."""

    def __init__(self, peer: socket.socket, args: list[str]) -> None:
        self.args = args
        self.returncode: int | None = None
        self._peer = peer
        self._words = peer.makefile("rb")
        self.pid = int(self._words.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._words.close()
        self._peer.close()

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Waits for its end; returns its exit code, or raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._peer], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout)
            self.returncode = int(self._words.readline())
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Sends it a signal while it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Asks it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it at once."""
        self.send_signal(signal.SIGKILL)


class Warm:
    """The process, begun with the first command; it ends with the one that uses it."""

    def __init__(self) -> None:
        self._address = f"\0gitops-warm-{os.getpid()}"  # of no file: nothing to be left behind
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, module: str, *arguments: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
        """Runs `python -m MODULE ARGUMENTS...` to its end.

        Raises:
            subprocess.TimeoutExpired: it took longer; it is killed.
        """
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            with self.start(module, *arguments, out=out, err=err) as command:
                try:
                    code = command.wait(timeout_s)
                except subprocess.TimeoutExpired as late:
                    raise subprocess.TimeoutExpired(late.cmd, timeout_s, _all(out), _all(err)) from None
            return subprocess.CompletedProcess(command.args, code, _all(out), _all(err))

    def start(self, module: str, *arguments: str, out: IO[str], err: IO[str]) -> Command:
        """Begins `python -m MODULE ARGUMENTS...`."""
        said = {"module": module, "arguments": arguments, "cwd": str(Path.cwd()), "env": dict(os.environ)}
        peer = self._ask()
        socket.send_fds(peer, [json.dumps(said).encode() + b"\n"], [out.fileno(), err.fileno()])
        return Command(peer, [sys.executable, "-m", module, *arguments])

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.communicate()  # it ends with its input

    def _ask(self) -> socket.socket:
        if self._process is None:
            argv = [sys.executable, "-m", "support.warm", self._address[1:]]
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, cwd=Path(__file__).parents[1])
            if self._process.stdout is None or self._process.stdout.readline() != b"ready\n":
                raise RuntimeError("the process that commands are forked from did not begin")
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(self._address)
        return peer


def _all(stream: IO[str]) -> str:
    stream.seek(0)
    return stream.read()


def _serve(name: str) -> NoReturn:
    """Forks for each connection until the input ends. Has one thread, as whoever forks should."""
    for module in (*PROGRAMS.values(), *IMPORTED_LATER):
        importlib.import_module(module)
    atexit._clear()  # what Ansible would remove at its end is of this process, not of its children
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0{name}")
    listener.listen()
    print("ready", flush=True)  # noqa: T201 - awaited
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            os._exit(0)
        peer, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _one(peer)
        peer.close()
        _reap()


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _one(peer: socket.socket) -> NoReturn:
    """One command: its process, and this one, which waits for it and tells how it ended."""
    said, descriptors, _, _ = socket.recv_fds(peer, 1 << 20, 2)
    while not said.endswith(b"\n"):
        said += peer.recv(1 << 20)
    child = os.fork()
    if child == 0:
        peer.close()
        _become(json.loads(said), descriptors)
    peer.sendall(b"%d\n" % child)
    ready, _, _ = select.select([peer, os.pidfd_open(child)], [], [])
    if peer in ready:  # nobody waits for it any more
        os.kill(child, 9)
    _, status = os.waitpid(child, 0)
    with suppress(BrokenPipeError):
        peer.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _become(said: dict[str, object], descriptors: list[int]) -> NoReturn:
    """Is that command from now on."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, descriptor in enumerate(descriptors, 1):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(str(said["cwd"]))
    os.environ.clear()
    os.environ.update(said["env"])  # type: ignore[call-overload]  # what was JSON is not typed
    random.seed()
    sys.argv = [str(said["module"]), *said["arguments"]]  # type: ignore[misc]  # as above
    code: object = None
    try:
        importlib.import_module(PROGRAMS[str(said["module"])]).main()
    except SystemExit as end:
        code = end.code
    except Exception:  # noqa: BLE001 - told as the interpreter does
        traceback.print_exc()
        code = 1
    # The orderly end but for taking all modules apart, of which there are more than the command's.
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as the interpreter does
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


WARM = Warm()
"""That of this process."""

atexit.register(WARM.close)

if __name__ == "__main__":
    _serve(sys.argv[1])

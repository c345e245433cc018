"""The transport of `connection: local`: this machine is the host."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

from gitops.channel.failures import ChannelTimeoutError, UnreachableError
from gitops.channel.transport import Completed, OwningSocket, unix_connect

END_S = 5.0


class LocalTransport:
    """Commands are subprocesses; sockets are opened directly."""

    def __init__(self, folder: Path) -> None:
        """Nothing is opened.

        Args:
            folder: where the lock's record lies.
        """
        self._folder = folder

    @property
    def record(self) -> str:
        """Path of the lock's record."""
        return str(self._folder / "local.lock")

    def start(self, command: str, timeout_s: float) -> Completed:
        """Runs the first command; there is nothing to connect."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            done = subprocess.run(
                ["/bin/sh", "-c", command],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_s,
                check=False,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired as error:
            raise ChannelTimeoutError("a command did not end in time") from error
        return Completed(done.returncode, done.stdout, done.stderr)

    def standing(self) -> bool:
        """Always: this machine is there."""
        return True

    def carrier(self) -> int:
        """None: there is no connection that could be another one."""
        return 0

    def pipe(
        self,
        command: str,
        timeout_s: float,
        *,
        echo: bool = False,  # noqa: ARG002 - of the protocol
        errors: socket.socket | None = None,
    ) -> OwningSocket:
        """A socket that is a command's standard input and output. No echo: no connection could be cut."""
        ours, theirs = socket.socketpair()
        ours.settimeout(timeout_s)
        with theirs:
            process = subprocess.Popen(
                ["/bin/sh", "-c", command],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL if errors is None else errors.fileno(),
                start_new_session=True,
            )
        return OwningSocket(ours, lambda: _end(process))

    def forward(self, suffix: str, path: str) -> None:
        """Nothing to prepare."""

    def dial(self, suffix: str, path: str, timeout_s: float) -> socket.socket:  # noqa: ARG002 - of the protocol
        """A connection to a Unix socket of this machine."""
        try:
            return unix_connect(path, timeout_s)
        except OSError as error:
            raise UnreachableError(f"cannot open {path}: {error.strerror or error}") from error

    def close(self) -> None:
        """Nothing to end."""


def _end(process: subprocess.Popen[bytes]) -> None:
    """Its input has ended; what does not end by that is ended."""
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

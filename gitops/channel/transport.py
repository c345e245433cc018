"""What carries a channel: an SSH master connection, or this machine itself."""

from __future__ import annotations

import contextlib
import shlex
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Completed:
    """A command that has ended."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def words(self) -> str:
        """What it printed, for a person: its errors, else its output."""
        return (self.stderr.strip() or self.stdout.strip()).decode(errors="replace")


class Transport(Protocol):
    """A way to a host.

    Its methods raise UnreachableError when it is gone and ChannelTimeoutError when time is up.
    """

    @property
    def record(self) -> str:
        """Path of the local file that says which process holds the host's lock through this transport."""
        ...

    def start(self, command: str, timeout_s: float) -> Completed:
        """Connects and runs a first command in one go.

        Raises:
            GitopsError: why it could not connect.
        """
        ...

    def standing(self) -> bool:
        """Whether the connection stands; asks nobody but this machine."""
        ...

    def carrier(self) -> int:
        """The process that carries it: another one later is another connection. 0 where there is none."""
        ...

    def pipe(
        self, command: str, timeout_s: float, *, echo: bool = False, errors: socket.socket | None = None
    ) -> OwningSocket:
        """A socket that is a command's standard input and output; closing it ends both.

        The login shell may write first: see `gitops.channel.session`.

        Args:
            command: a command line of the user's shell.
            timeout_s: of the socket.
            echo: what the command writes to its standard error comes back as its input for as long
                as the connection stands, whatever becomes of this process.
            errors: where its standard error goes instead; the caller closes its own copy.

        Raises:
            SessionLimitError: sshd allows no further session.
        """
        ...

    def forward(self, suffix: str, path: str) -> None:
        """Prepares `dial`: `suffix` stands for the host's Unix socket `path`."""
        ...

    def dial(self, suffix: str, path: str, timeout_s: float) -> socket.socket:
        """A connection to the host's Unix socket `path`."""
        ...

    def close(self) -> None:
        """Ends the connection."""
        ...


class OwningSocket(socket.socket):
    """A socket whose end takes something else with it."""

    def __init__(self, taken: socket.socket, release: Callable[[], None]) -> None:
        timeout = taken.gettimeout()
        super().__init__(taken.family, taken.type, taken.proto, fileno=taken.detach())
        self.settimeout(timeout)
        self._releases = [release]

    def also(self, release: Callable[[], None]) -> None:
        """Its end takes one more thing with it."""
        self._releases.append(release)

    def _real_close(self) -> None:
        # Not `close`: a response that is still read from holds the socket open beyond it.
        super()._real_close()  # type: ignore[misc]  # the hook that ssl.SSLSocket uses too
        while self._releases:
            self._releases.pop()()


def shell(script: str, args: Sequence[str] = (), *, sudo: bool = False) -> str:
    """A command line that runs a POSIX script under any login shell.

    `exec` takes the login shell out of the way: the script's parent is sshd itself.
    """
    words = ["sh", "-c", script, "sh", *args]
    return "exec " + shlex.join(["sudo", "-n", *words] if sudo else words)


def unix_connect(path: str, timeout_s: float) -> socket.socket:
    """A connection to a local Unix socket.

    Raises:
        OSError: nobody listens there.
    """
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with contextlib.ExitStack() as undo:
        undo.callback(connected.close)
        connected.settimeout(timeout_s)
        connected.connect(path)
        undo.pop_all()
    return connected

"""A session of the user's login shell, which may print before it runs what it was given.

Every script that goes to a host prints a mark first. What comes before the mark is the login
shell's (`echo hello` in ~/.bashrc, a message of the day, a warning about a locale) and is skipped,
up to a limit. All sessions are opened here.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack

from gitops.channel.failures import LoginShellError, UnreachableError
from gitops.channel.transport import OwningSocket, Transport

MOST_NOISE = 1 << 20
"""Bytes that a login shell may print before its command runs, on either stream."""
WORDS = 300  # characters of what a login shell has printed that a message repeats
QUIET = "let its start files (~/.bashrc, ~/.ssh/rc, /etc/profile.d) print in interactive shells only"
STARTS = (
    "look at its start files (~/.bashrc, ~/.ssh/rc), or give the user another shell: usermod -s /bin/sh USER"
)


def new_mark() -> str:
    """A line that no login shell prints by itself."""
    return f"gitops-{secrets.token_hex(16)}"


def marking(script: str, mark: str, *, errors: bool = False) -> str:
    """The script, with the mark as the first line of its output; with `errors` of its errors, too."""
    says = f"printf '%s\\n' {mark}"
    return f"{says}; {says} >&2\n{script}" if errors else f"{says}\n{script}"


def after(output: bytes, mark: str) -> bytes:
    """What a script has printed, without what its login shell had printed before.

    Raises:
        LoginShellError: the script has not run.
    """
    noise, found, rest = output.partition(f"{mark}\n".encode())
    if not found:
        raise refused(noise)
    return rest


def refused(noise: bytes) -> LoginShellError:
    """The error of a login shell that has ended before it ran anything."""
    words = " ".join(noise[-4 * WORDS :].decode(errors="replace").split())[-WORDS:]
    said = f"; it printed: {words}" if words else " and printed nothing"
    return LoginShellError(f"the login shell ended before it ran the command{said}", hint=STARTS)


def noisy() -> LoginShellError:
    """The error of a login shell that prints too much."""
    return LoginShellError(
        f"the login shell prints more than {MOST_NOISE >> 20} MiB before it runs a command", hint=QUIET
    )


def silent(seconds: float) -> LoginShellError:
    """The error of a login shell that hangs."""
    return LoginShellError(
        f"the login succeeded, but the login shell runs no command within {seconds:.0f} s", hint=STARTS
    )


def open_session(
    transport: Transport,
    command: Callable[[str], str],
    timeout_s: float,
    *,
    echo: bool = False,
    errors: bool = False,
) -> tuple[OwningSocket, socket.socket | None]:
    """Runs a command on a host whose output begins with a mark, and reads until that.

    Args:
        transport: a connection that stands.
        command: makes the command line from the mark; see `marking`.
        timeout_s: seconds until the mark must have come.
        echo: as of `Transport.pipe`.
        errors: whether its standard error is read as well; the mark is then awaited there, too.

    Returns:
        What is its input and output, and where its errors can be read, if asked.

    Raises:
        LoginShellError: the login shell has not run it.
        HostSetupError: sshd allows no further session.
        UnreachableError: the connection ended.
    """
    mark = new_mark()
    deadline = time.monotonic() + timeout_s
    with ExitStack() as undo:
        far: socket.socket | None = None
        wrong: socket.socket | None = None
        if errors:
            wrong, far = socket.socketpair()
            undo.callback(wrong.close)
        try:
            link = transport.pipe(command(mark), timeout_s, echo=echo, errors=far)
        finally:
            if far is not None:
                far.close()
        undo.callback(link.close)
        try:
            skip(link, mark, deadline)
            if wrong is not None:
                skip(wrong, mark, deadline)
        except TimeoutError as error:
            raise silent(timeout_s) from error
        except (OSError, LoginShellError) as error:
            if not transport.standing():
                raise UnreachableError("the SSH connection ended") from error
            raise
        link.settimeout(timeout_s)
        undo.pop_all()
    return link, wrong


def skip(link: socket.socket, mark: str, deadline: float) -> None:
    """Reads everything up to the end of the mark's line, and no byte more.

    Raises:
        TimeoutError: the mark has not come in time.
        LoginShellError: the output ended before, or is too long.
    """
    end = f"{mark}\n".encode()
    seen = b""  # the latest bytes: the mark may come in pieces
    count = 0
    while True:
        link.settimeout(max(deadline - time.monotonic(), 0.001))
        part = link.recv(1 << 16, socket.MSG_PEEK)
        if not part:
            raise refused(seen)
        known = len(seen)
        seen += part
        at = seen.find(end, max(0, known - len(end)))
        if at >= 0:
            _take(link, at + len(end) - known)
            return
        _take(link, len(part))
        count += len(part)
        if count > MOST_NOISE:
            raise noisy()
        seen = seen[-8 * WORDS :]


def _take(link: socket.socket, size: int) -> None:
    """Reads away bytes that are there."""
    while size:
        size -= len(link.recv(size))

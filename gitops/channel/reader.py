"""A shell that stays: small questions to a host without a new session for each."""

from __future__ import annotations

import secrets
import shlex
import socket
import threading
import time
from collections.abc import Callable, Sequence

from gitops.channel.failures import ChannelTimeoutError, UnreachableError
from gitops.channel.transport import Completed

Open = Callable[[], socket.socket]
"""Opens a session of `sh`; the socket is its standard input and output."""


class Reader:
    """One `sh` on a host that is asked again and again, one question at a time.

    A session costs sshd a process, the user's login shell and about 8 ms; a
    question to a shell that stands costs what its commands cost.
    """

    def __init__(self, open_shell: Open) -> None:
        """Nothing is opened before the first question."""
        self._open = open_shell
        self._link: socket.socket | None = None
        self._mutex = threading.Lock()

    def ask(self, script: str, args: Sequence[str], timeout_s: float, *, text: str = "") -> Completed:
        """Runs a POSIX script; its errors go nowhere.

        Where the shell has ended meanwhile it is run anew in another one: it must bear to be run twice.

        Args:
            script: the script.
            args: its `$1`, `$2` and so on.
            timeout_s: seconds until it must have ended.
            text: its standard input, of whole lines and without NUL.

        Raises:
            UnreachableError: the session ended.
            ChannelTimeoutError: no answer in time.
        """
        deadline = time.monotonic() + timeout_s
        with self._mutex:
            if self._link is not None:
                try:
                    return self._exchange(self._link, script, args, text, deadline)
                except UnreachableError:
                    pass  # it ended since the last question: ask a new one
            self._link = self._open()
            return self._exchange(self._link, script, args, text, deadline)

    def close(self) -> None:
        """Ends the shell; a later question opens a new one."""
        with self._mutex:
            self._drop()

    def _exchange(
        self, link: socket.socket, script: str, args: Sequence[str], text: str, deadline: float
    ) -> Completed:
        token = secrets.token_hex(16)  # not in any answer or text: nobody can know it
        mark = f"-- {token} "
        words = shlex.join(["sh", "-c", script, "sh", *args])
        given = f"<<'{token}'" if text else "</dev/null"
        here = f"{text}{token}\n" if text else ""
        question = f"{words} 2>/dev/null {given}\n{here}printf '\\n%s%s\\n' {shlex.quote(mark)} $?\n"
        answer = bytearray()
        end = f"\n{mark}".encode()
        try:
            link.settimeout(max(deadline - time.monotonic(), 0.001))
            link.sendall(question.encode())
            while not (answer.endswith(b"\n") and end in answer[-len(end) - 8 :]):
                link.settimeout(max(deadline - time.monotonic(), 0.001))
                part = link.recv(1 << 16)
                if not part:
                    raise ConnectionResetError(0, "end of output")
                answer += part
        except TimeoutError as error:
            self._drop()  # what is left of this answer must not be taken for the next one
            raise ChannelTimeoutError("the host's shell does not answer in time") from error
        except OSError as error:
            self._drop()
            raise UnreachableError(f"the host's shell ended ({error.strerror or error})") from error
        stdout, _, code = bytes(answer).rpartition(end)
        return Completed(int(code), stdout, b"")

    def _drop(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

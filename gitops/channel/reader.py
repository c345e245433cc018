"""A shell that stays: every question to a host goes to one shell, without a new session for each."""

from __future__ import annotations

import base64
import secrets
import shlex
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from gitops.channel.failures import ChannelTimeoutError, UnreachableError
from gitops.channel.streams import read_until
from gitops.channel.transport import Completed
from gitops.errors import GitopsError

Open = Callable[[], tuple[socket.socket, socket.socket]]
"""Opens a session of `sh`: its standard input and output, and its standard error."""

TURN_S = 60.0
"""Seconds to wait for other questions to the same host, beside those of the question itself."""
QUIET_S = 10.0
"""Seconds without an answer to any question after which those that wait are not answered, either."""

# What the shell does first. When its input ends (the question has taken too long, or nobody is left to read
# the answer) it ends what it still runs: sshd counts a session until its last process has ended.
BEGIN = """\
p=
trap '[ -z "$p" ] || kill -9 "-$p" 2>/dev/null || kill -9 "$p" 2>/dev/null' EXIT
command -v setsid >/dev/null 2>&1 || setsid() { "$@"; }
"""
# One question: $1 the mark, $2 the script, then its arguments.
QUESTION = r"""
m=$1 s=$2
shift 2
(eval "$s")
c=$?
printf '\n%s %s\n' "$m" "$c"
printf '\n%s\n' "$m" >&2
"""
AFTERWARDS = b"wait; p=\n"  # that process id may be another one's later
AS_USER = 'setsid sudo -n -H -u "#$SUDO_UID" --'


@dataclass(frozen=True)
class Question:
    """A POSIX script that a host is to run.

    Attributes:
        script: the script.
        args: its `$1`, `$2` and so on.
        stdin: its standard input.
        timeout_s: seconds until it must have ended.
        as_user: whether a shell that is root's runs it as the user who has logged in.
    """

    script: str
    args: tuple[str, ...] = ()
    stdin: bytes = b""
    timeout_s: float = 30.0
    as_user: bool = False


class Asked(Protocol):
    """Whoever has a shell on the host and puts questions to it."""

    def ask(self, question: Question) -> Completed:
        """Puts a question."""
        ...

    def close(self) -> None:
        """Ends the shell; a later question opens a new one."""
        ...


class Reader:
    """One `sh` on a host that is asked again and again, one question at a time.

    A session costs sshd a process, the user's login shell and about 8 ms, and sshd allows only so
    many (`MaxSessions`); a question to a shell that stands costs what its commands cost.
    """

    def __init__(self, open_shell: Open) -> None:
        """Nothing is opened before the first question."""
        self._open = open_shell
        self._link: socket.socket | None = None
        self._errors: socket.socket | None = None
        self._mutex = threading.Lock()
        self._answered = 0  # questions so far

    def ask(self, question: Question) -> Completed:
        """Runs a script.

        Where the shell has ended meanwhile it is run anew in another one: it must bear to be run twice.

        Raises:
            UnreachableError: the session ended.
            ChannelTimeoutError: no answer in time.
            HostSetupError: no shell can be had, or the answer is too long.
        """
        self._await_turn(question.timeout_s)
        try:
            if self._link is not None and self._errors is not None:
                try:
                    return self._exchange(self._link, self._errors, question)
                except UnreachableError:
                    pass  # it ended since the last question: ask a new one
            self._link, self._errors = self._open()
            self._link.sendall(BEGIN.encode())
            return self._exchange(self._link, self._errors, question)
        finally:
            self._mutex.release()

    def close(self) -> None:
        """Ends the shell; a later question opens a new one."""
        with self._mutex:
            self._drop()

    def _await_turn(self, timeout_s: float) -> None:
        """Waits for the questions before, as long as the host answers any: a dead one is noticed soon."""
        deadline = time.monotonic() + timeout_s + TURN_S
        answered = self._answered
        while not self._mutex.acquire(timeout=max(timeout_s, QUIET_S)):
            if answered == self._answered or time.monotonic() > deadline:
                raise ChannelTimeoutError(
                    "the host's shell does not answer: it is busy with another question"
                )
            answered = self._answered

    def _exchange(self, link: socket.socket, errors: socket.socket, question: Question) -> Completed:
        deadline = time.monotonic() + question.timeout_s
        mark = f"-- {secrets.token_hex(16)}"  # not in any answer or text: nobody can know it
        ends = f"\n{mark} ".encode(), f"\n{mark}\n".encode()

        def answered(texts: Sequence[bytearray]) -> bool:
            output, errors = texts
            return (
                output.endswith(b"\n") and ends[0] in output[-len(ends[0]) - 8 :] and errors.endswith(ends[1])
            )

        try:
            link.settimeout(question.timeout_s)
            link.sendall(_text(question, mark))
            streams = [link.fileno(), errors.fileno()]
            texts, complete = read_until(streams, answered, deadline)
            if not complete:
                raise ConnectionResetError(0, "end of output")
            with suppress(OSError):  # the answer is complete all the same
                link.sendall(AFTERWARDS)
        except TimeoutError as error:
            self._drop()
            raise ChannelTimeoutError("the host's shell does not answer in time") from error
        except OSError as error:
            self._drop()
            raise UnreachableError(f"the host's shell ended ({error.strerror or error})") from error
        except GitopsError:
            self._drop()  # what is left of this answer must not be taken for the next one
            raise
        self._answered += 1
        stdout, _, code = bytes(texts[0]).rpartition(ends[0])
        return Completed(int(code), stdout, bytes(texts[1]).removesuffix(ends[1]))

    def _drop(self) -> None:
        for stream in (self._link, self._errors):
            if stream is not None:
                stream.close()
        self._link = self._errors = None


def _text(question: Question, mark: str) -> bytes:
    """A question as the shell reads it."""
    run = AS_USER if question.as_user else "setsid"
    words = shlex.join(["sh", "-c", QUESTION, "sh", mark, question.script, *question.args])
    token = mark.removeprefix("-- ")
    given = question.stdin
    if not given:
        return f"{run} {words} </dev/null & p=$!\n".encode()
    if given.endswith(b"\n") and b"\0" not in given:
        return f"{run} {words} <<'{token}' & p=$!\n".encode() + given + f"{token}\n".encode()
    coded = base64.encodebytes(given).decode()
    return f"base64 -d <<'{token}' | {run} {words} & p=$!\n{coded}{token}\n".encode()

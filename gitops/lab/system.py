"""Running the machine's programs, and waiting for what they start."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from gitops.errors import PermanentError, TransientError
from gitops.lab.layout import SEARCH_PATH

_SECONDS_BETWEEN_LOOKS = 0.03


def clean_environment(**extra: str) -> dict[str, str]:
    """The environment of what the lab starts: nothing of the caller's but what is named here."""
    return {"PATH": SEARCH_PATH, "LANG": "C.UTF-8", "HOME": "/root", **extra}


def run(
    *command: str, timeout: float = 60, stdin: bytes = b"", environment: dict[str, str] | None = None
) -> str:
    """Runs a program and returns its output.

    Args:
        command: the program and its arguments.
        timeout: seconds until it is ended.
        stdin: what it reads.
        environment: variables beside the clean environment.

    Raises:
        TransientError: it did not end in time.
        PermanentError: it is missing, or ended with another code than 0; the message has its last words.
    """
    try:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            timeout=timeout,
            check=False,
            env=clean_environment(**(environment or {})),
        )
    except FileNotFoundError as error:
        raise PermanentError(f"the program {command[0]} is missing") from error
    except subprocess.TimeoutExpired as error:
        raise TransientError(f"{' '.join(command)} did not end within {timeout:g} s") from error
    if done.returncode != 0:
        words = (done.stderr or done.stdout).decode(errors="replace").strip()[-800:]
        raise PermanentError(f"{' '.join(command)} ended with {done.returncode}: {words}")
    return done.stdout.decode(errors="replace")


def succeeds(*command: str) -> bool:
    """Whether a program ends with 0; for questions such as `is this rule there`."""
    try:
        run(*command)
    except PermanentError:
        return False
    return True


def wait_until(what: str, ready: Callable[[], bool], *, seconds: float, hint: str = "") -> None:
    """Looks again and again until `ready`.

    Raises:
        TransientError: `what` is not so after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise TransientError(f"{what} did not happen within {seconds:g} s", hint=hint)
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def spawn(command: Sequence[str], *, log: Path, environment: dict[str, str], stdin: int | None = None) -> int:
    """Starts a program that outlives this one, in its own session.

    Args:
        command: the program and its arguments.
        log: where its output is appended.
        environment: all of its variables.
        stdin: an open file descriptor to read from; none means no input.

    Returns:
        its process id.
    """
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    source = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC) if stdin is None else stdin
    try:
        return os.posix_spawnp(
            command[0],
            list(command),
            environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, source, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
            ],
            setsid=True,
            setsigdef=(signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT),
        )
    finally:
        os.close(output)
        if stdin is None:
            os.close(source)


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 if there is none.

    With the id it names a process for good: ids are used again.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    fields = text.rpartition(")")[2].split()
    return 0 if fields[0] == "Z" else int(fields[19])


def reap(pid: int) -> None:
    """Takes leave of a process that this program started and that has ended."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return  # another program's child: its parent takes leave of it

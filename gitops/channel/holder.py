"""Who holds a host's lock, as the host itself says, and how that is ended from outside."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from gitops.channel.failures import HostSetupError, LockHeldError
from gitops.channel.reader import Question
from gitops.channel.transport import Completed
from gitops.errors import Where

Ask = Callable[[Question], Completed]

FOLDER = "/var/lib/gitops"
ANSWER_S = 15.0
UNSIGNED = "somebody who has not signed (the lock is being taken or given back)"

# $1 folder. Prints free or held, then what is noted of its holder, who is the last one where it is free.
# The look is a shared lock, and for an instant, so that it keeps nobody out for long.
LOOK = r"""
lock=$1/lock
[ -e "$lock" ] || { echo free; exit 0; }
exec 9< "$lock" || exit 1
if flock -n -s 9; then echo free; else echo held; fi
head -n 1 "$lock.owner" 2>/dev/null || :
"""

# $1 folder. Ends the sshd of whoever holds the lock, waits until it is free, and prints who that was.
# The note goes too: whoever held the lock can see by it that somebody else had it since.
TAKE_OVER = r"""
lock=$1/lock
[ -e "$lock" ] || exit 0
exec 9< "$lock"
flock -n 9 && exit 0
refuse() { echo "$1"; exit 1; }
{ read -r owner; read -r sshd start; } 2>/dev/null < "$lock.owner" || refuse 'whoever holds it has not signed'
[ -n "$start" ] || refuse 'it is held by a process of the host itself'
read -r stat < "/proc/$sshd/stat" && set -- ${stat##*) }
[ "${20}" != "$start" ] || kill -9 "$sshd" 2>/dev/null || refuse "its connection is another user's"
flock -w 5 9 || refuse 'its connection was ended, but the lock is still held'
rm -f "$lock.owner"
printf '%s\n' "$owner"
"""


@dataclass(frozen=True)
class Owner:
    """Who holds a lock, as whoever is refused reads it."""

    name: str
    host: str  # the controller's
    pid: int
    since: str  # ISO 8601, UTC, by the controller's clock

    def __str__(self) -> str:
        """For a person."""
        return f"{self.name} (process {self.pid} on {self.host}) since {self.since}"


@dataclass(frozen=True)
class Held:
    """The state of a host's lock.

    Attributes:
        held: whether somebody has it.
        owner: who has it, or had it last and did not give it back; None where nobody has signed.
    """

    held: bool
    owner: Owner | None

    @property
    def holder(self) -> str:
        """Who has it, for a person."""
        return str(self.owner or UNSIGNED)


def owner(name: str, pid: int = 0) -> Owner:
    """A process of this machine as an owner; without an id, this one."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Owner(" ".join(name.split()), socket.gethostname(), pid or os.getpid(), now)


def signed(text: str) -> Owner | None:
    """The owner in the first line of what a host has noted, or None."""
    try:
        return Owner(**json.loads(text.partition("\n")[0]))
    except (ValueError, TypeError):
        return None


def look(ask: Ask, host: str) -> Held:
    """Asks a host who holds its lock; takes nothing.

    Args:
        ask: puts a question to the host.
        host: inventory name, for errors.

    Raises:
        HostSetupError: the lock cannot be looked at.
    """
    done = ask(Question(LOOK, (FOLDER,), timeout_s=ANSWER_S))
    if done.code != 0:
        raise HostSetupError(
            f"{FOLDER}/lock: {done.words}", hint=f"chmod a+r {FOLDER}/lock", where=Where(host=host)
        )
    state, _, note = done.stdout.decode(errors="replace").partition("\n")
    return Held(state == "held", signed(note))


def take_over(ask: Ask, host: str) -> Held:
    """Ends the connection that holds the host's lock, and with it the lock.

    Args:
        ask: puts a question to the host.
        host: inventory name, for errors.

    Returns:
        The lock as it was: whose connection was ended, or that it was free.

    Raises:
        LockHeldError: it could not be ended.
    """
    done = ask(Question(TAKE_OVER, (FOLDER,), timeout_s=ANSWER_S))
    if done.code != 0:
        raise LockHeldError(
            f"the lock cannot be taken over: {done.words}",
            hint="end the process that holds it: on the host, lslocks names it",
            where=Where(host=host),
        )
    note = done.stdout.decode(errors="replace").strip()
    return Held(bool(note), signed(note))

"""The host's lock: held by a command of the connection that also carries the engine.

On the host a shell holds `flock` and has noted its own sshd. When the holder's
end of the connection closes (it died), the shell ends that sshd, and with it
every forwarded socket: what the holder left running can do nothing more.
Taking over ends the noted sshd from outside, with the same effect.
"""

from __future__ import annotations

import json
import os
import select
import socket
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from gitops.channel.failures import (
    ChannelTimeoutError,
    HostSetupError,
    LockHeldError,
    LockLostError,
)
from gitops.channel.processes import alive, descends_from, start_time
from gitops.channel.transport import Transport, shell
from gitops.errors import GitopsError, Where

FOLDER = "/var/lib/gitops"
ANSWER_S = 15.0

# $1 folder, $2 owner (one line), $3 the sshd to end when the holder is gone, or empty.
# The lock's owner file: line 1 the owner, line 2 the sshd and its start time.
HOLD = r"""
dir=$1 owner=$2 sshd=$3
command -v flock >/dev/null 2>&1 || { echo 'missing flock'; exit 0; }
mkdir -p "$dir" 2>/dev/null
lock=$dir/lock
[ -e "$lock" ] || : 2>/dev/null > "$lock" || true
[ -r "$lock" ] && [ -w "$dir" ] || { echo denied; exit 0; }
exec 9< "$lock"
if ! flock -n 9; then
  echo held
  cat "$lock.owner" 2>/dev/null
  exit 0
fi
started() { read -r stat 2>/dev/null < "/proc/$1/stat" || return; set -- ${stat##*) }; echo "${20}"; }
start=
[ -z "$sshd" ] || start=$(started "$sshd")
printf '%s\n%s\n' "$owner" "$sshd $start" > "$lock.new" && mv -f "$lock.new" "$lock.owner"
echo ok
while read -r line; do
  if [ "$line" = release ]; then rm -f "$lock.owner"; exit 0; fi
done
if [ -n "$sshd" ] && [ "$(started "$sshd")" = "$start" ]; then kill -9 "$sshd"; fi
"""

# Ends the sshd of whoever holds the lock, then waits until the lock is free.
TAKE_OVER = r"""
lock=$1/lock
[ -e "$lock" ] || exit 0
exec 9< "$lock"
flock -n 9 && exit 0
{ read -r owner; read -r sshd start; } < "$lock.owner" || { echo 'its owner is not recorded'; exit 1; }
[ -n "$start" ] || { echo 'it is held by a process of the host itself'; exit 1; }
read -r stat < "/proc/$sshd/stat" && set -- ${stat##*) }
if [ "${20}" = "$start" ]; then kill -9 "$sshd" || exit 1; fi
flock -w 5 9 || { echo 'its connection was ended, but the lock is still held'; exit 1; }
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


def owner(name: str, pid: int = 0) -> Owner:
    """A process of this machine as an owner; without an id, this one."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Owner(" ".join(name.split()), socket.gethostname(), pid or os.getpid(), now)


class Lock:
    """A host's lock that this process holds."""

    def __init__(self, transport: Transport, link: socket.socket) -> None:
        self._transport = transport
        self._link = link

    def lost(self) -> bool:
        """Whether the connection that held it has ended: nothing more may be done."""
        if self._link.fileno() < 0:
            return True
        poller = select.poll()
        poller.register(self._link, select.POLLIN)
        return bool(poller.poll(0))  # the host's shell says nothing more: anything here is its end

    def release(self) -> None:
        """Gives the lock back; the connection stays. Releasing a lost lock does nothing."""
        with suppress(OSError):
            self._link.sendall(b"release\n")
            self._link.settimeout(ANSWER_S)
            self._link.recv(1)  # its end: the lock is free
        self._link.close()
        Path(self._transport.record).unlink(missing_ok=True)

    def fileno(self) -> int:
        """Readable when the lock is lost."""
        return self._link.fileno()


class Shared(Lock):
    """A lock that this process holds already under another name of the same host."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def lost(self) -> bool:
        """Whether the one that holds it has given it back or lost it."""
        record = read_record(self._transport.record)
        return record is None or not record.ours or not self._transport.standing()

    def release(self) -> None:
        """Nothing: whoever took it gives it back."""


def take(transport: Transport, host: str, who: Owner, holder: int, *, ssh: bool, sudo: bool) -> Lock:
    """Takes a host's lock over a standing connection.

    Args:
        transport: the connection.
        host: inventory name, for errors.
        who: shown to whoever is refused.
        holder: process id that the lock is for; its descendants may act.
        ssh: whether the connection has an sshd that must end with the holder.
        sudo: whether to take it as root.

    Raises:
        LockHeldError: another controller has it.
        HostSetupError: the host lacks the folder or flock.
    """
    link = transport.pipe(_command(who, ssh=ssh, sudo=sudo), ANSWER_S)
    with ExitStack() as undo:
        undo.callback(link.close)
        answer = _first_line(link)
        if answer != "ok":
            raise _refusal(answer, link, Where(host=host))
        _write_record(transport.record, holder, who, transport.carrier())
        undo.pop_all()
    return Lock(transport, link)


def take_over(transport: Transport, host: str, *, sudo: bool) -> None:
    """Ends the connection that holds the host's lock, and with it the lock.

    Raises:
        LockHeldError: it could not be ended.
    """
    done = transport.run(shell(TAKE_OVER, [FOLDER], sudo=sudo), b"", ANSWER_S)
    if done.code != 0:
        raise LockHeldError(
            f"the lock cannot be taken over: {done.words}",
            hint="end the process that holds it",
            where=Where(host=host),
        )


@dataclass(frozen=True)
class Record:
    """Which process of this machine holds a host's lock through a connection."""

    pid: int
    started: int
    owner: Owner
    carrier: int  # see Transport.carrier: what connects anew without the lock is another one

    @property
    def alive(self) -> bool:
        """Whether that process lives."""
        return alive(self.pid, self.started)

    @property
    def ours(self) -> bool:
        """Whether it is this process or an ancestor of it."""
        return self.alive and descends_from(self.pid)


def read_record(path: str) -> Record | None:
    """The record at that path, or None."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        return Record(data["pid"], data["started"], Owner(**data["owner"]), data["carrier"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_record(path: str, pid: int, who: Owner, carrier: int) -> None:
    record = Record(pid, start_time(pid), who, carrier)
    text = json.dumps(asdict(record))
    new = Path(f"{path}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def _command(who: Owner, *, ssh: bool, sudo: bool) -> str:
    words = json.dumps(asdict(who))
    # The outer shell's parent is sshd: it must be asked before sudo puts itself between.
    become = "sudo -n " if sudo else ""
    parent = '"$PPID"' if ssh else '""'
    return shell(f'exec {become}sh -c "$1" sh "$2" "$3" {parent}', [HOLD, FOLDER, words])


def _refusal(answer: str, link: socket.socket, where: Where) -> GitopsError:
    if answer == "held":
        return LockHeldError(f"the host's lock is held by {_holder(link)}", where=where)
    if answer == "denied":
        return HostSetupError(f"the user may not write to {FOLDER}", hint="run gitops bootstrap", where=where)
    return HostSetupError(f"cannot take the host's lock: {answer or 'no answer'}", where=where)


def _first_line(link: socket.socket) -> str:
    line = b""
    try:
        while not line.endswith(b"\n"):
            part = link.recv(1)
            if not part:
                break
            line += part
    except TimeoutError as error:
        raise ChannelTimeoutError("the host's lock gives no answer in time") from error
    return line.decode(errors="replace").strip()


def _holder(link: socket.socket) -> str:
    deadline = time.monotonic() + ANSWER_S
    text = b""
    while time.monotonic() < deadline and (part := link.recv(4096)):
        text += part
    first = text.decode(errors="replace").partition("\n")[0]
    try:
        return str(Owner(**json.loads(first)))
    except (ValueError, TypeError):
        return "somebody who has not signed (the lock is being taken or given back)"


def lost(host: str) -> GitopsError:
    """The error of a call after the lock's end."""
    return LockLostError("the connection that held the host's lock has ended", where=Where(host=host))


def held_elsewhere(record: Record, host: str) -> GitopsError:
    """The error of a call while another process of this machine holds the lock over the same connection."""
    return LockHeldError(f"the host's lock is held by {record.owner}", where=Where(host=host))

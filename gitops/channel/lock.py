"""The host's lock: held by a command of the connection that also carries the engine.

On the host a shell holds `flock` and has noted its own sshd. It ends that sshd,
and with it every forwarded socket, as soon as the holder's end of the connection
closes (it died) or gives no sign for a while (the network is cut): what the holder
left running can do nothing more. Taking over ends the noted sshd from outside,
with the same effect (see `gitops.channel.holder`).

The sign of life is an echo: what the shell writes to its standard error comes
back as its input. The SSH master does that, by which a holder that is stopped or
busy keeps its lock, and no clock is read anywhere.
"""

from __future__ import annotations

import json
import select
import socket
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from gitops.channel.failures import (
    ChannelTimeoutError,
    HostSetupError,
    LockHeldError,
    LockLostError,
)
from gitops.channel.holder import ANSWER_S, FOLDER, UNSIGNED, Owner, signed
from gitops.channel.processes import alive, descends_from, start_time
from gitops.channel.session import marking, open_session
from gitops.channel.transport import Transport, shell
from gitops.errors import GitopsError, Where

ECHO_S = 5
"""Seconds between two echoes; the connection ends after the fourth that stays away, so within 25 s."""

# $1 folder, $2 owner (one line), $3 seconds between echoes, $4 the sshd to end with the holder, or empty.
# The lock's owner file: line 1 the owner, line 2 the sshd and its start time.
# `watch` counts its own sleeps, and each echo sets the count back by a signal; a pause of the whole
# host therefore ends nothing. It must not hold the lock, nor keep the session open when all is over
# (hence `exec`: a shell that only redirects keeps a copy of what it closes).
HOLD = r"""
dir=$1 owner=$2 every=$3 sshd=$4
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
end() { [ -z "$start" ] || [ "$(started "$sshd")" != "$start" ] || kill -9 "$sshd"; }
watch() {
  silent=0
  trap 'silent=0' USR1
  while sleep "$every" 8>&- && kill -0 $$; do
    silent=$((silent + 1))
    [ "$silent" -le 4 ] || break
    echo >&8
  done
  end
}
note() { printf '%s\n%s\n' "$owner" "$sshd $start" > "$lock.new" && mv -f "$lock.new" "$lock.owner"; }
note || rm -f "$lock.owner" # a full disk: better none than another's
exec 8>&2 2>/dev/null
trap '' USR1
watcher=
if [ -n "$start" ]; then
  (exec 9<&- < /dev/null > /dev/null; watch) &
  watcher=$!
fi
exec 8>&-
echo ok
released=
while read -r line; do
  if [ "$line" = release ]; then released=yes; break; fi
  [ -z "$watcher" ] || kill -s USR1 "$watcher"
done
[ -z "$watcher" ] || kill "$watcher"
if [ -n "$released" ]; then rm -f "$lock.owner"; else end; fi
"""


class Lock:
    """A host's lock that this process holds.

    Attributes:
        owner: as whom.
    """

    def __init__(self, transport: Transport, link: socket.socket, who: Owner) -> None:
        self.owner = who
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
            self._link.sendall(b"\nrelease\n")  # what a login shell wrote to its errors may have come back
            self._link.settimeout(ANSWER_S)
            self._link.recv(1)  # its end: the lock is free
        self._link.close()
        Path(self._transport.record).unlink(missing_ok=True)

    def fileno(self) -> int:
        """Readable when the lock is lost."""
        return self._link.fileno()


class Shared(Lock):
    """A lock that this process holds already under another name of the same host."""

    def __init__(self, transport: Transport, who: Owner) -> None:
        self.owner = who
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
    link, _ = open_session(
        transport, lambda mark: _command(who, mark, ssh=ssh, sudo=sudo), ANSWER_S, echo=True
    )
    with ExitStack() as undo:
        undo.callback(link.close)
        answer = _first_line(link)
        if answer != "ok":
            raise _refusal(answer, link, Where(host=host))
        _write_record(transport.record, holder, who, transport.carrier())
        undo.pop_all()
    return Lock(transport, link, who)


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


def _command(who: Owner, mark: str, *, ssh: bool, sudo: bool) -> str:
    words = json.dumps(asdict(who))
    # The outer shell's parent is sshd: it must be asked before sudo puts itself between.
    become = "sudo -n " if sudo else ""
    parent = '"$PPID"' if ssh else '""'
    return shell(
        f'exec {become}sh -c "$1" sh "$2" "$3" "$4" {parent}',
        [marking(HOLD, mark), FOLDER, words, str(ECHO_S)],
    )


def _refusal(answer: str, link: socket.socket, where: Where) -> GitopsError:
    if answer == "held":
        hint = f"if that one is stuck: gitops unlock {where.host}"
        return LockHeldError(f"the host's lock is held by {_holder(link)}", hint=hint, where=where)
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
    return str(signed(text.decode(errors="replace")) or UNSIGNED)


def lost(host: str) -> GitopsError:
    """The error of a call after the lock's end."""
    return LockLostError("the connection that held the host's lock has ended", where=Where(host=host))


def held_elsewhere(record: Record, host: str) -> GitopsError:
    """The error of a call while another process of this machine holds the lock over the same connection."""
    return LockHeldError(f"the host's lock is held by {record.owner}", where=Where(host=host))

"""The files of a load balancer: every application's fragment, and the haproxy.cfg made of them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from gitops.channel import Channel
from gitops.tasks.outcome import TaskError

BASE = "/var/lib/gitops"
CONFIG = "/etc/haproxy/haproxy.cfg"

_BUSY = 75  # the fragments are not the ones that were read
_INVALID = 65

# The checksum, then each file as a line `BYTES NAME` and its content: so no content can be taken for a name.
_READ = f"""
cd {BASE} || exit 1
cat */haproxy.cfg 2>/dev/null | cksum
for f in */haproxy.cfg haproxy.loaded {CONFIG}; do
  [ -f "$f" ] || continue
  echo "$(wc -c <"$f") $f"
  cat "$f"
done
"""

_SWAP = f"""
set -eu
umask 022
PATH="$PATH:/usr/sbin:/sbin"
app=%(app)s
mkdir -p {BASE}/$app
exec 9>{BASE}/edge.lock
flock 9
[ "$(cat {BASE}/*/haproxy.cfg 2>/dev/null | cksum)" = "%(sum)s" ] || exit {_BUSY}
head -c %(bytes)d >{CONFIG}.new
cat >{BASE}/$app/haproxy.cfg.new
if [ "$(wc -c <{CONFIG}.new) $(wc -c <{BASE}/$app/haproxy.cfg.new)" != "%(bytes)d %(rest)d" ]; then
  rm -f {CONFIG}.new {BASE}/$app/haproxy.cfg.new
  echo 'the connection broke in the middle of a file' >&2
  exit 1
fi
if ! haproxy -c -f {CONFIG}.new; then
  rm -f {CONFIG}.new {BASE}/$app/haproxy.cfg.new
  exit {_INVALID}
fi
if [ -s {BASE}/$app/haproxy.cfg.new ]; then
  mv {BASE}/$app/haproxy.cfg.new {BASE}/$app/haproxy.cfg
else
  rm -f {BASE}/$app/haproxy.cfg.new {BASE}/$app/haproxy.cfg
fi
mv {CONFIG}.new {CONFIG}
"""


class ChangedMeanwhileError(TaskError):
    """The fragments are not the ones that were read: read them again."""


@dataclass(frozen=True)
class OnDisk:
    """What a load balancer has on disk.

    Attributes:
        fragments: application -> text.
        config: the whole haproxy.cfg; empty where there is none.
        loaded: digest of the structure that HAProxy was last reloaded with, or empty.
        checksum: of all fragments, to see whether somebody else changed them meanwhile.
    """

    fragments: dict[str, str]
    config: str
    loaded: str
    checksum: str


class EdgeFiles:
    """Reads and swaps them, each in one command of the connection."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def read(self) -> OnDisk:
        """All of them as they are now."""
        done = self._channel.run(_READ)
        if done.code:
            hint = "prepare the host with gitops bootstrap"
            raise TaskError(f"{BASE} cannot be read: {done.words}", "edge", hint=hint)
        checksum, _, rest = done.stdout.partition(b"\n")
        files: dict[str, str] = {}
        while rest:
            head, _, rest = rest.partition(b"\n")
            size, _, name = head.decode().partition(" ")
            files[name] = rest[: int(size)].decode(errors="replace")
            rest = rest[int(size) :]
        config = files.pop(CONFIG, "")
        loaded = files.pop("haproxy.loaded", "").strip()
        fragments = {name.partition("/")[0]: text for name, text in files.items()}
        return OnDisk(fragments, config, loaded, checksum.decode())

    def swap(self, there: OnDisk, app: str, fragment: str, config: str) -> None:
        """Puts one application's fragment and the whole file in place, if HAProxy calls it valid.

        Raises:
            ChangedMeanwhileError: read again first.
            TaskError: HAProxy does not, or the files cannot be written; nothing was changed.
        """
        whole, part = config.encode(), fragment.encode()
        sizes = {"bytes": len(whole), "rest": len(part)}
        script = _SWAP % {"app": shlex.quote(app), "sum": there.checksum, **sizes}
        done = self._channel.run(script, stdin=whole + part)
        if done.code == _INVALID:
            raise TaskError(f"HAProxy calls the file invalid: {_alerts(done.words)}", "edge")
        if done.code == _BUSY:
            raise ChangedMeanwhileError(
                "another application's deployment changed the edge", "edge", hint="try again"
            )
        if done.code:
            raise TaskError(
                f"{CONFIG} cannot be written: {done.words}",
                "edge",
                hint="prepare the host with gitops bootstrap",
            )

    def note_loaded(self, digest: str) -> None:
        """Remembers what HAProxy was reloaded with."""
        self._channel.write(f"{BASE}/haproxy.loaded", f"{digest}\n".encode())


def _alerts(words: str) -> str:
    """HAProxy's complaints, without what it says besides."""
    alerts = [line for line in words.splitlines() if line.startswith("[ALERT]")]
    return "; ".join(line.partition(" : ")[2] or line for line in alerts) or words

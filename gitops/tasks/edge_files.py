"""The files of a load balancer: every application's fragment, and the haproxy.cfg made of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gitops.channel import Channel
from gitops.tasks.outcome import TaskError

BASE = "/var/lib/gitops"
CONFIG = "/etc/haproxy/haproxy.cfg"

_BUSY = 75  # the fragments are not the ones that were read
_INVALID = 65

# A line `BYTES NAME` before each content: so no content can be taken for a name.
_READ = f"""
cd {BASE} 2>&1 || exit 1
set -- "$(cksum {BASE}/*/haproxy.cfg 2>/dev/null)"
printf '%s checksums\\n%s' "${{#1}}" "$1"
for f in */haproxy.cfg haproxy.loaded {CONFIG}; do
  [ -f "$f" ] || continue
  echo "$(wc -c <"$f") $f"
  cat "$f"
done
"""

# Its arguments: application, checksums of the fragments, bytes of the whole file, bytes of the fragment,
# and `check` where HAProxy has to call the file valid. Prints the new checksums, or what is wrong.
# As few processes as can be: each costs a millisecond or two that the starts beside it would use.
_SWAP = f"""
exec 2>&1
set -eu
umask 022
PATH="$PATH:/usr/sbin:/sbin"
fragment={BASE}/$1/haproxy.cfg
new={CONFIG}.new
end() {{ rm -f $new $fragment.new; exit $1; }}
[ -d {BASE}/$1 ] || mkdir {BASE}/$1
exec 9>{BASE}/edge.lock
flock 9
[ "$(cksum {BASE}/*/haproxy.cfg 2>/dev/null)" = "$2" ] || exit {_BUSY}
head -c $3 >$new
head -c $4 >$fragment.new
set -- "$@" $(wc -c $new $fragment.new)
[ "$6 $8" = "$3 $4" ] || {{ echo 'the connection broke in the middle of a file'; end 1; }}
[ -z "$5" ] || said=$(haproxy -c -f $new 2>&1) || {{ echo "$said"; end {_INVALID}; }}
if [ -s $fragment.new ]; then mv $fragment.new $fragment; else rm -f $fragment $fragment.new; fi
mv $new {CONFIG}
cksum {BASE}/*/haproxy.cfg 2>/dev/null || :
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
        checksums: of all fragments, to see whether somebody else changed them meanwhile.
    """

    fragments: dict[str, str]
    config: str
    loaded: str
    checksums: str


class EdgeFiles:
    """Reads and swaps them, each by one question to the host's standing shell."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def read(self) -> OnDisk:
        """All of them as they are now."""
        done = self._channel.ask(_READ)
        if done.code:
            hint = "prepare the host with gitops bootstrap"
            raise TaskError(f"{BASE} cannot be read: {done.words}", "edge", hint=hint)
        rest = done.stdout
        files: dict[str, str] = {}
        while rest:
            head, _, rest = rest.partition(b"\n")
            size, _, name = head.decode().partition(" ")
            files[name] = rest[: int(size)].decode(errors="replace")
            rest = rest[int(size) :]
        config = files.pop(CONFIG, "")
        loaded = files.pop("haproxy.loaded", "").strip()
        checksums = files.pop("checksums")
        fragments = {name.partition("/")[0]: text for name, text in files.items()}
        return OnDisk(fragments, config, loaded, checksums)

    def swap(self, there: OnDisk, app: str, fragment: str, config: str, *, proven: bool = False) -> OnDisk:
        """Puts one application's fragment and the whole file in place, if HAProxy calls it valid.

        Args:
            there: what is there now.
            app: the application.
            fragment: its fragment; empty removes it.
            config: the whole file.
            proven: HAProxy has loaded a file that differs in nothing by which this one could be
                invalid: asking costs more than all the rest of a switch.

        Returns:
            What is there then.

        Raises:
            ChangedMeanwhileError: read again first.
            TaskError: HAProxy does not, or the files cannot be written; nothing was changed.
        """
        sizes = [str(len(text.encode())) for text in (config, fragment)]
        check = "" if proven else "check"
        done = self._channel.ask(_SWAP, args=(app, there.checksums, *sizes, check), text=config + fragment)
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
        others = {name: text for name, text in there.fragments.items() if name != app}
        fragments = {**others, app: fragment} if fragment else others
        return OnDisk(fragments, config, there.loaded, done.stdout.decode().rstrip())

    def note_loaded(self, there: OnDisk, digest: str) -> OnDisk:
        """Remembers what HAProxy was reloaded with; returns what is there then."""
        self._channel.write(f"{BASE}/haproxy.loaded", f"{digest}\n".encode())
        return replace(there, loaded=digest)


def _alerts(words: str) -> str:
    """HAProxy's complaints, without what it says besides."""
    alerts = [line for line in words.splitlines() if line.startswith("[ALERT]")]
    return "; ".join(line.partition(" : ")[2] or line for line in alerts) or words

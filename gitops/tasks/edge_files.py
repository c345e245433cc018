"""The files of a load balancer: every application's fragment, and the haproxy.cfg made of them."""

from __future__ import annotations

from dataclasses import dataclass

from gitops.channel import Channel
from gitops.channel.faults import fault_of, refusal
from gitops.model.edge import CONFIG, PORTS_MAP, ROUTES_MAP, Assembled
from gitops.tasks.outcome import TaskError

BASE = "/var/lib/gitops"
LOADING = "haproxy.loading"
"""Lies in an application's folder from the swap of haproxy.cfg until HAProxy has loaded that; see
`observe.files`."""

_BUSY = 75  # the fragments are not the ones that were read
_INVALID = 65
_FILES = (CONFIG, ROUTES_MAP, PORTS_MAP)

# A line `BYTES NAME` before each content: so no content can be taken for a name.
_READ = f"""
cd {BASE} 2>&1 || exit 1
# Not in the middle of somebody's swap.
[ ! -e edge.lock ] || {{ exec 9<edge.lock; flock -s 9; }}
set -- "$(cksum {BASE}/*/haproxy.cfg 2>/dev/null)"
printf '%s checksums\\n%s' "${{#1}}" "$1"
for f in */haproxy.cfg {" ".join(_FILES)}; do
  [ -f "$f" ] || continue
  echo "$(wc -c <"$f") $f"
  cat "$f"
done
"""

# Its arguments: application, checksums of the fragments, bytes of haproxy.cfg, of its two maps and of the
# fragment, `check` where HAProxy has to call the file valid, and `load` where it has to load it then.
# Prints the new checksums, or what is wrong.
# As few processes as can be: each costs a millisecond or two that the starts beside it would use.
_SWAP = f"""
exec 2>&1
set -eu
umask 022
PATH="$PATH:/usr/sbin:/sbin"
fragment={BASE}/$1/haproxy.cfg
new={CONFIG}.new routes={ROUTES_MAP}.new ports={PORTS_MAP}.new
end() {{ rm -f $new $routes $ports $fragment.new; exit $1; }}
[ -d {BASE}/$1 ] || mkdir {BASE}/$1
[ -e {BASE}/edge.lock ] || : >{BASE}/edge.lock
exec 9<{BASE}/edge.lock # another user may have made it
flock 9
[ "$(cksum {BASE}/*/haproxy.cfg 2>/dev/null)" = "$2" ] || exit {_BUSY}
head -c $3 >$new
head -c $4 >$routes
head -c $5 >$ports
head -c $6 >$fragment.new
set -- "$@" $(wc -c $new $routes $ports $fragment.new)
[ "$9 ${{11}} ${{13}} ${{15}}" = "$3 $4 $5 $6" ] || {{
  echo 'the connection broke in the middle of a file'
  end 1
}}
for map in {ROUTES_MAP} {PORTS_MAP}; do [ -e $map ] || : >$map; done
[ -z "$7" ] || said=$(haproxy -c -f $new 2>&1) || {{ echo "$said"; end {_INVALID}; }}
[ -z "$8" ] || : >{BASE}/$1/{LOADING}
if [ -s $fragment.new ]; then mv $fragment.new $fragment; else rm -f $fragment $fragment.new; fi
mv $routes {ROUTES_MAP}
mv $ports {PORTS_MAP}
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
        routes: the map of HTTP routes, likewise.
        ports: the map of frontends, likewise.
        checksums: of all fragments, to see whether somebody else changed them meanwhile.
    """

    fragments: dict[str, str]
    config: str
    routes: str
    ports: str
    checksums: str

    def holds(self, wanted: Assembled) -> bool:
        """Whether the files are those."""
        return (self.config, self.routes, self.ports) == (wanted.config, wanted.routes, wanted.ports)


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
        checksums = files.pop("checksums")
        config, routes, ports = (files.pop(path, "") for path in _FILES)
        fragments = {name.partition("/")[0]: text for name, text in files.items()}
        return OnDisk(fragments, config, routes, ports, checksums)

    def swap(
        self, there: OnDisk, app: str, fragment: str, wanted: Assembled, *, proven: bool = False, loads: bool
    ) -> OnDisk:
        """Puts one application's fragment and the whole file in place, if HAProxy calls it valid.

        Args:
            there: what is there now.
            app: the application.
            fragment: its fragment; empty removes it.
            wanted: the whole file and its maps.
            proven: HAProxy has loaded a file that differs in nothing by which this one could be
                invalid: asking costs more than all the rest of a switch.
            loads: HAProxy has to load it: say `loaded` when it has.

        Returns:
            What is there then.

        Raises:
            ChangedMeanwhileError: read again first.
            TaskError: HAProxy does not, or the files cannot be written; nothing was changed.
        """
        texts = [wanted.config, wanted.routes, wanted.ports, fragment]
        sizes = [str(len(text.encode())) for text in texts]
        args = (app, there.checksums, *sizes, "" if proven else "check", "load" if loads else "")
        done = self._channel.ask(_SWAP, args=args, text="".join(texts))
        if done.code == _INVALID:
            raise TaskError(f"HAProxy calls the file invalid: {_alerts(done.words)}", "edge")
        if done.code == _BUSY:
            raise ChangedMeanwhileError(
                "another application's deployment changed the edge", "edge", hint="try again"
            )
        if done.code:
            refused = refusal(done.words)
            raise TaskError(
                f"{CONFIG} cannot be written: {done.words}",
                fault_of(refused) or "edge",
                hint="prepare the host with gitops bootstrap",
            )
        others = {name: text for name, text in there.fragments.items() if name != app}
        fragments = {**others, app: fragment} if fragment else others
        checksums = done.stdout.decode().rstrip()
        return OnDisk(fragments, wanted.config, wanted.routes, wanted.ports, checksums)

    def loaded(self, app: str) -> None:
        """HAProxy has loaded what was swapped in."""
        self._channel.ask('rm -f "$1"', args=(f"{BASE}/{app}/{LOADING}",))


def _alerts(words: str) -> str:
    """HAProxy's complaints, without what it says besides."""
    alerts = [line for line in words.splitlines() if line.startswith("[ALERT]")]
    return "; ".join(line.partition(" : ")[2] or line for line in alerts) or words

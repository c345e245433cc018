"""What a host keeps of each application: its release file, and its fragment where its HAProxy serves it."""

from __future__ import annotations

import io
import json
import re
import tarfile
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from gitops.channel import Channel
from gitops.channel.failures import HostSetupError
from gitops.errors import Where
from gitops.model.edge import CONFIG, DESCRIPTION, PORTS_MAP, ROUTES_MAP
from gitops.model.observed import Found, Release

FOLDER = "/var/lib/gitops"
RELEASE = "release.json"
FRAGMENT = "haproxy.cfg"
_HEX = re.compile(r"[0-9A-Fa-f]+")
MAX_BYTES = 1 << 20  # of one file; ours are far smaller

# The first line has the TCP sockets that anything on the host listens on: the kernel lists them before all
# others, so that the many others are not read. Two lines follow, where an application has a fragment to
# serve there: the networks that the host takes for its own; the digest of haproxy.cfg with its maps, and
# whether HAProxy is about to load it (see `tasks.edge_files`; a controller that died in between has said so
# for a minute at most). Then tar, which frames any content in one process, and is on every host.
SCRIPT = r"""
PATH="$PATH:/usr/sbin:/sbin"
awk 'BEGIN {
  split("/proc/net/tcp /proc/net/tcp6", files)
  for (number in files) {
    getline line <files[number]
    while ((getline line <files[number]) > 0) {
      split(line, field)
      if (field[4] != "0A") break
      printf "%s ", field[2]
    }
  }
  print ""
}' 2>/dev/null || echo
cd "$1" 2>/dev/null || exit 0
shift
# Not in the middle of a swap: the fragments and the file that is made of them belong together.
[ ! -e edge.lock ] || { exec 9<edge.lock; flock -s 9; }
if [ -n "$(echo */haproxy.cfg | grep -v '[*]')" ]; then
  echo $(ip -4 route show table local type local dev lo 2>/dev/null)
  loading=$(find . -maxdepth 2 -name haproxy.loading -mmin -1 2>/dev/null)
  mark=$(grep -m1 '^    description gitops-' "$1" 2>/dev/null)
  echo "$(cat "$@" 2>/dev/null | sha256sum)" "${mark:-description -}" ${loading:+loading}
else
  printf '\n\n'
fi
set --
for file in */release.json */haproxy.cfg; do
  [ -f "$file" ] && [ ! -L "$file" ] && set -- "$@" "$file"
done
[ $# -eq 0 ] || exec tar -cf - -- "$@"
"""


@dataclass(frozen=True)
class Files:
    """What a host keeps of all applications.

    Attributes:
        releases: their release files.
        fragments: (application, its fragment of haproxy.cfg).
        networks: those whose addresses are all the host's own, if asked.
        config: SHA-256 of the whole haproxy.cfg and its maps, hex, if asked.
        mark: of that file, likewise: see `gitops.model.edge.Assembled`.
        loading: whether a deployment has put them there and HAProxy is about to load them.
        listening: TCP ports that some process of the host listens on, whatever the address, sorted.
        everywhere: those of them on all addresses.
    """

    releases: tuple[Release, ...] = ()
    fragments: tuple[tuple[str, str], ...] = ()
    networks: tuple[str, ...] = ()
    config: str = ""
    mark: str = ""
    loading: bool = False
    listening: tuple[int, ...] = ()
    everywhere: tuple[int, ...] = ()


def read(channel: Channel) -> Files:
    """The files of a host.

    Raises:
        HostSetupError: the host refuses.
    """
    done = channel.ask(SCRIPT, args=(FOLDER, CONFIG, ROUTES_MAP, PORTS_MAP), timeout_s=5.0)
    if done.code != 0:
        raise HostSetupError(f"cannot read {FOLDER}: {done.words}", where=Where(host=channel.name))
    line, _, rest = done.stdout.partition(b"\n")
    ports = listeners(line.decode(errors="replace"))
    every = tuple(sorted({port for port, _ in ports}))
    everywhere = tuple(sorted({port for port, anywhere in ports if anywhere}))
    return replace(parse(rest), listening=every, everywhere=everywhere)


def listeners(line: str) -> frozenset[tuple[int, bool]]:
    """TCP ports, each with whether it is taken on all addresses; `line` has sockets as /proc/net/tcp does."""
    found = set()
    for word in line.split():
        address, _, port = word.partition(":")
        if _HEX.fullmatch(address + port):
            found.add((int(port, 16), not int(address, 16)))
    return frozenset(found)


def parse(answer: bytes) -> Files:
    """What the script wrote after its first line. A torn release file counts as none."""
    releases: list[Release] = []
    fragments: list[tuple[str, str]] = []
    line, _, rest = answer.partition(b"\n")
    digest, _, archive = rest.partition(b"\n")
    networks = tuple(word for word in line.decode(errors="replace").split() if "/" in word)
    words = digest.decode(errors="replace").split()  # DIGEST - description gitops-MARK [loading]
    config, mark = (words[0], words[3].removeprefix(DESCRIPTION)) if len(words) > 3 else ("", "")  # noqa: PLR2004 - as above
    found = Files(networks=networks, config=config, mark=mark, loading="loading" in words[4:])
    if not archive:
        return found
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isfile() and member.size <= MAX_BYTES else None
            if content is None:
                continue
            path = PurePosixPath(member.name)
            text = content.read().decode(errors="replace")
            if path.name == FRAGMENT:
                fragments.append((path.parent.name, text))
            elif release := _release(path.parent.name, text):
                releases.append(release)
    releases.sort(key=lambda release: release.app)
    return replace(found, releases=tuple(releases), fragments=tuple(sorted(fragments)))


def _release(app: str, text: str) -> Release | None:
    try:
        data = json.loads(text)
        services = tuple(
            Found(str(each["service"]), str(each["address"]), tuple(map(str, each["expose_to"])))
            for each in data.get("services", ())
        )
        return Release(app, str(data["commit"]), str(data["deployment"]), services)
    except (ValueError, KeyError, TypeError):
        return None

"""What a host keeps of each application: its release file and, on load balancers, its fragment."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import PurePosixPath

from gitops.channel import Channel
from gitops.channel.failures import HostSetupError
from gitops.errors import Where
from gitops.model.observed import Release

FOLDER = "/var/lib/gitops"
RELEASE = "release.json"
FRAGMENT = "haproxy.cfg"
MAX_BYTES = 1 << 20  # of one file; ours are far smaller

# tar frames any content, in one process, and is on every host.
SCRIPT = r"""
cd "$1" 2>/dev/null || exit 0
set --
for file in */release.json */haproxy.cfg; do
  [ -f "$file" ] && [ ! -L "$file" ] && set -- "$@" "$file"
done
[ $# -eq 0 ] || exec tar -cf - -- "$@"
"""


def read(channel: Channel) -> tuple[tuple[Release, ...], tuple[tuple[str, str], ...]]:
    """The release files and fragments of a host, each by application.

    Raises:
        HostSetupError: the host refuses.
    """
    done = channel.ask(SCRIPT, args=(FOLDER,), timeout_s=5.0)
    if done.code != 0:
        raise HostSetupError(f"cannot read {FOLDER}", where=Where(host=channel.name))
    return parse(done.stdout)


def parse(archive: bytes) -> tuple[tuple[Release, ...], tuple[tuple[str, str], ...]]:
    """The release files and fragments in what the script wrote. A torn release file counts as none."""
    releases: list[Release] = []
    fragments: list[tuple[str, str]] = []
    if not archive:
        return (), ()
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
    return tuple(sorted(releases, key=lambda release: release.app)), tuple(sorted(fragments))


def _release(app: str, text: str) -> Release | None:
    try:
        data = json.loads(text)
        return Release(app, str(data["commit"]), str(data["deployment"]))
    except (ValueError, KeyError, TypeError):
        return None

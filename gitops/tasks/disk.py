"""Which file system of a host is full, and how full it is."""

from __future__ import annotations

import re
from typing import NamedTuple

from gitops.channel import Channel
from gitops.channel.faults import fault_of
from gitops.errors import GitopsError
from gitops.model.edge import CONFIG
from gitops.model.size import bytes_text
from gitops.tasks.edge_files import BASE
from gitops.tasks.outcome import TaskError

# For each path: free and total of its file system in KiB, free and total inodes, and the part that exists.
# Of a file system that is mounted in a folder of root alone only the mount point is known to others.
_SCRIPT = r"""
for path; do
  mount=$(path=$path awk '{ point = $2 == "/" ? "" : $2 }
    index(ENVIRON["path"] "/", point "/") == 1 && length(point) >= length(most) { most = point }
    END { print most }' /proc/self/mounts)
  [ -e "${mount:-/}" ] || { echo "? ? ? ? $mount"; continue; }
  while [ ! -d "${path:-/}" ]; do path=${path%/*}; path=${path:-/}; done
  space=$(df -Pk -- "$path" 2>/dev/null | awk 'NR == 2 { print $4, $2 }')
  inodes=$(df -Pi -- "$path" 2>/dev/null | awk 'NR == 2 { print $4, $2 }')
  echo "${space:-? ?} ${inodes:-? ?} $path"
done
"""
_FIELDS = 5
_PATH = re.compile(r"(?<![^\s'\":=(])/[^\s'\":,;)]+")  # absolute ones in somebody's words
_MOST_PATHS = 8


class Space(NamedTuple):
    """A folder, and what is left of the file system that it is on."""

    path: str
    free: int = 0  # bytes
    total: int = 0  # bytes; 0 where nobody may ask
    inodes_free: int = 0
    inodes_total: int = 0

    @property
    def left(self) -> float:
        """The share that is free, of space or of inodes, whichever is less; 0 where that is not known."""
        if not self.total:
            return 0.0
        inodes = self.inodes_free / self.inodes_total if self.inodes_total else 1.0
        return min(self.free / self.total, inodes)

    def __str__(self) -> str:
        """For people."""
        if not self.total:
            return f"no space left on {self.path}"
        if self.inodes_total and not self.inodes_free and self.free:
            return f"no inodes left on {self.path} ({bytes_text(self.free)} free of {bytes_text(self.total)})"
        return f"no space left on {self.path} ({bytes_text(self.free)} free of {bytes_text(self.total)})"


def parse(text: str) -> list[Space]:
    """What the script printed."""
    found = []
    for line in text.splitlines():
        words = line.split(maxsplit=_FIELDS - 1)
        if len(words) == _FIELDS:
            free, total, *inodes = (int(word) if word.isdecimal() else 0 for word in words[:4])
            found.append(Space(words[4], free * 1024, total * 1024, *inodes))
    return found


def named(channel: Channel, error: GitopsError) -> TaskError | None:
    """The same failure with the name of the file system that is full; None where a disk is not the fault.

    The words of an engine, or of a shell, name some path on it at best. Asked are the paths that they name,
    the engine's data, our own files and HAProxy's: the one with the least left is meant.
    """
    known = error if isinstance(error, TaskError) else TaskError(error.message, fault_of(error) or "create")
    if known.kind != "disk":
        return None
    try:
        said = _PATH.findall(known.message)[:_MOST_PATHS]
        places = [*said, _engine_data(channel), BASE, CONFIG.rpartition("/")[0]]
        done = channel.run(_SCRIPT, args=[place for place in places if place])
        fullest = min(parse(done.stdout.decode(errors="replace")), key=lambda space: space.left, default=None)
    except GitopsError:  # the first failure stands without it
        fullest = None
    if fullest is None:
        return known
    return TaskError(
        f"{fullest}: {known.message}",
        "disk",
        service=known.service,
        container=known.container,
        logs=known.logs,
        hint=f"free space on {fullest.path}",
    )


def _engine_data(channel: Channel) -> str:
    """Where the host's engine keeps images and containers; empty where it cannot say."""
    try:
        return str(channel.engine().info().get("DockerRootDir") or "")
    except GitopsError:
        return ""

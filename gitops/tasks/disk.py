"""Which file system of a host is full, and how full it is."""

from __future__ import annotations

from typing import NamedTuple

from gitops.channel import Channel
from gitops.channel.faults import fault_of
from gitops.errors import GitopsError
from gitops.model.edge import CONFIG
from gitops.model.size import bytes_text
from gitops.tasks.edge_files import BASE
from gitops.tasks.outcome import TaskError

# For each path: free and total of its file system in KiB, free and total inodes, and where it is mounted.
_SCRIPT = r"""
for path; do
  while [ ! -e "$path" ]; do path=${path%/*}; path=${path:-/}; done
  space=$(df -Pk -- "$path" 2>/dev/null | awk 'NR == 2 { print $4, $2 }')
  inodes=$(df -Pi -- "$path" 2>/dev/null | awk 'NR == 2 { print $4, $2 }')
  echo "${space:-? ?} ${inodes:-? ?} $path"
done
"""
_FIELDS = 5


class Space(NamedTuple):
    """A folder, and what is left of the file system that it is on."""

    path: str
    free: int  # bytes
    total: int  # bytes
    inodes_free: int
    inodes_total: int

    @property
    def left(self) -> float:
        """The share that is free, of space or of inodes, whichever is less."""
        inodes = self.inodes_free / self.inodes_total if self.inodes_total else 1.0
        return min(self.free / self.total if self.total else 1.0, inodes)

    def __str__(self) -> str:
        """For people."""
        if self.inodes_total and not self.inodes_free and self.free:
            return f"no inodes left on {self.path} ({bytes_text(self.free)} free of {bytes_text(self.total)})"
        return f"no space left on {self.path} ({bytes_text(self.free)} free of {bytes_text(self.total)})"


def parse(text: str) -> list[Space]:
    """What the script printed; a file system that cannot be asked is left out."""
    found = []
    for line in text.splitlines():
        words = line.split(maxsplit=_FIELDS - 1)
        if len(words) == _FIELDS and all(word.isdecimal() for word in words[:2]):
            free, total = (int(word) * 1024 for word in words[:2])
            inodes, all_inodes = (int(word) if word.isdecimal() else 0 for word in words[2:4])
            found.append(Space(words[4], free, total, inodes, all_inodes))
    return found


def named(channel: Channel, error: GitopsError) -> TaskError | None:
    """The same failure with the name of the file system that is full; None where a disk is not the fault.

    The words of an engine, or of a shell, name some path on it at best. Asked are the engine's data, our
    own files and HAProxy's: the one with the least left is meant.
    """
    known = error if isinstance(error, TaskError) else TaskError(error.message, fault_of(error) or "create")
    if known.kind != "disk":
        return None
    try:
        places = [_engine_data(channel), BASE, CONFIG.rpartition("/")[0]]
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

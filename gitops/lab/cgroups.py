"""The lab's control groups: the list of all its processes, which no process can leave by itself.

Versions 1, 2 and the hybrid of both are served: a group of the same name is
made in every hierarchy that is mounted.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from gitops.errors import TransientError
from gitops.lab.system import reap, wait_until

_BURIAL_SECONDS = 3.0


def hierarchies() -> list[Path]:
    """The mount points of this machine's control group hierarchies."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, kind = line.partition(" - ")
        if kind.split()[0] in {"cgroup", "cgroup2"}:
            found.append(Path(fields.split()[4]))
    return found


def make(group: str) -> list[Path]:
    """Makes a group (`a/b` makes both levels) in every hierarchy; returns its folders."""
    folders = []
    for hierarchy in hierarchies():
        folder = hierarchy
        for part in Path(group).parts:
            folder /= part
            folder.mkdir(exist_ok=True)
            _inherit(folder)
        folders.append(folder)
    return folders


def _inherit(folder: Path) -> None:
    """Lets a new group use what its parent may.

    Version 1 starts a group without processors, version 2 without controllers.
    """
    for name in ("cpuset.cpus", "cpuset.mems"):
        file = folder / name
        if (folder / "cpuset.sched_load_balance").exists() and not file.read_text().strip():
            file.write_text((folder.parent / name).read_text())
    control = folder.parent / "cgroup.subtree_control"
    if control.exists():
        for controller in (folder.parent / "cgroup.controllers").read_text().split():
            # A controller that the machine itself cannot hand down is one that the lab does without.
            with suppress(OSError):
                control.write_text(f"+{controller}")


def move_aside(group: str, pid: int) -> None:
    """Moves a process in version 2's hierarchies alone.

    There a group hands controllers down only while it has no processes of its own.
    """
    for folder in make(group):
        if (folder / "cgroup.controllers").exists():
            (folder / "cgroup.procs").write_text(str(pid))


def processes(group: str) -> set[int]:
    """The ids of all processes in a group and the groups below it."""
    found: set[int] = set()
    for folder in _folders(group):
        try:
            found.update(int(pid) for pid in (folder / "cgroup.procs").read_text().split())
        except OSError:
            continue  # the group went away while we looked
    return found


def end(group: str, *, seconds: float = 20) -> None:
    """Ends all processes of a group at once and removes the group. There need be none.

    Raises:
        TransientError: something in it did not end within `seconds`.
    """
    deadline = time.monotonic() + seconds
    killed: set[int] = set()

    def emptied() -> bool:
        for folder in _folders(group):
            _thaw(folder)
        found = processes(group)
        killed.update(found)
        for pid in found:
            _kill(pid)
        return not found

    def buried() -> bool:
        for pid in killed:
            reap(pid)
        return not any(_is_zombie(pid) for pid in killed)

    wait_until(f"the end of all processes in {group}", emptied, seconds=seconds)
    while left := _remove(group):
        if time.monotonic() > deadline:
            raise TransientError(f"the control group {left} cannot be removed")
        time.sleep(0.02)
    # Their entries in the process table go when the machine's process 1 takes leave of them. That is
    # not ours to force; an init that does so only now and then does not make this fail.
    with suppress(TransientError):
        wait_until("the burial of ended processes", buried, seconds=_BURIAL_SECONDS)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    reap(pid)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False


def _thaw(folder: Path) -> None:
    """Lets a paused container's processes run, so that they can end (version 2 needs no such help)."""
    state = folder / "freezer.state"
    try:
        if state.exists() and state.read_text().strip() != "THAWED":
            state.write_text("THAWED")
    except OSError:
        return  # the group went away while we looked


def _folders(group: str) -> Iterator[Path]:
    """A group's folders in all hierarchies, the inner ones first."""
    for hierarchy in hierarchies():
        for folder, _, _ in os.walk(hierarchy / group, topdown=False):
            yield Path(folder)


def _remove(group: str) -> str:
    """Removes what can be removed; returns the name of a folder that is left, or an empty string."""
    left = ""
    for folder in _folders(group):
        try:
            folder.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            left = str(folder)
    return left

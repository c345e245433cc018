"""Processes of this machine: whether one still lives, and who descends from whom."""

from __future__ import annotations

import os
from pathlib import Path


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 if there is none. With the id it is unique."""
    return _stat(pid)[1]


def alive(pid: int, started: int) -> bool:
    """Whether that very process is still there (not a later one of the same id)."""
    return started != 0 and start_time(pid) == started


def descends_from(pid: int) -> bool:
    """Whether this process is the given one or descends from it."""
    current = os.getpid()
    while current > 1:
        if current == pid:
            return True
        current = _stat(current)[0]
    return False


def _stat(pid: int) -> tuple[int, int]:
    """(parent, start time) of a process; zeros if there is none or it is a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0, 0
    fields = text.rpartition(")")[2].split()  # the name before may hold anything
    return (0, 0) if fields[0] == "Z" else (int(fields[1]), int(fields[19]))

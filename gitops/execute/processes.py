"""The processes of a run, found by what they carry in their environment."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

MARK = "GITOPS_RUN"
"""The environment variable that names the run folder. Ansible's workers lead sessions of their
own, so that a process group does not hold them all; the environment does."""

_END_S = 5.0


def find(folder: Path) -> list[int]:
    """The processes of the run in that folder."""
    mark = f"{MARK}={folder}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def end_all(folder: Path, *, but: int = 0) -> None:
    """Kills every process of the run, also those that begin meanwhile, and waits until they are gone.

    Args:
        folder: of the run.
        but: the process that is to stay; 0 is none.
    """
    deadline = time.monotonic() + _END_S
    while (left := [pid for pid in find(folder) if pid != but]) and time.monotonic() < deadline:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)

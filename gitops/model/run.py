"""One run of a playbook as another process can find it again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HERE = "localhost"
"""Where the task that rolls out runs: on the controller, from where it reaches every host by its channel."""


@dataclass(frozen=True)
class Run:
    """The process group of an `ansible-playbook`, recorded so that a successor can end an orphan."""

    pgid: int
    start_time: (
        int  # of the group's leader, in clock ticks since boot: tells it from a later process of that id
    )
    folder: Path  # the process's own, which the environment of all that belongs to the run names

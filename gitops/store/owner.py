"""Who works on a deployment, and what the clocks say."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gitops.channel import processes


@dataclass(frozen=True)
class Owner:
    """The process that works on a deployment."""

    host: str
    pid: int
    start_time: int  # in clock ticks since boot: tells it from a later process of that id
    boot: str = ""  # which boot of that machine

    def alive(self) -> bool:
        """Whether it still runs. Of another machine's process nothing is known: it counts as alive."""
        here = this_process()
        if self.boot == here.boot:
            return processes.alive(self.pid, self.start_time)
        return self.host != here.host

    def __str__(self) -> str:
        """As an operator reads it."""
        return f"process {self.pid} on {self.host}"


def this_process() -> Owner:
    """Return this process as an owner."""
    return Owner(socket.gethostname(), os.getpid(), processes.start_time(os.getpid()), boot_id())


def boot_id() -> str:
    """Return what tells this boot of this machine from all others."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _boot_clock() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Clocks:
    """What the store reads the time from.

    Points in time are the wall clock's, for people. Durations are the boot
    clock's: it never jumps, and all processes of this machine share it.
    """

    wall: Callable[[], datetime] = _now
    boot: Callable[[], float] = _boot_clock  # seconds since boot

    def stamp(self) -> str:
        """Return the time as ISO 8601 in UTC, to the millisecond."""
        return self.wall().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def new_id(self) -> str:
        """Return an identity that sorts by time and that nobody else gives: 20261123T070102.123-1a2b3c4d."""
        now = self.wall().astimezone(UTC)
        return f"{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03d}-{secrets.token_hex(4)}"

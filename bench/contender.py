"""What the bench asks of everyone it measures."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from bench.fleet import Entry, Fleet

NEVER = math.inf


@dataclass(frozen=True)
class Release:
    """What is to run.

    Attributes:
        version: of the image, a key of `Fleet.images`.
        replicas: how many, spread evenly over the hosts.
        parallelism: how many are replaced at a time.
    """

    version: str
    replicas: int
    parallelism: int = 1


class Contender:
    """One way to deploy. Every method returns when the tool is through, and raises where it fails.

    Attributes:
        key: its name on the command line and in the figures.
        title: its name for people.
        cases: those that it can do.
        entry: where a client reaches its replicas through a load balancer; None where it has none.
    """

    key: str
    title: str
    cases: frozenset[str]
    entry: Entry | None = None

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet

    def prepare(self) -> None:
        """Makes once what every turn needs."""

    def begin(self, release: Release) -> None:
        """Begins a turn: brings the release to hosts that have no container."""

    def deploy(self, release: Release) -> float:
        """Brings another version; returns the seconds that took."""
        self._cannot(f"deploy {release.version}")

    def scale(self, release: Release) -> float:
        """Brings another number of replicas; returns the seconds that took."""
        self._cannot(f"scale to {release.replicas}")

    def fail(self, release: Release) -> float:
        """Brings a version that fails, and waits until the one before is back.

        Returns:
            when the tool itself called it failed, in seconds since the epoch, or NEVER.
        """
        self._cannot(f"go back from {release.version}")

    def nothing(self) -> float:
        """Makes a pass with nothing to do; returns the seconds that took."""
        self._cannot("look without a change")

    def end(self) -> None:
        """Ends a turn. The bench removes the containers that are left."""

    def remove(self) -> None:
        """Takes away what `prepare` made."""

    def _cannot(self, what: str) -> NoReturn:
        raise NotImplementedError(f"{self.title} cannot {what}")


def timed(action: Callable[[], object]) -> float:
    """The wall-clock seconds of an action."""
    began = time.monotonic()
    action()
    return time.monotonic() - began

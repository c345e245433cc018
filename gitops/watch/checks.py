"""Health checks of containers whose engine does not run them: Podman without systemd, which has no timers."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gitops.channel import Channel
from gitops.channel.failures import ContainerError, NotFoundError
from gitops.errors import GitopsError
from gitops.model.observed import LABEL_APP
from gitops.watch.signs import Sign

log = logging.getLogger(__name__)

INTERVAL_S = 30.0  # an engine's own, where a check says nothing
LEAST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 5.0  # between two looks at what is due
_NANO = 1_000_000_000


@dataclass
class _Check:
    """What is known of one container's health check.

    Attributes:
        interval_s: between two runs.
        last: when its last run ended, as its engine says.
        since: when that was found here, by a monotonic clock.
        status: what the engine called it then.
    """

    interval_s: float
    last: str
    since: float
    status: str


class Checks:
    """Runs what is due on one host, one check after the other; nothing where the engine does it itself.

    Args:
        channel: the way to the host.
        ready: whether the host is known to answer: another thread finds that out.
        tell: told of every change of a container's health; must not block.
        clock: monotonic.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        ready: Callable[[], bool],
        tell: Callable[[Sign], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._channel = channel
        self._ready = ready
        self._tell = tell
        self._clock = clock
        self._known: dict[str, _Check] = {}

    def run_on(self, stopping: threading.Event) -> None:
        """Goes on until it is to stop, or the engine is Docker, which runs its checks itself.

        An error of the host is waited out: others tell of it.
        """
        while not stopping.is_set():
            pause = LONGEST_PAUSE_S
            try:
                if self._ready():
                    if not self._channel.engine().podman:
                        return
                    pause = self.look()
            except GitopsError as problem:
                log.debug("%s: its health checks wait: %s", self._channel.name, problem)
            except Exception:  # a watch that ends would leave the host without checks
                log.exception("%s: internal error, please report it", self._channel.name)
            stopping.wait(pause)

    def look(self) -> float:
        """Runs the checks that are due; returns the seconds until the next look.

        Raises:
            GitopsError: the engine does not answer.
        """
        listed = self._channel.engine().containers({"label": [LABEL_APP], "status": ["running"]})
        names = {str(each["Id"]) for each in listed}
        self._known = {name: check for name, check in self._known.items() if name in names}
        for name in sorted(names):
            try:
                self._see_to(name)
            except (ContainerError, NotFoundError):  # it has ended meanwhile: the engine's events tell of it
                self._known.pop(name, None)
        now = self._clock()
        due = [check.since + check.interval_s - now for check in self._known.values()]
        return min(max(min(due, default=LONGEST_PAUSE_S), LEAST_PAUSE_S), LONGEST_PAUSE_S)

    def _see_to(self, name: str) -> None:
        """Runs a container's check where its interval has passed and nobody has run it."""
        known = self._known.get(name)
        if known is not None and self._clock() - known.since < known.interval_s:
            return
        engine = self._channel.engine()
        details = engine.inspect(name)
        status, last = health_of(details)
        if known is not None and known.last == last:
            engine.healthcheck_run(name)
            status, last = health_of(engine.inspect(name))
        self._known[name] = _Check(interval_of(details), last, self._clock(), status)
        if known is not None and known.status != status:
            labels = (details.get("Config") or {}).get("Labels") or {}
            called = str(details.get("Name", "")).lstrip("/")
            what = f"container {called}: health_status: {status}"
            self._tell(Sign(self._channel.name, what, str(labels.get(LABEL_APP, ""))))


def health_of(details: Mapping[str, Any]) -> tuple[str, str]:
    """A container's health as its engine has it, and when its last check has ended; empty if it never has."""
    state = details.get("State") or {}
    health = state.get("Health") or state.get("Healthcheck") or {}
    runs = health.get("Log") or [{}]
    return str(health.get("Status", "")), str(runs[-1].get("End", ""))


def interval_of(details: Mapping[str, Any]) -> float:
    """Seconds between two runs of a container's check; infinite where it has none."""
    check = (details.get("Config") or {}).get("Healthcheck") or {}
    if (check.get("Test") or ["NONE"])[:1] == ["NONE"]:
        return math.inf
    return max((check.get("Interval") or 0) / _NANO or INTERVAL_S, LEAST_PAUSE_S)

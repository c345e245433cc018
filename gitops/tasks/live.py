"""A rolling update judged on its live answers: the edge's counters of the new servers against the old ones'.

Nothing is added to the time of a rollout: the monitor windows of its containers are what is looked at.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from gitops.channel import Channel
from gitops.channel.proxy import Stat
from gitops.errors import GitopsError, Where
from gitops.tasks.container import last_lines
from gitops.tasks.judge import Counters, Key, Limits, Tally, Verdict, counters_of, judge, numbers
from gitops.tasks.outcome import TaskError

LOOK_S = 0.5  # between two looks, for all containers of the service together
TAKEN_IN_S = 15.0  # for the edge to take a container in; if it cannot, its switch says so


class Live:
    """What load balancers have counted of one service since its update began.

    Args:
        channels: of every host, by name.
        balancers: hosts that are the edge.
        row: `service`, `backends`, `new` (each `host` and `name`), `old` (names), `judge`.
    """

    def __init__(
        self, channels: Mapping[str, Channel], balancers: Sequence[str], row: Mapping[str, Any]
    ) -> None:
        self._channels = channels
        self._balancers = balancers
        self._service = str(row["service"])
        self._backends = frozenset(row["backends"])
        self._places = {one["name"]: one["host"] for one in row["new"]}
        self._before = frozenset(row["old"])
        self._limits = Limits(**row["judge"])
        self._mutex = threading.Lock()
        self._looked = float("-inf")
        self._old, self._new = Tally(), Tally()
        self._record: dict[Key, Counters] = {}  # of the old servers when they were first seen
        self._since: dict[str, float] = {}  # new container -> when it was first seen to serve

    def look(self) -> None:
        """Takes in what the load balancers have counted by now, unless somebody has just done so.

        One that does not answer is passed over: a rollout does not fail for want of figures.
        """
        with self._mutex:
            if time.monotonic() - self._looked < LOOK_S:
                return
            for balancer in self._balancers:
                with suppress(GitopsError):
                    self._take_in(balancer, self._channels[balancer].proxy().stats())
            self._looked = time.monotonic()

    def _take_in(self, balancer: str, stats: Sequence[Stat]) -> None:
        ours = [stat for stat in stats if stat.server and stat.proxy in self._backends]
        old = counters_of(balancer, [stat for stat in ours if stat.name in self._before])
        new = counters_of(balancer, [stat for stat in ours if stat.name in self._places])
        self._record |= {key: counted for key, counted in old.items() if key not in self._record}
        self._old = self._old.after(old)
        # What is new has counted nothing but what this rollout has brought it.
        self._new = Tally({**dict.fromkeys(new, Counters()), **self._new.last}, self._new.sums).after(new)
        for stat in ours:
            if stat.name in self._places and stat.status.startswith("UP"):
                self._since.setdefault(stat.name, time.monotonic())

    def check(self) -> None:
        """Looks, and ends the rollout where the new version clearly answers worse than the old one.

        Raises:
            TaskError: kind `judged`.
        """
        self.look()
        with self._mutex:
            verdict = self._verdict()
            if verdict is not None:
                raise self._undone(verdict)

    @property
    def said(self) -> str:
        """The figures so far; empty where there are too few to say anything."""
        counted = self._new.total
        return numbers(counted) if counted.requests >= self._limits.min_requests else ""

    def _verdict(self) -> Verdict | None:
        old = self._compared()
        if old.requests < self._limits.min_requests:
            return None  # nothing to compare with
        # Nobody has asked for this: a limit counts only where chance would hardly show as much.
        found = judge(self._limits, old, self._new.total, over=False)
        return found if found.kind == "undo" else None

    def _compared(self) -> Counters:
        """The old servers since the update began; with too few requests since then, all they ever had."""
        since = self._old.total
        if since.requests >= self._limits.min_requests:
            return since
        for counted in self._record.values():
            since = since.plus(counted)
        return since

    def _undone(self, verdict: Verdict) -> TaskError:
        worst = self._new.worst
        name = worst[2] if worst else next(iter(self._places))
        host = self._places[name]
        logs: Sequence[str] = ()
        with suppress(GitopsError):
            logs = last_lines(self._channels[host].engine(), name)
        error = TaskError(
            f"{self._service}, judged on its live answers: {verdict.reason}",
            "judged",
            service=self._service,
            container=name,
            logs=logs,
        )
        error.where = Where(host=host, container=name)
        return error

    def stand(self, container: str, monitor_s: float, pause: Callable[[float], None]) -> None:
        """Sees to it that a container whose monitor window is over has been served for half of it, too.

        One that needed long to become healthy is served only when its window has passed.

        Raises:
            TaskError: kind `judged`.
        """
        deadline = time.monotonic() + TAKEN_IN_S
        while container not in self._since:
            if time.monotonic() > deadline:
                return
            pause(LOOK_S / 5)
            self.check()
        ends = self._since[container] + monitor_s / 2
        while (left := ends - time.monotonic()) > 0 and not self._enough(container):
            pause(min(left, LOOK_S))
            self.check()

    def _enough(self, container: str) -> bool:
        """Whether a container has had its share of requests to be judged by."""
        had = sum(counted.requests for key, counted in self._new.sums.items() if key[2] == container)
        return had >= self._limits.min_requests

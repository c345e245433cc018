"""Whether a new version may go on: a verdict on the edge's counters of its servers. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from gitops.channel.proxy import Stat

Key = tuple[str, str, str]
"""One server: load balancer, backend, name."""

_SIGMAS = 3.0
"""Before a trial is over it fails only where chance would show as much in one of 700 looks."""

_CLEARLY_SLOW = 2.0  # times the limit; nothing is known of how response times spread


@dataclass(frozen=True)
class Limits:
    """What the counters of the new servers may say together. Shares are 0 to 1; see x-rollout."""

    max_5xx: float
    max_errors: float
    max_mean_ms: float | None
    against: Literal["absolute", "old"]
    min_requests: int


@dataclass(frozen=True)
class Counters:
    """What HAProxy has counted of one server since it was started or reloaded."""

    requests: int = 0
    answers: int = 0
    errors_5xx: int = 0
    failures: int = 0
    mean_ms: float = 0.0  # no counter: of the last 1,024 answers

    def since(self, before: Counters) -> Counters:
        """What was added; after a reload, which shows as a counter that shrank, all that there is."""
        if (
            self.requests < before.requests
            or self.answers < before.answers
            or self.errors_5xx < before.errors_5xx
            or self.failures < before.failures
        ):
            return self
        return Counters(
            self.requests - before.requests,
            self.answers - before.answers,
            self.errors_5xx - before.errors_5xx,
            self.failures - before.failures,
            self.mean_ms,
        )

    def plus(self, more: Counters) -> Counters:
        """Both together, with the newer mean."""
        return Counters(
            self.requests + more.requests,
            self.answers + more.answers,
            self.errors_5xx + more.errors_5xx,
            self.failures + more.failures,
            more.mean_ms,
        )


@dataclass(frozen=True)
class Tally:
    """What some servers have done since the first look at them.

    Attributes:
        last: the counters as they were last seen.
        sums: what each server has added to them.
    """

    last: Mapping[Key, Counters] = field(default_factory=dict)
    sums: Mapping[Key, Counters] = field(default_factory=dict)

    def after(self, look: Mapping[Key, Counters]) -> Tally:
        """With one more look; a server that it does not see stays as it was."""
        sums = dict(self.sums)
        for key, now in look.items():
            sums[key] = sums.get(key, Counters()).plus(now.since(self.last.get(key, now)))
        return Tally({**self.last, **look}, sums)

    @property
    def total(self) -> Counters:
        """All servers together; the mean is by their requests."""
        found = Counters()
        for one in self.sums.values():
            found = found.plus(one)
        spent = sum(one.mean_ms * one.requests for one in self.sums.values())
        return replace(found, mean_ms=spent / found.requests if found.requests else 0.0)

    @property
    def worst(self) -> Key | None:
        """The server with the most bad answers and failures, or None."""

        def badness(key: Key) -> tuple[int, Key]:
            return self.sums[key].errors_5xx + self.sums[key].failures, key

        return max(self.sums, key=badness, default=None)


@dataclass(frozen=True)
class Verdict:
    """What follows from the counters so far, and why in numbers."""

    kind: Literal["go on", "wait", "undo"]
    reason: str


def numbers(counted: Counters) -> str:
    """`5xx 1.1% of 89 answers, errors 0% of 90 requests, mean 12 ms`."""
    parts = [f"errors {_percent(_ratio(counted.failures, counted.requests))} of {counted.requests} requests"]
    if counted.answers:
        ratio = _percent(_ratio(counted.errors_5xx, counted.answers))
        parts = [f"5xx {ratio} of {counted.answers} answers", *parts, f"mean {counted.mean_ms:.0f} ms"]
    return ", ".join(parts)


def judge(limits: Limits, old: Counters, new: Counters, *, over: bool) -> Verdict:
    """Judges a version.

    Args:
        limits: what is allowed.
        old: the counters of the old servers since the trial began.
        new: those of the new servers.
        over: whether the trial is over; before that only what exceeds a limit clearly is held against it.

    Returns:
        `undo` with the first limit that is exceeded; else `go on` where the trial is over, or `wait`.
    """
    if new.requests < limits.min_requests:
        said = f"only {new.requests} of {limits.min_requests} requests to judge by"
        return Verdict("go on" if over else "wait", said)
    compared = limits.against == "old"
    shares = (
        ("5xx", new.errors_5xx, new.answers, "answers", limits.max_5xx, _ratio(old.errors_5xx, old.answers)),
        ("errors", new.failures, new.requests, "requests", limits.max_errors,
         _ratio(old.failures, old.requests)),
    )  # fmt: skip
    for name, count, of, what, limit, before in shares:
        allowed = limit + (before if compared else 0.0)
        if of and (_ratio(count, of) if over else _at_least(count, of)) > allowed:
            more = f" (the old version's {_percent(before)} and {_percent(limit)})" if compared else ""
            found = f"{name} {_percent(_ratio(count, of))} of {of} {what}"
            return Verdict("undo", f"{found}, allowed {_percent(allowed)}{more}")
    if limits.max_mean_ms is not None:
        slow = limits.max_mean_ms + (old.mean_ms if compared else 0.0)
        if new.mean_ms > slow * (1.0 if over else _CLEARLY_SLOW):
            return Verdict(
                "undo", f"mean {new.mean_ms:.0f} ms of {new.answers} answers, allowed {slow:.0f} ms"
            )
    return Verdict("go on" if over else "wait", numbers(new))


def counters_of(balancer: str, stats: Iterable[Stat]) -> dict[Key, Counters]:
    """The counters of some servers of one load balancer."""
    return {
        (balancer, stat.proxy, stat.name): Counters(
            stat.requests, stat.answers, stat.errors_5xx, stat.failures, stat.mean_ms
        )
        for stat in stats
    }


def _ratio(count: int, of: int) -> float:
    return count / of if of else 0.0


def _at_least(count: int, of: int) -> float:
    """The least share that is behind what was counted, if chance was against it (Wilson's interval)."""
    share, spread = min(1.0, count / of), _SIGMAS**2 / of
    centre = share + spread / 2
    return (centre - math.sqrt(spread * (share * (1 - share) + spread / 4))) / (1 + spread)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%".replace(".0%", "%")

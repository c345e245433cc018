"""Turns and rounds: every contender does all cases in its turn, alone on the hosts; then the next one."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from bench.contender import Contender, Release
from bench.fleet import BROKEN, VERSIONS, Fleet, first
from gitops.lab.load import Load, Report

REST_S = 2.0
"""Before each case: what a tool still does after the one before it is no part of it."""

_CLIENTS, _PAUSE_S = 2, 0.05  # few: the hosts share the client's processors


@dataclass(frozen=True)
class Sample:
    """One case, done once.

    Attributes:
        case: its key.
        contender: whose.
        seconds: that it took.
        client: what the constant client saw; None where the contender has no entry point.
    """

    case: str
    contender: str
    seconds: float
    client: Report | None


def rounds(
    fleet: Fleet, contenders: Sequence[Contender], cases: Collection[str], count: int
) -> Iterator[Sample]:
    """Measures; what contenders made is taken away at the end, however that comes."""
    with ExitStack() as stack:
        for contender in contenders:
            stack.callback(contender.remove)
            contender.prepare()
        for _ in range(count):
            for contender in contenders:
                yield from _turn(fleet, contender, contender.cases & set(cases))


def _turn(fleet: Fleet, contender: Contender, cases: Collection[str]) -> Iterator[Sample]:
    if not cases:
        return
    old, new = VERSIONS
    now = Release(old, 4)
    try:
        contender.begin(now)
        fleet.settle(now.replicas)
        if "a" in cases:
            now = replace(now, version=new)
            yield _sample(fleet, contender, "a", now, contender.deploy)
        if "d" in cases:
            yield _sample(fleet, contender, "d", now, lambda _: contender.nothing())
        if "c" in cases:
            yield _sample(fleet, contender, "c", now, lambda now: _way_back(fleet, contender, now))
        if "e" in cases:
            now = replace(now, replicas=12)
            yield _sample(fleet, contender, "e", now, contender.scale)
        if "b" in cases:
            now = replace(now, replicas=16, parallelism=4)
            contender.scale(now)
            fleet.settle(now.replicas)
            now = replace(now, version=old if now.version == new else new)
            yield _sample(fleet, contender, "b", now, contender.deploy)
    finally:
        contender.end()
        fleet.clear()


def _sample(
    fleet: Fleet, contender: Contender, case: str, now: Release, measure: Callable[[Release], float]
) -> Sample:
    """Measures under the constant client, then waits until the hosts are at rest again."""
    time.sleep(REST_S)
    entry = contender.entry or fleet.idle  # so that the client costs all alike
    with Load(entry.address, host=entry.host, clients=_CLIENTS, pause_s=_PAUSE_S) as load:
        seconds = measure(now)
    fleet.settle(now.replicas)
    return Sample(case, contender.key, seconds, load.report if contender.entry else None)


def _way_back(fleet: Fleet, contender: Contender, now: Release) -> float:
    """Seconds from the verdict that a version fails to the tool's word that the one before is back."""
    fleet.judge.forget()
    with fleet.verdicts() as verdicts:
        own = contender.fail(replace(now, version=BROKEN))
        back = time.time()
    return back - first(verdicts, own)

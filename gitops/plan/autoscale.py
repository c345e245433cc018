"""How many replicas a service is to have: target tracking within its bounds. Pure.

As Kubernetes' HorizontalPodAutoscaler does it: the count is multiplied by reading over target
and rounded up; the largest of several targets counts; within the tolerance nothing changes;
replicas go only when none of them was wanted for the whole stabilization window.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from gitops.model.load import Scaling
from gitops.model.observed import Observed
from gitops.model.stack import Autoscale, Metric, Service, Stack

MORE = 4
"""One step adds at most as many replicas as there are, or this many: one odd reading is not fed at once."""

AFTER_FAILURE_S = 10.0
"""After a change that failed nothing is tried for so long, doubled with each further failure, and then
half as much: where there is no room for six replicas there may be some for three."""

LONGEST_REST_S = 1800.0

_WORDS: Mapping[Metric, str] = {
    "sessions_per_replica": "{} sessions per replica, target {}",
    "requests_per_replica": "{} requests/s per replica, target {}",
    "queue_per_replica": "{} queued per replica, target {}",
    "response_ms": "{} ms mean response time, target {}",
    "cpu": "{}% CPU, target {}%",
    "memory": "{}% memory, target {}%",
}


@dataclass(frozen=True)
class Wish:
    """How many replicas were wanted at one time."""

    at: float
    count: int


@dataclass(frozen=True)
class Course:
    """What a decision has to know of those before it. Times are seconds during which readings came.

    Attributes:
        wishes: oldest first, each lower than the one before: the first is the highest of the window.
        rests_until: no change before.
        failures: changes that failed since the last one that did not.
    """

    wishes: tuple[Wish, ...]
    rests_until: float = 0.0
    failures: int = 0


def begin(count: int, now: float) -> Course:
    """The course of a service that is not known longer: what it has counts as wanted now."""
    return Course((Wish(now, count),))


def decide(
    service: Service,
    count: int,
    readings: Mapping[Metric, float],
    course: Course,
    now: float,
    *,
    complete: bool = True,
) -> tuple[Scaling | None, Course]:
    """Whether the count is to change now.

    Args:
        service: with `autoscale`.
        count: how many replicas it has.
        readings: for one replica. Without that of a target no replica goes.
        course: of the decisions before.
        now: on the clock of the course.
        complete: whether the readings are of all load balancers and hosts; else no replica goes.

    Returns:
        The change, or None; and the course from here on.
    """
    bounds = service.autoscale
    if bounds is None:
        return None, course
    wanted = {
        metric: wish(count, readings[metric], target, bounds.tolerance)
        for metric, target in bounds.targets
        if metric in readings
    }
    if not wanted:
        return None, course
    known = complete and len(wanted) == len(bounds.targets)
    most = min(bounds.max, max(2 * count, count + MORE))
    wished = min(max(bounds.min if known else count, *wanted.values()), most)
    course = replace(course, wishes=_within(course.wishes, bounds.window_s, Wish(now, wished)))
    after = min(count, course.wishes[0].count)
    if wished > count:
        after = count + max(1, (wished - count) >> course.failures)
    if after == count or now < course.rests_until:
        return None, course
    return Scaling(service.name, count, after, _reason(bounds, wanted, readings, count, after)), course


def carried_out(course: Course, bounds: Autoscale, now: float, *, succeeded: bool) -> Course:
    """The course after a change was tried."""
    if succeeded:
        return replace(course, rests_until=now + bounds.cooldown_s, failures=0)
    rest = min(AFTER_FAILURE_S * 2.0**course.failures, LONGEST_REST_S)
    return replace(course, rests_until=now + rest, failures=min(course.failures + 1, 16))


def wish(count: int, reading: float, target: float, tolerance: float) -> int:
    """How many replicas one metric wants, without regard to bounds."""
    ratio = reading / target
    if abs(ratio - 1) <= tolerance:
        return count
    return math.ceil(round(count * ratio, 6))  # 3 * 1.1 is a little above 3.3


def _within(wishes: Iterable[Wish], window_s: float, latest: Wish) -> tuple[Wish, ...]:
    """The wishes that may still be the highest of the window, with the latest."""
    young = (each for each in wishes if latest.at - each.at < window_s and each.count > latest.count)
    return (*young, latest)


def _reason(
    bounds: Autoscale, wanted: Mapping[Metric, int], readings: Mapping[Metric, float], before: int, after: int
) -> str:
    """The numbers of the metric that wants most replicas."""
    metric = max(wanted, key=lambda each: (wanted[each], each))
    text = said(metric, readings[metric], dict(bounds.targets)[metric])
    if after > before:
        return f"{text}{' (max)' if after == bounds.max else ''}"
    return f"{text}, and no more than {after} wanted for {bounds.window_s:g} s"


def said(metric: Metric, reading: float, target: float) -> str:
    """A reading beside its target: `83 sessions per replica, target 50`."""
    return _WORDS[metric].format(_short(reading), _short(target))


def _short(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


def scaled(stack: Stack, counts: Mapping[str, int]) -> Stack:
    """The stack with as many replicas as the controller has chosen, within the bounds of the commit.

    Args:
        stack: what the commit says.
        counts: by service; those without `autoscale` keep what the commit says.
    """
    return replace(stack, services=tuple(_scaled(each, counts.get(each.name)) for each in stack.services))


def _scaled(service: Service, count: int | None) -> Service:
    bounds = service.autoscale
    if bounds is None or count is None:
        return service
    return replace(service, replicas=min(max(count, bounds.min), bounds.max))


def counts_of(stack: Stack) -> dict[str, int]:
    """The counts of the services whose count the controller chooses."""
    return {service.name: service.replicas for service in stack.services if service.autoscale}


def counts_running(stack: Stack, observed: Observed) -> dict[str, int]:
    """The same as what runs has them, where something does: the record of them may be lost, or new."""
    slots: dict[str, set[int]] = {}
    for container in observed.containers(stack.app):
        if container.running:
            slots.setdefault(container.service, set()).add(container.slot)
    return {name: len(slots[name]) for name in counts_of(stack) if name in slots}

"""How many replicas are wanted: always within the bounds, calm within the tolerance, slow to give up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.planning import applied, nothing_on, plan_of, small_fleet, stack_of

from gitops.model.load import Scaling
from gitops.model.stack import Autoscale, Service, Stack
from gitops.plan.autoscale import (
    AFTER_FAILURE_S,
    LONGEST_REST_S,
    MORE,
    Course,
    begin,
    carried_out,
    counts_of,
    counts_running,
    decide,
    scaled,
    wish,
)

TARGET = 50.0
WINDOW_S = 60.0
BOUNDS = Autoscale(2, 10, (("sessions_per_replica", TARGET),), window_s=WINDOW_S)

loads = st.floats(0, 10_000, allow_nan=False)  # sessions in all
bounds_of = st.tuples(st.integers(1, 20), st.integers(0, 20)).map(
    lambda ends: replace(BOUNDS, min=ends[0], max=sum(ends))
)


def web(bounds: Autoscale = BOUNDS, count: int = 2) -> Service:
    return replace(stack_of({"web": {"ports": [80]}}).services[0], autoscale=bounds, replicas=count)


def step(
    load: float, count: int, course: Course, now: float, bounds: Autoscale = BOUNDS
) -> tuple[int, Course]:
    """One decision, carried out at once; the load is that of all replicas together."""
    change, course = decide(web(bounds), count, {"sessions_per_replica": load / count}, course, now)
    if change is None:
        return count, course
    return change.after, carried_out(course, bounds, now, succeeded=True)


def follow(totals: Sequence[float], bounds: Autoscale = BOUNDS, begins: int = 0) -> list[int]:
    """The count after each second of a load."""
    count = begins or bounds.min
    course, found = begin(count, 0.0), []
    for second, load in enumerate(totals):
        count, course = step(load, count, course, float(second), bounds)
        found.append(count)
    return found


@given(bounds_of, st.lists(loads, max_size=100))
def test_the_count_stays_within_its_bounds(bounds: Autoscale, totals: list[float]) -> None:
    assert all(bounds.min <= count <= bounds.max for count in follow(totals, bounds))


@given(st.integers(2, 10), st.lists(st.floats(0.91, 1.09), max_size=200))
def test_within_the_tolerance_nothing_changes(count: int, ratios: list[float]) -> None:
    assert set(follow([ratio * TARGET * count for ratio in ratios], begins=count)) <= {count}


@given(st.integers(2, 10), loads, loads, st.integers(0, 30))
def test_more_load_never_wants_fewer_replicas(count: int, one: float, other: float, tolerance: int) -> None:
    less, more = sorted((one, other))
    share = tolerance / 100
    assert wish(count, less / count, TARGET, share) <= wish(count, more / count, TARGET, share)


@given(st.integers(3, 10), st.lists(loads, min_size=1, max_size=150))
def test_no_replica_goes_that_was_wanted_within_the_window(begins: int, totals: list[float]) -> None:
    """A count is never below what any moment of the window wanted, the beginning included."""
    counts = follow(totals, begins=begins)
    before = begins
    for second, count in enumerate(counts):
        if count < before:
            assert second >= WINDOW_S
            since = int(second - WINDOW_S) + 1
            assert all(load / TARGET <= count * (1 + BOUNDS.tolerance) for load in totals[since : second + 1])
        before = count


@given(st.lists(loads, min_size=1, max_size=60), st.floats(0, 10_000))
def test_a_steady_load_comes_to_rest(totals: list[float], steady: float) -> None:
    counts = follow([*totals, *[steady] * 300])
    assert len(set(counts[-60:])) == 1, "it flaps"
    assert BOUNDS.min <= counts[-1] <= BOUNDS.max
    ratio = steady / counts[-1] / TARGET
    assert ratio <= 1 + BOUNDS.tolerance + 1e-6 or counts[-1] == BOUNDS.max


def test_a_doubled_load_doubles_the_count_at_once() -> None:
    change, _ = decide(web(), 2, {"sessions_per_replica": 83.0}, begin(2, 0.0), 1.0)
    assert change == Scaling("web", 2, 4, "83 sessions per replica, target 50")
    assert str(change) == "scaled web 2 -> 4: 83 sessions per replica, target 50"


def test_one_step_adds_as_many_as_there_are_or_four() -> None:
    high = {"sessions_per_replica": 5000.0}
    bounds = replace(BOUNDS, max=100)
    assert [
        change.after
        for count in (2, 4, 6, 60)
        if (change := decide(web(bounds), count, high, begin(count, 0.0), 1.0)[0])
    ] == [2 + MORE, 4 + MORE, 12, 100]


def test_after_a_change_the_next_one_waits_for_the_cooldown() -> None:
    bounds = replace(BOUNDS, max=100, cooldown_s=3.0)
    course = carried_out(begin(2, 0.0), bounds, 10.0, succeeded=True)
    high = {"sessions_per_replica": 500.0}
    assert decide(web(bounds), 2, high, course, 12.9)[0] is None
    assert decide(web(bounds), 2, high, course, 13.0)[0] is not None


def test_what_fails_is_tried_again_ever_later() -> None:
    course, now, rests = begin(2, 0.0), 0.0, []
    for _ in range(12):
        course = carried_out(course, BOUNDS, now, succeeded=False)
        rests.append(course.rests_until - now)
        now = course.rests_until
    assert rests[:3] == [AFTER_FAILURE_S, 2 * AFTER_FAILURE_S, 4 * AFTER_FAILURE_S]
    assert rests[-1] == LONGEST_REST_S
    course = carried_out(course, BOUNDS, now, succeeded=True)
    assert course.rests_until - now == BOUNDS.cooldown_s
    assert carried_out(course, BOUNDS, now, succeeded=False).rests_until - now == AFTER_FAILURE_S


def test_what_fails_is_tried_with_half_as_many() -> None:
    """Where there is no room for all there may be some for a few."""
    course, now, tried = begin(4, 0.0), 0.0, []
    for _ in range(4):
        change, course = decide(web(), 4, {"sessions_per_replica": 99.0}, course, now)
        assert change is not None
        tried.append(change.after)
        course = carried_out(course, BOUNDS, now, succeeded=False)
        now = course.rests_until
    assert tried == [8, 6, 5, 5]
    course = carried_out(course, BOUNDS, now, succeeded=True)
    change, _ = decide(web(), 5, {"sessions_per_replica": 79.2}, course, now + BOUNDS.cooldown_s)
    assert change is not None
    assert change.after == 8


def test_replicas_go_after_the_window_and_not_before() -> None:
    counts = follow([200.0] * 5 + [60.0] * 120)
    assert counts[4] == 4
    gone = counts.index(2)
    assert gone == 4 + WINDOW_S
    assert set(counts[5:gone]) == {4}
    assert set(counts[gone:]) == {2}


def test_the_reason_of_fewer_has_the_window() -> None:
    change, _ = decide(web(), 4, {"sessions_per_replica": 12.0}, begin(4, 0.0), WINDOW_S)
    assert change == Scaling(
        "web", 4, 2, "12 sessions per replica, target 50, and no more than 2 wanted for 60 s"
    )


def test_of_several_targets_the_one_that_wants_most_counts() -> None:
    bounds = replace(BOUNDS, targets=(("cpu", 70.0), ("response_ms", 300.0), *BOUNDS.targets))
    calm = {"cpu": 71.0, "response_ms": 20.0, "sessions_per_replica": 45.0}
    assert decide(web(bounds), 3, calm, begin(3, 0.0), 1.0)[0] is None
    change, _ = decide(web(bounds), 3, {**calm, "cpu": 99.5}, begin(3, 0.0), 1.0)
    assert change == Scaling("web", 3, 5, "99.5% CPU, target 70%")


@pytest.mark.parametrize("complete", [True, False])
def test_what_is_not_known_takes_no_replica_away_but_may_add_some(complete: bool) -> None:
    bounds = replace(BOUNDS, targets=(("cpu", 70.0), *BOUNDS.targets), window_s=0.0)
    partly = {"cpu": 5.0} if complete else {"cpu": 5.0, "sessions_per_replica": 1.0}
    change, course = decide(web(bounds), 4, partly, begin(4, 0.0), 1.0, complete=complete)
    assert change is None
    change, _ = decide(web(bounds), 4, {**partly, "cpu": 140.0}, course, 2.0, complete=complete)
    assert change is not None
    assert change.after == 8
    assert decide(web(bounds), 4, {}, course, 2.0)[0] is None


def test_a_service_without_autoscale_is_left_alone() -> None:
    plain = replace(web(), autoscale=None)
    assert decide(plain, 2, {"cpu": 500.0}, begin(2, 0.0), 1.0) == (None, begin(2, 0.0))


def elastic(**counts: int) -> Stack:
    stack = stack_of({"api": {"replicas": 3}, "web": {"ports": [80], "replicas": counts.get("web", 2)}})
    services = tuple(
        replace(each, autoscale=BOUNDS) if each.name == "web" else each for each in stack.services
    )
    return replace(stack, services=services)


@given(st.integers(0, 100))
def test_the_count_that_was_chosen_is_held_within_the_bounds_of_the_commit(count: int) -> None:
    found = scaled(elastic(), {"web": count, "api": 9, "gone": 4})
    assert counts_of(found) == {"web": min(max(count, 2), 10)}
    assert [service.replicas for service in found.services] == [3, min(max(count, 2), 10)]
    assert scaled(found, {}) == found


def test_what_runs_is_the_count_where_none_is_recorded() -> None:
    fleet = small_fleet()
    nothing = nothing_on(fleet)
    assert counts_running(elastic(), nothing) == {}
    running = applied(plan_of(elastic(web=5), fleet, nothing), nothing)
    assert counts_running(elastic(), running) == {"web": 5}


def test_a_change_of_the_count_touches_no_container_that_stays() -> None:
    fleet = small_fleet()
    nothing = nothing_on(fleet)
    before, after = elastic(), scaled(elastic(), {"web": 4})
    running = applied(plan_of(before, fleet, nothing), nothing)
    plan = plan_of(after, fleet, running, previous=before)
    assert [(start.service, start.slot, start.reason) for start in plan.starts] == [
        ("web", 3, "scaled 2 -> 4"),
        ("web", 4, "scaled 2 -> 4"),
    ]
    assert not plan.retires
    assert max(phase.batch for phase in plan.phases) == 1, "all come at once"
    back = plan_of(before, fleet, applied(plan, running), previous=after)
    assert [(gone.slot, gone.reason) for gone in back.retires] == [(3, "scaled 4 -> 2"), (4, "scaled 4 -> 2")]
    assert not back.starts


def test_bounds_are_no_part_of_the_container() -> None:
    assert web().container.digest == replace(web(), autoscale=None).container.digest

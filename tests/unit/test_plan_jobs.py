"""What holds for every plan with jobs, whatever has been run of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.planning import (
    APP,
    altered,
    applied,
    deployed,
    nothing_on,
    plan_of,
    service_of,
    small_fleet,
    stack_of,
    walk,
    without,
)

from gitops.model.observed import Observed
from gitops.model.plan import RetirePhase, StartPhase
from gitops.model.stack import Stack
from gitops.plan.fence import crossed, hidden
from gitops.plan.jobs import hosts_of_runs
from gitops.verify import difference

CASES = settings(max_examples=40, deadline=None, derandomize=True)
FLEET = small_fleet(2)
RANKS = {"pre-deploy": 0, "in-order": 1, "post-deploy": 2}


@st.composite
def stacks(draw: st.DrawFn, commit: str) -> Stack:
    found = []
    for name in ("check", "migrate", "web"):
        if not draw(st.integers(0, 4)):
            continue
        said = {"image": f"{name}:{draw(st.integers(1, 2))}", "replicas": draw(st.integers(0, 2))}
        if name == "web":
            said["ports"] = [80]
        else:
            said["job"] = draw(st.sampled_from(sorted(RANKS)))
        found.append(service_of(name, said))
    found.sort(key=lambda service: RANKS[service.job.when if service.job else "in-order"])
    return Stack(APP, commit * 40, tuple(found))


@st.composite
def situations(draw: st.DrawFn) -> tuple[Stack, Stack, Observed]:
    """What was good, what came after it and broke off, and what came of its jobs."""
    before, other = draw(stacks("a")), draw(stacks("c"))
    good = deployed(before, FLEET)
    observed = draw(
        st.sampled_from([good, *(state for _, state in walk(plan_of(other, FLEET, good, before), good))])
    )
    for container in observed.containers(APP):
        fault = draw(st.sampled_from(["", "", "gone", "running", "failed", "late", "created"]))
        if not container.job or not fault:
            continue
        match fault:
            case "gone":
                observed = without(observed, [(container.host, container.name)])
            case "running" | "created":
                observed = altered(observed, container.name, state=fault, exit_code=None)
            case "late":
                observed = altered(observed, container.name, ran_s=601.0)
            case _:
                observed = altered(observed, container.name, exit_code=1)
    return before, other, observed


@CASES
@given(situations(), stacks("b"), st.booleans())
def test_planning_the_applied_result_is_empty(
    situation: tuple[Stack, Stack, Observed], stack: Stack, jobs: bool
) -> None:
    before, _, observed = situation
    after = applied(plan_of(stack, FLEET, observed, before, jobs=jobs), observed)
    assert plan_of(stack, FLEET, after, stack).empty


@CASES
@given(situations())
def test_no_job_is_run_on_the_way_back_and_nothing_is_left_to_do_after_it(
    situation: tuple[Stack, Stack, Observed],
) -> None:
    before, failed, observed = situation
    plan = plan_of(before, FLEET, observed, failed, rollback=True)
    assert not [start for start in plan.starts if start.job]
    after = applied(plan, observed)
    assert plan_of(before, FLEET, after, before).empty
    specs = {service.container.digest for service in before.services}
    assert {c.spec for c in after.containers(APP)} <= specs


@CASES
@given(situations(), stacks("b"))
def test_every_run_that_is_new_is_run_once_and_what_runs_already_is_not_started_again(
    situation: tuple[Stack, Stack, Observed], stack: Stack
) -> None:
    before, _, observed = situation
    plan = plan_of(stack, FLEET, observed, before)
    runs = Counter((start.service, start.slot) for start in plan.starts if start.job)
    assert set(runs.values()) <= {1}
    containers = observed.containers(APP)
    for service in stack.services:
        old = before.service(service.name)
        if not service.job:
            continue
        for slot in range(1, service.replicas + 1):
            own = [c for c in containers if (c.service, c.slot, c.spec) ==
                   (service.name, slot, service.container.digest)]  # fmt: skip
            good = bool(old and old.container.digest == service.container.digest and slot <= old.replicas)
            assert ((service.name, slot) in runs) is not (good or any(c.finished for c in own))
            running = {c.name for c in own if c.running}
            started = {s.container for s in plan.starts if (s.service, s.slot) == (service.name, slot)}
            assert not running or not started or started <= running


@CASES
@given(situations(), stacks("b"))
def test_jobs_before_come_before_everything_and_jobs_after_come_after_it(
    situation: tuple[Stack, Stack, Observed], stack: Stack
) -> None:
    before, _, observed = situation
    plan = plan_of(stack, FLEET, observed, before)
    ranks = [RANKS[phase.when] for phase in plan.phases]
    assert ranks == sorted(ranks)
    for phase in plan.phases:
        if isinstance(phase, StartPhase):
            assert {start.job.when if start.job else "in-order" for start in phase.starts} == {phase.when}
        elif phase.when == "post-deploy":
            assert phase is plan.phases[-1]
        else:
            jobs = {c.name for c in observed.containers(APP) if c.job}
            assert isinstance(phase, RetirePhase)
            assert all(r.container in jobs for r in phase.retires) or phase.when == "in-order"


MIGRATE = {"image": "app:1", "job": "pre-deploy", "fence": True}


def migration(version: str, commit: str, **said: object) -> Stack:
    return stack_of({"migrate": {**MIGRATE, "image": f"app:{version}", **said}, "web": {}}, commit)


def test_a_fence_is_crossed_as_soon_as_it_was_started() -> None:
    good, bad = migration("1", "a"), migration("2", "b")
    before = deployed(good, FLEET)
    assert crossed(good, before, APP) == ""
    begun = next(state for _, state in walk(plan_of(bad, FLEET, before, good), before))
    [name] = [c.name for c in begun.containers(APP) if c.commit == bad.commit]
    for state in ({"exit_code": 0}, {"exit_code": 1}, {"state": "running", "exit_code": None}):
        assert crossed(good, altered(begun, name, **state), APP) == "the job migrate of commit bbbbbbbbbbbb"
    assert crossed(good, altered(begun, name, state="created"), APP) == ""
    assert crossed(bad, begun, APP) == "the job migrate of commit aaaaaaaaaaaa"  # by hand to and fro
    assert crossed(None, begun, APP) != ""


def test_a_newer_commit_does_not_hide_the_fence_of_one_that_was_left_half_way() -> None:
    """It lies between the good commit and what runs until something newer is good."""
    good, bad, fix = migration("1", "a"), migration("2", "b"), migration("3", "c", fence=False)
    before = deployed(good, FLEET)
    begun = next(state for _, state in walk(plan_of(bad, FLEET, before, good), before))
    *steps, (_, done) = walk(plan_of(fix, FLEET, begun, good), begun)
    assert all("migrate of commit bbbb" in crossed(good, state, APP) for phase, state in steps
               if not isinstance(phase, RetirePhase) or phase.when != "post-deploy")  # fmt: skip
    assert crossed(fix, done, APP) == ""


def test_a_host_that_does_not_answer_may_hide_a_fence() -> None:
    good, bad = migration("1", "a"), migration("2", "b")
    observed = deployed(good, FLEET)
    lost = Observed(tuple(replace(h, reachable=h.name != "h2") for h in observed.hosts))
    assert hidden(bad, good, FLEET, observed) == ""
    assert (
        hidden(bad, good, FLEET, lost) == "the job migrate of commit bbbbbbbbbbbb, which may have run on h2"
    )
    assert hidden(migration("1", "b"), good, FLEET, lost) == ""
    assert hidden(migration("2", "b", fence=False), good, FLEET, lost) == ""


def test_a_host_where_a_job_of_the_commit_was_run_cannot_be_done_without() -> None:
    good, bad = migration("1", "a"), migration("2", "b")
    before = deployed(good, FLEET)
    plan = plan_of(bad, FLEET, before, good)
    [run] = [start for start in plan.starts if start.job]
    assert hosts_of_runs(plan) == {run.host}
    begun = next(state for _, state in walk(plan, before))
    assert hosts_of_runs(plan_of(bad, FLEET, begun, good)) == {run.host}  # the mark alone tells of it
    assert hosts_of_runs(plan_of(good, FLEET, before, good)) == frozenset()


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ({}, ""),
        ({"health": "unhealthy"}, ""),
        ({"exit_code": 2}, "migrate.1 exited with code 2"),
        ({"ran_s": 601.0}, "migrate.1 exited with code 0"),
    ],
)
def test_a_finished_job_is_well(fault: dict[str, object], problem: str) -> None:
    stack = migration("1", "a")
    plan = plan_of(stack, FLEET, nothing_on(FLEET))
    observed = applied(plan, nothing_on(FLEET))
    [name] = [c.name for c in observed.containers(APP) if c.job]
    found = difference(plan, altered(observed, name, **fault))
    assert (found.message if found else "") == problem

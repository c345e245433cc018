"""The plan as lines to print: in the order in which things happen, what is kept at the end."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.planning import altered, deployed, nothing_on, plan_of, small_fleet, stack_of

from gitops.model.observed import Observed
from gitops.model.plan import Plan, Step
from gitops.model.stack import Ingress
from gitops.plan import steps


def lines(plan: Plan) -> list[str]:
    return [f"{s.batch} {s.action} {s.service}.{s.slot} {s.host}: {s.reason}" for s in steps(plan)]


def test_a_first_deployment() -> None:
    fleet = small_fleet(1)
    plan = plan_of(stack_of({"web": {"ports": [80]}, "db": {"image": "web:1"}}), fleet, nothing_on(fleet))
    assert lines(plan) == [
        "0 pull web.0 h1: web:1",
        "1 start web.1 h1: new service",
        "1 switch web.0 lb1: 1 server",
        "2 start db.1 h1: new service",
    ]


def test_a_replacement_and_what_is_kept() -> None:
    fleet = small_fleet(2)
    was = stack_of({"db": {}, "web": {"image": "web:1", "ports": [80]}}, "a")
    now = stack_of({"db": {}, "web": {"image": "web:2", "ports": [80]}})
    why = "image changed: web:1 -> web:2"
    assert lines(plan_of(now, fleet, deployed(was, fleet), was)) == [
        "0 pull web.0 h2: web:2",
        f"1 start web.1 h2: {why}",
        "1 switch web.0 lb1: 2 servers",
        f"1 drain web.1 h2: {why}",
        f"1 stop web.1 h2: {why}",
        f"1 remove web.1 h2: {why}",
        "0 keep db.1 h1: unchanged",
    ]


@pytest.mark.parametrize(
    ("parallelism", "first_gone_after"),
    [(1, [1, 2, 3, 4]), (2, [1, 2, 3, 4]), (3, [1, 2, 3, 4, 5, 6])],
)
def test_the_old_ones_go_three_replicas_later_and_at_least_one_batch(
    parallelism: int, first_gone_after: list[int]
) -> None:
    fleet = small_fleet(4)
    said = {"ports": [80], "replicas": 8, "parallelism": parallelism}
    was = stack_of({"web": {**said, "image": "web:1"}}, "a")
    now = stack_of({"web": {**said, "image": "web:2"}})
    done = [step for step in steps(plan_of(now, fleet, deployed(was, fleet), was)) if step.service == "web"]
    order = [(step.action, step.slot) for step in done if step.action in {"start", "drain"}]
    first = order.index(("drain", 1))
    assert [slot for _, slot in order[:first]] == first_gone_after


def test_what_does_not_serve_is_not_drained() -> None:
    fleet = small_fleet(1)
    stack = stack_of({"web": {"ports": [80]}})
    observed = deployed(stack, fleet)
    (container,) = observed.containers("shop")
    plan = plan_of(stack, fleet, altered(observed, container.name, state="dead"), stack)
    assert [step.action for step in steps(plan)] == ["pull", "stop", "remove", "start", "switch"]


def test_routes_alone() -> None:
    fleet = small_fleet(1)
    stack = stack_of({"web": {"ports": [80]}})
    here = replace(stack.services[0], ingress=(Ingress(80, path="/new"),))
    moved = replace(stack, services=(here,))
    assert steps(plan_of(moved, fleet, deployed(stack, fleet), stack)) == (
        Step(1, "switch", "", 0, "lb1", "haproxy.cfg differs"),
        Step(0, "keep", "web", 1, "h1", "unchanged"),
    )


def test_what_is_missing_beside_the_containers() -> None:
    fleet = small_fleet(1)
    stack = stack_of({"web": {"ports": [80]}})
    observed = deployed(stack, fleet)
    without_files = [replace(host, fragments=(), releases=()) for host in observed.hosts]
    plan = plan_of(stack, fleet, Observed(tuple(without_files)), stack)
    assert steps(plan) == (
        Step(1, "switch", "", 0, "lb1", "its part of haproxy.cfg is missing"),
        Step(0, "record", "", 0, "h1", "release file missing"),
        Step(0, "record", "", 0, "lb1", "release file missing"),
        Step(0, "keep", "web", 1, "h1", "unchanged"),
    )
    assert plan.changes == 1


def test_a_renamed_volume_is_told_as_new_and_empty() -> None:
    fleet = small_fleet()
    before, after = (
        stack_of({"db": {"volumes": ["data"]}}, "a"),
        stack_of({"db": {"volumes": ["data2"]}}, "b"),
    )
    observed = deployed(before, fleet)
    plan = plan_of(after, fleet, observed, before)
    (host,) = {container.host for container in observed.containers("shop")}
    assert plan.notes == f"volume data2 of db is new and empty; data stays on {host}, unused by db"
    assert plan_of(before, fleet, observed, before).notes == ""

"""Load that is evened out: what moves, how far, and that it comes to an end."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.planning import APP, applied, deployed, fleet_of, plan_of, small_fleet, stack_of
from support.situations import CASES, fleets, stacks

from gitops.model.fleet import CONTAINER_HOSTS, LOAD_BALANCERS, Fleet
from gitops.model.observed import Observed
from gitops.model.placement import Scheduler
from gitops.model.stack import Stack

EVEN = Scheduler(rebalance=1)
THREE = fleet_of({"h1": CONTAINER_HOSTS, "h2": CONTAINER_HOSTS, "h3": CONTAINER_HOSTS, "lb1": LOAD_BALANCERS})


def spread(observed: Observed) -> dict[str, int]:
    return dict(Counter(c.host for c in observed.containers(APP)))


def after_drain(stack: Stack, fleet: Fleet, host: str) -> Observed:
    """What a fleet reports when a host has been drained and is back, empty."""
    observed = deployed(stack, fleet)
    out = {host: f"host {host} drained"}
    return applied(plan_of(stack, fleet, observed, stack, out=out), observed)


def test_a_host_that_is_back_gets_its_share_one_replica_at_a_time() -> None:
    stack = stack_of({"web": {"image": "web:1", "replicas": 6, "ports": [80]}})
    observed = after_drain(stack, THREE, "h3")
    assert spread(observed) == {"h1": 3, "h2": 3}
    assert plan_of(stack, THREE, observed, stack).empty, "nobody has asked for it"
    plan = plan_of(stack, THREE, observed, stack, scheduler=EVEN)
    (start,), (retire,) = plan.starts, plan.retires
    assert (start.host, start.replaces) == ("h3", retire.container)
    assert start.reason == f"rebalanced: {retire.host} has 3 of it, h3 has 0"
    observed = applied(plan, observed)
    observed = applied(plan_of(stack, THREE, observed, stack, scheduler=EVEN), observed)
    assert spread(observed) == {"h1": 2, "h2": 2, "h3": 2}
    assert plan_of(stack, THREE, observed, stack, scheduler=EVEN).empty


def test_several_may_move_at_a_time() -> None:
    stack = stack_of({"web": {"image": "web:1", "replicas": 6, "ports": [80]}})
    observed = after_drain(stack, THREE, "h3")
    plan = plan_of(stack, THREE, observed, stack, scheduler=Scheduler(rebalance=9))
    assert len(plan.starts) == 2
    assert spread(applied(plan, observed)) == {"h1": 2, "h2": 2, "h3": 2}


def test_services_of_one_replica_are_evened_out_too() -> None:
    stack = stack_of({name: {"image": "app:1"} for name in ("a", "b", "c", "d", "e", "f")})
    observed = after_drain(stack, THREE, "h3")
    plan = plan_of(stack, THREE, observed, stack, scheduler=Scheduler(rebalance=9))
    assert {start.host for start in plan.starts} == {"h3"}
    assert all("rebalanced: " in start.reason and "containers" in start.reason for start in plan.starts)
    assert spread(applied(plan, observed)) == {"h1": 2, "h2": 2, "h3": 2}


@pytest.mark.parametrize(
    "said",
    [
        {"volumes": ["data"]},
        {"host_ports": [8080], "replicas": 2},
        {"constraints": ["node.hostname != h3"]},
        {"spread": ["node.labels.zone"]},
    ],
)
def test_what_is_bound_or_placed_on_purpose_stays(said: dict[str, object]) -> None:
    stack = stack_of({"web": {"image": "web:1", "replicas": 6, **said}})
    observed = after_drain(stack, THREE, "h3")
    assert plan_of(stack, THREE, observed, stack, scheduler=EVEN).empty


def test_binpack_fills_hosts_and_does_not_even_them_out() -> None:
    stack = stack_of({"web": {"image": "web:1", "replicas": 6}})
    observed = after_drain(stack, THREE, "h3")
    assert plan_of(stack, THREE, observed, stack, scheduler=Scheduler("binpack", rebalance=1)).empty


def test_nothing_moves_while_something_else_is_to_be_done() -> None:
    stack = stack_of({"web": {"image": "web:1", "replicas": 6}})
    observed = after_drain(stack, THREE, "h3")
    newer = stack_of({"web": {"image": "web:1", "replicas": 7}})
    plan = plan_of(newer, THREE, observed, stack, scheduler=EVEN)
    assert [start.host for start in plan.starts] == ["h3"]
    assert not plan.retires


@CASES
@given(fleets(), stacks(), st.data())
def test_it_comes_to_an_end_and_leaves_no_host_much_fuller(
    fleet: Fleet, stack: Stack, data: st.DataObject
) -> None:
    # A global service is started again on the host that is back, which evens out nothing.
    stack = replace(stack, services=tuple(replace(s, mode="replicated") for s in stack.services))
    hosts = [host.name for host in fleet.container_hosts]
    host = data.draw(st.sampled_from(hosts))
    observed = after_drain(stack, fleet, host) if len(hosts) > 1 else deployed(stack, fleet)
    for _ in range(len(observed.containers(APP)) * len(hosts) + 1):
        plan = plan_of(stack, fleet, observed, stack, scheduler=EVEN)
        if plan.empty:
            break
        assert len(plan.starts) == len(plan.retires) == 1
        observed = applied(plan, observed)
    assert plan.empty
    for service in stack.services:
        if service.mode == "replicated" and not service.volumes:
            counts = [
                sum(c.host == h and c.service == service.name for c in observed.containers(APP))
                for h in hosts
            ]
            assert max(counts) - min(counts) <= 1


def test_a_small_fleet_is_left_as_it_is() -> None:
    stack = stack_of({"web": {"image": "web:1", "replicas": 5}})
    fleet = small_fleet()
    assert plan_of(stack, fleet, deployed(stack, fleet), stack, scheduler=EVEN).empty

"""Removals that need a person's word, and fleets that nothing can be planned for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.planning import applied, deployed, fleet_of, lost, nothing_on, plan_of, small_fleet, stack_of

from gitops.errors import PermanentError, TransientError
from gitops.model.observed import Observed, Release
from gitops.plan import ConfirmationRequiredError, make_plan, removal_guard

FIFTY = stack_of({f"s{n:02d}": {} for n in range(50)}, "a")


@pytest.mark.parametrize("kept", [0, 1, 24])
def test_losing_most_services_needs_confirmation(kept: int) -> None:
    desired = replace(FIFTY, services=FIFTY.services[:kept])
    with pytest.raises(ConfirmationRequiredError) as caught:
        removal_guard(FIFTY, desired)
    assert f"{50 - kept} of 50 services would be removed" in caught.value.message
    assert "gitops sync shop --confirm" in caught.value.hint


@pytest.mark.parametrize("kept", [25, 49, 50])
def test_losing_up_to_half_does_not(kept: int) -> None:
    removal_guard(FIFTY, replace(FIFTY, services=FIFTY.services[:kept]))


def test_one_service_may_go_but_not_the_last_one() -> None:
    removal_guard(stack_of({"web": {}, "api": {}}), stack_of({"api": {}}))
    with pytest.raises(ConfirmationRequiredError, match="1 of 1 services would be removed: web"):
        removal_guard(stack_of({"web": {}}), stack_of({}))


def test_a_first_deployment_is_free() -> None:
    removal_guard(None, FIFTY)


def test_an_inventory_without_container_hosts_needs_confirmation() -> None:
    with pytest.raises(ConfirmationRequiredError, match="no container host any more, 50 services run"):
        removal_guard(FIFTY, FIFTY, fleet=fleet_of({"lb1": "load_balancers"}))
    removal_guard(FIFTY, FIFTY, fleet=small_fleet())


@pytest.mark.parametrize("name", ["h2", "lb1"])
def test_a_host_that_does_not_answer_is_named(name: str) -> None:
    fleet = small_fleet()
    observed = Observed(
        tuple(
            replace(host, reachable=False, error="connection refused") if host.name == name else host
            for host in nothing_on(fleet).hosts
        )
    )
    with pytest.raises(TransientError, match=f"host {name} cannot be used: connection refused") as caught:
        plan_of(stack_of({"web": {}}), fleet, observed)
    assert caught.value.where is not None
    assert caught.value.where.host == name


def test_a_host_that_was_not_observed_does_not_answer() -> None:
    fleet = small_fleet()
    observed = Observed(nothing_on(fleet).hosts[1:])
    with pytest.raises(TransientError, match="host h1 cannot be used"):
        plan_of(stack_of({"web": {}}), fleet, observed)


def test_what_keeps_a_host_out_is_named_as_what_it_is() -> None:
    fleet = small_fleet()
    observed = lost(nothing_on(fleet), ["h2"], "the host's key has changed: it may be another machine")
    plan = plan_of(stack_of({"web": {}}), fleet, observed, tolerate=1)
    assert plan.degraded == "degraded, without h2: the host's key has changed: it may be another machine"
    with pytest.raises(TransientError, match="cannot be used: the host's key has changed"):
        plan_of(stack_of({"web": {}}), fleet, observed)


def test_an_old_fragment_tells_less_than_one_of_the_last_commit() -> None:
    """A load balancer that was away lists what the absent host had then."""
    fleet = fleet_of({"h1": "container_hosts", "h2": "container_hosts", "lb1": "load_balancers"})
    old = stack_of({"web": {"image": "web:1", "replicas": 2, "ports": [80]}}, "a")
    new = stack_of({"web": {"image": "web:2", "replicas": 2, "ports": [80]}}, "b")
    first = deployed(old, fleet)
    second = applied(plan_of(new, fleet, first, old), first)
    stale, current = (seen.host("lb1") for seen in (first, second))
    assert stale is not None
    assert current is not None
    balance = "load_balancers"
    both = fleet_of({"h1": "container_hosts", "h2": "container_hosts", "lb1": balance, "lb2": balance})
    one = replace(stale, releases=(Release("shop", old.commit, "1"),), servers=())
    two = replace(current, name="lb2", releases=(Release("shop", new.commit, "2"),), servers=())
    observed = Observed((*second.hosts[:2], one, two))
    plan = plan_of(new, both, lost(observed, ["h2"]), new, tolerate=1)
    digest = new.services[0].container.digest[:8]
    assert [keep.container for keep in plan.keeps if keep.host == "h2"] == [f"shop-web-2-{digest}"]


def test_a_host_that_left_need_not_answer() -> None:
    fleet = fleet_of({"h1": "container_hosts", "h2": [], "lb1": "load_balancers"})
    observed = Observed(
        tuple(replace(h, reachable=h.name != "h2") for h in nothing_on(fleet).hosts),
    )
    plan = plan_of(stack_of({"web": {"replicas": 2}}), fleet, observed)
    assert [start.host for start in plan.starts] == ["h1", "h1"]
    assert [host.name for host in plan.fleet.hosts] == ["h1", "lb1"]


def test_a_host_without_a_free_port_is_named() -> None:
    fleet = small_fleet(1)
    observed = Observed(
        tuple(replace(host, ports_used=tuple(range(20000, 30000))) for host in nothing_on(fleet).hosts)
    )
    with pytest.raises(PermanentError) as caught:
        plan_of(stack_of({"web": {"ports": [80]}}), fleet, observed)
    assert str(caught.value).startswith("h1: no host port from 20000 to 29999 is free")


def test_the_last_free_port_is_allotted() -> None:
    fleet = small_fleet(1)
    observed = Observed(
        tuple(replace(host, ports_used=tuple(range(20000, 29999))) for host in nothing_on(fleet).hosts)
    )
    (start,) = plan_of(stack_of({"web": {"ports": [80]}}), fleet, observed).starts
    assert start.ports == ((80, 29999),)


def test_without_a_fragment_only_containers_are_compared() -> None:
    fleet = small_fleet()
    stack = stack_of({"web": {"ports": [80]}})
    observed = deployed(stack, fleet)
    other = Observed(tuple(replace(host, fragments=()) for host in observed.hosts))
    assert make_plan(stack, fleet, other, previous=None).empty
    plan = plan_of(stack, fleet, other)
    assert plan.edge_changes
    assert plan.changes == 1
    assert not plan.phases


def test_an_application_that_serves_nothing_leaves_the_edge_alone() -> None:
    fleet = small_fleet()
    assert not plan_of(stack_of({"db": {}}), fleet, nothing_on(fleet)).edge_changes

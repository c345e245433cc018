"""Hosts that are to be empty, drained or lost: what holds for every plan."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.planning import APP, altered, applied, deployed, lost, plan_of, returned, small_fleet, stack_of
from support.situations import CASES, absences, fleets, situations, stacks

from gitops.model.fleet import Fleet
from gitops.model.observed import Observed
from gitops.model.plan import Spared
from gitops.model.stack import Stack


def bound(stack: Stack, name: str) -> bool:
    service = stack.service(name)
    return service is not None and bool(service.volumes)


@settings(CASES, max_examples=100)
@given(situations(), stacks(), st.booleans(), st.data())
def test_a_drained_host_keeps_only_what_has_its_data_there(
    situation: tuple[Fleet, Stack, Observed], stack: Stack, same: bool, data: st.DataObject
) -> None:
    fleet, before, observed = situation
    stack = replace(stack, services=before.services) if same else stack
    hosts = [host.name for host in fleet.container_hosts]
    assume(len(hosts) > 1)
    drained = st.lists(st.sampled_from(hosts), min_size=1, max_size=len(hosts) - 1, unique=True)
    out = {name: f"host {name} drained" for name in data.draw(drained)}
    plan = plan_of(stack, fleet, observed, before, out=out)
    after = applied(plan, observed)
    left = [c for c in after.containers(APP) if c.host in out]
    assert all(bound(stack, c.service) for c in left)
    assert {keep.container for keep in plan.bound} <= {c.name for c in left}
    there = {c.name for c in observed.containers(APP)}  # one that only stands still starts again in place
    assert all(
        start.replaces or start.container in there
        for start in plan.starts
        if start.host in out and bound(stack, start.service)
    )
    assert plan_of(stack, fleet, after, stack, out=out).empty


@settings(CASES, max_examples=100)
@given(fleets(), stacks(), st.data())
def test_draining_takes_nothing_away_before_its_successor_stands(
    fleet: Fleet, stack: Stack, data: st.DataObject
) -> None:
    observed = deployed(stack, fleet)
    assume(len(fleet.container_hosts) > 1 and observed.containers(APP))
    host = data.draw(st.sampled_from([host.name for host in fleet.container_hosts]))
    plan = plan_of(stack, fleet, observed, stack, out={host: f"host {host} drained"})
    moved = {(r.service, r.slot): r for r in plan.retires}
    for c in observed.containers(APP):
        assert (c.service, c.slot) in moved or c.host != host or bound(stack, c.service)
    for start in plan.starts:
        service = stack.service(start.service)
        assert service is not None
        assert start.reason == f"host {host} drained"
        if service.update.order == "start-first":
            assert moved[start.service, start.slot].successor == start.container


@CASES
@given(absences(), stacks())
def test_what_a_lost_host_had_runs_elsewhere_and_its_leftovers_go_when_it_returns(
    absence: tuple[Fleet, Stack, Observed, Observed], stack: Stack
) -> None:
    fleet, before, whole, observed = absence
    out = {host.name: f"host {host.name} lost" for host in observed.away}
    assume(not {host.name for host in fleet.container_hosts} <= out.keys())
    plan = plan_of(stack, fleet, observed, before, out=out)
    after = applied(plan, observed)
    for service in stack.services:
        slots = {c.slot for c in after.containers(APP) if c.service == service.name}
        if service.mode == "replicated" and not service.volumes:
            assert slots == set(range(1, service.replicas + 1))
    assert plan_of(stack, fleet, after, stack, out=out).empty
    back = returned(after, whole)
    done = applied(plan_of(stack, fleet, back, stack), back)
    assert plan_of(stack, fleet, done, stack).empty
    for service in stack.services:
        slots = [c.slot for c in done.containers(APP) if c.service == service.name]
        assert len(slots) == len(set(slots))


@pytest.mark.parametrize("ports", [(), (80,)])
def test_of_a_replica_that_a_lost_host_brings_back_the_moved_one_stays(ports: tuple[int, ...]) -> None:
    fleet, stack = small_fleet(), stack_of({"web": {"replicas": 3, "ports": ports}})
    whole = deployed(stack, fleet)
    out = {"h1": "host h1 lost"}
    observed = lost(whole, out)
    plan = plan_of(stack, fleet, observed, stack, out=out)
    (start,) = plan.starts
    after = altered(applied(plan, observed), start.container, created_s=100.0)
    back = plan_of(stack, fleet, returned(after, whole), stack)
    assert not back.starts
    (gone,) = back.retires
    assert (gone.host, gone.slot, gone.reason) == ("h1", start.slot, f"duplicate of slot {start.slot}")


def test_a_replica_that_failed_elsewhere_stays_on_its_drained_host_where_that_is_tolerated() -> None:
    fleet, stack = small_fleet(2), stack_of({"web": {"replicas": 2}})
    observed = deployed(stack, fleet)
    out = {"h1": "host h1 drained"}
    (start,) = plan_of(stack, fleet, observed, stack, out=out).starts
    steps = applied(replace(plan_of(stack, fleet, observed, stack, out=out), phases=()), observed)
    again = plan_of(stack, fleet, steps, stack, out=out, spared=(Spared("web", start.slot, "failed"),))
    assert again.empty
    assert {keep.host for keep in again.keeps} == {"h1", "h2"}

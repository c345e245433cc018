"""What holds for every plan, whatever runs and whatever is wanted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st
from support.planning import (
    APP,
    applied,
    deployed,
    nothing_on,
    plan_of,
    returned,
    walk,
)
from support.situations import CASES, absences, fleets, situations, stacks

from gitops.model.fleet import Fleet
from gitops.model.observed import Observed
from gitops.model.plan import RetirePhase, StartPhase
from gitops.model.stack import Service, Stack
from gitops.plan.edge import backend_name


def well_slots(observed: Observed, service: Service) -> int:
    """How many of the wanted slots have a container that works."""
    found = {c.slot for c in observed.containers(APP) if c.service == service.name and c.well}
    return len(found & set(range(1, service.replicas + 1)))


def served(observed: Observed, service: Service) -> int:
    """How many containers that work the load balancer has for a service's first port."""
    well = {c.name for c in observed.containers(APP) if c.well}
    balancer = observed.host("lb1")
    assert balancer is not None
    names = {s.name for s in balancer.servers if s.backend.startswith(f"{APP}.{service.name}.")}
    return len(names & well)


@CASES
@given(situations(), stacks(), st.booleans())
def test_planning_the_applied_result_is_empty(
    situation: tuple[Fleet, Stack, Observed], stack: Stack, rollback: bool
) -> None:
    fleet, before, observed = situation
    after = applied(plan_of(stack, fleet, observed, before, rollback=rollback), observed)
    again = plan_of(stack, fleet, after, stack)
    assert again.empty
    assert not again.pulls
    assert not again.phases


@CASES
@given(situations(), stacks())
def test_the_result_is_what_the_stack_says(situation: tuple[Fleet, Stack, Observed], stack: Stack) -> None:
    fleet, before, observed = situation
    after = applied(plan_of(stack, fleet, observed, before), observed)
    found = sorted((c.service, c.spec, c.slot) for c in after.containers(APP))
    wanted = []
    for service in stack.services:
        count = len(fleet.container_hosts) if service.mode == "global" else service.replicas
        slots = [c.slot for c in after.containers(APP) if c.service == service.name]
        assert len(set(slots)) == count
        if service.mode == "global":
            assert {c.host for c in after.containers(APP) if c.service == service.name} == {
                host.name for host in fleet.container_hosts
            }
        else:
            assert sorted(slots) == list(range(1, count + 1))
        wanted += [(service.name, service.container.digest, slot) for slot in slots]
    assert found == sorted(wanted)


@CASES
@given(situations(), stacks(), st.randoms(use_true_random=False))
def test_the_order_of_hosts_does_not_matter(
    situation: tuple[Fleet, Stack, Observed], stack: Stack, random: object
) -> None:
    fleet, before, observed = situation
    plan = plan_of(stack, fleet, observed, before)

    def shuffled(items: Iterable[object]) -> tuple[object, ...]:
        found = list(items)
        random.shuffle(found)  # type: ignore[attr-defined]
        return tuple(found)

    mixed_fleet = Fleet(shuffled(fleet.hosts))
    mixed = Observed(shuffled(replace(h, containers=shuffled(h.containers)) for h in observed.hosts))
    assert plan_of(stack, mixed_fleet, mixed, before) == plan


@CASES
@given(situations(), stacks())
def test_what_is_kept_is_not_touched_and_what_goes_goes_once(
    situation: tuple[Fleet, Stack, Observed], stack: Stack
) -> None:
    fleet, before, observed = situation
    plan = plan_of(stack, fleet, observed, before)
    kept = {(keep.host, keep.container) for keep in plan.keeps}
    started = {(start.host, start.container) for start in plan.starts}
    retired = Counter((retire.host, retire.container) for retire in plan.retires)
    there = {(c.host, c.name) for c in observed.containers(APP)}
    assert not kept & started
    assert not kept & retired.keys()
    assert not started & retired.keys()
    assert set(retired.values()) <= {1}
    assert there <= kept | started | retired.keys()
    replaced = {start.replaces for start in plan.starts} - {""}
    assert replaced <= {name for _, name in retired}


@CASES
@given(situations(), stacks(), st.booleans())
def test_enough_replicas_work_at_every_step(
    situation: tuple[Fleet, Stack, Observed], stack: Stack, rollback: bool
) -> None:
    fleet, before, observed = situation
    plan = plan_of(stack, fleet, observed, before, rollback=rollback)
    for service in stack.services:
        if service.mode == "global":
            continue
        at_once = service.replicas if rollback else service.update.parallelism or service.replicas
        spare = at_once if service.update.order == "stop-first" else 0
        least = well_slots(observed, service) - spare
        for _, state in walk(plan, observed):
            assert well_slots(state, service) >= least


@CASES
@given(situations(), stacks())
def test_the_load_balancer_never_has_fewer_servers_than_wanted(
    situation: tuple[Fleet, Stack, Observed], stack: Stack
) -> None:
    fleet, before, observed = situation
    plan = plan_of(stack, fleet, observed, before)
    for service in stack.services:
        old = before.service(service.name)
        same_ports = old is not None and old.container.target_ports == service.container.target_ports
        if service.mode == "global" or service.update.order == "stop-first" or not same_ports:
            continue
        least = min(served(observed, service), service.replicas)
        for _, state in walk(plan, observed):
            assert served(state, service) >= least


@CASES
@given(situations(), stacks())
def test_what_never_served_is_not_switched_in_on_its_way_out(
    situation: tuple[Fleet, Stack, Observed], stack: Stack
) -> None:
    fleet, before, observed = situation
    balancers = [observed.host(host.name) for host in fleet.load_balancers]
    servers = [server for host in balancers if host for server in host.servers]
    serving, known = {server.name for server in servers}, {server.backend for server in servers}
    assume(serving)
    plan = plan_of(stack, fleet, observed, before)
    stays = {start.container for start in plan.starts} | {keep.container for keep in plan.keeps}
    for phase in plan.phases:
        for backend in phase.backends or ():
            if any(backend_name(APP, backend.service, port) in known for port in (80, 8080)):
                assert {server.name for server in backend.servers} <= serving | stays


@CASES
@given(fleets(), stacks("a"), stacks("b"), st.data())
def test_a_rollout_that_broke_off_is_taken_up_or_undone(
    fleet: Fleet, before: Stack, stack: Stack, data: st.DataObject
) -> None:
    observed = deployed(before, fleet)
    steps = [state for _, state in walk(plan_of(stack, fleet, observed, before), observed)]
    assume(steps)
    broken = data.draw(st.sampled_from(steps))
    for goal, other in ((stack, before), (before, stack)):
        after = applied(plan_of(goal, fleet, broken, other, rollback=goal is before), broken)
        assert {c.spec for c in after.containers(APP)} == {
            s.container.digest for s in goal.services if s.mode == "global" or s.replicas
        }
        assert plan_of(goal, fleet, after, goal).empty


@CASES
@given(fleets(), stacks("a"), stacks("b"))
def test_replicas_are_spread_within_one_where_the_choice_is_free(
    fleet: Fleet, before: Stack, stack: Stack
) -> None:
    first = deployed(before, fleet)
    second = applied(plan_of(stack, fleet, first, before), first)
    for observed, now in ((first, before), (second, stack)):
        for service in now.services:
            old = before.service(service.name)
            kept = now is stack and old and old.container.digest == service.container.digest
            if kept or service.container.mounts:
                continue
            counts = [
                sum(c.host == host.name and c.service == service.name for c in observed.containers(APP))
                for host in fleet.container_hosts
            ]
            assert max(counts) - min(counts) <= 1


@CASES
@given(situations(), stacks())
def test_what_goes_after_its_successor_names_one_that_runs(
    situation: tuple[Fleet, Stack, Observed], stack: Stack
) -> None:
    fleet, before, observed = situation
    plan = plan_of(stack, fleet, observed, before)
    running = {(keep.host, keep.container) for keep in plan.keeps}
    for phase in plan.phases:
        if isinstance(phase, StartPhase):
            running |= {(start.host, start.container) for start in phase.starts}
        elif isinstance(phase, RetirePhase):
            named = {(r.successor_host, r.successor) for r in phase.retires if r.successor}
            assert named <= running


@CASES
@given(fleets(), stacks())
def test_nothing_is_planned_twice_alike(fleet: Fleet, stack: Stack) -> None:
    observed = nothing_on(fleet)
    plan = plan_of(stack, fleet, observed)
    assert plan == plan_of(stack, fleet, observed)
    assert plan.pulls == tuple(sorted(set(plan.pulls), key=lambda pull: (pull.host, pull.image)))


@CASES
@given(absences(), stacks(), st.booleans())
def test_planning_without_absent_hosts_ends_and_does_nothing_there(
    absence: tuple[Fleet, Stack, Observed, Observed], stack: Stack, back: bool
) -> None:
    fleet, before, _, observed = absence
    plan = plan_of(stack, fleet, observed, before, rollback=back, tolerate=2)
    absent = {host.name for host in observed.away}
    assert {each.host.name for each in plan.absent} == absent
    touched = {start.host for start in plan.starts} | {retire.host for retire in plan.retires}
    assert not absent & (touched | {host.name for host in plan.fleet.hosts})
    after = applied(plan, observed)
    assert plan_of(stack, fleet, after, before, tolerate=2).empty
    assert plan_of(stack, fleet, after, stack, tolerate=2).empty


@CASES
@given(absences(), stacks())
def test_replicas_of_an_absent_host_are_not_started_elsewhere(
    absence: tuple[Fleet, Stack, Observed, Observed], stack: Stack
) -> None:
    fleet, before, whole, observed = absence
    plan = plan_of(stack, fleet, observed, before, tolerate=2)
    absent = {host.name for host in observed.away}
    serving = {s.name for host in whole.hosts if host.name not in absent for s in host.servers}
    there = {(c.service, c.slot) for c in observed.containers(APP)}
    gone = [c for c in whole.containers(APP) if c.host in absent and c.name in serving]
    started = {(start.service, start.slot) for start in plan.starts}
    for old in gone:
        wanted, slot = stack.service(old.service), (old.service, old.slot)
        if wanted is not None and wanted.mode == "replicated" and slot not in there:
            # What has none of the ports that the commit wants is of no use.
            useful = {target for target, _ in old.ports} & set(wanted.balanced)
            assert slot not in started or not useful


@CASES
@given(absences(), stacks())
def test_the_load_balancers_keep_the_servers_of_an_absent_host(
    absence: tuple[Fleet, Stack, Observed, Observed], stack: Stack
) -> None:
    fleet, before, whole, observed = absence
    plan = plan_of(stack, fleet, observed, before, tolerate=2)
    absent = {host.name for host in observed.away}
    balancer = next(host for host in observed.hosts if host.name.startswith("lb") and host.reachable)
    serving = {server.name for server in balancer.servers}
    theirs = {c.name for c in whole.containers(APP) if c.host in absent} & serving
    for phase in plan.phases:
        if phase.backends is not None:
            assert theirs <= {server.name for backend in phase.backends for server in backend.servers}
    held = {keep.container for keep in plan.keeps if keep.host in absent} & theirs
    for name in held:
        old = next(c for c in whole.containers(APP) if c.name == name)
        service = stack.service(old.service)
        assert service is not None
        if set(service.container.target_ports) <= {target for target, _ in old.ports}:
            assert name in {server.name for backend in plan.backends for server in backend.servers}


@CASES
@given(absences(), stacks(), st.booleans())
def test_a_host_that_returns_is_brought_to_the_commit(
    absence: tuple[Fleet, Stack, Observed, Observed], stack: Stack, back: bool
) -> None:
    fleet, before, whole, observed = absence
    plan = plan_of(stack, fleet, observed, before, rollback=back, tolerate=2)
    after = returned(applied(plan, observed), whole)
    done = applied(plan_of(stack, fleet, after, stack), after)
    assert plan_of(stack, fleet, done, stack).empty
    assert {c.spec for c in done.containers(APP)} == {
        s.container.digest for s in stack.services if s.mode == "global" or s.replicas
    }

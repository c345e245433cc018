"""What holds wherever containers are placed: 10,000 small fleets, some held against every way there is."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st
from support.planning import (
    APP,
    MIB,
    applied,
    fleet_of,
    nothing_on,
    plan_of,
    service_of,
    sized,
    walk,
    with_container,
)

from gitops.errors import PermanentError
from gitops.model.fleet import CONTAINER_HOSTS, LOAD_BALANCERS, Fleet, Host
from gitops.model.observed import Container, Observed
from gitops.model.placement import Scheduler
from gitops.model.plan import Plan
from gitops.model.size import Size
from gitops.model.stack import Service, Stack

# Derandomized: the same cases at every run. A deadline would measure the machine.
CASES = settings(deadline=None, derandomize=True, database=None)
NAMES = ("api", "db", "web")
UNIT = 100  # MiB: sizes are a few of these, so that they fit exactly or not at all


@st.composite
def fleets(draw: st.DrawFn) -> tuple[Fleet, Observed]:
    """Up to three hosts of two zones, some with little memory, and something of a neighbour there."""
    names = [f"h{n}" for n in range(1, draw(st.integers(1, 3)) + 1)]
    fleet = fleet_of({**dict.fromkeys(names, CONTAINER_HOSTS), "lb1": LOAD_BALANCERS})
    zones = {name: draw(st.sampled_from("ab")) for name in names}
    hosts = [replace(h, labels=(("zone", zones[h.name]),)) if h.name in zones else h for h in fleet.hosts]
    sizes = {name: (draw(st.integers(1, 2)), UNIT * draw(st.integers(1, 5))) for name in names}
    observed = sized(nothing_on(fleet), sizes)
    for name in names:
        if draw(st.integers(0, 3)) == 0:
            observed = with_container(observed, neighbour(name, draw(st.integers(0, 2))))
    return Fleet(tuple(hosts)), observed


def neighbour(host: str, units: int) -> Container:
    """A container of another application."""
    size = Size(0, units * UNIT * MIB)
    name = f"blog-web-{host}"
    return Container(
        name, name, host, "blog", "web", 1, "f" * 64, "f" * 40, "blog:1", "running", reserved=size
    )


@st.composite
def services(draw: st.DrawFn, name: str) -> Service:
    constraints = ([], [], ["node.labels.zone == a"], ["node.labels.zone != a"], ["node.hostname != h1"])
    said = {
        "image": f"{name}:{draw(st.integers(1, 2))}",
        "replicas": draw(st.integers(0, 3)),
        "memory": UNIT * draw(st.integers(0, 3)),
        "cpus": draw(st.sampled_from([0, 0, 0.5, 1])),
        "constraints": draw(st.sampled_from(constraints)),
        "most": draw(st.sampled_from([0, 0, 1, 2])),
        "spread": draw(st.sampled_from([[], ["node.labels.zone"]])),
        "order": draw(st.sampled_from(["start-first", "stop-first"])),
        "parallelism": draw(st.integers(0, 2)),
        "volumes": draw(st.sampled_from([[], [], [], ["data"]])),
        "host_ports": draw(st.sampled_from([[], [], [], [53]])),
    }
    return service_of(name, said)


@st.composite
def stacks(draw: st.DrawFn, commit: str = "b") -> Stack:
    names = NAMES[: draw(st.integers(1, 3))]
    return Stack(APP, commit * 40, tuple(draw(services(name)) for name in names))


SCHEDULERS = st.sampled_from([Scheduler("spread"), Scheduler("binpack")])


def planned(
    stack: Stack, fleet: Fleet, observed: Observed, before: Stack | None, scheduler: Scheduler
) -> Plan | None:
    """The plan, or None where it is refused."""
    try:
        return plan_of(stack, fleet, observed, before, scheduler=scheduler)
    except PermanentError as refused:
        if "no host can take replica" not in str(refused):
            raise
        return None


def excluded(service: Service, host: Host) -> bool:
    """Whether a constraint excludes a host: written anew, for the planner's own is what is tested."""
    facts = {"node.labels.zone": dict(host.labels)["zone"], "node.hostname": host.name}
    return any((facts[c.key] == c.value) != c.equal for c in service.placement.constraints)


def check_room(observed: Observed, before: Observed) -> None:
    """No host is above what it has, of cores and of memory."""
    for host in observed.hosts:
        if host.memory:
            for kind, whole in (("cpus", host.cpus * 1000), ("memory", host.memory)):
                taken = sum(getattr(c.reserved, kind) for c in host.containers)
                was = before.host(host.name)
                assert was is not None
                assert taken <= max(whole, sum(getattr(c.reserved, kind) for c in was.containers))


def check_rules(stack: Stack, fleet: Fleet, observed: Observed) -> None:
    """Constraints and max_replicas_per_node hold for all that can move."""
    for service in stack.services:
        own = [c for c in observed.containers(APP) if c.service == service.name]
        assert sorted(c.slot for c in own) == list(range(1, service.replicas + 1))
        for host in fleet.container_hosts:
            here = [c for c in own if c.host == host.name]
            if not service.volumes:
                assert not (here and excluded(service, host))
                assert len(here) <= (service.placement.most_per_host or len(own))


def some_way(stack: Stack, fleet: Fleet, observed: Observed) -> bool:
    """Whether any assignment of hosts to all replicas keeps every rule: all are tried."""
    wanted = [service for service in stack.services for _ in range(service.replicas)]
    hosts = fleet.container_hosts
    states = {host.name: host for host in observed.hosts}
    free = {
        name: (
            state.cpus * 1000 - sum(c.reserved.cpus for c in state.containers),
            state.memory - sum(c.reserved.memory for c in state.containers),
        )
        for name, state in states.items()
    }
    open_ = [[h for h in hosts if not excluded(service, h)] for service in wanted]
    for ways in product(*open_):
        fine = True
        for host in hosts:
            here = [service for service, way in zip(wanted, ways, strict=True) if way is host]
            cpus = sum(s.container.reserved.cpus for s in here)
            memory = sum(s.container.reserved.memory for s in here)
            fine = fine and (not cpus or cpus <= free[host.name][0])
            fine = fine and (not memory or memory <= free[host.name][1])
            fine = fine and sum(bool(s.container.host_ports) for s in here) <= 1
            for service in {s.name: s for s in here}.values():
                most = service.placement.most_per_host
                fine = fine and not (most and sum(s.name == service.name for s in here) > most)
        if fine:
            return True
    return False


@settings(CASES, max_examples=3_500)
@given(fleets(), stacks(), SCHEDULERS)
def test_all_is_placed_within_every_rule_or_there_is_no_way(
    there: tuple[Fleet, Observed], stack: Stack, scheduler: Scheduler
) -> None:
    fleet, observed = there
    plan = planned(stack, fleet, observed, None, scheduler)
    if plan is None:
        assert not some_way(stack, fleet, observed)
        return
    after = applied(plan, observed)
    check_room(after, observed)
    check_rules(stack, fleet, after)
    assert plan_of(stack, fleet, after, stack, scheduler=scheduler).empty


@settings(CASES, max_examples=3_500)
@given(fleets(), stacks("a"), stacks(), SCHEDULERS, st.booleans(), st.sets(st.sampled_from(NAMES)))
def test_an_update_keeps_what_it_can_and_has_room_at_every_step(
    there: tuple[Fleet, Observed],
    before: Stack,
    stack: Stack,
    scheduler: Scheduler,
    back: bool,
    same: set[str],
) -> None:
    fleet, empty = there
    old = {service.name: service.container for service in before.services if service.name in same}
    services = [replace(s, container=old.get(s.name, s.container)) for s in stack.services]
    stack = replace(stack, services=tuple(services))
    first = planned(before, fleet, empty, None, scheduler)
    if first is None:
        return
    observed = applied(first, empty)
    try:
        plan = plan_of(stack, fleet, observed, before, scheduler=scheduler, rollback=back)
    except PermanentError:
        return
    touched = {start.replaces for start in plan.starts} | {retire.container for retire in plan.retires}
    for container in observed.containers(APP):
        service = stack.service(container.service)
        host = fleet.host(container.host)
        if service is None or service.container.digest != container.spec or container.slot > service.replicas:
            continue
        crowd = [c for c in observed.containers(APP) if (c.service, c.host) == (service.name, container.host)]
        most = service.placement.most_per_host or len(crowd)
        assert host is not None
        if service.volumes or not (excluded(service, host) or len(crowd) > most):
            assert container.name not in touched
    for _, state in walk(plan, observed):
        check_room(state, observed)
    after = applied(plan, observed)
    check_rules(stack, fleet, after)
    assert plan_of(stack, fleet, after, stack, scheduler=scheduler).empty


@settings(CASES, max_examples=3_000)
@given(fleets(), stacks("a"), stacks(), SCHEDULERS, st.randoms(use_true_random=False))
def test_the_order_of_what_is_given_does_not_matter(
    there: tuple[Fleet, Observed], before: Stack, stack: Stack, scheduler: Scheduler, random: object
) -> None:
    fleet, empty = there
    first = planned(before, fleet, empty, None, scheduler)
    observed = applied(first, empty) if first else empty

    def shuffled(items: tuple[object, ...]) -> tuple[object, ...]:
        found = list(items)
        random.shuffle(found)  # type: ignore[attr-defined]
        return tuple(found)

    mixed_fleet = Fleet(shuffled(fleet.hosts))  # type: ignore[arg-type]
    hosts = tuple(replace(h, containers=shuffled(h.containers)) for h in observed.hosts)  # type: ignore[arg-type]
    mixed = Observed(shuffled(hosts))  # type: ignore[arg-type]
    plan = planned(stack, fleet, observed, before, scheduler)
    again = planned(stack, mixed_fleet, mixed, before, scheduler)
    assert plan == again if plan is None or again is None else plan == replace(again, fleet=plan.fleet)

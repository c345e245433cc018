"""What holds wherever containers are placed: 10,000 small fleets, some held against every way there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any, TypeVar

import pytest
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
from support.situations import Picked

from gitops.errors import PermanentError
from gitops.model.fleet import CONTAINER_HOSTS, LOAD_BALANCERS, Fleet, Host
from gitops.model.observed import Container, Observed
from gitops.model.placement import Scheduler
from gitops.model.plan import Plan
from gitops.model.size import Size
from gitops.model.stack import Service, Stack

NAMES = ("api", "db", "web")
Item = TypeVar("Item")
Case = tuple[tuple[Fleet, Observed], Stack, Stack, Picked]
Check = Callable[[Case, Scheduler], None]
UNIT = 100  # MiB: sizes are a few of these, so that they fit exactly or not at all


MACHINE: tuple[Sequence[Any], ...] = ("ab", (1, 2), range(1, 6), (None, None, None, 0, 1, 2))
"""Zone, cores, memory, and how much of that a neighbour has."""


def fleet_with(picked: Picked) -> tuple[Fleet, Observed]:
    """Hosts of two zones, some with little memory, and something of a neighbour there."""
    count, *each = picked
    machines = [each[at : at + len(MACHINE)] for at in range(0, count * len(MACHINE), len(MACHINE))]
    made = {f"h{number}": machine for number, machine in enumerate(machines, 1)}
    fleet = fleet_of({**dict.fromkeys(made, CONTAINER_HOSTS), "lb1": LOAD_BALANCERS})
    zones = {name: zone for name, (zone, *_) in made.items()}
    hosts = [replace(h, labels=(("zone", zones[h.name]),)) if h.name in zones else h for h in fleet.hosts]
    observed = sized(
        nothing_on(fleet), {name: (cpus, UNIT * units) for name, (_, cpus, units, _) in made.items()}
    )
    for name, (*_, taken) in made.items():
        if taken is not None:
            observed = with_container(observed, neighbour(name, taken))
    return Fleet(tuple(hosts)), observed


FLEET: tuple[Sequence[Any], ...] = ((1, 2, 3), *MACHINE * 3)
"""Up to three hosts."""


def neighbour(host: str, units: int) -> Container:
    """A container of another application."""
    size = Size(0, units * UNIT * MIB)
    name = f"blog-web-{host}"
    return Container(
        name, name, host, "blog", "web", 1, "f" * 64, "f" * 40, "blog:1", "running", reserved=size
    )


SERVICE: Mapping[str, Sequence[Any]] = {
    "image": (1, 2),
    "replicas": range(4),
    "memory": range(0, 4 * UNIT, UNIT),
    "cpus": (0, 0, 0.5, 1),
    "constraints": ([], [], ["node.labels.zone == a"], ["node.labels.zone != a"], ["node.hostname != h1"]),
    "most": (0, 0, 1, 2),
    "spread": ([], ["node.labels.zone"]),
    "order": ("start-first", "stop-first"),
    "parallelism": range(3),
    "volumes": ([], [], [], ["data"]),
    "host_ports": ([], [], [], [53]),
}


def stack_with(picked: Picked, commit: str) -> Stack:
    """Its first services, each as its words say."""
    count, *each = picked
    services = []
    for number, name in enumerate(NAMES[:count]):
        said = dict(zip(SERVICE, each[number * len(SERVICE) :], strict=False))
        services.append(service_of(name, {**said, "image": f"{name}:{said['image']}"}))
    return Stack(APP, commit * 40, tuple(services))


STACK: tuple[Sequence[Any], ...] = ((1, 2, 3), *tuple(SERVICE.values()) * len(NAMES))
"""Up to three services."""


def case_of(number: int, more: Sequence[Sequence[Any]]) -> Case:
    """A fleet, what is deployed, what is to be, and one of each of what else there is to choose from."""
    chance = Random(number)  # noqa: S311 - a choice, not a secret
    fleet, before, stack, rest = (tuple(map(chance.choice, each)) for each in (FLEET, STACK, STACK, more))
    return fleet_with(fleet), stack_with(before, "a"), stack_with(stack, "b"), rest


def holds_in(count: int, *more: Sequence[Any]) -> Callable[[Check], Callable[[Scheduler], None]]:
    """A test of the cases 1 to `count`; a failure names the first one in which the check fails.

    Drawn here and not by Hypothesis, which takes as long to draw a case as a check takes.
    """

    def test_of(check: Check) -> Callable[[Scheduler], None]:
        def test(scheduler: Scheduler) -> None:
            for number in range(1, count + 1):
                try:
                    check(case_of(number, more), scheduler)
                except BaseException as failure:
                    failure.add_note(f"in case {number}")
                    raise

        return test

    return test_of


# Each on its own, so that they are checked side by side.
either_way = pytest.mark.parametrize(
    "scheduler", [Scheduler("spread"), Scheduler("binpack")], ids=["spread", "binpack"]
)


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
    states = {host.name: host for host in observed.hosts}

    def fits(service: Service, host: Host, there: list[Service]) -> bool:
        state, size, most = states[host.name], service.container.reserved, service.placement.most_per_host
        sizes = [size, *(s.container.reserved for s in there), *(c.reserved for c in state.containers)]
        return not (
            excluded(service, host)
            or (size.cpus and sum(each.cpus for each in sizes) > state.cpus * 1000)
            or (size.memory and sum(each.memory for each in sizes) > state.memory)
            or (service.container.host_ports and any(s.container.host_ports for s in there))
            or (most and sum(s.name == service.name for s in there) >= most)
        )

    def placed(rest: list[Service], taken: dict[str, list[Service]]) -> bool:
        if not rest:
            return True
        service, *others = rest
        return any(
            placed(others, {**taken, host.name: [*taken[host.name], service]})
            for host in fleet.container_hosts
            if fits(service, host, taken[host.name])
        )

    return placed(wanted, {host.name: [] for host in fleet.container_hosts})


@either_way
@holds_in(1_750)
def test_all_is_placed_within_every_rule_or_there_is_no_way(case: Case, scheduler: Scheduler) -> None:
    (fleet, observed), _, stack, _ = case
    plan = planned(stack, fleet, observed, None, scheduler)
    if plan is None:
        assert not some_way(stack, fleet, observed)
        return
    after = applied(plan, observed)
    check_room(after, observed)
    check_rules(stack, fleet, after)
    assert plan_of(stack, fleet, after, stack, scheduler=scheduler).empty


@either_way
@holds_in(1_750, *[(False, True)] * (1 + len(NAMES)))
def test_an_update_keeps_what_it_can_and_has_room_at_every_step(case: Case, scheduler: Scheduler) -> None:
    """Chosen besides: whether it is the way back, and which services have the containers that they had."""
    (fleet, empty), before, stack, (back, *keeps) = case
    same = {name for name, kept in zip(NAMES, keeps, strict=True) if kept}
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


@either_way
@holds_in(1_500, range(100))
def test_the_order_of_what_is_given_does_not_matter(case: Case, scheduler: Scheduler) -> None:
    """Chosen besides: in which other order."""
    (fleet, empty), before, stack, (seed,) = case
    first = planned(before, fleet, empty, None, scheduler)
    observed = applied(first, empty) if first else empty

    chance = Random(seed)  # noqa: S311 - a shuffle, not a secret

    def shuffled(items: tuple[Item, ...]) -> tuple[Item, ...]:
        return tuple(chance.sample(items, len(items)))

    mixed_fleet = Fleet(shuffled(fleet.hosts))
    hosts = tuple(replace(h, containers=shuffled(h.containers)) for h in observed.hosts)
    mixed = Observed(shuffled(hosts))
    plan = planned(stack, fleet, observed, before, scheduler)
    again = planned(stack, mixed_fleet, mixed, before, scheduler)
    assert plan == again if plan is None or again is None else plan == replace(again, fleet=plan.fleet)

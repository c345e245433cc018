"""Hypothesis strategies of planning: fleets, stacks, and what has become of a fleet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from support.planning import (
    APP,
    altered,
    deployed,
    fleet_of,
    lost,
    plan_of,
    service_of,
    walk,
    with_container,
    without,
)

from gitops.model.fleet import CONTAINER_HOSTS, LOAD_BALANCERS, Fleet
from gitops.model.observed import Container, Observed
from gitops.model.stack import Service, Stack

# Derandomized: the same cases at every run. A deadline would measure the machine.
CASES = settings(max_examples=40, deadline=None, derandomize=True)

Picked = tuple[Any, ...]


def picks(*choices: Sequence[Any]) -> st.SearchStrategy[Picked]:
    """One of each. Drawn as one number, in a tenth of the time of a draw for each; 0 is the first of all."""
    whole = prod(map(len, choices))
    size = (whole.bit_length() + 7) // 8

    def of(drawn: bytes) -> Picked:
        number, found = int.from_bytes(drawn) % whole, []
        for each in choices:
            number, place = divmod(number, len(each))
            found.append(each[place])
        return tuple(found)

    return st.binary(min_size=size, max_size=size).map(of)  # of integers as large most drawn are small


_GROUPS = st.sampled_from([(CONTAINER_HOSTS,), (CONTAINER_HOSTS,), (CONTAINER_HOSTS, LOAD_BALANCERS)])


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    hosts = {f"h{n}": draw(_GROUPS) for n in range(1, draw(st.integers(1, 4)) + 1)}
    return fleet_of({**hosts, "lb1": LOAD_BALANCERS})


_SERVICE: Mapping[str, Sequence[Any]] = {
    "image": (1, 2, 3),
    "mode": ("replicated", "replicated", "replicated", "global"),
    "replicas": range(6),
    "parallelism": range(4),
    "order": ("start-first", "stop-first"),
    "ports": ((), (80,), (80, 8080)),
    "healthcheck": (False, True),
    "volumes": ((), (), ("data",)),
    "strategy": ("rolling", "canary", "blue-green"),
    "steps": ((5, 25, 50), (50,), (1, 99)),
}
_PICKED = picks(*_SERVICE.values())


@st.composite
def services(draw: st.DrawFn, name: str) -> Service:
    said = dict(zip(_SERVICE, draw(_PICKED), strict=True))
    said["image"] = f"{name}:{said['image']}"
    if said["mode"] == "global" or said["order"] == "stop-first" or not said["ports"]:
        said["strategy"] = "rolling"
    return service_of(name, said)


@st.composite
def stacks(draw: st.DrawFn, commit: str = "b") -> Stack:
    names = draw(st.lists(st.sampled_from(["api", "db", "web"]), unique=True, max_size=3))
    return Stack(APP, commit * 40, tuple(draw(services(name)) for name in names))


_FAULTS = st.sampled_from(["gone", "exited", "created", "unhealthy", "starting", "twin", "stray"])


@st.composite
def situations(draw: st.DrawFn) -> tuple[Fleet, Stack, Observed]:
    """A fleet, what was deployed to it, and what came of that: faults, a rollout that broke off."""
    fleet = draw(fleets())
    before = draw(stacks("a"))
    observed = deployed(before, fleet)
    if draw(st.booleans()):  # another rollout on top that got only so far
        other = plan_of(draw(stacks("c")), fleet, observed, before)
        seen = [observed, *(state for _, state in walk(other, observed))]
        observed = draw(st.sampled_from(seen))
    for container in observed.containers(APP):
        if draw(st.integers(0, 4)) == 0:
            observed = _faulty(observed, container, draw(_FAULTS))
    for host in draw(st.lists(st.sampled_from(fleet.container_hosts), max_size=2)):
        observed = _with_neighbour(observed, host.name, 20000 + draw(st.integers(0, 3)))
    if draw(st.integers(0, 3)) == 0:
        observed = Observed(tuple(replace(host, servers=()) for host in observed.hosts))
    return fleet, before, observed


def _faulty(observed: Observed, container: Container, fault: str) -> Observed:
    match fault:
        case "gone":
            return without(observed, [(container.host, container.name)])
        case "exited" | "created":
            return altered(observed, container.name, state=fault, exit_code=3)
        case "unhealthy" | "starting":
            return altered(observed, container.name, health=fault)
        case "twin":
            twin = replace(container, id=f"{container.id}-twin", name=f"{container.name}-twin", ports=())
            return with_container(observed, twin)
        case _:
            return altered(observed, container.name, slot=container.slot + 3)


def _with_neighbour(observed: Observed, host: str, port: int) -> Observed:
    state = observed.host(host)
    assert state is not None
    if port in state.ports_used:
        return observed
    neighbour = Container(
        id=f"blog-{host}-{port}",
        name=f"blog-web-{port}",
        host=host,
        app="blog",
        service="web",
        slot=1,
        spec="f" * 64,
        commit="f" * 40,
        image="blog:1",
        state="running",
        ports=((80, port),),
    )
    return with_container(observed, neighbour)


@st.composite
def absences(draw: st.DrawFn) -> tuple[Fleet, Stack, Observed, Observed]:
    """A fleet, what was deployed to it, what runs, and the same with some hosts absent."""
    hosts = {f"h{n}": CONTAINER_HOSTS for n in range(1, draw(st.integers(2, 4)) + 1)}
    fleet = fleet_of({**hosts, "lb1": LOAD_BALANCERS, "lb2": LOAD_BALANCERS})
    before = draw(stacks("a"))
    whole = deployed(before, fleet)
    if draw(st.booleans()):
        other = plan_of(draw(stacks("c")), fleet, whole, before)
        whole = draw(st.sampled_from([whole, *(state for _, state in walk(other, whole))]))
    away = [f"h{draw(st.integers(1, len(hosts)))}"]
    away += draw(st.sampled_from([[], [], ["lb1"], ["lb2"]]))
    return fleet, before, whole, lost(whole, away)

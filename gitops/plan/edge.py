"""What the load balancers serve, as lines of service, container port and server, and what changes them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gitops.model.edge import Assembled
from gitops.model.fleet import Fleet
from gitops.model.observed import Container, Observed, ObservedHost, ProxyServer
from gitops.model.plan import Backend, HostChange, Start
from gitops.model.stack import Stack


class Line(NamedTuple):
    """One server of one backend. A tuple, because thousands of them are sorted for each phase."""

    service: str
    target: int  # container port
    name: str  # container name
    address: str
    port: int  # host port


@dataclass(frozen=True)
class Seen:
    """Which of an application's servers the load balancers reported as taking traffic."""

    known: frozenset[str] = frozenset()  # services of which some load balancer or node reported a server
    anywhere: frozenset[str] = frozenset()  # names that take traffic on some of them
    everywhere: frozenset[str] = frozenset()  # names that take traffic on all that reported their service
    up: frozenset[str] = frozenset()  # names that the own check of some of them has reached
    down: frozenset[str] = frozenset()  # names that all that have them call down, or have disabled
    weights: Mapping[str, int] = field(default_factory=dict)
    """The weights of all servers of services in which not all are alike: two versions share the requests."""


def backend_name(app: str, service: str, target: int) -> str:
    """The name of a backend in haproxy.cfg."""
    return f"{app}.{service}.{target}"


def _disabled(server: ProxyServer) -> bool:
    """Whether somebody has taken it out of service; one of weight 0 is ready, and only gets nothing."""
    return server.status.startswith("MAINT") or (server.status.startswith("DRAIN") and server.weight > 0)


def look(app: str, fleet: Fleet, observed: Observed) -> Seen:
    """What load balancers and nodes reported of one application's servers."""
    reported: dict[str, list[frozenset[str]]] = {}  # service -> what takes traffic, on each that reported it
    weights: dict[str, int] = {}
    up: set[str] = set()
    lives: dict[str, bool] = {}  # whether some of them reaches it
    for host in sorted(fleet.hosts, key=lambda host: host.name):
        state = observed.host(host.name)
        for service, own in _by_service(app, state.servers if state else ()).items():
            reported.setdefault(service, []).append(frozenset(s.name for s in own if not _disabled(s)))
            up.update(s.name for s in own if s.status.startswith("UP"))
            for s in own:
                alive = not (s.status.startswith("DOWN") or _disabled(s))
                lives[s.name] = lives.get(s.name, False) or alive
            if any(s.weight != 1 for s in own):
                weights |= {s.name: s.weight for s in own}
    return Seen(
        known=frozenset(reported),
        anywhere=frozenset().union(*(names for found in reported.values() for names in found)),
        everywhere=frozenset().union(*(frozenset.intersection(*found) for found in reported.values())),
        up=frozenset(up),
        down=frozenset(name for name, alive in lives.items() if not alive),
        weights=weights,
    )


def _by_service(app: str, servers: Iterable[ProxyServer]) -> dict[str, list[ProxyServer]]:
    """An application's servers by the service of their backends."""
    backends: dict[str, list[ProxyServer]] = {}
    for server in servers:
        backends.setdefault(server.backend, []).append(server)
    found: dict[str, list[ProxyServer]] = {}
    for backend, own in backends.items():
        if backend.startswith(f"{app}."):
            found.setdefault(_service(app, backend), []).extend(own)
    return found


def _service(app: str, backend: str) -> str:
    """The service of a backend's name."""
    return backend.removeprefix(f"{app}.").rpartition(".")[0]


def serves(container: Container, seen: Seen) -> bool:
    """Whether a container that is about to be replaced or removed takes traffic now.

    One that was never switched in (of a rollout that broke off) must not be
    switched in on its way out, nor one that no check has reached: a load balancer
    that does not have it yet would wait for it.
    """
    if not container.well or container.name in seen.down:
        return False
    if container.service in seen.known:
        return container.name in seen.anywhere
    return container.health != "starting"


def settled(container: Container, seen: Seen, *, served: bool) -> bool:
    """Whether a container has passed its start and its switch: an earlier rollout may have broken off."""
    if container.health == "starting":
        return False
    return not served or container.name in seen.everywhere


def targets(service: str, stacks: Iterable[Stack | None]) -> tuple[int, ...]:
    """The container ports that are balanced over for a service in any of the stacks, sorted."""
    found = [stack.service(service) for stack in stacks if stack]
    return tuple(sorted({port for s in found if s for port in s.balanced}))


def container_lines(container: Container, ports: Iterable[int], fleet: Fleet) -> frozenset[Line]:
    """The lines of a container that runs, for those of the ports that it publishes."""
    host = fleet.host(container.host)
    if host is None:
        return frozenset()
    published = dict(reversed(container.ports))  # the lowest host port where one is published twice
    return frozenset(
        Line(container.service, port, container.name, host.address, published[port])
        for port in ports
        if port in published
    )


def start_lines(start: Start, fleet: Fleet) -> frozenset[Line]:
    """The lines of a container that the plan starts."""
    host = fleet.host(start.host)
    address = host.address if host else start.host
    return frozenset(
        Line(start.service, target, start.container, address, port) for target, port in start.ports
    )


def drifted(app: str, final: tuple[Backend, ...], state: ObservedHost) -> tuple[HostChange, ...]:
    """What a HAProxy that reported servers serves otherwise than in the end.

    A server that waits in maintenance for its removal takes nothing, and is no difference.
    """
    if not state.servers:
        return ()
    names = {(b.service, b.target): backend_name(app, b.service, b.target) for b in final}
    wanted = {(names[b.service, b.target], server.name) for b in final for server in b.servers}
    served = {(s.backend, s.name) for s in state.servers if s.weight == 1 and not _disabled(s)}
    if len(served) == len(state.servers) and served == wanted:
        return ()  # as it nearly always is
    found = _otherwise(app, wanted, state.servers)
    return tuple(HostChange(state.name, reason, follows) for reason, follows in found)


def runs_otherwise(app: str, files: Assembled, state: ObservedHost) -> str:
    """What a HAProxy runs of an application otherwise than its files say, beside its servers; or empty.

    While HAProxy is about to load the files of some deployment, only the application's own part counts.
    """
    running = state.running
    if running is None:
        return ""
    prefix = f"{app}."
    wanted = {key: backend for key, backend in files.routing.items() if backend.startswith(prefix)}
    # An entry is of the application to which the files give it, wherever it leads.
    there = {key: to for key, to in running.routing if files.routing.get(key, to).startswith(prefix)}
    for key in sorted(wanted.keys() | there.keys()):
        if wanted.get(key) != there.get(key):
            ways = f"leads to {there.get(key, 'nothing')}, in the file to {wanted.get(key, 'nothing')}"
            return f"route {key} of HAProxy {ways}"
    gone = sorted({f"backend {backend}" for backend in wanted.values()} - running.sections)
    if gone:
        return f"HAProxy has no {gone[0]}"
    if running.mark != files.mark and not state.loading:
        return "HAProxy has not loaded haproxy.cfg"
    return ""


def _otherwise(
    app: str, wanted: Collection[tuple[str, str]], servers: Iterable[ProxyServer]
) -> Iterator[tuple[str, bool]]:
    """Each difference, and whether it may come of a change among the containers."""
    there = {(s.backend, s.name): s for s in servers if s.backend.startswith(f"{app}.")}
    for place in sorted(wanted):
        server = there.get(place)
        if server is None:
            yield f"server {place[1]} missing in HAProxy", True
        elif _disabled(server):
            yield f"server {place[1]} disabled in HAProxy ({server.status})", False
        elif server.weight != 1:
            yield f"server {place[1]} has weight {server.weight} in HAProxy", False
    for place, server in sorted(there.items()):
        if place not in wanted and not _disabled(server):
            yield f"server {place[1]} in HAProxy is not of the commit", True

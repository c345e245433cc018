"""What the load balancers serve, as lines of service, container port and server, and what changes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gitops.model.fleet import Fleet
from gitops.model.observed import Container, Observed, ProxyServer
from gitops.model.plan import Backend, Server, Start
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

    known: bool  # whether any load balancer reported any server of the application
    anywhere: frozenset[str] = frozenset()  # names that take traffic on some load balancer
    everywhere: frozenset[str] = frozenset()  # names that take traffic on all that reported
    weights: Mapping[str, int] = field(default_factory=dict)
    """The weights of all servers of services in which not all are alike: two versions share the requests."""


def backend_name(app: str, service: str, target: int) -> str:
    """The name of a backend in haproxy.cfg."""
    return f"{app}.{service}.{target}"


def _disabled(server: ProxyServer) -> bool:
    """Whether somebody has taken it out of service; one of weight 0 is ready, and only gets nothing."""
    return server.status.startswith("MAINT") or (server.status.startswith("DRAIN") and server.weight > 0)


def look(app: str, fleet: Fleet, observed: Observed) -> Seen:
    """What the load balancers reported of one application's servers."""
    reported = []
    weights: dict[str, int] = {}
    for host in sorted(fleet.load_balancers, key=lambda host: host.name):
        state = observed.host(host.name)
        ours = [s for s in state.servers if s.backend.startswith(f"{app}.")] if state else []
        if ours:
            reported.append(frozenset(s.name for s in ours if not _disabled(s)))
        weighed = {_service(s.backend) for s in ours if s.weight != 1}
        weights |= {s.name: s.weight for s in ours if _service(s.backend) in weighed}
    if not reported:
        return Seen(known=False)
    return Seen(
        known=True,
        anywhere=frozenset.union(*reported),
        everywhere=frozenset.intersection(*reported),
        weights=weights,
    )


def _service(backend: str) -> str:
    """Application and service of a backend's name."""
    return backend.rpartition(".")[0]


def serves(container: Container, seen: Seen) -> bool:
    """Whether a container that is about to be replaced or removed takes traffic now.

    One that was never switched in (of a rollout that broke off) must not be
    switched in on its way out.
    """
    return container.well and (
        container.name in seen.anywhere if seen.known else container.health != "starting"
    )


def settled(container: Container, seen: Seen, *, served: bool) -> bool:
    """Whether a container has passed its start and its switch: an earlier rollout may have broken off."""
    if container.health == "starting":
        return False
    return not served or container.name in seen.everywhere


def targets(service: str, *stacks: Stack | None) -> tuple[int, ...]:
    """The container ports that the edge balances over for a service in any of the stacks, sorted."""
    found = [stack.service(service) for stack in stacks if stack]
    return tuple(sorted({port for s in found if s for port in s.container.target_ports}))


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


def backends(lines: Iterable[Line], weights: Mapping[str, int] | None = None) -> tuple[Backend, ...]:
    """Lines as sorted backends, with weights by name; one without a server is left out."""
    weighed = weights or {}
    found: dict[tuple[str, int], list[Server]] = {}
    for line in sorted(lines):
        server = Server(line.name, line.address, line.port, weighed.get(line.name))
        found.setdefault((line.service, line.target), []).append(server)
    return tuple(Backend(service, target, tuple(servers)) for (service, target), servers in found.items())


def drifted(app: str, final: tuple[Backend, ...], fleet: Fleet, observed: Observed) -> bool:
    """Whether a load balancer that reported servers lacks one of the final ones, or does not fully use it."""
    wanted = {(backend_name(app, b.service, b.target), server.name) for b in final for server in b.servers}
    for host in fleet.load_balancers:
        state = observed.host(host.name)
        if (
            state
            and state.servers
            and not wanted
            <= {(s.backend, s.name) for s in state.servers if not _disabled(s) and s.weight == 1}
        ):
            return True
    return False

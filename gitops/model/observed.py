"""Observed state: what the hosts report."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from gitops.model.edge import Running
from gitops.model.size import CORE, NOTHING, Size

Health = Literal["none", "starting", "healthy", "unhealthy"]
ContainerState = Literal["created", "running", "paused", "restarting", "removing", "exited", "dead"]

LABEL_APP = "gitops.app"
LABEL_SERVICE = "gitops.service"
LABEL_SLOT = "gitops.slot"
LABEL_SPEC = "gitops.spec"
LABEL_COMMIT = "gitops.commit"
LABEL_TIMEOUT = "gitops.timeout"  # of jobs alone: seconds that it may run
LABEL_CPUS = "gitops.cpus"  # where cores are reserved for it: thousandths
LABEL_MEMORY = "gitops.memory"  # where memory is reserved for it: bytes
LABEL_FENCE = "gitops.fence"  # of jobs alone: no automatic rollback crosses it


@dataclass(frozen=True)
class Container:
    """One managed container as its engine reports it."""

    id: str
    name: str
    host: str
    app: str
    service: str
    slot: int
    spec: str  # digest of the resolved spec
    commit: str
    image: str
    state: ContainerState
    health: Health = "none"
    exit_code: int | None = None
    restarts: int | None = None  # by its engine, as its policy says; None where the pass did not ask
    crashing: bool = False  # whether the last one of them is less than ten minutes ago
    created_s: float = 0.0  # when it was made, seconds since 1970 by its host's clock
    ports: tuple[tuple[int, int], ...] = ()  # (container port, host port), sorted
    timeout_s: float | None = None  # of a job: how long it may run
    ran_s: float = 0.0  # of a job that has ended
    fence: bool = False  # a job that no automatic rollback may cross
    reserved: Size = NOTHING  # of its host

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return self.state == "running"

    @property
    def well(self) -> bool:
        """Running and not known to be unhealthy."""
        return self.running and self.health != "unhealthy"

    @property
    def job(self) -> bool:
        """Whether it was made to run to its end."""
        return self.timeout_s is not None

    @property
    def ended(self) -> bool:
        """Whether it is a job whose run is over, well or not: it takes nothing of its host any more."""
        return self.job and self.state in {"exited", "dead"}

    @property
    def overdue(self) -> bool:
        """Whether it is a job that ran longer than it may: told to stop, a program may well exit with 0."""
        return self.timeout_s is not None and self.ran_s > self.timeout_s

    @property
    def finished(self) -> bool:
        """Whether it is a job that has run to its end: it stays where it is, as the mark of that."""
        return self.job and self.state == "exited" and self.exit_code == 0 and not self.overdue


@dataclass(frozen=True)
class Found:
    """Where a service of some application is found, as that application has recorded it."""

    service: str
    address: str  # of the service network
    expose_to: tuple[str, ...] = ()  # other applications that may find it


@dataclass(frozen=True)
class Release:
    """The release file of one application on one host: the commit that was last recorded as good there."""

    app: str
    commit: str
    deployment: str
    services: tuple[Found, ...] = ()  # those with an address, by name


@dataclass(frozen=True)
class ProxyServer:
    """One server line of HAProxy at run time."""

    backend: str
    name: str
    address: str  # "address:port"
    status: str  # as `show stat` has it: UP, DOWN, MAINT, DRAIN, no check ...
    check: str = ""  # last check: L4OK, L7OK, L4CON ...
    sessions: int = 0  # current
    requests: int = 0  # total
    errors_5xx: int = 0  # total
    weight: int = 1


@dataclass(frozen=True)
class ObservedHost:
    """What one host reported in one pass."""

    name: str
    reachable: bool
    error: str = ""  # why it is not reachable, else empty
    engine: str = ""  # "docker 20.10.24" or "podman 4.3.1"; empty where there is none
    architecture: str = ""
    cpus: int = 0
    memory: int = 0  # bytes
    containers: tuple[Container, ...] = ()  # managed ones of every application
    ports_used: tuple[int, ...] = ()  # host ports published by any container, sorted
    listening: tuple[int, ...] = ()  # TCP ports that any process of it listens on, sorted
    listening_everywhere: tuple[int, ...] = ()  # those of them on all addresses
    releases: tuple[Release, ...] = ()
    fragments: tuple[tuple[str, str], ...] = ()  # (application, its haproxy.cfg fragment)
    servers: tuple[ProxyServer, ...] = ()  # of the edge, and of a container host that has a fragment
    proxy: bool = True  # whether a HAProxy can be talked to
    networks: tuple[str, ...] = ()  # whose addresses are all its own, such as `10.96.0.0/16`; if asked
    root: bool = True  # whether we may change that
    config: str = ""  # SHA-256 of its haproxy.cfg and the maps, hex; empty where nobody looked
    running: Running | None = None  # what its HAProxy has loaded; None where it does not answer, or unasked
    loading: bool = False  # whether a deployment has swapped haproxy.cfg and HAProxy is about to load it

    @property
    def size(self) -> Size:
        """What there is of it in all; 0 where that is not known."""
        return Size(self.cpus * CORE, self.memory)


@dataclass(frozen=True)
class Observed:
    """One pass over the fleet, hosts sorted by name."""

    hosts: tuple[ObservedHost, ...] = ()
    allotted: frozenset[str] = frozenset()  # addresses of deployments under way, perhaps not on a host yet

    def host(self, name: str) -> ObservedHost | None:
        """What the host of that name reported, or None."""
        return self._by_name.get(name)

    @cached_property
    def _by_name(self) -> dict[str, ObservedHost]:
        return {host.name: host for host in reversed(self.hosts)}

    @property
    def away(self) -> tuple[ObservedHost, ...]:
        """The hosts that could not be asked."""
        return tuple(host for host in self.hosts if not host.reachable)

    def runs(self, app: str) -> bool:
        """Whether any host has a container of an application."""
        return any(container.app == app for host in self.hosts for container in host.containers)

    def containers(self, app: str) -> tuple[Container, ...]:
        """The containers of one application on all hosts, by host, service, slot and name."""
        found = [c for host in self.hosts for c in host.containers if c.app == app]
        return tuple(sorted(found, key=lambda c: (c.host, c.service, c.slot, c.name)))

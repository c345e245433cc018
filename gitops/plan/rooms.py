"""The container hosts while a plan fills them: ports, counts, and room over the plan's time.

Time is counted in batches. A container that comes stays; one that goes takes room until its
batch, so that what starts beside it is counted with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gitops.errors import PermanentError, Where
from gitops.model.fleet import Fleet, Host
from gitops.model.observed import Observed, ObservedHost
from gitops.model.placement import Scheduler
from gitops.model.size import NOTHING, Size
from gitops.model.stack import Service, Stack
from gitops.plan.diff import ServiceDiff

PORTS = range(20000, 30000)
"""Host ports that are allotted; outside of Linux' usual range for outgoing connections."""

Freed = Mapping[str, int]
"""Containers that go, by id: the batch from which on they are gone."""

_AT_REST = frozenset({"exited", "dead"})


@dataclass(slots=True)
class Room:
    """One container host while the plan fills it."""

    host: Host
    state: ObservedHost | None
    out: str  # why the host is to be empty, where it is
    whole: Size  # what containers may have of it; 0 where that is not known
    of_app: int = 0
    of_all: int = 0
    of_service: Counter[str] = field(default_factory=Counter)
    held: set[int] = field(default_factory=set)  # host ports that stay in use until the plan's end
    used: set[int] = field(default_factory=set)  # host ports that cannot be allotted
    taken: Size = NOTHING  # at the plan's end
    leaving: dict[str, tuple[int, Size]] = field(default_factory=dict)  # id -> gone from that batch on
    coming: list[tuple[int, Size]] = field(default_factory=list)  # from that batch on
    name: str = ""
    _next_port: int = PORTS.start

    def __post_init__(self) -> None:
        self.name = self.host.name

    def fits(self, size: Size, batch: int) -> bool:
        """Whether there is room from a batch on, beside what has not gone by then."""
        if NOTHING in (size, self.whole):
            return True
        return self._within(size, self.peak(batch) if self.leaving else self.taken)

    def might_fit(self, size: Size) -> bool:
        """Whether there is room now, or may be once something has left."""
        return bool(self.leaving) or self._within(size, self.taken)

    def _within(self, size: Size, taken: Size) -> bool:
        """Only what is reserved is asked for: what has no reservation finds room on a full host."""
        cpus, memory = self.whole
        return (not size.cpus or not cpus or taken.cpus + size.cpus <= cpus) and (
            not size.memory or not memory or taken.memory + size.memory <= memory
        )

    def peak(self, batch: int) -> Size:
        """The most that is taken at once, of cores and of memory, from a batch on."""
        times = {batch, *(time for time, _ in self.coming if time > batch)}
        at = [self._at(time) for time in times]
        return Size(max(size.cpus for size in at), max(size.memory for size in at))

    def _at(self, time: int) -> Size:
        cpus, memory = self.taken
        for since, size in self.coming:
            if since > time:
                cpus, memory = cpus - size.cpus, memory - size.memory
        for until, size in self.leaving.values():
            if until > time:
                cpus, memory = cpus + size.cpus, memory + size.memory
        return Size(cpus, memory)

    def count(self, service: Service) -> None:
        """Counts one container of a service that stays or comes."""
        self.of_service[service.name] += 1
        self.of_app += 1
        self.of_all += 1
        self.held |= claimed(service)

    def take(self, service: Service, batch: int) -> None:
        """Counts one new container of a service, from a batch on."""
        self.count(service)
        size = service.container.reserved
        if size != NOTHING:
            self.taken = Size(self.taken.cpus + size.cpus, self.taken.memory + size.memory)
            self.coming.append((batch, size))

    def give_back(self, service: Service, batch: int) -> None:
        """Takes back what `take` counted."""
        self.of_service[service.name] -= 1
        self.of_app -= 1
        self.of_all -= 1
        self.held -= claimed(service)
        size = service.container.reserved
        if size != NOTHING:
            self.taken = Size(self.taken.cpus - size.cpus, self.taken.memory - size.memory)
            self.coming.remove((batch, size))

    def allot(self, targets: Iterable[int]) -> tuple[tuple[int, int], ...]:
        """One free host port for each container port, the lowest first.

        Raises:
            PermanentError: all ports of the range are in use.
        """
        pairs = []
        for target in targets:
            while self._next_port in self.used:
                self._next_port += 1
            if self._next_port not in PORTS:
                raise PermanentError(
                    f"no host port from {PORTS.start} to {PORTS.stop - 1} is free",
                    hint="remove containers from this host or add a host",
                    where=Where(host=self.name),
                )
            pairs.append((target, self._next_port))
            self._next_port += 1
        return tuple(sorted(pairs))


def claimed(service: Service) -> set[int]:
    """The host ports that a service publishes on the host itself (`mode: host`)."""
    return {host_port for host_port, _, _ in service.container.host_ports}


def rooms_of(
    stack: Stack,
    diffs: Sequence[ServiceDiff],
    freed: Freed,
    fleet: Fleet,
    observed: Observed,
    out: Mapping[str, str],
    scheduler: Scheduler,
) -> dict[str, Room]:
    """Every container host by name, in the order of the names, with what stays there.

    Args:
        stack: the desired state.
        diffs: what is to be done.
        freed: every container that goes.
        fleet: the hosts.
        observed: what the hosts reported.
        out: hosts that are to be empty, with why.
        scheduler: what of each host is not given to containers.
    """
    adopted = {n.adopted.id for diff in diffs for n in diff.needs if n.adopted}
    claims = {port for service in stack.services for port in claimed(service)}
    rooms = {}
    for host in sorted(fleet.container_hosts, key=lambda host: host.name):
        state = observed.host(host.name)
        room = Room(host, state, out.get(host.name, ""), _whole(state, scheduler.reserve))
        if state is not None:
            _furnish(room, state, stack.app, freed, adopted)
        room.used |= claims
        rooms[host.name] = room
    return rooms


def _whole(state: ObservedHost | None, reserve: Size) -> Size:
    """What containers may have; what is not known limits nothing."""
    size = state.size if state else NOTHING
    return Size(
        max(1, size.cpus - reserve.cpus) if size.cpus else 0,
        max(1, size.memory - reserve.memory) if size.memory else 0,
    )


def _furnish(room: Room, state: ObservedHost, app: str, freed: Freed, adopted: Collection[str]) -> None:
    """Puts in what is there: of the application, and of all others."""
    room.held.update(state.ports_used)
    # Proxies of their own may listen at single addresses, which keeps nobody from publishing elsewhere.
    room.held.update(state.listening_everywhere)
    room.used.update(state.listening)
    cpus = memory = 0
    for c in state.containers:
        ports = {port for _, port in c.ports}
        room.held |= ports
        room.used |= ports
    room.used |= room.held
    for c in state.containers:
        if c.id in freed:
            room.held.difference_update(port for _, port in c.ports)
            if c.reserved != NOTHING and not c.ended:
                room.leaving[c.id] = (freed[c.id], c.reserved)
            continue
        if not c.ended:
            cpus, memory = cpus + c.reserved.cpus, memory + c.reserved.memory
        if c.state in _AT_REST:
            continue
        room.of_all += 1
        if c.app == app and c.id not in adopted:  # what is taken up again counts when it is placed
            room.of_app += 1
            room.of_service[c.service] += 1
    room.taken = Size(cpus, memory)

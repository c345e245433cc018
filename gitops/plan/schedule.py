"""Where new containers go: host, host ports and name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gitops.errors import PermanentError, Where
from gitops.model.fleet import Fleet
from gitops.model.observed import Container, Observed
from gitops.model.plan import Start
from gitops.model.stack import Service, Stack
from gitops.plan.diff import NOWHERE, Need, ServiceDiff

PORTS = range(20000, 30000)
"""Host ports that are allotted; outside of Linux' usual range for outgoing connections."""

_DIGEST_SHOWN = 8  # of a spec's digest, in a container's name


@dataclass
class _Room:
    """One container host while the plan fills it."""

    name: str
    of_app: int
    of_all: int
    used: set[int]  # host ports that cannot be allotted: in use now, allotted, or claimed by a service
    held: set[int]  # host ports that stay in use until the plan's end
    out: str = ""  # why the host is to be empty, where it is
    of_service: Counter[str] = field(default_factory=Counter)

    def load(self, service: str) -> tuple[int, int, int, str]:
        """What the spread compares: the fewest of the service, of the application, of all, then the name."""
        return (self.of_service[service], self.of_app, self.of_all, self.name)

    def take(self, service: Service) -> None:
        """Counts one new container of a service."""
        self.of_service[service.name] += 1
        self.of_app += 1
        self.of_all += 1
        self.held |= claimed(service)

    def allot(self, targets: Iterable[int]) -> tuple[tuple[int, int], ...]:
        """One free host port for each container port, the lowest first.

        Raises:
            PermanentError: all ports of the range are in use.
        """
        pairs = []
        for target in targets:
            port = next((port for port in PORTS if port not in self.used), None)
            if port is None:
                raise PermanentError(
                    f"no host port from {PORTS.start} to {PORTS.stop - 1} is free",
                    hint="remove containers from this host or add a host",
                    where=Where(host=self.name),
                )
            self.used.add(port)
            pairs.append((target, port))
        return tuple(sorted(pairs))


def claimed(service: Service) -> set[int]:
    """The host ports that a service publishes on the host itself (`mode: host`)."""
    return {host_port for host_port, _, _ in service.container.host_ports}


def schedule(
    stack: Stack,
    diffs: Sequence[ServiceDiff],
    gone: Sequence[Container],
    fleet: Fleet,
    observed: Observed,
    *,
    complete: bool = True,
    out: Mapping[str, str] = NOWHERE,
) -> dict[tuple[str, int], Start]:
    """Places every container that is to be started.

    Args:
        stack: the desired state.
        diffs: what is to be done, in the stack's order.
        gone: containers of services that are no longer in the stack.
        fleet: the hosts.
        observed: what the hosts reported.
        complete: whether all hosts have; else one that is absent may have a container of a slot
            that looks empty, and once it is back the two must differ in name.
        out: hosts that are to be empty, with why. Only what has its data there is started there.

    Returns:
        The start of each service and slot.

    Raises:
        PermanentError: no host can take a container.
    """
    rooms = _rooms(stack, diffs, gone, fleet, observed, out)
    names = {container.name for host in observed.hosts for container in host.containers}
    # HAProxy keeps the address of a server that it knows by name, one of a lost container, too.
    names |= {server.name for host in observed.hosts for server in host.servers}
    starts: dict[tuple[str, int], Start] = {}
    for diff in diffs:
        for need, room in _placed(diff, rooms):
            first = 1 if complete or need.outgoing else 2
            starts[diff.service.name, need.slot] = _start(stack.app, diff.service, need, room, names, first)
    return starts


def _rooms(
    stack: Stack,
    diffs: Sequence[ServiceDiff],
    gone: Sequence[Container],
    fleet: Fleet,
    observed: Observed,
    out: Mapping[str, str],
) -> dict[str, _Room]:
    leaving = {c.id for c in gone} | {c.id for diff in diffs for c in diff.outgoing}
    adopted = {
        n.adopted.id for diff in diffs for n in diff.needs if n.adopted
    }  # counted when they are placed
    claims = {port for service in stack.services for port in claimed(service)}
    rooms = {}
    for host in sorted(fleet.container_hosts, key=lambda host: host.name):
        state = observed.host(host.name)
        containers = state.containers if state else ()
        used = set(state.ports_used if state else ()) | {port for c in containers for _, port in c.ports}
        # What has ended, such as a job, takes no room.
        staying = [c for c in containers if c.id not in leaving and c.state not in {"exited", "dead"}]
        freed = {port for c in containers if c.id in leaving for _, port in c.ports}
        ours = [c for c in staying if c.app == stack.app and c.id not in adopted]
        room = _Room(host.name, len(ours), len(staying), used | claims, used - freed)
        room.out = out.get(host.name, "")
        room.of_service.update(c.service for c in ours)
        rooms[host.name] = room
    return rooms


def _placed(diff: ServiceDiff, rooms: Mapping[str, _Room]) -> Iterator[tuple[Need, _Room]]:
    """Chooses a host for each slot: first for those that stay where they are, then for the others."""
    service = diff.service
    rest: list[Need] = []
    for need in diff.needs:
        home = _home(need, service, len(diff.keeps) + len(diff.needs), rooms)
        if home is None:
            rest.append(need)
        else:
            home.take(service)
            yield need, home
    for need in rest:
        room = min(_open(service, rooms), key=lambda room: room.load(service.name), default=None)
        if room is None:
            raise _refusal(service, need, rooms)
        room.take(service)
        yield need, room


def _home(need: Need, service: Service, total: int, rooms: Mapping[str, _Room]) -> _Room | None:
    """The host that a slot has or is bound to, unless staying there would unbalance the service."""
    if need.adopted:
        return rooms[need.adopted.host]
    bound = need.host or next((c.host for c in need.outgoing if service.volumes and c.host in rooms), "")
    if bound:  # with a named volume it stays where its data is, whatever is to become of the host
        if rooms[bound].held & claimed(service):
            raise _refusal(service, need, {bound: rooms[bound]})
        return rooms[bound]
    open_ = {room.name: room for room in _open(service, rooms)}
    room = next((open_[c.host] for c in need.outgoing if c.host in open_), None)
    if room is None:
        return None
    fair, spare = divmod(total, len(open_))
    count = room.of_service[service.name]
    if count < fair:
        return room
    fuller = sum(other.of_service[service.name] > fair for other in open_.values())
    return room if count == fair and fuller < spare else None


def _open(service: Service, rooms: Mapping[str, _Room]) -> list[_Room]:
    """The hosts that take containers and where the service's own host ports are free."""
    return [room for room in rooms.values() if not room.out and not room.held & claimed(service)]


def _refusal(service: Service, need: Need, rooms: Mapping[str, _Room]) -> PermanentError:
    if not rooms:
        return PermanentError(
            "the fleet has no container host", hint="name hosts in the inventory's group container_hosts"
        )
    ports = ", ".join(str(port) for port in sorted(claimed(service)))
    taken = [room.name for room in rooms.values() if not room.out]
    why = [room.out for room in rooms.values() if room.out]
    why += [f"host port {ports} is taken on {', '.join(taken)}"] if taken else []
    return PermanentError(
        f"no host can take replica {need.slot} of {service.name}: {'; '.join(why)}",
        hint="fewer replicas, another host port, or more container hosts",
    )


def _start(app: str, service: Service, need: Need, room: _Room, names: set[str], number: int) -> Start:
    replaces = need.outgoing[0].name if need.outgoing and not service.job else ""
    targets = service.balanced
    if there := need.adopted:
        ports = tuple((target, port) for target, port in there.ports if target in targets)
        return Start(
            service.name, need.slot, room.name, there.name, ports, need.reason, replaces, service.job
        )
    # A name is never used twice, not even of a container that goes first: running
    # the rendered playbook a second time would remove what the first run started.
    plain = f"{app}-{service.name}-{need.slot}-{service.container.digest[:_DIGEST_SHOWN]}"
    name = plain if number == 1 else f"{plain}-{number}"
    while name in names:
        number += 1
        name = f"{plain}-{number}"
    names.add(name)
    ports = room.allot(targets)
    return Start(service.name, need.slot, room.name, name, ports, need.reason, replaces, service.job)

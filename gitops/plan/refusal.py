"""Why no host can take a container: a line a host."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from gitops.errors import PermanentError
from gitops.model.size import Size, bytes_text, cores
from gitops.model.stack import Service
from gitops.plan.rooms import Room, claimed

_SHOWN = 20  # hosts that a refusal lists


class PortsHeldError(PermanentError):
    """No host can take a container while programs of hosts hold ports: the commit is not at fault."""


def why_not(service: Service, room: Room, unfit: Mapping[str, str], batch: int) -> str:
    """Why a host cannot take one more container of a service in a batch, or empty.

    Args:
        service: the service.
        room: the host.
        unfit: the hosts that the service's constraints exclude, with why.
        batch: when the container would start.
    """
    if room.out:
        return room.out.removeprefix(f"host {room.name} ")
    if reason := unfit.get(room.name, ""):
        return reason
    if ports := sorted(room.held & claimed(service)):
        return f"host port {', '.join(map(str, ports))} is taken"
    most = service.placement.most_per_host
    if most and room.of_service[service.name] >= most:
        return f"max_replicas_per_node: it has {most}"
    return _short(service.container.reserved, room, batch)


def _short(size: Size, room: Room, batch: int) -> str:
    """What of a size is not free: `memory: 300M free of 2G, 512M needed`."""
    if room.fits(size, batch):
        return ""
    peak = room.peak(batch)
    found = []
    for name, text, need, taken, whole in (
        ("cpus", cores, size.cpus, peak.cpus, room.whole.cpus),
        ("memory", bytes_text, size.memory, peak.memory, room.whole.memory),
    ):
        if need and whole and taken + need > whole:
            found.append(f"{name}: {text(max(0, whole - taken))} free of {text(whole)}, {text(need)} needed")
    beside = " beside what is being replaced" if room.leaving else ""
    return ", ".join(found) + beside


def reasons(
    service: Service, rooms: Collection[Room], unfit: Mapping[str, str], batch: int
) -> list[tuple[str, str]]:
    """Host and why it cannot take a container, by name; the first ones of many."""
    told = [(room.name, why_not(service, room, unfit, batch)) for room in list(rooms)[:_SHOWN]]
    more = len(rooms) - len(told)
    return [*told, *([("...", f"and {more} hosts more")] if more else [])]


def _only_foreign_ports(service: Service, room: Room, unfit: Mapping[str, str], batch: int) -> bool:
    """Whether all that keeps a host from taking a container is a port that no container of ours has there."""
    taken, state = room.held & claimed(service), room.state
    if (
        not taken
        or room.out
        or room.name in unfit
        or state is None
        or _short(service.container.reserved, room, batch)
    ):
        return False
    ours = {port for container in state.containers for _, port in container.ports}
    return not room.of_service[service.name] and not taken & ours


def refusal(
    service: Service, slot: int, rooms: Collection[Room], unfit: Mapping[str, str], batch: int
) -> PermanentError:
    """The error that says so, with a table of the hosts.

    Args:
        service: the service.
        slot: which replica.
        rooms: the hosts that it might have gone to.
        unfit: those that its constraints exclude, with why.
        batch: when it would start.
    """
    if not rooms:
        return PermanentError(
            "the fleet has no container host", hint="name hosts in the inventory's group container_hosts"
        )
    told = reasons(service, rooms, unfit, batch)
    width = max(len(name) for name, _ in told)
    table = "".join(f"\n  {name.ljust(width)}  {why}" for name, why in told)
    stop_first = ", or `order: stop-first`" if any("being replaced" in why for _, why in told) else ""
    foreign = any(_only_foreign_ports(service, room, unfit, batch) for room in rooms)
    kind = PortsHeldError if foreign else PermanentError
    return kind(
        f"no host can take replica {slot} of {service.name}:{table}\n ",
        hint=f"fewer or smaller replicas, other constraints or ports, or more container hosts{stop_first}",
        where=service.placement.where,
    )

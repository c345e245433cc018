"""Filling hosts one after the other, as full as they get: what `binpack` does with what may go anywhere.

A host takes the container whose needs point where it has most left (the greatest dot product of what it
has free and what the container needs), until none fits. So cores and memory run out together; it uses fewer
hosts than looking for the best host of each container in turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gitops.model.size import Size
from gitops.model.stack import Service
from gitops.plan.choice import takes
from gitops.plan.diff import Need
from gitops.plan.rooms import Room

Pattern = tuple[tuple[int, int], ...]
"""How many replicas of which lots a host takes."""


@dataclass
class Lot:
    """Replicas of one service that may go to any host, all alike."""

    service: Service
    needs: Sequence[Need]
    placed: int = 0

    @property
    def left(self) -> int:
        """How many are still to be placed."""
        return len(self.needs) - self.placed

    @property
    def anywhere(self) -> bool:
        """Whether every host takes as many as fit."""
        placement = self.service.placement
        return not (placement.constraints or placement.most_per_host)


def packable(service: Service) -> bool:
    """Whether replicas of a service can be packed: they need room, and nothing else says where they go."""
    return any(service.container.reserved) and not (service.placement.spread or service.container.host_ports)


def pack(
    lots: Sequence[Lot], rooms: Iterable[Room], unfit: Mapping[str, Mapping[str, str]]
) -> list[tuple[Service, Need, Room]]:
    """Places what fits, host by host: those in use first, the fullest before all; then the largest.

    Args:
        lots: what is to be placed, each of a service that is packable.
        rooms: the hosts; one from which something leaves is passed over.
        unfit: of each service the hosts that its constraints exclude.

    Returns:
        What was placed where; it is not yet counted there.
    """
    found: list[tuple[Service, Need, Room]] = []
    known: dict[object, Pattern] = {}
    free = [room for room in rooms if all(room.whole) and not (room.leaving or room.out)]
    for room in sorted(free, key=_fullest_first):
        most = [_most(lot, room, unfit) for lot in lots]
        key = (room.whole, room.taken, tuple(most))
        pattern = known.get(key)
        if pattern is None or any(lots[index].left < count for index, count in pattern):
            pattern = known[key] = _pattern(lots, most, room)
        for index, count in pattern:
            lot = lots[index]
            found += [(lot.service, need, room) for need in lot.needs[lot.placed : lot.placed + count]]
            lot.placed += count
        if not any(lot.left for lot in lots):
            break
    return found


def _fullest_first(room: Room) -> tuple[bool, float, str]:
    left = (room.whole.cpus - room.taken.cpus) / room.whole.cpus
    left += (room.whole.memory - room.taken.memory) / room.whole.memory
    size = room.whole.cpus * room.whole.memory
    return (not room.of_all, left if room.of_all else -size, room.name)


def _most(lot: Lot, room: Room, unfit: Mapping[str, Mapping[str, str]]) -> int:
    """How many replicas of a lot the rules allow a host; 0 for as many as fit, -1 for none."""
    if lot.anywhere:
        return 0
    if not takes(lot.service, room, unfit.get(lot.service.name, {})):
        return -1
    most = lot.service.placement.most_per_host
    return most - room.of_service[lot.service.name] if most else 0


def _pattern(lots: Sequence[Lot], most: Sequence[int], room: Room) -> Pattern:
    """What a host takes."""
    cpus, memory = room.whole.cpus - room.taken.cpus, room.whole.memory - room.taken.memory
    of_cpus, of_memory = room.whole.cpus**-2, room.whole.memory**-2
    counts: dict[int, int] = {}
    open_: list[tuple[int, Size, int]] = [
        (index, lot.service.container.reserved, min(lot.left, most[index] or lot.left))
        for index, lot in enumerate(lots)
        if lot.left and most[index] >= 0
    ]
    while True:
        open_ = [
            (index, size, number)
            for index, size, number in open_
            if size.cpus <= cpus and size.memory <= memory and counts.get(index, 0) < number
        ]
        if not open_:
            return tuple(counts.items())
        index, size, _ = max(
            open_, key=lambda each: each[1].cpus * cpus * of_cpus + each[1].memory * memory * of_memory
        )
        counts[index] = counts.get(index, 0) + 1
        cpus, memory = cpus - size.cpus, memory - size.memory

"""Which host of several: the best one first, for one service."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from heapq import heapify, heappop, heappush

from gitops.model.placement import PackStrategy
from gitops.model.size import Size
from gitops.model.stack import Service
from gitops.plan.constraints import fact
from gitops.plan.rooms import Room, claimed

Key = tuple[float | str, ...]
Branch = tuple[str, ...]
Rank = Callable[[Room], Key]


class Choice:
    """The hosts that may take replicas of one service, in heaps: one for each value of its preferences.

    A host's key changes only when it takes a replica; then it is put back with the new one.
    """

    def __init__(
        self, service: Service, rooms: Mapping[str, Room], unfit: Mapping[str, str], rank: Rank
    ) -> None:
        self._service = service
        self._rooms = rooms
        self._rank = rank
        self._counts: Counter[Branch] = Counter()
        self._heaps: dict[Branch, list[tuple[Key, str]]] = {}
        self._limited = bool(service.placement.most_per_host or service.container.host_ports)
        self._aside: list[tuple[Branch, str]] = []  # no room yet, but something leaves there
        self._batch = 0
        spread, name, size = service.placement.spread, service.name, service.container.reserved
        if spread:
            for room in rooms.values():
                branch = tuple(fact(key, room.host, room.state) for key in spread)
                self._count(branch, room.of_service[name])
                if takes(service, room, unfit) and room.might_fit(size):
                    self._heaps.setdefault(branch, []).append((rank(room), room.name))
        else:
            open_ = [r for r in rooms.values() if takes(service, r, unfit) and r.might_fit(size)]
            self._heaps[()] = [(rank(room), room.name) for room in open_]
        for heap in self._heaps.values():
            heapify(heap)

    def take(self, batch: int) -> Room | None:
        """The best host for one more replica, which is counted there; or None."""
        if batch != self._batch:
            self._batch = batch
            for branch, name in self._aside:
                heappush(self._heaps[branch], (self._rank(self._rooms[name]), name))
            self._aside = []
        for branch in self._branches():
            room = self._best(branch)
            if room is not None:
                room.take(self._service, batch)
                self._count(branch, 1)
                heappush(self._heaps[branch], (self._rank(room), room.name))
                return room
        return None

    def _branches(self) -> Iterable[Branch]:
        """The fewest replicas first: by the first preference's value, then by the second's within it."""
        if len(self._heaps) == 1:
            return self._heaps

        def crowd(branch: Branch) -> tuple[tuple[int, ...], Branch]:
            return tuple(self._counts[branch[: n + 1]] for n in range(len(branch))), branch

        return sorted(self._heaps, key=crowd)

    def _count(self, branch: Branch, number: int) -> None:
        if number:
            for n in range(len(branch)):
                self._counts[branch[: n + 1]] += number

    def _best(self, branch: Branch) -> Room | None:
        heap, service = self._heaps[branch], self._service
        while heap:
            _, name = heappop(heap)
            room = self._rooms[name]
            if self._limited and not takes(service, room, {}):
                continue
            if room.fits(service.container.reserved, self._batch):
                return room
            if room.leaving:
                self._aside.append((branch, name))
        return None


def takes(service: Service, room: Room, unfit: Mapping[str, str]) -> bool:
    """Whether a host is open to one more replica of a service, room aside."""
    most = service.placement.most_per_host
    return (
        not room.out
        and room.name not in unfit
        and not (service.container.host_ports and room.held & claimed(service))
        and not (most and room.of_service[service.name] >= most)
    )


def rank_of(strategy: PackStrategy, service: Service, weights: tuple[float, float]) -> Rank:
    """What the hosts are compared by, the smallest first; the name decides between equals.

    Args:
        strategy: `spread` or `binpack`.
        service: whose replicas are placed.
        weights: what a thousandth of a core and a byte count for.
    """
    name = service.name
    if strategy == "spread":
        # The fewest of the service, of the application, of all.
        return lambda room: (room.of_service[name], room.of_app, room.of_all, room.name)
    if not any(service.container.reserved):
        # Nothing tells when a host has enough of what reserves nothing.
        return lambda room: (not room.of_all, room.of_service[name], room.of_app, room.of_all, room.name)
    return _fullest(service.container.reserved, name, *weights)


def _fullest(size: Size, name: str, of_cpus: float, of_memory: float) -> Rank:
    """Hosts in use before empty ones; then what would be left, so that cores and memory run out together.

    Of empty hosts the largest is the first.
    """

    def rank(room: Room) -> Key:
        cpus = (room.whole.cpus - room.taken.cpus - size.cpus) * of_cpus
        memory = (room.whole.memory - room.taken.memory - size.memory) * of_memory
        left = cpus * cpus + memory * memory
        if not room.of_all:
            return (1, 0, -left, room.name)
        return (0, left, room.of_service[name], room.name)

    return rank

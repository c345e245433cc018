"""Filling the hosts: first what stays where it is, then what may go anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gitops.model.placement import Scheduler
from gitops.model.stack import Service
from gitops.plan.choice import Choice, rank_of, takes
from gitops.plan.diff import NOWHERE, Need, ServiceDiff
from gitops.plan.pack import Lot, pack, packable
from gitops.plan.refusal import reasons, refusal
from gitops.plan.rooms import Room, claimed
from gitops.plan.search import Search, Wanted

Slot = tuple[str, int]
Unfit = Mapping[str, Mapping[str, str]]
"""Of each service the hosts that its constraints exclude, with why."""


@dataclass
class Filling:
    """The hosts while they are filled, and what has been placed."""

    rooms: dict[str, Room]
    times: Mapping[Slot, int]
    unfit: Unfit
    scheduler: Scheduler
    rollback: bool
    placed: dict[Slot, Room] = field(default_factory=dict)
    tight: set[Slot] = field(default_factory=set)
    waiting: dict[Slot, str] = field(default_factory=dict)
    order: dict[Slot, int] = field(default_factory=dict)
    weights: tuple[float, float] = field(init=False)

    def __post_init__(self) -> None:
        whole = [room.whole for room in self.rooms.values() if not room.out]
        self.weights = (
            1 / (sum(size.cpus for size in whole) or 1),
            1 / (sum(size.memory for size in whole) or 1),
        )

    def bulk(self, service: Service) -> float:
        """How hard one container is to place: the more so the less even its needs are."""
        size = service.container.reserved
        return (size.cpus * self.weights[0]) ** 2 + (size.memory * self.weights[1]) ** 2

    def fill(self, diffs: Sequence[ServiceDiff]) -> None:
        """Places everything in turn.

        Raises:
            PermanentError: a container has nowhere to go.
        """
        for diff in diffs:
            self.stay(diff)
        if self.scheduler.strategy == "binpack":
            self._pack(diffs)
        # The largest first, for the small ones fill what these leave.
        for diff in sorted(diffs, key=lambda diff: self.bulk(diff.service), reverse=True):
            self.go(diff)

    def _pack(self, diffs: Sequence[ServiceDiff]) -> None:
        """Places what takes nothing's place and may go anywhere, host by host."""
        lots = [Lot(diff.service, self._fresh(diff)) for diff in diffs if packable(diff.service)]
        for service, need, room in pack(lots, self.rooms.values(), self.unfit):
            room.take(service, self.times[service.name, need.slot])
            self._place(service, need, room)

    def _fresh(self, diff: ServiceDiff) -> list[Need]:
        """The slots of a service that take nothing's place."""
        free = [need for need in diff.needs if not (need.outgoing or need.host)]
        return [need for need in free if (diff.service.name, need.slot) not in self.placed]

    def search(self, diffs: Sequence[ServiceDiff]) -> bool:
        """Whether some other way of placing everything was found."""
        wanted = []
        for diff in diffs:
            for need in diff.needs:
                if need.adopted:
                    room = self.rooms[need.adopted.host]
                    room.count(diff.service)
                    self._place(diff.service, need, room)
                else:
                    wanted.append(self._wanted(diff.service, need))
        search = Search(self.rooms, self.unfit)
        found = search.run(wanted)
        for each in wanted if found else ():
            self._place(each.service, each.need, search.placed[each.service.name, each.need.slot])
        return found

    def _wanted(self, service: Service, need: Need) -> Wanted:
        """Where a slot may go: to the host that it is bound to, or to its own and then to all others."""
        batch = self.times[service.name, need.slot]
        if bound := self._bound(service, need):
            return Wanted(service, need, batch, [bound], bound=True)
        homes = [c.host for c in need.outgoing if c.host in self.rooms]
        rank = rank_of(self.scheduler.strategy, service, self.weights)
        unfit = self._unfit(service)
        others = [room for room in self.rooms.values() if takes(service, room, unfit)]
        hosts = dict.fromkeys([*homes, *(room.name for room in sorted(others, key=rank))])
        return Wanted(service, need, batch, list(hosts))

    def _bound(self, service: Service, need: Need) -> str:
        """The host that a slot cannot leave; with a named volume that is where its data is."""
        data = (c.host for c in need.outgoing if service.volumes and c.host in self.rooms)
        return need.host or next(data, "")

    def _place(self, service: Service, need: Need, room: Room) -> None:
        self.placed[service.name, need.slot] = room
        self.order[service.name, need.slot] = len(self.order)

    def stay(self, diff: ServiceDiff) -> None:
        """Places what stays where it is, or is bound to a host."""
        service = diff.service
        balance = _Balance(service, len(diff.keeps) + len(diff.needs), self.rooms, self._unfit(service))
        for need in diff.needs:
            if not (need.adopted or need.host or need.outgoing):
                continue
            if need.adopted:  # its size is counted already
                room: Room | None = self.rooms[need.adopted.host]
                self.rooms[need.adopted.host].count(service)
            else:
                room = self._home(service, need, balance)
                if room is not None:
                    room.take(service, self.times[service.name, need.slot])
            if room is not None:
                balance.counted(room)
                self._place(service, need, room)

    def go(self, diff: ServiceDiff) -> None:
        """Places what may go to any host."""
        service = diff.service
        rest = [need for need in diff.needs if (service.name, need.slot) not in self.placed]
        if not rest:
            return
        rank = rank_of(self.scheduler.strategy, service, self.weights)
        choice = Choice(service, self.rooms, self._unfit(service), rank)
        for need in rest:
            batch = self.times[service.name, need.slot]
            room = choice.take(batch)
            if room is None:
                room = self._back_home(service, need, batch)
            if room is not None:
                self._place(service, need, room)
                continue
            unfit = self._unfit(service)
            if not need.displaced:
                raise refusal(service, need.slot, self.rooms.values(), unfit, batch)
            told = reasons(service, self.rooms.values(), unfit, batch)
            self.waiting[service.name, need.slot] = "; ".join(f"{name}: {why}" for name, why in told)
            self.order[service.name, need.slot] = len(self.order)

    def _unfit(self, service: Service) -> Mapping[str, str]:
        return self.unfit.get(service.name, NOWHERE)

    def _home(self, service: Service, need: Need, balance: _Balance) -> Room | None:
        """The host that a slot has or is bound to, unless staying there would unbalance the service."""
        batch = self.times[service.name, need.slot]
        if bound := self._bound(service, need):  # whatever is to become of the host
            room = self.rooms[bound]
            ports_free = not room.held & claimed(service)
            if not ports_free or not self._fits(service, need, room, batch):
                raise refusal(service, need.slot, [room], NOWHERE, batch)
            return room
        if need.leaves:
            return None
        homes = (self.rooms[c.host] for c in need.outgoing if c.host in self.rooms)
        home = next((room for room in homes if takes(service, room, self._unfit(service))), None)
        if home is None or (self.scheduler.strategy == "spread" and not balance.fair(home)):
            return None
        return home if self._fits(service, need, home, batch) else None

    def _fits(self, service: Service, need: Need, room: Room, batch: int) -> bool:
        """Whether it fits beside what it replaces, or in its place where that goes first anyway."""
        if room.fits(service.container.reserved, batch):
            return True
        goes_first = bool(claimed(service)) or (self.rollback and bool(need.host or service.volumes))
        return goes_first and self._after(service, need, room, batch)

    def _back_home(self, service: Service, need: Need, batch: int) -> Room | None:
        """On the way back: in the place of what it replaces, which then goes first."""
        if not self.rollback:
            return None
        for container in need.outgoing:
            room = self.rooms.get(container.host)
            open_ = room is not None and takes(service, room, self._unfit(service))
            if room and open_ and self._after(service, need, room, batch):
                room.take(service, batch)
                return room
        return None

    def _after(self, service: Service, need: Need, room: Room, batch: int) -> bool:
        """Whether it fits once what it replaces there has gone, which it then does first."""
        ours = {c.id for c in need.outgoing} & room.leaving.keys()
        before = {each: room.leaving[each] for each in ours}
        room.leaving |= {each: (min(until, batch), size) for each, (until, size) in before.items()}
        if ours and room.fits(service.container.reserved, batch):
            self.tight.add((service.name, need.slot))
            return True
        room.leaving |= before
        return False


class _Balance:
    """Whether a replaced replica may stay: not on a host that has more of the service than its share."""

    def __init__(
        self, service: Service, total: int, rooms: Mapping[str, Room], unfit: Mapping[str, str]
    ) -> None:
        self._service = service
        self._total = total
        self._rooms = rooms
        self._unfit = unfit
        self._open: set[str] | None = None  # the hosts that take replicas, once they are asked for

    def _share_out(self) -> None:
        name = self._service.name
        rooms = [room for room in self._rooms.values() if takes(self._service, room, self._unfit)]
        self._open = {room.name for room in rooms}
        self._fair, self._spare = divmod(self._total, len(rooms) or 1)
        self._fuller = sum(room.of_service[name] > self._fair for room in rooms)

    def counted(self, room: Room) -> None:
        """One more of the service has been counted there."""
        if self._open and room.name in self._open:
            self._fuller += room.of_service[self._service.name] == self._fair + 1

    def fair(self, room: Room) -> bool:
        """Whether one more is within the host's share."""
        if self._open is None:
            self._share_out()
        count = room.of_service[self._service.name]
        return count < self._fair or (count == self._fair and self._fuller < self._spare)

"""A second look before a commit is refused: whether some other arrangement would have room after all.

What is placed one by one, the best host first, may leave a host without room that a later container
needs. Small plans are then searched through; the search is bounded, for it may take for ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gitops.model.stack import Service
from gitops.plan.choice import takes
from gitops.plan.diff import Need
from gitops.plan.rooms import Room, claimed

MOST_SLOTS = 200
MOST_TRIES = 20_000


@dataclass(frozen=True)
class Wanted:
    """One container to place.

    Attributes:
        service: whose it is.
        need: the slot.
        batch: when it starts.
        hosts: where it may go, the best first.
    """

    service: Service
    need: Need
    batch: int
    hosts: Sequence[str]
    bound: bool = False  # whether it cannot go elsewhere, whatever is to become of its host

    @property
    def fresh(self) -> bool:
        """Whether it takes nothing's place: then it is like any other of its service."""
        return not self.need.outgoing


@dataclass
class Search:
    """Places containers in turn, and takes the last one back where the next finds no room."""

    rooms: Mapping[str, Room]
    unfit: Mapping[str, Mapping[str, str]]
    placed: dict[tuple[str, int], Room] = field(default_factory=dict)
    _tries: int = 0

    def run(self, wanted: Sequence[Wanted]) -> bool:
        """Whether all of them were placed, in `placed`."""
        if len(wanted) > MOST_SLOTS:
            return False
        # What has the fewest hosts to go to comes first; of one service one after the other.
        ordered = sorted(wanted, key=lambda each: (len(each.hosts), each.service.name, each.fresh))
        return self._place(ordered, 0, 0)

    def _place(self, wanted: Sequence[Wanted], number: int, first: int) -> bool:
        if number == len(wanted):
            return True
        each = wanted[number]
        for index in range(first, len(each.hosts)):
            room = self.rooms[each.hosts[index]]
            self._tries += 1
            if self._tries > MOST_TRIES:
                return False
            if not self._open(each, room):
                continue
            room.take(each.service, each.batch)
            self.placed[each.service.name, each.need.slot] = room
            following = wanted[number + 1] if number + 1 < len(wanted) else None
            alike = following is not None and following.service is each.service
            again = alike and each.fresh and following is not None and following.fresh
            if self._place(wanted, number + 1, index if again else 0):
                return True
            room.give_back(each.service, each.batch)
            del self.placed[each.service.name, each.need.slot]
        return False

    def _open(self, each: Wanted, room: Room) -> bool:
        if not room.fits(each.service.container.reserved, each.batch):
            return False
        if each.bound:
            return not room.held & claimed(each.service)
        return takes(each.service, room, self.unfit.get(each.service.name, {}))

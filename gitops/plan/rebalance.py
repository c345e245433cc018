"""Evens out load, as after a host has come back: a few replicas at a time move to emptier hosts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from gitops.model.fleet import Fleet
from gitops.model.observed import Container, Observed
from gitops.model.stack import Service
from gitops.plan.diff import NOWHERE, Need, ServiceDiff
from gitops.plan.rooms import claimed

Counts = tuple[int, int, int]
"""Of one host: containers of the service, of the application, of all."""


@dataclass(frozen=True)
class _Move:
    container: Container
    to: str
    here: Counts
    there: Counts

    @property
    def gain(self) -> Counts:
        """How much fuller the one host is than the other."""
        service, app, everything = (h - t for h, t in zip(self.here, self.there, strict=True))
        return service, app, everything

    @property
    def reason(self) -> str:
        """Why, with the numbers."""
        what, number = ("of it", 0) if self.gain[0] > 1 else ("containers", 2)
        home = self.container.host
        return f"rebalanced: {home} has {self.here[number]} {what}, {self.to} has {self.there[number]}"


def rebalanced(
    diffs: Sequence[ServiceDiff],
    fleet: Fleet,
    observed: Observed,
    *,
    most: int,
    out: Mapping[str, str] = NOWHERE,
    unfit: Mapping[str, Mapping[str, str]] | None = None,
) -> tuple[ServiceDiff, ...]:
    """What is to be done where nothing else is: some replicas move to emptier hosts.

    A replica moves where the strategy `spread` would put it today, if that is another host: so
    every move leaves the fleet more even, and they come to an end. Not moved are replicas with
    data on their host or with a port of it, and services with placement preferences.

    Args:
        diffs: what is to be done without that, in the stack's order.
        fleet: the hosts.
        observed: what they reported.
        most: how many may move.
        out: hosts that are to be empty.
        unfit: of each service the hosts that its constraints exclude.
    """
    if any(diff.needs or diff.surplus for diff in diffs):
        return tuple(diffs)
    crowd = _Crowd(diffs, observed)
    hosts = [host.name for host in fleet.container_hosts if host.name not in out]
    chosen: dict[str, _Move] = {}
    while len(chosen) < most:
        found = [
            move
            for diff in diffs
            if _movable(diff.service)
            for move in crowd.moves(diff, hosts, (unfit or {}).get(diff.service.name, NOWHERE), chosen)
        ]
        if not found:
            break
        best = max(found, key=lambda move: (move.gain, move.container.name))
        crowd.carry_out(best)
        chosen[best.container.id] = best
    return tuple(_with(diff, chosen) for diff in diffs)


class _Crowd:
    """How many containers each host has, while some move."""

    def __init__(self, diffs: Iterable[ServiceDiff], observed: Observed) -> None:
        self._of = {diff.service.name: Counter(c.host for c in diff.keeps) for diff in diffs}
        self._app = sum(self._of.values(), Counter[str]())
        there = (c for host in observed.hosts for c in host.containers)
        self._all = Counter(c.host for c in there if c.state not in {"exited", "dead"})

    def counts(self, service: str, host: str) -> Counts:
        """Of one host."""
        return self._of[service][host], self._app[host], self._all[host]

    def moves(
        self, diff: ServiceDiff, hosts: Sequence[str], unfit: Mapping[str, str], chosen: Iterable[str]
    ) -> Iterator[_Move]:
        """Of each host with replicas of a service the one that would be placed elsewhere today."""
        name = diff.service.name
        to = min((h for h in hosts if h not in unfit), key=lambda h: (*self.counts(name, h), h), default=None)
        if to is None:
            return
        there = self.counts(name, to)
        movable = {c.host: c for c in sorted(diff.keeps, key=lambda c: c.slot) if c.id not in chosen}
        for home, container in movable.items():
            here = self.counts(name, home)
            if (here[0] - 1, here[1] - 1, here[2] - 1) > there and home != to:
                yield _Move(container, to, here, there)

    def carry_out(self, move: _Move) -> None:
        """Counts as if it had been done."""
        for counter in (self._of[move.container.service], self._app, self._all):
            counter[move.container.host] -= 1
            counter[move.to] += 1


def _movable(service: Service) -> bool:
    bound = service.volumes or claimed(service) or service.placement.spread
    return service.mode == "replicated" and service.job is None and not bound


def _with(diff: ServiceDiff, chosen: Mapping[str, _Move]) -> ServiceDiff:
    moving = [chosen[c.id] for c in diff.keeps if c.id in chosen]
    needs = [
        Need(m.container.slot, m.reason, outgoing=(m.container,), displaced=True, leaves=True) for m in moving
    ]
    return replace(
        diff,
        keeps=tuple(c for c in diff.keeps if c.id not in chosen),
        needs=tuple(sorted(needs, key=lambda need: need.slot)),
    )

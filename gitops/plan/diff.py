"""Slot by slot: which containers of a service stay, which start, which go, each with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from gitops.model.observed import Container
from gitops.model.stack import Service
from gitops.plan.explain import image_reason, missing_reason, spec_reason, state_reason

STARTABLE = frozenset({"created", "exited", "paused"})
"""States out of which an engine takes a container by a start."""

NOWHERE: Mapping[str, str] = MappingProxyType({})
NOTHING: Mapping[int, str] = MappingProxyType({})


@dataclass(frozen=True)
class Need:
    """One slot that wants a container started."""

    slot: int
    reason: str
    host: str = ""  # fixed for mode global, else the scheduler's choice
    outgoing: tuple[Container, ...] = ()  # what the new one takes over from, best first
    adopted: Container | None = None  # already there: it was not switched in yet, or starts again in place
    displaced: bool = False  # nothing but its host is against what it has: without room elsewhere it waits
    leaves: bool = False  # the host that it has is not for it, though nothing is against that

    @property
    def replaces_well(self) -> bool:
        """Whether something that works is taken away for it."""
        return any(container.well for container in self.outgoing)


@dataclass(frozen=True)
class Surplus:
    """One container that goes without a new one in its place."""

    container: Container
    reason: str
    successor: Container | None = None  # a kept container that must stand its monitor window first


@dataclass(frozen=True)
class ServiceDiff:
    """What is to be done for one service, in slot order."""

    service: Service
    keeps: tuple[Container, ...] = ()
    needs: tuple[Need, ...] = ()
    surplus: tuple[Surplus, ...] = ()
    rests: Mapping[int, str] = field(default_factory=dict)  # slots that are left alone for now, and why

    @property
    def outgoing(self) -> tuple[Container, ...]:
        """Every container that goes."""
        return (*(c for need in self.needs for c in need.outgoing), *(s.container for s in self.surplus))


@dataclass(frozen=True)
class _Judge:
    """What decides over one container of a service."""

    service: Service
    before: Service | None
    hosts: frozenset[str]  # names of container hosts
    claims: Mapping[int, str]  # host port -> service that publishes it on the host itself
    settled: Callable[[Container], bool]
    out: Mapping[str, str] = field(default_factory=dict)  # hosts that are to be empty, with why

    def objection(self, container: Container) -> str:
        """Why a container cannot stay, or empty."""
        if container.host not in self.hosts:
            return f"host {container.host} left the fleet"
        if container.host in self.out:
            return self.out[container.host]
        if container.spec != self.service.container.digest:
            return spec_reason(container, self.before, self.service)
        if reason := image_reason(container, self.service) or state_reason(container):
            return reason
        published = dict(container.ports)
        for target in self.service.balanced:
            if target not in published:
                return f"port {target} is not published"
        if self.claims:
            own = {host_port for host_port, _, _ in self.service.container.host_ports}
            for port in sorted(self.claims.keys() & set(published.values()) - own):
                return f"allotted port {port} is claimed by {self.claims[port]}"
        return ""

    def startable(self, container: Container) -> bool:
        """Whether a container that does not run is what runs elsewhere, and only has to be started.

        Not one that load balancers serve: they would check its port all the while that it starts, and the
        host then looks for the container's address once a second only. A new one at another port is
        found at once (docs/decisions/0019).
        """
        known = self.before is not None and self.before.container.digest == self.service.container.digest
        as_running = replace(container, state="running", health="none")
        fit = container.state in STARTABLE and not self.objection(as_running)
        return known and fit and not self.service.balanced

    def need(
        self,
        slot: int,
        host: str,
        ranked: Sequence[Container],
        *,
        in_place: bool,
        crowded: str,
        lost: Collection[str],
    ) -> Need | None:
        """What a slot with containers, best first, needs; None where the best one stays."""
        best, others = ranked[0], ranked[1:]
        if reason := self.objection(best) or crowded:
            if in_place and self.startable(best):
                return Need(slot, reason, host, tuple(others), best)
            displaced = best.host in lost and best.well and best.spec == self.service.container.digest
            return Need(slot, reason, host, tuple(ranked), displaced=displaced)
        if self.settled(best) or not any(other.well for other in others):
            return None
        reason = self.objection(others[0]) or f"duplicate of slot {slot}"
        return Need(slot, f"{reason}, taken up again", host, tuple(others), best)

    def best_first(self, containers: Sequence[Container]) -> list[Container]:
        """The one to keep or to take over from first.

        Of those that are alike it is the newest: what a host lost and brings back has been replaced since.
        """
        if len(containers) == 1:
            return list(containers)

        def rank(c: Container) -> tuple[bool, bool, bool, float, str, str]:
            return (bool(self.objection(c)), not c.well, not self.settled(c), -c.created_s, c.host, c.name)

        return sorted(containers, key=rank)


def compare(
    service: Service,
    before: Service | None,
    containers: Sequence[Container],
    hosts: Sequence[str],
    *,
    claims: Mapping[int, str],
    settled: Callable[[Container], bool],
    absent: Collection[str] = (),
    held: Collection[int] = (),
    spared: Collection[int] = (),
    relapses: Mapping[int, str] = NOTHING,
    back: bool = False,
    out: Mapping[str, str] = NOWHERE,
    unfit: Mapping[str, str] = NOWHERE,
    moved: Mapping[int, str] = NOTHING,
) -> ServiceDiff:
    """Compares the containers of one service with what is desired.

    Args:
        service: the service as desired.
        before: the service at the previous commit, or None.
        containers: all observed containers of the service.
        hosts: names of the container hosts.
        claims: host ports that services publish on the host itself, with the service's name.
        settled: whether a container has passed its start and switch in an earlier rollout.
        absent: those of the hosts that cannot be used.
        held: slots that they have, as far as is known.
        spared: slots that stay on what they had, because the new container failed and that is tolerated.
        relapses: slots that have been healed lately, and why they are left alone for now, or empty.
        back: whether this goes back: then nothing is started again in place.
        out: those of the hosts that are to be empty, with why. What has its data there stays all the same.
        unfit: those of the hosts that the service's constraints exclude, with why.
        moved: slots that such a host had which cannot be used, with why.
    """
    lost = out
    out = NOWHERE if service.volumes else {**unfit, **out}
    judge = _Judge(service, before, frozenset(hosts), claims, settled, out)
    same = before is not None and before.container.digest == service.container.digest
    if service.mode == "global":
        wanted, found, extra = _global_slots(judge, containers, sorted(hosts))
        for slot, host in wanted.items():
            if host in out:
                extra += [Surplus(c, out[host]) for c in judge.best_first(found.get(slot, ()))]
        empty = {host for slot, host in wanted.items() if host in lost and not found.get(slot)}
        gone = {*absent, *out, *empty}  # data that is not there yet binds nothing to a host
        wanted = {slot: host for slot, host in wanted.items() if host not in gone}
    else:
        wanted = {slot: "" for slot in range(1, service.replicas + 1) if slot not in held}
        found, extra = _replicated_slots(service, before, containers)
    keeps: list[Container] = []
    needs: list[Need] = []
    crowded = _crowded(judge, found)
    rests: dict[int, str] = {}
    for slot in sorted(wanted):
        ranked = judge.best_first(found.get(slot, ()))
        if slot in spared:
            old = [c for c in ranked if c.spec != service.container.digest or c.host in out]
            kept = [c for c in old if c.well][:1]
            keeps += kept
            extra += [Surplus(c, "failed, which is tolerated") for c in ranked if c not in kept]
            continue
        if relapses.get(slot) and not (ranked and not judge.objection(ranked[0])):
            rests[slot] = relapses[slot]
            keeps += ranked[:1]
            extra += [Surplus(c, "left by a repair that failed") for c in ranked[1:]]
        elif not ranked:
            reason = moved.get(slot) or missing_reason(slot, before, service, first=not containers)
            needs.append(Need(slot, reason, wanted[slot], displaced=same and slot in moved))
        elif need := judge.need(
            slot,
            wanted[slot],
            ranked,
            in_place=not back and slot not in relapses,
            crowded=crowded.get(slot, ""),
            lost=lost,
        ):
            needs.append(need)
        else:
            best, others = ranked[0], ranked[1:]
            keeps.append(best)
            extra += [Surplus(c, judge.objection(c) or f"duplicate of slot {slot}", best) for c in others]
    return ServiceDiff(service, tuple(keeps), tuple(needs), tuple(extra), rests)


def _crowded(judge: _Judge, found: Mapping[int, Sequence[Container]]) -> dict[int, str]:
    """The slots that have to leave a host because it has too many of the service, with why."""
    most = judge.service.placement.most_per_host
    if not most or judge.service.volumes:
        return {}
    there: Counter[str] = Counter()
    over: dict[int, str] = {}
    for slot in sorted(found):
        best = judge.best_first(found[slot])[0]
        if not judge.objection(best):
            there[best.host] += 1
            if there[best.host] > most:
                over[slot] = f"max_replicas_per_node is {most}"
    return over


def _replicated_slots(
    service: Service, before: Service | None, containers: Sequence[Container]
) -> tuple[dict[int, list[Container]], list[Surplus]]:
    """Containers by slot, and those of slots that are not wanted any more."""
    found: dict[int, list[Container]] = {}
    for container in containers:
        found.setdefault(container.slot, []).append(container)
    had = before.replicas if before and before.mode == "replicated" else 0
    had = had if had > service.replicas else max(found, default=0)
    same = before is not None and before.replicas == service.replicas

    def why(slot: int) -> str:
        stray = same or slot < 1
        return "stray container, its slot is not wanted" if stray else f"scaled {had} -> {service.replicas}"

    extra = [
        Surplus(container, why(slot))
        for slot in sorted(found)
        if not 1 <= slot <= service.replicas
        for container in sorted(found.pop(slot), key=lambda c: (c.host, c.name))
    ]
    return found, extra


def _global_slots(
    judge: _Judge, containers: Sequence[Container], hosts: Sequence[str]
) -> tuple[dict[int, str], dict[int, list[Container]], list[Surplus]]:
    """One slot a host: slot -> host, the containers found for it, and those of hosts that left.

    A container that is there keeps its slot number; other hosts get their place
    in the sorted host names, or the lowest number that is free.
    """
    by_host: dict[str, list[Container]] = {}
    for container in containers:
        by_host.setdefault(container.host, []).append(container)
    slots: dict[str, int] = {}
    for host in hosts:
        ranked = judge.best_first(by_host.get(host, ()))
        if ranked and ranked[0].slot > 0 and ranked[0].slot not in slots.values():
            slots[host] = ranked[0].slot
    for index, host in enumerate(hosts, start=1):
        if host not in slots:
            taken = set(slots.values())
            slots[host] = next(n for n in (index, *range(1, len(hosts) + len(taken) + 1)) if n not in taken)
    extra = [
        Surplus(container, f"host {host} left the fleet")
        for host in sorted(by_host.keys() - set(hosts))
        for container in sorted(by_host[host], key=lambda c: (c.slot, c.name))
    ]
    found = {slot: by_host.get(host, []) for host, slot in slots.items()}
    return {slot: host for host, slot in slots.items()}, found, extra

"""Where new containers go: host, host ports and name. Filters, then ranks; what is kept never moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gitops.errors import PermanentError
from gitops.model.fleet import Fleet
from gitops.model.observed import Container, Observed
from gitops.model.placement import SPREAD, Scheduler
from gitops.model.plan import Start
from gitops.model.stack import Service, Stack
from gitops.plan.batches import batches, lag
from gitops.plan.diff import NOWHERE, Need, ServiceDiff
from gitops.plan.filling import Filling, Slot, Unfit
from gitops.plan.rooms import Room, rooms_of

_DIGEST_SHOWN = 8  # of a spec's digest, in a container's name


@dataclass(frozen=True)
class Schedule:
    """Where everything goes.

    Attributes:
        starts: the start of each service and slot.
        tight: slots whose old containers go before: there is no room beside them. Only on the way back.
        waiting: slots that had to leave their host and find no room elsewhere, with why.
    """

    starts: Mapping[Slot, Start] = field(default_factory=dict)
    tight: frozenset[Slot] = frozenset()
    waiting: Mapping[Slot, str] = field(default_factory=dict)


def schedule(
    stack: Stack,
    diffs: Sequence[ServiceDiff],
    gone: Sequence[Container],
    fleet: Fleet,
    observed: Observed,
    *,
    complete: bool = True,
    rollback: bool = False,
    out: Mapping[str, str] = NOWHERE,
    unfit: Unfit | None = None,
    scheduler: Scheduler = SPREAD,
) -> Schedule:
    """Places every container that is to be started.

    Args:
        stack: the desired state.
        diffs: what is to be done, in the stack's order.
        gone: containers of services that are no longer in the stack.
        fleet: the hosts.
        observed: what the hosts reported.
        complete: whether all hosts have; else one that is absent may have a container of a slot
            that looks empty, and once it is back the two must differ in name.
        rollback: whether this goes back: want of room is no reason to fail then.
        out: hosts that are to be empty, with why. Only what has its data there is started there.
        unfit: of each service the hosts that its constraints exclude, with why.
        scheduler: how the hosts are filled.

    Raises:
        PermanentError: no host can take a container.
    """
    if not any(diff.needs for diff in diffs):
        return Schedule()
    times, freed = _times(diffs, gone, rollback=rollback)

    def empty() -> Filling:
        rooms = rooms_of(stack, diffs, freed, fleet, observed, out, scheduler)
        return Filling(rooms, times, unfit or {}, scheduler, rollback)

    filling = empty()
    try:
        filling.fill(diffs)
    except PermanentError:
        filling = empty()
        if not filling.search(diffs):
            raise
    names = {container.name for host in observed.hosts for container in host.containers}
    # HAProxy keeps the address of a server that it knows by name, one of a lost container, too.
    names |= {server.name for host in observed.hosts for server in host.servers}
    starts: dict[Slot, Start] = {}
    for diff in diffs:
        for need in sorted(diff.needs, key=lambda need: filling.order[diff.service.name, need.slot]):
            room = filling.placed.get((diff.service.name, need.slot))
            if room is not None:
                first = 1 if complete or need.outgoing else 2
                start = _start(stack.app, diff.service, need, room, names, first)
                starts[diff.service.name, need.slot] = start
    return Schedule(starts, frozenset(filling.tight), filling.waiting)


def _times(
    diffs: Sequence[ServiceDiff], gone: Sequence[Container], *, rollback: bool
) -> tuple[dict[Slot, int], dict[str, int]]:
    """In which batch each slot starts, and from which on each container that goes is gone.

    One service after the other. What is replaced goes `lag` batches later, or just before its
    successor starts (stop-first, or it does not run); on trial all of it stays to the end.
    """
    starts: dict[Slot, int] = {}
    freed: dict[str, int] = {}
    batch = 0
    for diff in diffs:
        service = diff.service
        policy = service.policy(rollback=rollback)
        chunks = batches(diff.needs, policy.parallelism)
        end = batch + len(chunks)
        on_trial = service.rollout.strategy != "rolling"
        for chunk in chunks:
            for need in chunk:
                starts[service.name, need.slot] = batch
                later = end if on_trial else min(batch + lag(policy.parallelism) + 1, end)
                for container in need.outgoing:
                    first = policy.order == "stop-first" or not container.running
                    freed[container.id] = batch if first else later
            batch += 1
        freed |= {surplus.container.id: end for surplus in diff.surplus}
    freed |= {container.id: batch for container in gone}
    return starts, freed


def _start(app: str, service: Service, need: Need, room: Room, names: set[str], number: int) -> Start:
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

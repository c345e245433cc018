"""The order of things: batches, and in each what starts, what is switched and what goes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from gitops.model.fleet import Fleet
from gitops.model.observed import Container
from gitops.model.plan import Backend, Phase, Retire, RetirePhase, Share, ShiftPhase, Start, StartPhase
from gitops.model.stack import Service, Stack, UpdateConfig, When
from gitops.plan import canary, edge, jobs
from gitops.plan.batches import batches, lag
from gitops.plan.diff import ServiceDiff
from gitops.plan.edge import Line
from gitops.plan.rooms import claimed
from gitops.plan.served import Served
from gitops.plan.share import weights as weights_of

NO_ROOM = "stop-first: no room beside the old one"
_GRACE_S = 10.0  # Compose's default, for a container whose service is not known any more


@dataclass(frozen=True)
class Move:
    """All that is needed to order the phases of one plan."""

    stack: Stack
    previous: Stack | None
    diffs: tuple[ServiceDiff, ...]  # in the stack's order
    gone: tuple[Container, ...]  # containers of services that are no longer in the stack
    starts: Mapping[tuple[str, int], Start]
    rollback: bool = False
    serving: Collection[str] = ()  # names of containers that the edge has in service
    weights: Mapping[str, int] = field(default_factory=dict)  # of those that share requests unalike
    tight: Collection[tuple[str, int]] = ()  # slots whose old containers go first: no room beside them

    def grace_s(self, service: str) -> float:
        """The stop grace of a service's running containers, in seconds."""
        known = (self.previous.service(service) if self.previous else None) or self.stack.service(service)
        return known.container.stop_grace_period_s if known else _GRACE_S

    def retire(
        self, container: Container, reason: str, successor: str = "", successor_host: str = ""
    ) -> Retire:
        """The removal of one container."""
        return Retire(
            container.service,
            container.slot,
            container.host,
            container.name,
            reason,
            self.grace_s(container.service),
            successor,
            successor_host,
        )


def stop_first_reason(service: Service, policy: UpdateConfig) -> str:
    """Why a service's containers stop before their successors start where it says otherwise; or empty."""
    ports = sorted(claimed(service))
    if policy.order == "stop-first" or not ports:
        return ""
    return f"stop-first: host port {', '.join(map(str, ports))}"


def order(move: Move) -> tuple[Phase, ...]:
    """The phases of a plan, without what the edge serves in each."""
    phases: list[Phase] = []
    for part in _parts(move):
        phases += _merged(part(max((phase.batch + 1 for phase in phases), default=1)))
    for giver, heir in _handed_over(move):
        phases = _stays_for(giver, heir, phases)
    return tuple(phases)


def _handed_over(move: Move) -> list[tuple[str, str]]:
    """(Service, service) of which the second takes over what leads to a port that the first one gives up."""
    if move.previous is None:
        return []
    now = _ways_in(move.stack)
    kept = {(service.name, port) for service in move.stack.services for port in service.balanced}
    return sorted(
        {
            (target[0], now[way][0])
            for way, target in _ways_in(move.previous).items()
            if way in now and now[way][0] != target[0] and target not in kept
        }
    )


def _ways_in(stack: Stack) -> dict[tuple[str, str] | int, tuple[str, int]]:
    """Routes (host, path) and published ports of the edge -> service and container port."""
    found: dict[tuple[str, str] | int, tuple[str, int]] = {}
    for service in stack.services:
        found |= {(each.host, each.path): (service.name, each.port) for each in service.ingress}
        found |= {each.published: (service.name, each.target) for each in service.publish}
    return found


def _stays_for(giver: str, heir: str, phases: Sequence[Phase]) -> list[Phase]:
    """The phases in which what a service has replaced goes only when the heir of its route is started.

    Else nobody would answer in between. What must go before its successor can start goes in any case.
    """
    started = [
        number
        for number, phase in enumerate(phases)
        if isinstance(phase, StartPhase) and phase.starts and phase.starts[0].service == heir
    ]
    if not started:
        return list(phases)
    last = started[-1]
    before: list[Phase] = []
    waiting: list[Retire] = []
    replaced: set[str] = set()
    for phase in phases[: last + 1]:
        if not isinstance(phase, RetirePhase):
            replaced |= {start.replaces for start in phase.starts} if isinstance(phase, StartPhase) else set()
            before.append(phase)
            continue
        waits = tuple(r for r in phase.retires if r.service == giver and r.container in replaced)
        waiting += waits
        if rest := tuple(retire for retire in phase.retires if retire not in waits):
            before.append(replace(phase, retires=rest))
    then = [RetirePhase(phases[last].batch, tuple(waiting), None)] if waiting else []
    return [*before, *then, *phases[last + 1 :]]


def _parts(move: Move) -> Iterator[Callable[[int], list[Phase]]]:
    """What follows each other, each as the phases from a batch's number on."""
    back = [canary.way_back(move, diff) for diff in move.diffs]
    before, after = jobs.leaving(move)
    early = {name: retire for _, gone in back for name, retire in gone.items()} | _early(move)
    removed = [move.retire(c, "service removed") for c in move.gone if not c.job and c.name not in early]
    yield lambda _: [shift for shift, _ in back if shift]
    yield lambda batch: [RetirePhase(batch, before, None, "pre-deploy")]
    yield from _services(move, early, "pre-deploy")
    yield lambda batch: [RetirePhase(batch, tuple(early.values()), None)]
    yield from _services(move, early, "in-order")
    yield lambda batch: [RetirePhase(batch, tuple(removed), None)]
    yield from _services(move, early, "post-deploy")
    yield lambda batch: [RetirePhase(batch, after, None, "post-deploy")]


def _services(move: Move, early: Collection[str], when: When) -> Iterator[Callable[[int], list[Phase]]]:
    """Services, and jobs at their place among them; or the jobs before or after all services."""
    for diff in move.diffs:
        job = diff.service.job
        if (job.when if job else "in-order") == when:
            if job:
                yield partial(jobs.phases, move, diff)
            else:
                ways = canary.phases if canary.on_trial(move, diff) else _service
                yield partial(ways, move, diff, frozenset(early))


def _early(move: Move) -> dict[str, Retire]:
    """Containers that go first: each holds a host port that a new one of another service or slot needs."""
    reasons = [(c, "service removed", -1) for c in move.gone]
    for diff in move.diffs:
        reasons += [(s.container, s.reason, -1) for s in diff.surplus]
        reasons += [(c, need.reason, need.slot) for need in diff.needs for c in need.outgoing]
    claims = {service.name: ports for service in move.stack.services if (ports := claimed(service))}
    found: dict[str, Retire] = {}
    for start in (start for start in move.starts.values() if start.service in claims):
        for container, reason, slot in reasons:
            held = claims[start.service] & {port for _, port in container.ports}
            own = (container.service, slot) == (
                start.service,
                start.slot,
            )  # goes in its own batch, just before
            if held and container.host == start.host and not own:
                frees = f"{reason}, frees host port {min(held)} for {start.service}"
                found[container.name] = move.retire(container, frees)
    return dict(sorted(found.items()))


def _service(move: Move, diff: ServiceDiff, early: frozenset[str], batch: int) -> list[Phase]:
    """The phases of one service: its batches, each with what must go before and what may go after."""
    policy = diff.service.policy(rollback=move.rollback)
    forced = stop_first_reason(diff.service, policy)
    phases: list[Phase] = []
    waiting: list[RetirePhase] = []  # of earlier batches, until their lag has passed
    earlier: list[Start] = []  # stop-first: what must have stood before more is taken away
    for chunk in batches(diff.needs, policy.parallelism):
        before: list[Retire] = []
        after: list[Retire] = []
        starts: list[Start] = []
        for need in chunk:
            start = move.starts[diff.service.name, need.slot]
            why_first = forced or (NO_ROOM if (start.service, start.slot) in move.tight else "")
            here = {c.host for c in need.outgoing} if why_first else set()  # another host has port and room
            if start.host in here and need.replaces_well:
                start = replace(start, reason=f"{start.reason}; {why_first}")
            elif need.replaces_well and not move.rollback and (why := canary.obstacle(diff)):
                start = replace(start, reason=f"{start.reason}; {why}")
            starts.append(start)
            for container in need.outgoing:
                if container.name in early:
                    continue
                if not container.running:
                    before.append(move.retire(container, start.reason))
                elif policy.order == "stop-first" or (why_first and container.host == start.host):
                    stood = earlier.pop(0) if earlier else None
                    names = (stood.container, stood.host) if stood else ()
                    before.append(move.retire(container, start.reason, *names))
                else:
                    after.append(move.retire(container, start.reason, start.container, start.host))
        phases += [RetirePhase(batch, tuple(before), None), StartPhase(batch, tuple(starts), None)]
        waiting.append(RetirePhase(batch, tuple(after), None))
        earlier = starts
        if len(waiting) > lag(policy.parallelism):
            phases.append(waiting.pop(0))
        batch += 1
    phases += waiting
    extra = [
        move.retire(s.container, s.reason, *((s.successor.name, s.successor.host) if s.successor else ()))
        for s in diff.surplus
        if s.container.name not in early
    ]
    phases.append(RetirePhase(batch - 1 if diff.needs else batch, tuple(extra), None))
    return phases


def _merged(phases: Sequence[Phase]) -> list[Phase]:
    """The phases without empty ones, and with neighbouring removals of a batch as one."""
    found: list[Phase] = []
    for phase in phases:
        last = found[-1] if found else None
        if isinstance(phase, RetirePhase):
            if not phase.retires:
                continue
            if isinstance(last, RetirePhase) and last.batch == phase.batch:
                found[-1] = RetirePhase(phase.batch, last.retires + phase.retires, None)
                continue
        found.append(phase)
    return found


def with_edge(
    phases: Sequence[Phase],
    lines: frozenset[Line],
    fleet: Fleet,
    weights: Mapping[str, int],
    *,
    leaves: frozenset[Line] = frozenset(),
) -> tuple[tuple[Phase, ...], tuple[Backend, ...], tuple[Backend, ...]]:
    """Adds to each phase what the edge serves from then on.

    Args:
        phases: the phases in order.
        lines: what the edge serves before the first.
        fleet: the hosts, for their addresses.
        weights: of servers that share a service's requests unalike now.
        leaves: lines that no phase takes away, and that are gone at the end.

    Returns:
        The phases, what the edge serves before the first, and at the end: all servers of a service alike.
    """
    served = Served(lines, weights)
    found: list[Phase] = []
    first = now = served.backends()
    for phase in phases:
        done: Phase = phase
        share: Share | None = None if isinstance(phase, RetirePhase) else phase.share
        services = _services_of(phase) if served.weights or share else set()
        before = {service: served.names(service) for service in services}
        if isinstance(phase, StartPhase):
            served.add({line for start in phase.starts for line in edge.start_lines(start, fleet)})
        elif isinstance(phase, RetirePhase):
            retires = tuple(replace(r, served=r.container in served) for r in phase.retires)
            served.remove({retire.container for retire in retires})
            done = replace(phase, retires=retires)
        elif phase.trial:
            nothing = _weights(served.weights, before, before, replace(phase.share, percent=0))
            done = replace(phase, undone=served.weighed(services, nothing))
        after = {service: served.names(service) for service in services}
        if before != after or isinstance(phase, ShiftPhase):
            served.weigh(services, _weights(served.weights, before, after, share))
        then = served.backends()
        found.append(replace(done, backends=None if then == now else then))
        now = then
    if served.weights:
        served.weigh(served.services(), {})
    served.drop(leaves)
    return tuple(found), first, served.backends()


def _services_of(phase: Phase) -> set[str]:
    """The services whose servers a phase may change."""
    if isinstance(phase, ShiftPhase):
        return {phase.service}
    changes: tuple[Start | Retire, ...] = phase.starts if isinstance(phase, StartPhase) else phase.retires
    return {change.service for change in changes}


def _weights(
    weights: Mapping[str, int],
    before: Mapping[str, frozenset[str]],
    after: Mapping[str, frozenset[str]],
    share: Share | None,
) -> Mapping[str, int]:
    """The weights after a phase, given the servers of the services that it changes.

    A service whose servers are all alike has none. Without a share of its own what comes gets as
    much as the one that has most: so a version that has lost its requests does not get them
    back while the other one grows.
    """
    found = dict(weights)
    for service, there in after.items():
        known = before[service] & found.keys()
        most = max((found[name] for name in known), default=1)
        own = weights_of(share, there) if share else {name: found.get(name, most) for name in there}
        for name in known:
            del found[name]
        if len(set(own.values())) > 1 or share:
            found |= own
    return found

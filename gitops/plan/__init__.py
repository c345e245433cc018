"""Planning: from what was observed to what one commit says. Pure: same input, same plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache, partial

from gitops.errors import PermanentError
from gitops.model.fleet import Fleet
from gitops.model.observed import Container, Observed
from gitops.model.placement import SPREAD, Scheduler
from gitops.model.plan import (
    Absent,
    HostChange,
    Keep,
    Phase,
    Place,
    Plan,
    Pull,
    Relapse,
    RetirePhase,
    Spared,
    Start,
)
from gitops.model.stack import Service, Stack
from gitops.plan import edge
from gitops.plan.absent import Held, absent_hosts, held
from gitops.plan.constraints import unmet
from gitops.plan.diff import NOWHERE, ServiceDiff, Surplus, compare
from gitops.plan.discovery import found
from gitops.plan.explain import bound_reason
from gitops.plan.filling import Unfit
from gitops.plan.guard import ConfirmationRequiredError, removal_guard
from gitops.plan.jobs import compare_job
from gitops.plan.places import ConfigOf, FragmentOf, consumers, places
from gitops.plan.rebalance import rebalanced
from gitops.plan.rollout import Move, order, with_edge
from gitops.plan.rooms import claimed
from gitops.plan.schedule import schedule
from gitops.plan.steps import steps

__all__ = ["ConfirmationRequiredError", "make_plan", "removal_guard", "steps"]


def make_plan(
    stack: Stack,
    fleet: Fleet,
    observed: Observed,
    *,
    previous: Stack | None,
    rollback: bool = False,
    jobs: bool = True,
    fragment: FragmentOf | None = None,
    config: ConfigOf | None = None,
    tolerate: int = 0,
    spared: tuple[Spared, ...] = (),
    out: Mapping[str, str] = NOWHERE,
    scheduler: Scheduler = SPREAD,
    relapses: tuple[Relapse, ...] = (),
    shut: Mapping[str, str] = NOWHERE,
) -> Plan:
    """The way from what runs to what one commit says.

    Args:
        stack: the desired state, with the addresses of its services (see `plan.discovery`).
        fleet: the hosts; one in no group is emptied.
        observed: what the hosts reported; the order of hosts does not matter.
        previous: the state that runs now as far as it is known, for reasons and for
            services that are removed; or None. What it says has been run counts as run.
        rollback: whether this goes back, by the services' `rollback_config`, and without any job.
        jobs: whether jobs that have not been run are; else nothing but services is brought about.
        fragment: renders the final haproxy.cfg fragment, to be compared with what the
            load balancers have; without it that never differs.
        config: assembles the whole haproxy.cfg that fragments make, to be compared likewise, also
            with what HAProxy runs.
        tolerate: how many hosts may be absent: the plan goes on without them, and what
            they have stays as it is.
        spared: slots that stay as they are, because what was to take their place has failed.
        out: hosts that are to be empty, with why, such as `host h2 drained` or `host h2 lost`: what runs
            there is moved, but for what has its data there. They may be absent whatever is tolerated.
        scheduler: how the hosts are filled.
        relapses: slots that have been healed lately: some of them are left alone for now.
        shut: hosts that are given nothing new, with why; what they have stays.

    Raises:
        TransientError: more hosts are absent, or one without which nothing can be done.
        PermanentError: no host can take a container, or nothing can serve it.
    """
    out = {host.name: out[host.name] for host in fleet.hosts if host.name in out}
    absent = absent_hosts(fleet, observed, tolerate, out)
    everyone, fleet = fleet, _without(fleet, absent)
    _check(stack, fleet)
    containers = [c for c in observed.containers(stack.app) if fleet.host(c.host)]
    seen = edge.look(stack.app, fleet, observed)
    away = held(stack, previous, absent, observed, seen, rollback=rollback, out=out)
    run = jobs and not rollback
    unfit = _unfit(stack, fleet, observed)
    diffs = _diffs(
        stack,
        previous,
        everyone,
        containers,
        seen,
        absent,
        away,
        spared,
        relapses,
        out,
        unfit,
        jobs=run,
        back=rollback,
    )
    gone = tuple(c for c in containers if stack.service(c.service) is None)
    if scheduler.rebalance and scheduler.strategy == "spread" and not (gone or absent):
        diffs = rebalanced(diffs, fleet, observed, most=scheduler.rebalance, out={**shut, **out}, unfit=unfit)
    placed = schedule(
        stack,
        diffs,
        gone,
        fleet,
        observed,
        complete=not absent,
        rollback=rollback,
        out={**shut, **out},
        unfit=unfit,
        scheduler=scheduler,
    )
    starts = placed.starts
    diffs = tuple(_waiting(diff, placed.waiting) for diff in diffs)
    move = Move(stack, previous, diffs, gone, starts, rollback, seen.anywhere, seen.weights, placed.tight)
    lines = _lines_now(stack, previous, fleet, diffs, gone, seen)
    phases, before, final = with_edge(
        order(move), lines | away.stays | away.leaves, fleet, seen.weights, leaves=away.leaves
    )
    there = consumers(stack, observed, diffs, starts.values())
    where = places(stack, previous, fleet, observed, there, final, fragment, config)
    return Plan(
        app=stack.app,
        stack=stack,
        fleet=_touched(fleet, phases, where),
        from_commit=previous.commit if previous else "",
        pulls=_pulls(stack, starts.values()),
        keeps=(
            *(keep for diff in diffs for keep in _keeps(stack.app, diff, out, unfit, placed.waiting)),
            *away.keeps,
        ),
        phases=phases,
        before=before,
        backends=final,
        places=where,
        edge_changes=tuple(change for place in where for change in place.changes),
        records=_records(stack, fleet, observed),
        rollback=rollback,
        previous=previous,
        absent=absent,
        spared=spared,
        out=tuple(sorted(out.items())),
        waiting=_nowhere(diffs, placed.waiting),
        scheduler=scheduler,
        relapses=relapses,
        resting=tuple(
            Relapse(diff.service.name, slot, why)
            for diff in diffs
            for slot, why in sorted(diff.rests.items())
        ),
    )


def _unfit(stack: Stack, fleet: Fleet, observed: Observed) -> Unfit:
    """Of each service with constraints the hosts that they exclude, with why."""
    hosts = [(host, observed.host(host.name)) for host in fleet.container_hosts]
    return {
        service.name: {host.name: why for host, state in hosts if (why := unmet(service, host, state))}
        for service in stack.services
        if service.placement.constraints
    }


def _nowhere(diffs: Iterable[ServiceDiff], waiting: Mapping[tuple[str, int], str]) -> tuple[Spared, ...]:
    """What waits for room and has no container anywhere."""
    if not waiting:
        return ()
    there = {(diff.service.name, container.slot) for diff in diffs for container in diff.keeps}
    return tuple(Spared(*slot, why) for slot, why in sorted(waiting.items()) if slot not in there)


def _waiting(diff: ServiceDiff, waiting: Mapping[tuple[str, int], str]) -> ServiceDiff:
    """What is to be done, without what finds no room: that stays where it is, as far as it is anywhere."""
    here = [need for need in diff.needs if (diff.service.name, need.slot) in waiting]
    if not here:
        return diff
    stays = [need.outgoing[0] for need in here if need.outgoing]
    twins = [Surplus(c, f"duplicate of slot {n.slot}", n.outgoing[0]) for n in here for c in n.outgoing[1:]]
    return replace(
        diff,
        keeps=tuple(sorted((*diff.keeps, *stays), key=lambda c: c.slot)),
        needs=tuple(need for need in diff.needs if need not in here),
        surplus=(*diff.surplus, *twins),
    )


def _keeps(
    app: str,
    diff: ServiceDiff,
    out: Mapping[str, str],
    unfit: Unfit,
    waiting: Mapping[tuple[str, int], str],
) -> Iterator[Keep]:
    """What is kept of a service, by slot, and why it is where it had to leave."""
    service = diff.service
    leave = {**unfit.get(service.name, NOWHERE), **out}
    for c in sorted(diff.keeps, key=lambda c: c.slot):
        kept = (service.name, c.slot, c.host, c.name)
        if why := waiting.get((service.name, c.slot)):
            yield Keep(*kept, f"stays: no room elsewhere: {why}", bound=True)
        elif rests := diff.rests.get(c.slot):
            yield Keep(*kept, rests)
        elif c.host in leave and service.volumes and service.job is None:
            yield Keep(*kept, bound_reason(app, service, c.host, leave[c.host]), bound=True)
        else:
            yield Keep(*kept)


def _without(fleet: Fleet, absent: Iterable[Absent]) -> Fleet:
    gone = {each.host.name for each in absent}
    return Fleet(tuple(host for host in fleet.hosts if host.name not in gone))


def _check(stack: Stack, fleet: Fleet) -> None:
    if not fleet.load_balancers and (served := [s.name for s in stack.services if s.served]):
        raise PermanentError(
            f"service {served[0]} publishes ports, but the fleet has no load balancer",
            hint="name a host in the inventory's group load_balancers, or use `mode: host`",
        )


def _diffs(
    stack: Stack,
    previous: Stack | None,
    fleet: Fleet,
    containers: list[Container],
    seen: edge.Seen,
    absent: Iterable[Absent],
    away: Held,
    spared: Iterable[Spared],
    relapses: Iterable[Relapse],
    out: Mapping[str, str],
    unfit: Unfit,
    *,
    jobs: bool,
    back: bool,
) -> tuple[ServiceDiff, ...]:
    gone = frozenset(each.host.name for each in absent)
    hosts = [host.name for host in fleet.container_hosts]
    claims = {port: service.name for service in stack.services for port in claimed(service)}

    of_service: dict[str, list[Container]] = {}
    for container in containers:
        of_service.setdefault(container.service, []).append(container)

    def diff(service: Service) -> ServiceDiff:
        before = previous.service(service.name) if previous else None
        own = of_service.get(service.name, [])
        if service.job:
            return compare_job(service, before, own, hosts, run=jobs)
        return compare(
            service,
            before,
            own,
            hosts,
            claims=claims,
            settled=partial(edge.settled, seen=seen, served=bool(service.balanced)),
            absent=gone,
            held=away.slots(service.name),
            spared=[each.slot for each in spared if each.service == service.name],
            out=out,
            unfit=unfit.get(service.name, NOWHERE),
            moved=away.moved_of(service.name),
            relapses={each.slot: each.rests for each in relapses if each.service == service.name},
            back=back,
        )

    return tuple(diff(service) for service in stack.services)


def _touched(fleet: Fleet, phases: Iterable[Phase], where: Iterable[Place]) -> Fleet:
    """The fleet without hosts that left it and have nothing to give up: they may not even answer any more."""
    leaving = {r.host for phase in phases if isinstance(phase, RetirePhase) for r in phase.retires}
    leaving |= {host for place in where for host in place.hosts}
    hosts = (host for host in fleet.hosts if host.runs_containers or host.balances or host.name in leaving)
    return Fleet(tuple(sorted(hosts, key=lambda host: host.name)))


def _lines_now(
    stack: Stack,
    previous: Stack | None,
    fleet: Fleet,
    diffs: Iterable[ServiceDiff],
    gone: Iterable[Container],
    seen: edge.Seen,
) -> frozenset[edge.Line]:
    """What the edge serves before the first step: what stays, and of what goes only what takes traffic.

    A server whose container is left alone for now stays, too, but is not taken in.
    """
    kept = [c for diff in diffs for c in diff.keeps if c.slot not in diff.rests or c.name in seen.anywhere]
    now = cache(partial(edge.targets, stacks=(stack,)))
    ever = cache(partial(edge.targets, stacks=(stack, previous)))
    leaving = [*gone, *(c for diff in diffs for c in diff.outgoing)]
    lines: set[edge.Line] = set()
    for container in kept:
        lines |= edge.container_lines(container, now(container.service), fleet)
    for container in (c for c in leaving if edge.serves(c, seen)):
        lines |= edge.container_lines(container, ever(container.service), fleet)
    return frozenset(lines)


def _pulls(stack: Stack, starts: Iterable[Start]) -> tuple[Pull, ...]:
    images = {service.name: service.container.image for service in stack.services}
    pairs = {(start.host, images[start.service]) for start in starts}
    return tuple(Pull(host, image) for host, image in sorted(pairs))


def _records(stack: Stack, fleet: Fleet, observed: Observed) -> tuple[HostChange, ...]:
    """The hosts whose release file lacks, or has other addresses of the services in it.

    A rollout writes all of them anyway. One of an older commit stays: a commit that changed nothing
    was recorded without a rollout. And none need be there where nothing runs.
    """
    runs = observed.runs(stack.app)
    services = found(stack)
    changes = []
    for host in sorted(fleet.hosts, key=lambda host: host.name):
        state = observed.host(host.name)
        told = [release for release in state.releases if release.app == stack.app] if state else []
        if any(release.services != services for release in told):
            changes.append(HostChange(host.name, "its record of addresses differs", follows=True))
        elif state and not told and runs and (host.runs_containers or host.balances):
            changes.append(HostChange(host.name, "release file missing"))
    return tuple(changes)

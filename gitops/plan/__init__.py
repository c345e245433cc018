"""Planning: from what was observed to what one commit says. Pure: same input, same plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from gitops.errors import PermanentError, TransientError, Where
from gitops.model.fleet import Fleet
from gitops.model.observed import Container, Observed
from gitops.model.plan import Backend, Keep, Phase, Plan, Pull, RetirePhase, Start
from gitops.model.stack import Service, Stack
from gitops.plan import edge
from gitops.plan.diff import ServiceDiff, compare
from gitops.plan.guard import ConfirmationRequiredError, removal_guard
from gitops.plan.jobs import compare_job
from gitops.plan.rollout import Move, order, with_edge
from gitops.plan.schedule import claimed, schedule
from gitops.plan.steps import steps

__all__ = ["ConfirmationRequiredError", "make_plan", "removal_guard", "steps"]

FragmentOf = Callable[[Stack, Stack | None, tuple[Backend, ...]], str]
"""Renders an application's haproxy.cfg fragment."""


def make_plan(
    stack: Stack,
    fleet: Fleet,
    observed: Observed,
    *,
    previous: Stack | None,
    rollback: bool = False,
    jobs: bool = True,
    fragment: FragmentOf | None = None,
) -> Plan:
    """The way from what runs to what one commit says.

    Args:
        stack: the desired state.
        fleet: the hosts; one in no group is emptied.
        observed: what the hosts reported; the order of hosts does not matter.
        previous: the state that runs now as far as it is known, for reasons and for
            services that are removed; or None. What it says has been run counts as run.
        rollback: whether this goes back, by the services' `rollback_config`, and without any job.
        jobs: whether jobs that have not been run are; else nothing but services is brought about.
        fragment: renders the final haproxy.cfg fragment, to be compared with what the
            load balancers have; without it that never differs.

    Raises:
        TransientError: a host does not answer.
        PermanentError: no host can take a container, or nothing can serve it.
    """
    _check(stack, fleet, observed)
    containers = [c for c in observed.containers(stack.app) if fleet.host(c.host)]
    seen = edge.look(stack.app, fleet, observed)
    diffs = _diffs(stack, previous, fleet, containers, seen, jobs=jobs and not rollback)
    gone = tuple(c for c in containers if stack.service(c.service) is None)
    starts = schedule(stack, diffs, gone, fleet, observed)
    move = Move(stack, previous, diffs, gone, starts, rollback)
    lines = _lines_now(stack, previous, fleet, diffs, gone, seen)
    phases, final = with_edge(order(move), lines, fleet)
    return Plan(
        app=stack.app,
        stack=stack,
        fleet=_touched(fleet, phases),
        from_commit=previous.commit if previous else "",
        pulls=_pulls(stack, starts.values()),
        keeps=tuple(
            Keep(c.service, c.slot, c.host, c.name)
            for diff in diffs
            for c in sorted(diff.keeps, key=lambda c: c.slot)
        ),
        phases=phases,
        backends=final,
        edge_changes=_edge_changes(stack, fleet, observed, final, fragment),
        rollback=rollback,
        previous=previous,
    )


def _check(stack: Stack, fleet: Fleet, observed: Observed) -> None:
    for host in sorted((*fleet.container_hosts, *fleet.load_balancers), key=lambda host: host.name):
        state = observed.host(host.name)
        if state is None or not state.reachable:
            why = f": {state.error}" if state and state.error else ""
            raise TransientError(f"host {host.name} does not answer{why}", where=Where(host=host.name))
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
    *,
    jobs: bool,
) -> tuple[ServiceDiff, ...]:
    hosts = [host.name for host in fleet.container_hosts]
    claims = {port: service.name for service in stack.services for port in claimed(service)}

    def diff(service: Service) -> ServiceDiff:
        before = previous.service(service.name) if previous else None
        own = [c for c in containers if c.service == service.name]
        if service.job:
            return compare_job(service, before, own, hosts, run=jobs)
        settled = partial(edge.settled, seen=seen, served=service.served)
        return compare(service, before, own, hosts, claims=claims, settled=settled)

    return tuple(diff(service) for service in stack.services)


def _touched(fleet: Fleet, phases: Iterable[Phase]) -> Fleet:
    """The fleet without hosts that left it and have nothing to give up: they may not even answer any more."""
    leaving = {r.host for phase in phases if isinstance(phase, RetirePhase) for r in phase.retires}
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
    """What the edge serves before the first step: what stays, and of what goes only what takes traffic."""
    kept = [c for diff in diffs for c in diff.keeps]
    leaving = [*gone, *(c for diff in diffs for c in diff.outgoing)]
    return frozenset().union(
        *(edge.container_lines(c, edge.targets(c.service, stack), fleet) for c in kept),
        *(
            edge.container_lines(c, edge.targets(c.service, stack, previous), fleet)
            for c in leaving
            if edge.serves(c, seen)
        ),
    )


def _pulls(stack: Stack, starts: Iterable[Start]) -> tuple[Pull, ...]:
    images = {service.name: service.container.image for service in stack.services}
    pairs = {(start.host, images[start.service]) for start in starts}
    return tuple(Pull(host, image) for host, image in sorted(pairs))


def _edge_changes(
    stack: Stack, fleet: Fleet, observed: Observed, final: tuple[Backend, ...], fragment: FragmentOf | None
) -> bool:
    """Whether a load balancer's fragment, or what it serves at run time, is not the final one."""
    if edge.drifted(stack.app, final, fleet, observed):
        return True
    if fragment is None:
        return False
    wanted = fragment(stack, None, final) if any(service.served for service in stack.services) else ""
    states = [observed.host(host.name) for host in fleet.load_balancers]
    return any(dict(state.fragments).get(stack.app, "") != wanted for state in states if state)

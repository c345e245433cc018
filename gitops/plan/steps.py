"""A plan as lines to print."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from gitops.model.image import short
from gitops.model.plan import Action, Backend, Phase, Plan, Retire, RetirePhase, ShiftPhase, Step, Trial
from gitops.plan.places import concerns


def steps(plan: Plan) -> tuple[Step, ...]:
    """A plan's steps in the order in which they happen; what is kept comes last."""
    return (
        *_pulls(plan),
        *_opening(plan),
        *(step for phase in plan.phases for step in _phase(plan, phase)),
        *_edge_only(plan),
        *(Step(0, "record", "", 0, change.host, change.reason) for change in plan.records),
        *(Step(0, "keep", keep.service, keep.slot, keep.host, keep.reason) for keep in plan.keeps),
    )


def _pulls(plan: Plan) -> Iterator[Step]:
    """One line for a host and an image; of several services that share the image the first is named."""
    images = {service.name: service.container.image for service in plan.stack.services}
    for pull in plan.pulls:
        service = next(
            s.service for s in plan.starts if s.host == pull.host and images[s.service] == pull.image
        )
        yield Step(0, "pull", service, 0, pull.host, short(pull.image))


def _phase(plan: Plan, phase: Phase) -> Iterator[Step]:
    if isinstance(phase, RetirePhase):
        drained = [retire for retire in phase.retires if retire.served]
        yield from (_of(phase.batch, retire, "drain") for retire in drained)
        yield from (_of(phase.batch, retire, "stop") for retire in phase.retires)
        yield from (_of(phase.batch, retire, "remove") for retire in phase.retires)
        return
    if isinstance(phase, ShiftPhase):
        yield from _shift(plan, phase)
        return
    for start in phase.starts:
        action: Action = "run" if start.job else "start"
        yield Step(phase.batch, action, start.service, start.slot, start.host, start.reason)
    if phase.backends is not None:
        for service in sorted({start.service for start in phase.starts}):
            yield from _switch(plan, phase.batch, service, phase.backends)


def _of(batch: int, retire: Retire, action: Literal["drain", "stop", "remove"]) -> Step:
    return Step(batch, action, retire.service, retire.slot, retire.host, retire.reason)


def _switch(plan: Plan, batch: int, service: str, backends: Iterable[Backend]) -> Iterator[Step]:
    """One line for each load balancer, and each host that runs consumers of the service."""
    servers = {
        server.name for backend in backends if backend.service == service for server in backend.servers
    }
    for host in _hosts(plan, service):
        yield Step(
            batch, "switch", service, 0, host, f"{len(servers)} server{'' if len(servers) == 1 else 's'}"
        )


def _hosts(plan: Plan, service: str) -> list[str]:
    """The hosts whose HAProxy balances over a service."""
    places = (place for place in plan.places if concerns(place.role, service, plan.stack, plan.previous))
    return sorted(host for place in places for host in place.hosts)


def _opening(plan: Plan) -> Iterator[Step]:
    """One line for each host that learns where others are found, before a container there looks for them."""
    for place in plan.places:
        if place.opens and plan.starts:
            for host in place.hosts:
                yield Step(0, "switch", "", 0, host, f"finds {', '.join(place.role.services)}")


def _shift(plan: Plan, phase: ShiftPhase) -> Iterator[Step]:
    """One line for each load balancer, and one for the trial."""
    count = len(phase.share.containers)
    to = f"{phase.share.percent}% of the requests to {count} container{'' if count == 1 else 's'}"
    for host in _hosts(plan, phase.service):
        if phase.backends is not None:
            yield Step(phase.batch, "switch", phase.service, 0, host, to)
    if phase.trial:
        yield Step(phase.batch, "judge", phase.service, 0, "", _trial(plan.app, phase.trial))


def _trial(app: str, trial: Trial) -> str:
    judge = trial.judge
    how_long = f"until `gitops promote {app}`" if trial.manual else f"{trial.pause_s:g}s"
    limits = [f"5xx {judge.max_5xx:.3%}", f"errors {judge.max_errors:.3%}"]
    limits += [f"mean {judge.max_mean_ms:g} ms"] if judge.max_mean_ms else []
    more = " more than the old version" if judge.against == "old" else ""
    allowed = ", ".join(limit.replace(".000%", "%") for limit in limits)
    return f"{how_long}, allowed: {allowed}{more}, of {judge.min_requests} requests or more"


def _edge_only(plan: Plan) -> Iterator[Step]:
    """The switch of a plan that changes routes alone, or mends what the load balancers serve."""
    if not plan.edge_changes or any(phase.backends is not None for phase in plan.phases):
        return
    batch = max((phase.batch for phase in plan.phases), default=0) + 1
    for change in sorted(plan.edge_changes, key=lambda change: change.host):
        yield Step(batch, "switch", "", 0, change.host, change.reason)

"""A plan as lines to print."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from gitops.model.plan import Action, Backend, Phase, Plan, Retire, RetirePhase, Step


def steps(plan: Plan) -> tuple[Step, ...]:
    """A plan's steps in the order in which they happen; what is kept comes last."""
    return (
        *_pulls(plan),
        *(step for phase in plan.phases for step in _phase(plan, phase)),
        *_edge_only(plan),
        *(Step(0, "keep", keep.service, keep.slot, keep.host, keep.reason) for keep in plan.keeps),
    )


def _pulls(plan: Plan) -> Iterator[Step]:
    """One line for a host and an image; of several services that share the image the first is named."""
    images = {service.name: service.container.image for service in plan.stack.services}
    for pull in plan.pulls:
        service = next(
            s.service for s in plan.starts if s.host == pull.host and images[s.service] == pull.image
        )
        yield Step(0, "pull", service, 0, pull.host, pull.image)


def _phase(plan: Plan, phase: Phase) -> Iterator[Step]:
    if isinstance(phase, RetirePhase):
        drained = [retire for retire in phase.retires if retire.served]
        yield from (_of(phase.batch, retire, "drain") for retire in drained)
        yield from (_of(phase.batch, retire, "stop") for retire in phase.retires)
        yield from (_of(phase.batch, retire, "remove") for retire in phase.retires)
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
    """One line for each load balancer."""
    servers = {
        server.name for backend in backends if backend.service == service for server in backend.servers
    }
    for host in sorted(plan.fleet.load_balancers, key=lambda host: host.name):
        yield Step(
            batch, "switch", service, 0, host.name, f"{len(servers)} server{'' if len(servers) == 1 else 's'}"
        )


def _edge_only(plan: Plan) -> Iterator[Step]:
    """The switch of a plan that changes routes alone, or mends what the load balancers serve."""
    if not plan.edge_changes or any(phase.backends is not None for phase in plan.phases):
        return
    batch = max((phase.batch for phase in plan.phases), default=0) + 1
    for host in sorted(plan.fleet.load_balancers, key=lambda host: host.name):
        yield Step(batch, "switch", "", 0, host.name, "haproxy.cfg differs")

"""Which rolling updates are judged on their live answers, and what is compared with what. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gitops.model.plan import Plan
from gitops.model.stack import Judge, Service


@dataclass(frozen=True)
class Judged:
    """The update of one service.

    Attributes:
        service: its name.
        targets: its container ports that the edge serves over HTTP, sorted.
        new: (host, container) of what the plan starts or takes up again, sorted.
        old: names of the containers that go, sorted.
        judge: the limits.
    """

    service: str
    targets: tuple[int, ...]
    new: tuple[tuple[str, str], ...]
    old: tuple[str, ...]
    judge: Judge


def judged(plan: Plan) -> tuple[Judged, ...]:
    """The services that a plan brings to another version while the edge serves them over HTTP.

    Not those that are only moved, scaled or healed, whose version has served before; not on the way back,
    which leads to what is known to be good; not where nothing was served that could be compared.
    """
    if plan.rollback or plan.previous is None:
        return ()
    found = []
    for service in plan.stack.services:
        before = plan.previous.service(service.name)
        if before is None or before.container.digest == service.container.digest or not _asks(service):
            continue
        new = tuple(sorted((s.host, s.container) for s in plan.starts if s.service == service.name))
        old = tuple(sorted(r.container for r in plan.retires if r.service == service.name))
        if new and old:
            judge = replace(service.rollout.judge, against="old")
            found.append(Judged(service.name, service.http_targets, new, old, judge))
    return tuple(found)


def _asks(service: Service) -> bool:
    """Whether its updates are to be judged: a canary has its own trials."""
    rollout = service.rollout
    return rollout.strategy == "rolling" and rollout.judged and bool(service.http_targets)

"""Verification: a commit is good only when the hosts themselves say so.

The playbook's tasks have watched each new container on their own, and run its health
check themselves: an engine may call it `starting` for an interval longer. Here the whole
is looked at once more, from outside: nothing left to do, everything well. What is served is
asked of HAProxy itself: what it has loaded, where each route leads, which servers are up.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from gitops.channel import Channel
from gitops.errors import GitopsError, PermanentError, Where
from gitops.model.observed import Observed, ObservedHost
from gitops.model.plan import Place, Plan
from gitops.observe.hosts import observe
from gitops.plan import make_plan
from gitops.plan.edge import backend_name, runs_otherwise
from gitops.plan.places import serves
from gitops.render.edge import assembled
from gitops.render.haproxy import fragment

INTERVAL_S = 0.1  # between two looks
SETTLE_S = 15.0  # for checks of engines and HAProxy that are still under way
LOG_LINES = 20
UP = ("UP", "no check")  # how HAProxy's `show stat` calls a server that takes requests


class NotVerifiedError(PermanentError):
    """The fleet is not what the commit says, and does not become so.

    Attributes:
        of_host: whether a host does not answer: then the commit is not at fault.
    """

    def __init__(self, message: str, *, where: Where | None = None, of_host: bool = False) -> None:
        self.of_host = of_host
        super().__init__(message, where=where)


@dataclass(frozen=True)
class Problem:
    """One way in which the fleet differs from the commit."""

    message: str
    where: Where
    passing: bool = False  # whether it may pass by itself: a check that has not come up yet
    of_host: bool = False  # whether the host itself is why


def verify(channels: Mapping[str, Channel], plan: Plan, *, settle_s: float = SETTLE_S) -> Observed:
    """Looks until nothing is left to do, every container is well and every server is up.

    Raises:
        NotVerifiedError: a container ended or is unhealthy, or something did not settle in time.
    """
    deadline = time.monotonic() + settle_s
    while True:
        observed = observe(channels, plan.fleet)
        problem = difference(plan, observed)
        if problem is None:
            return observed
        if not problem.passing or time.monotonic() > deadline:
            words = _last_words(channels, problem.where)
            raise NotVerifiedError(problem.message + words, where=problem.where, of_host=problem.of_host)
        time.sleep(INTERVAL_S)


def difference(plan: Plan, observed: Observed) -> Problem | None:
    """The first way in which the fleet differs from what the plan leads to, or None. Pure."""
    for host in observed.hosts:
        if not host.reachable:
            return Problem(
                f"does not answer: {host.error}", Where(host=host.name), passing=True, of_host=True
            )
    resting = {(each.service, each.slot) for each in plan.resting}
    for container in observed.containers(plan.app):
        where = Where(host=container.host, container=container.name)
        if container.finished or (container.service, container.slot) in resting:
            continue
        if container.state == "restarting":
            return Problem(
                f"{container.service}.{container.slot} is restarted by its engine", where, passing=True
            )
        if container.state == "exited":
            return Problem(
                f"{container.service}.{container.slot} exited with code {container.exit_code}", where
            )
        if container.health == "unhealthy" and not container.job:
            return Problem(f"{container.service}.{container.slot} is unhealthy", where)
    again = make_plan(
        plan.stack,
        plan.whole_fleet,
        observed,
        previous=plan.previous,
        jobs=False,
        tolerate=len(plan.absent),
        spared=plan.spared,
        relapses=plan.relapses,
        out=dict(plan.out),
        scheduler=replace(plan.scheduler, rebalance=0),
    )
    todo = again.starts or again.retires
    if todo:
        where = Where(host=todo[0].host, container=todo[0].container)
        return Problem(f"not as the commit says: {todo[0].reason}", where, passing=True)
    return _edge(plan, observed)


def _edge(plan: Plan, observed: Observed) -> Problem | None:
    """The first load balancer or node that does not run what the plan leads to. Pure.

    Its files are those that the plan makes, HAProxy has loaded them, every route and port leads where the
    files say, and every server of each backend is up by HAProxy's own check. Servers of absent hosts may
    be down, and those that are left alone for now.
    """
    for place in plan.places:
        for host in filter(None, map(observed.host, place.hosts)):
            where = Where(host=host.name)
            if why := _otherwise(plan, place, host):
                return Problem(why, where, passing=True)
            if down := _down(plan, place, host):
                return down
    return None


def _otherwise(plan: Plan, place: Place, host: ObservedHost) -> str:
    """What of a host's files, or of what its HAProxy has loaded, is not as the plan leads to; or empty."""
    fragments = dict(host.fragments)
    serves_any = place.after.services or (place.after.edge and any(s.served for s in plan.stack.services))
    wanted = fragment(plan.stack, None, plan.backends, place.after) if serves_any else ""
    if fragments.get(plan.app, "") != wanted:
        return "its part of haproxy.cfg is not as planned"
    files = assembled(fragments, place.after.edge)
    if files is None or not host.config:
        return ""
    if files.digest != host.config:
        return "haproxy.cfg is not what its parts make"
    return runs_otherwise(plan.app, files, host)


def _down(plan: Plan, place: Place, host: ObservedHost) -> Problem | None:
    """The first server of the plan that HAProxy does not hold for up."""
    absent = {each.host.name for each in plan.absent}
    resting = {(each.service, each.slot) for each in plan.resting}
    held = {k.container for k in plan.keeps if k.host in absent or (k.service, k.slot) in resting}
    seen = {(server.backend, server.name): server.status for server in host.servers}
    for backend in plan.backends:
        if not serves(place.after, backend, plan.stack):
            continue
        proxy = backend_name(plan.app, backend.service, backend.target)
        for name in sorted({server.name for server in backend.servers} - held):
            status = seen.get((proxy, name), "missing")
            if not status.startswith(UP):
                where = Where(host=host.name, container=name)
                return Problem(f"HAProxy's own check says {status}", where, passing=True)
    return None


def _last_words(channels: Mapping[str, Channel], where: Where) -> str:
    """The container's last log lines, for the reason; empty where there are none."""
    if where.host not in channels or not where.container:
        return ""
    try:
        lines = channels[where.host].engine().logs(where.container, tail=LOG_LINES)
    except GitopsError:
        return ""  # the container may be gone: the reason stands without its last words
    return "".join(f"\n  | {line}" for line in lines)

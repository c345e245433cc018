"""Verification: a commit is good only when the hosts themselves say so."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from gitops.channel import Channel
from gitops.errors import GitopsError, PermanentError, Where
from gitops.model.observed import Observed
from gitops.model.plan import Plan, Start
from gitops.observe.hosts import observe
from gitops.plan import make_plan

INTERVAL_S = 0.1  # between two looks
SETTLE_S = 15.0  # for HAProxy's own checks to come up after the last switch
LOG_LINES = 20
UP = ("UP", "no check")


class NotVerifiedError(PermanentError):
    """The fleet is not what the commit says, and does not become so."""


@dataclass(frozen=True)
class Problem:
    """One way in which the fleet differs from the commit."""

    message: str
    where: Where
    passing: bool = False  # whether it may pass by itself: a check that has not come up yet


def verify(channels: Mapping[str, Channel], plan: Plan, *, settle_s: float = SETTLE_S) -> Observed:
    """Watches until nothing is left to do, every server is up and every monitor window is over.

    The windows of containers that replace others have run beside the rollout;
    here it is those of containers that replace nothing.

    Raises:
        NotVerifiedError: a container ended, was restarted or is unhealthy, or a server stays down.
    """
    began = time.monotonic()
    unwatched = _unwatched(plan)
    while True:
        observed = observe(channels, plan.fleet)
        problem = difference(plan, observed) or _restarted(channels, plan.starts)
        elapsed = time.monotonic() - began
        if problem is None and not any(_monitor_s(plan, start, observed) > elapsed for start in unwatched):
            return observed
        if problem is not None and (not problem.passing or elapsed > settle_s):
            raise NotVerifiedError(
                problem.message + _last_words(channels, problem.where), where=problem.where
            )
        time.sleep(INTERVAL_S)


def difference(plan: Plan, observed: Observed) -> Problem | None:
    """The first way in which the fleet differs from what the plan leads to, or None."""
    for host in observed.hosts:
        if not host.reachable:
            return Problem(f"does not answer: {host.error}", Where(host=host.name), passing=True)
    for container in observed.containers(plan.app):
        where = Where(host=container.host, container=container.name)
        if container.state == "exited":
            return Problem(f"ended with exit code {container.exit_code}", where)
        if container.health == "unhealthy":
            return Problem("is unhealthy", where)
        if container.health == "starting":
            return Problem("did not become healthy", where, passing=True)
    again = make_plan(plan.stack, plan.fleet, observed, previous=None)
    if not again.empty:
        todo = again.starts or again.retires
        where = Where(host=todo[0].host, container=todo[0].container) if todo else Where()
        reason = todo[0].reason if todo else "the load balancer's configuration differs"
        return Problem(f"is not as the commit says: {reason}", where, passing=True)
    return _down(plan, observed)


def _down(plan: Plan, observed: Observed) -> Problem | None:
    """The first server of the plan that some load balancer does not hold for up."""
    expected = {server.name: server for backend in plan.backends for server in backend.servers}
    for host in observed.hosts:
        seen = {server.name: server for server in host.servers}
        if not host.servers and not host.fragments:
            continue  # no load balancer
        for name in sorted(expected):
            status = seen[name].status if name in seen else "missing"
            if not status.startswith(UP):
                return Problem(
                    f"HAProxy's check says {status}", Where(host=host.name, container=name), passing=True
                )
    return None


def _restarted(channels: Mapping[str, Channel], starts: tuple[Start, ...]) -> Problem | None:
    """The first new container that its engine has restarted: it ended by itself once."""
    for start in starts:
        details = channels[start.host].engine().inspect(start.container)
        if details.get("RestartCount", 0):
            code = details.get("State", {}).get("ExitCode", 0)
            return Problem(
                f"ended by itself and was restarted (last exit code {code})",
                Where(host=start.host, container=start.container),
            )
    return None


def _unwatched(plan: Plan) -> tuple[Start, ...]:
    """The starts whose monitor window no later phase of the plan waits for."""
    watched = {retire.successor for retire in plan.retires}
    return tuple(start for start in plan.starts if start.container not in watched)


def _monitor_s(plan: Plan, start: Start, observed: Observed) -> float:
    """The seconds to watch a new container for; 0 without a health check: the rollout itself waited."""
    service = plan.stack.service(start.service)
    host = observed.host(start.host)
    found = next((c for c in host.containers if c.name == start.container), None) if host else None
    return service.update.monitor_s if service and found and found.health != "none" else 0.0


def _last_words(channels: Mapping[str, Channel], where: Where) -> str:
    """The container's last log lines, for the reason; empty where there are none."""
    if where.host not in channels or not where.container:
        return ""
    try:
        lines = channels[where.host].engine().logs(where.container, tail=LOG_LINES)
    except GitopsError:
        return ""  # the container may be gone: the reason stands without its last words
    return "".join(f"\n  | {line}" for line in lines)

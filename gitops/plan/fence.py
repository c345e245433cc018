"""Fences: jobs that no automatic rollback crosses, such as a migration that the old version cannot read."""

from __future__ import annotations

from gitops.model.fleet import Fleet
from gitops.model.observed import Observed
from gitops.model.stack import Stack


def crossed(good: Stack | None, observed: Observed, app: str) -> str:
    """The fences between what has been run on the hosts and a commit, or empty.

    One that has been started counts, however it ended: half a migration is one too.
    The hosts alone say so, whatever became of the controller that started it.

    Args:
        good: the commit to go back to, or None where that is nothing.
        observed: what the hosts reported.
        app: the application.
    """
    found = {
        f"the job {c.service} of commit {c.commit[:12]}"
        for c in observed.containers(app)
        if c.fence and c.state != "created" and c.spec != _digest(good, c.service)
    }
    return ", ".join(sorted(found))


def hidden(stack: Stack, good: Stack | None, fleet: Fleet, observed: Observed) -> str:
    """The fences that a host which does not answer may hide, or empty: nobody can tell whether they were run.

    Args:
        stack: the commit that failed.
        good: the commit to go back to, or None where that is nothing.
        fleet: the hosts of the commit that failed.
        observed: what the hosts reported.
    """
    lost = [host.name for host in observed.hosts if not host.reachable and _runs(fleet, host.name)]
    jobs = [
        service.name
        for service in stack.services
        if service.job and service.job.fence and service.container.digest != _digest(good, service.name)
    ]
    if not lost or not jobs:
        return ""
    return f"the job {', '.join(jobs)} of commit {stack.commit[:12]}, which may have run on {', '.join(lost)}"


def _digest(stack: Stack | None, name: str) -> str:
    service = stack.service(name) if stack else None
    return service.container.digest if service else ""


def _runs(fleet: Fleet, name: str) -> bool:
    host = fleet.host(name)
    return host is not None and host.runs_containers

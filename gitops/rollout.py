"""One plan carried out, forward or back: render -> execute -> verify, and what follows a failure."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from gitops.application import Application, Desired
from gitops.channel import Channel
from gitops.errors import GitopsError, PermanentError, TransientError
from gitops.execute import runner
from gitops.execute.events import Failure
from gitops.journal import Journal
from gitops.model.deployment import Deployment
from gitops.model.fleet import Fleet
from gitops.model.observed import Observed
from gitops.model.plan import Plan
from gitops.observe.hosts import observe
from gitops.plan import fence, make_plan
from gitops.render import deployment as render
from gitops.render.haproxy import fragment
from gitops.tasks import CANCEL, PROMOTE, STOP
from gitops.tasks.ways import way_of
from gitops.verify import verify

log = logging.getLogger(__name__)

CANCELLED = "cancelled by hand: gitops cancel"
KEPT_RUNS = 20  # run folders an application keeps, for whoever wants to read what ran

Interrupt = Literal["", "shutdown", "superseded", "cancel"]
"""Why a rollout that runs is to end before its end; empty while it is not."""

Interrupted = Callable[[str], Literal["", "shutdown", "superseded"]]
"""Asked again and again with the commit that is on its way."""


class RolloutError(PermanentError):
    """A run failed: `failure` says which service, host and container, and why."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.reason)


class StoppedError(TransientError):
    """The rollout ended at a batch boundary because it was asked to."""


@dataclass
class Signals:
    """What reaches a rollout while it runs: from the service, and from operators by way of the store."""

    journal: Journal
    interrupted: Interrupted
    why: Interrupt = ""  # the first reason stays

    def files(self) -> set[str]:
        """The files of the run folder that tell its task."""
        asked = self.journal.asked()
        found = "cancel" if "cancel" in asked else self.interrupted(self.journal.deployment.commit)
        self.why = self.why or found
        promote = {PROMOTE} if "promote" in asked else set()
        return promote | ({CANCEL} if self.why == "cancel" else {STOP} if self.why else set())


def plan_for(
    desired: Desired,
    previous: Desired | None,
    observed: Observed,
    *,
    rollback: bool = False,
    jobs: bool = True,
) -> Plan:
    """The plan from what was observed to what is desired.

    `previous` lends the words for the reasons, and its hosts: one that has left
    the fleet is emptied.
    """
    return make_plan(
        desired.stack,
        together(desired, previous),
        observed,
        previous=previous.stack if previous else None,
        rollback=rollback,
        jobs=jobs,
        fragment=fragment,
    )


def together(desired: Desired, previous: Desired | None) -> Fleet:
    """The desired fleet, and without a group the hosts that only the previous one had."""
    names = {host.name for host in desired.fleet.hosts}
    left = [host for host in previous.fleet.hosts if host.name not in names] if previous else []
    hosts = (*desired.fleet.hosts, *(replace(host, groups=()) for host in left))
    return Fleet(tuple(sorted(hosts, key=lambda host: host.name)))


def roll_out(
    app: Application,
    desired: Desired,
    previous: Desired | None,
    channels: Mapping[str, Channel],
    journal: Journal,
    interrupted: Interrupted,
    *,
    jobs: bool = True,
) -> Deployment:
    """Moves the application to the commit, or back to the last good one if that fails.

    The caller holds the hosts' locks. The plan is made here, from what the hosts
    say under the lock; without `jobs` none of the commit is run.

    Returns:
        The finished deployment: succeeded, rolled-back, failed; or cancelled or superseded at a batch
        boundary.
    """
    journal.move("planning")
    signals = Signals(journal, interrupted)
    fleet = together(desired, previous)
    before = observe(channels, fleet)
    try:
        with journal.phase("plan"):
            plan = app.connections.allotments.plan(
                app.name,
                lambda: observe(channels, fleet),
                lambda observed: plan_for(desired, previous, observed, jobs=jobs),
            )
        journal.move("running")
        _carry_out(app, plan, channels, journal, signals.files)
        journal.move("verifying")
        with journal.phase("verify"):
            journal.changes(before, verify(channels, plan))
    except StoppedError as stop:
        journal.changes(before, observe(channels, fleet))
        if signals.why == "superseded":
            return journal.move("superseded", "a newer commit has come: it goes on from here")
        if signals.why != "cancel":
            return journal.move("cancelled", stop.message)
        app.store.quarantine(app.name, desired.stack.commit, CANCELLED)
        return go_back(app, desired, previous, channels, journal, CANCELLED, outcome="cancelled")
    except GitopsError as failure:
        journal.changes(before, observe(channels, fleet))
        log.info("%s: %s failed: %s", app.name, desired.stack.commit[:12], failure)
        app.store.quarantine(app.name, desired.stack.commit, str(failure))
        if _pauses(desired, failure):
            return journal.move("failed", f"{failure}\nleft as it is: update_config.failure_action is pause")
        return go_back(app, desired, previous, channels, journal, str(failure))
    return journal.move("succeeded")


def _pauses(desired: Desired, failure: GitopsError) -> bool:
    """Whether the service that failed asks to be left as it is."""
    name = failure.failure.service if isinstance(failure, RolloutError) else ""
    service = desired.stack.service(name)
    return service is not None and service.update.failure_action == "pause"


def go_back(
    app: Application,
    failed: Desired,
    good: Desired | None,
    channels: Mapping[str, Channel],
    journal: Journal,
    reason: str,
    *,
    outcome: Literal["rolled-back", "cancelled"] = "rolled-back",
) -> Deployment:
    """Returns the whole application to the last good commit, or to nothing where there is none.

    A host that does not answer is left out: the others serve the good commit without it,
    and it is brought back by the first pass after its return. A rollback that fails stops
    and says so: nothing more is touched.
    """
    if app.settings.on_failure == "halt" and outcome == "rolled-back":
        return journal.move("failed", f"{reason}\nleft as it is: on_failure is halt")
    observed = observe(channels, together(good or failed, failed))
    if between := _fence(failed, good, observed, journal):
        hand = f"gitops rollback {app.name} goes back by hand, " if good else ""
        return journal.move(
            "failed",
            f"{reason}\nleft as it is: {between} is a fence, which no automatic rollback crosses "
            f"({hand}gitops retry {app.name} goes on)",
        )
    if not journal.rolling_back:  # a controller that died may have begun it
        journal.move("rolling-back", reason)
    lost = {host.name: host.error for host in observed.hosts if not host.reachable}
    failed = _without(failed, lost)
    back = _without(good, lost) if good else Desired(failed.stack.emptied(), failed.fleet)
    reason = "\n".join(
        [reason, *(f"{name} is left out of the way back: {why}" for name, why in lost.items())]
    )
    try:
        with journal.phase("plan"):
            plan = app.connections.allotments.plan(
                app.name,
                lambda: observe(channels, together(back, failed)),
                lambda observed: plan_for(back, failed, observed, rollback=True),
            )
        if not plan.empty:
            _carry_out(app, plan, channels, journal, signals=tuple)
        with journal.phase("verify"):
            verify(channels, plan)
        if app.settings.on_failure == "revert" and good is not None:
            _push_revert(app, failed, good, journal, reason)
    except GitopsError as failure:
        return journal.move("failed", f"{reason}\nthe rollback failed too: {failure}")
    return journal.move(outcome, reason)


def _fence(failed: Desired, good: Desired | None, observed: Observed, journal: Journal) -> str:
    """What stands between the commit that failed and the last good one, or empty."""
    if good is not None and good.stack.commit == failed.stack.commit:
        return ""  # what was good is mended, and nothing crossed
    stack = good.stack if good else None
    seen = fence.crossed(stack, observed, failed.stack.app)
    begun = journal.deployment.state not in {"pending", "planning"}
    return seen or (fence.hidden(failed.stack, stack, failed.fleet, observed) if begun else "")


def _without(desired: Desired, lost: Collection[str]) -> Desired:
    """The same commit on the hosts that answer."""
    return replace(desired, fleet=Fleet(tuple(host for host in desired.fleet.hosts if host.name not in lost)))


def _carry_out(
    app: Application,
    plan: Plan,
    channels: Mapping[str, Channel],
    journal: Journal,
    signals: Callable[[], Collection[str]],
) -> None:
    """Renders a plan and runs it.

    Raises:
        RolloutError: a task failed.
        StoppedError: ended at a batch boundary.
    """
    earlier = len(list(app.runs.glob(f"{journal.deployment.id}-*")))
    folder = app.runs / f"{journal.deployment.id}-{earlier + 1}"
    with journal.phase("execute"):
        result = runner.run(
            render(plan, deployment_id=journal.deployment.id),
            folder,
            on_event=journal.event,
            on_start=journal.run_started,
            timeout_s=app.settings.timeout_s,
            signals=signals,
            standby=app.standby,
            ways={host.name: way_of(channels[host.name]) for host in plan.fleet.hosts},
        )
    for old in sorted(app.runs.iterdir())[:-KEPT_RUNS]:
        shutil.rmtree(old, ignore_errors=True)
    if result.failure is None:
        return
    if result.failure.kind == "stopped":
        raise StoppedError("stopped at a batch boundary, as asked")
    raise RolloutError(result.failure)


def _push_revert(app: Application, failed: Desired, good: Desired, journal: Journal, reason: str) -> None:
    """`on_failure: revert`: the branch itself goes back, so that Git says what runs."""
    bad, to = failed.stack.commit, good.stack.commit
    message = f"Revert to {to[:12]}: {bad[:12]} failed\n\n{reason}\n"
    commit = app.clone.push_revert(app.settings.source.branch or "main", bad, to, message)
    journal.tell("revert", f"pushed {commit[:12]}, which returns the branch to {to[:12]}")

"""One pass: source -> desired -> observe -> plan -> render -> execute -> verify -> record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from gitops.application import Application
from gitops.errors import GitopsError, PermanentError
from gitops.execute import runner
from gitops.journal import Journal, Report
from gitops.model.deployment import Deployment, Outcome
from gitops.observe.hosts import observe
from gitops.plan.fence import crossed
from gitops.plan.guard import removal_guard
from gitops.rollout import Interrupted, go_back, plan_for, roll_out, together
from gitops.store.records import this_process

Trigger = Literal["push", "poll", "manual", "rollback", "resume"]


@dataclass(frozen=True)
class Request:
    """What a pass is asked for.

    Attributes:
        trigger: what set it off.
        commit: the commit to go to, full SHA; empty for the newest of the branch.
        confirmed: whether a person has agreed to removing most of the application.
        interrupted: asked while the rollout runs, with its commit; a reason ends it at the next batch
            boundary.
    """

    trigger: Trigger = "poll"
    commit: str = ""
    confirmed: bool = False
    interrupted: Interrupted = field(default=lambda _: "")


@dataclass(frozen=True)
class Result:
    """How a pass ended.

    Attributes:
        outcome: of the deployment, or `nothing` (in sync) or `held` (the commit may not be deployed).
        commit: what the application is on, or was asked for.
        message: for a person.
        deployment: its record, where there was one.
    """

    outcome: Outcome | Literal["nothing", "held"]
    commit: str
    message: str = ""
    deployment: Deployment | None = None


def reconcile(app: Application, request: Request, report: Report) -> Result:
    """Brings an application to its commit, or back to the last good one.

    Args:
        app: the application.
        request: which commit, and how far the pass may go.
        report: told of every event of the deployment, in order; must not block.

    Returns:
        How it ended. A commit that fails is a result, not an error.

    Raises:
        TransientError: nothing was changed: something does not answer, or is locked by another controller.
        PermanentError: nothing was changed: a setting is wrong, such as a repo that does not exist.
    """
    recover(app, report)
    commit = request.commit or app.fetch()
    good = app.store.good(app.name)
    quarantined = app.store.quarantined(app.name)
    if commit in quarantined:
        if request.commit or not good or left_half_way(app, commit):
            return Result("held", commit, f"{commit[:12]} is quarantined: {quarantined[commit]}")
        commit = good
    jobs = request.trigger != "rollback"  # an older migration must not meet the newer one's database
    if commit != good:
        app.standby.warm()  # a rollout is likely: its playbook's program is loaded meanwhile

    try:
        desired = app.at(commit)
        previous = app.at(good) if good else None
        if not request.confirmed:
            removal_guard(previous.stack if previous else None, desired.stack, fleet=desired.fleet)
        fleet = together(desired, previous)
        channels = app.connections.open(fleet)
        observed = observe(channels, fleet)
        plan = plan_for(desired, previous, observed, jobs=jobs)
    except PermanentError as problem:
        return _refuse(app, commit, good, request, report, problem)
    if plan.empty:
        return _in_sync(app, commit, good, request, report)
    if commit == good and not app.settings.self_heal and request.trigger in {"poll", "push"}:
        return Result("held", commit, f"drifted: {plan.changes} changes to heal, and self_heal is false")

    with app.connections.locked(app.name, channels), _recorded(app, commit, good, request, report) as journal:
        if not jobs and (between := crossed(desired.stack, observed, app.name)):
            journal.tell("fence", f"crosses a fence, as asked: what {between} has done is not undone")
        deployment = roll_out(app, desired, previous, channels, journal, request.interrupted, jobs=jobs)
        if deployment.outcome == "succeeded":
            app.clone.keep(commit, f"good/{commit}")
        return Result(deployment.outcome, commit, deployment.reason, deployment)


def left_half_way(app: Application, commit: str) -> bool:
    """Whether the last deployment stopped where it was: halted, or its rollback failed too.

    Then nothing is touched until a person retries or a new commit comes. One that was
    refused before its first step (it has no phases) left the last good commit in force.
    """
    last = next(iter(app.store.history(app.name, limit=1)), None)
    return last is not None and last.commit == commit and last.state == "failed" and bool(last.phases)


def recover(app: Application, report: Report) -> None:
    """Ends what a controller that died has left running, and finishes a rollback that it had begun.

    A rollout that was going forward is closed as cancelled: this pass plans anew
    from what the hosts say, and so takes it up where it was.
    """
    for deployment, owner, run in app.store.running():
        if deployment.app != app.name or owner.alive():
            continue
        if run is not None:
            runner.reap(run)
        journal = Journal(app.store, deployment, report)
        if deployment.state != "rolling-back":
            journal.move(
                "cancelled", "its controller ended in the middle; the next pass takes it up from there"
            )
            continue
        failed = app.at(deployment.commit)
        good = app.at(deployment.previous_commit) if deployment.previous_commit else None
        channels = app.connections.open(together(failed, good))
        with app.connections.locked(app.name, channels):
            app.store.adopt(deployment.id, this_process())
            go_back(app, failed, good, channels, journal, deployment.reason)


@contextmanager
def _recorded(
    app: Application, commit: str, good: str | None, request: Request, report: Report
) -> Iterator[Journal]:
    """Opens a deployment's record, and closes it as failed if our own code breaks: a record never hangs."""
    deployment = app.store.begin(app.name, commit, good or "", request.trigger, this_process())
    journal = Journal(app.store, deployment, report)
    try:
        yield journal
    except Exception as error:
        if journal.deployment.outcome == "running":
            journal.move("failed", f"internal error, please report it: {type(error).__name__}: {error}")
        raise


def _in_sync(app: Application, commit: str, good: str | None, request: Request, report: Report) -> Result:
    """Nothing differs. A new commit that changes no container is recorded as good all the same."""
    if commit == good:
        return Result("nothing", commit, "in sync")
    with _recorded(app, commit, good, request, report) as journal:
        journal.move("planning")
        journal.move("verifying")
        deployment = journal.move("succeeded")
    app.clone.keep(commit, f"good/{commit}")
    return Result("nothing", commit, "in sync", deployment)


def _refuse(
    app: Application, commit: str, good: str | None, request: Request, report: Report, problem: GitopsError
) -> Result:
    """A commit that cannot be deployed at all: nothing is touched, the record says why."""
    app.store.quarantine(app.name, commit, str(problem))
    with _recorded(app, commit, good, request, report) as journal:
        deployment = journal.move("failed", str(problem))
    return Result("failed", commit, deployment.reason, deployment)

"""One pass: source -> desired -> observe -> plan -> render -> execute -> verify -> record."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Literal

from gitops.application import Application, Desired
from gitops.channel import Channel
from gitops.errors import GitopsError, PermanentError, TransientError
from gitops.execute import runner
from gitops.healing import left_alone, mending, tell_drifts
from gitops.images.prune import prune
from gitops.images.registry import ImageError
from gitops.journal import Journal, Report
from gitops.leftovers import sweep
from gitops.model.commit_settings import CommitSettings
from gitops.model.deployment import Deployment, Outcome
from gitops.model.observed import Observed, ObservedHost
from gitops.model.plan import Plan, Retire, Start
from gitops.model.tolerance import ANY
from gitops.observe.hosts import observe
from gitops.observe.room import must_take
from gitops.plan.drift import drifts, sentence
from gitops.plan.fence import crossed
from gitops.plan.guard import removal_guard
from gitops.plan.refusal import PortsHeldError
from gitops.planning import Terms, plan_for, together
from gitops.rollout import Interrupted, Rollout
from gitops.store.records import this_process
from gitops.trouble import of_host

Trigger = Literal["push", "poll", "heal", "manual", "rollback", "resume", "drain", "scale", "settings"]
"""`heal`: something has happened on a host, or its turn has come to be looked at. Git is not asked.

`settings` is what a deployment is recorded with whose commit was good already, read with other settings.
"""

AUTOMATIC: frozenset[Trigger] = frozenset({"poll", "push", "heal"})
"""What no person has asked for."""

AGAIN_S = 2.0
"""Until a slot is looked at again that waits for the repair of another one."""

_AS_IT_WAS: frozenset[Trigger] = frozenset({"rollback", "drain"})
"""What returns to a commit, or stays on it: it is read with the settings that it was deployed with."""

TOLERATED_S = 300.0
"""How long a service leaves a container alone whose failure was tolerated."""


@dataclass(frozen=True)
class Request:
    """What a pass is asked for.

    Attributes:
        trigger: what set it off.
        commit: the commit to go to, full SHA; empty for the newest of the branch.
        confirmed: whether a person has agreed to removing most of the application.
        interrupted: asked while the rollout runs, with its commit; a reason ends it at the next batch
            boundary.
        undone: of a rollback: the newer commits, which are quarantined if it succeeds, with the reason.
    """

    trigger: Trigger = "poll"
    commit: str = ""
    confirmed: bool = False
    interrupted: Interrupted = field(default=lambda _: "")
    undone: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Aim:
    """Where a pass is to bring an application.

    Attributes:
        commit: the commit to be on.
        settings: with which it is read.
        good: the last good commit, or None.
        good_settings: with which that was read.
    """

    commit: str
    settings: CommitSettings
    good: str | None
    good_settings: CommitSettings

    @property
    def same(self) -> bool:
        """Whether it is what was good already: what differs on the hosts is drift."""
        return self.commit == self.good and self.settings == self.good_settings

    def trigger(self, asked: Trigger) -> Trigger:
        """What a deployment to it is recorded with."""
        if self.commit == self.good and not self.same:
            return "settings"
        return "poll" if asked == "heal" and not self.same else asked


@dataclass(frozen=True)
class Result:
    """How a pass ended.

    Attributes:
        outcome: of the deployment, or `nothing` (in sync) or `held` (the commit may not be deployed).
        commit: what the application is on, or was asked for.
        message: for a person.
        deployment: its record, where there was one.
        again_s: seconds after which a slot that is left alone for now may be healed, or a commit that
            failed for a host is tried again; None: there is none.
    """

    outcome: Outcome | Literal["nothing", "held"]
    commit: str
    message: str = ""
    deployment: Deployment | None = None
    again_s: float | None = None


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
        PermanentError: nothing was changed: a setting is wrong, such as a repo that does not exist, or a
            program of a host has a port that the commit wants there.
    """
    recover(app, report)
    aim, held = _choose(app, request)
    commit, good = aim.commit, aim.good
    retry_s = _retry_s(app)
    if held:
        return Result("held", commit, held, again_s=retry_s)
    jobs = request.trigger != "rollback"  # an older migration must not meet the newer one's database
    if not aim.same:
        app.standby.warm()  # a rollout is likely: its playbook's program is loaded meanwhile
    mends = aim.same and request.trigger in AUTOMATIC
    left = left_alone(app) if mends else {}
    # By hand it goes back at once, too: by rollback_config, and without a trial of what was good.
    asked = Terms(tolerate=app.settings.tolerate_unreachable, jobs=jobs, rollback=not jobs)
    terms = mending(left) if mends else asked

    try:
        desired = app.at(commit, aim.settings)
        previous = app.good()
        if not request.confirmed:
            removal_guard(previous.stack if previous else None, desired.stack, fleet=desired.fleet)
        fleet = together(desired, previous)
        channels = app.connections.open(fleet)
        observed = observe(channels, fleet, app.hosts.away)
        previous = app.counted(previous, observed) if previous else None
        desired = app.counted(app.resolved(desired, channels, observed), observed)
        previous = desired if aim.same else previous
        plan = _planned(app, desired, previous, observed, terms, even=mends)
    except ImageError as problem:
        return _no_image(app, desired, previous, channels, observed.away, request, report, problem)
    except PermanentError as problem:
        return _refuse(app, aim, request, report, problem)
    resting = (left.get((each.service, each.slot), AGAIN_S) for each in plan.resting)
    again_s = _again_s(retry_s, resting)
    if plan.empty:
        return replace(_in_sync(app, plan, aim, request, report), again_s=again_s)
    if mends and (why := held_back(app, plan)):
        return Result("held", commit, why, again_s=retry_s)

    present = reached(channels, observed.away)
    _must_take(plan, present, "heal" if mends else request.trigger)
    with ExitStack() as ending:
        ending.enter_context(app.connections.locked(app.name, present))
        _check_not_paused(app)
        if mends and plan.at_the_edge_alone and _repaired(app, ending, desired, channels):
            return Result("nothing", commit, again_s=again_s)
        record = recorded(app, commit, good, aim.trigger(request.trigger), report, settings=aim.settings)
        journal = ending.enter_context(record)
        journal.undone = request.undone
        _tell_settings(journal, aim)
        tell_drifts(journal, plan)
        _tell_crossed(journal, "" if jobs else crossed(plan.stack, observed, app.name))
        rollout = Rollout(app, desired, previous, channels, journal, observed.away)
        deployment = rollout.forward(request.interrupted, terms, scheduler=plan.scheduler)
        if deployment.outcome == "succeeded":
            _tidy(app, desired, present.values(), journal)
        return Result(deployment.outcome, commit, deployment.reason, deployment, again_s)


def _repaired(app: Application, ending: ExitStack, desired: Desired, channels: Mapping[str, Channel]) -> bool:
    """Whether another application of this process has put right meanwhile what load balancers run.

    What all applications of a load balancer see is repaired by one of them: the others wait until `ending`
    ends for that one, and find nothing left to do.
    """
    ending.enter_context(app.connections.edge_repair)
    observed = observe(channels, desired.fleet, app.hosts.away)
    desired = app.counted(desired, observed)
    return _planned(app, desired, desired, observed, Terms(tolerate=ANY), even=False).empty


def _tell_crossed(journal: Journal, between: str) -> None:
    """Records that a person goes back across a job that is a fence."""
    if between:
        journal.tell("fence", f"crosses a fence, as asked: what {between} has done is not undone")


def _must_take(plan: Plan, present: Mapping[str, Channel], trigger: Trigger) -> None:
    """Insists that every host takes what the deployment, or its way back, writes there.

    A host that is full does not keep others from being healed, and can be emptied itself.

    Raises:
        NoRoomError: one does not; nothing was changed.
    """
    if trigger in {"heal", "drain"}:
        return
    proxies = {host for place in plan.places for host in place.hosts}
    must_take(
        plan.app,
        present,
        {host.name: host.name in proxies for host in plan.fleet.hosts if host.name in present},
    )


def _planned(
    app: Application,
    desired: Desired,
    previous: Desired | None,
    observed: Observed,
    terms: Terms,
    *,
    even: bool,
) -> Plan:
    """The plan of a pass; where nothing is to be done and it may (`even`), one that evens out load."""
    plan = partial(plan_for, desired, previous, observed, terms=terms)
    premises, moves = app.premises, app.settings.scheduler.rebalance
    found = plan(premises=premises)
    if even and moves and found.empty:
        return plan(premises=replace(premises, scheduler=replace(premises.scheduler, rebalance=moves)))
    return found


def _tidy(app: Application, good: Desired, channels: Collection[Channel], journal: Journal) -> None:
    """After a success: the commit is kept, and what it has no use for goes."""
    app.clone.keep(good.stack.commit, f"good/{good.stack.commit}")
    engines = [channel for channel in channels if channel.facts.engine.path]
    for removed in sweep(good.stack, engines, volumes=app.settings.prune_volumes):
        journal.tell("swept", removed)
    prune(app.name, app.store, engines, app.settings.image_retention)


def _choose(app: Application, request: Request) -> tuple[_Aim, str]:
    """The commit to be on and how it is read, and why nothing may be done for it, or empty.

    A quarantined one leaves the last good one in force, unless a person asked for it. What was
    deployed already is read as it was then, where that is gone back to or held. So does one
    that failed for a host, until its next try is due.
    """
    good = app.store.good(app.name)
    good_settings = app.settings_of_good(good) if good else app.commit_settings
    known = app.store.target(app.name) if request.trigger == "heal" else None
    commit = request.commit or known or app.fetch()
    back = request.trigger in _AS_IT_WAS
    settings = app.settings_of_good(commit) if back else app.commit_settings
    aim = _Aim(commit, settings, good, good_settings)
    why = None if request.trigger == "rollback" else app.quarantined(settings).get(commit)
    if why is None:
        retry = app.store.retries.of(app.name) if request.trigger in AUTOMATIC else None
        if retry is None or retry.commit != commit or not retry.wait_s:
            return aim, ""
        if good and not left_half_way(app, commit):
            return replace(aim, commit=good, settings=good_settings), ""
        return aim, str(retry)
    if request.commit or not good or left_half_way(app, commit):
        return aim, f"{commit[:12]} is quarantined: {why}"
    return replace(aim, commit=good, settings=good_settings), ""


def _check_not_paused(app: Application) -> None:
    """A person may have paused the application since the pass began, such as to remove it.

    Raises:
        TransientError: so it is.
    """
    if app.store.paused(app.name):
        raise TransientError(f"{app.name} was paused meanwhile", hint=f"gitops resume {app.name}")


def _tell_settings(journal: Journal, aim: _Aim) -> None:
    """Records what of the settings has changed, where the commit is the good one."""
    if aim.commit == aim.good and not aim.same:
        changed = ", ".join(aim.settings.differences(aim.good_settings))
        journal.tell("settings", f"gitops.yaml reads the commit otherwise: {changed}")


def _retry_s(app: Application) -> float | None:
    """Seconds until the newest commit is tried again, as a host was at fault; None: it does not wait."""
    return app.store.retries.wait_s(app.name, app.store.target(app.name) or "") or None


def _again_s(retry_s: float | None, rests: Iterable[float]) -> float | None:
    """The least of several delays."""
    return min([*rests, *([] if retry_s is None else [retry_s])], default=None)


def reached(channels: Mapping[str, Channel], away: Collection[ObservedHost]) -> dict[str, Channel]:
    """The channels to the hosts that answer: only they can be locked."""
    gone = {host.name for host in away}
    return {name: channel for name, channel in channels.items() if name not in gone}


def held_back(app: Application, plan: Plan) -> str:
    """Why a service leaves alone what differs from the good commit; empty where it does not.

    Hosts that were missed and are back are brought to the commit in any case.
    """
    last = app.store.last(app.name)
    if plan.scheduler.rebalance:
        failed = last is not None and last.state == "failed" and _ago_s(last) < TOLERATED_S
        return "not evened out: that failed a short while ago" if failed else ""
    degraded = last is not None and last.degraded
    if degraded and _failed_lately(app, plan, last):
        return "degraded: what failed is tried again later, or by gitops sync"
    back = degraded and not plan.missed
    if app.settings.self_heal or back:
        return ""
    return f"drifted, and self_heal is false: {sentence(drifts(plan))}"


def _failed_lately(app: Application, plan: Plan, last: Deployment | None) -> bool:
    """Whether all that differs are slots whose containers failed a short while ago, which was tolerated."""
    if last is None or last.commit != plan.commit:
        return False
    told = [event.data for event in app.store.events(last.id) if event.kind == "tolerated"]
    spared = {(data["service"], data["slot"]) for data in told}
    changes: tuple[Start | Retire, ...] = (*plan.starts, *plan.retires)
    differ = {(change.service, change.slot) for change in changes}
    return bool(differ) and differ <= spared and _ago_s(last) < TOLERATED_S


def _ago_s(ended: Deployment) -> float:
    """Seconds since a deployment has ended."""
    return (datetime.now(UTC) - datetime.fromisoformat(ended.finished_at)).total_seconds()


def left_half_way(app: Application, commit: str) -> bool:
    """Whether the last deployment stopped where it was: halted, or its rollback failed too.

    Then nothing is touched until a person retries or a new commit comes. One that was
    refused before its first step (it has no phases) left the last good commit in force.
    """
    last = app.store.last(app.name)
    if last is None or last.heals:
        return False
    return last.commit == commit and last.state == "failed" and bool(last.phases)


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
        was = app.store.settings_used.of_deployment(deployment.id)
        failed = app.at(deployment.commit, app.commit_settings.recorded(was))
        before = deployment.previous_commit
        good = app.at(before, app.settings_of_good(before)) if before else None
        fleet = together(failed, good)
        channels = app.connections.open(fleet)
        observed = observe(channels, fleet)
        failed = app.counted(failed, observed)
        good = app.counted(good, observed) if good else None
        away = observed.away
        with app.connections.locked(app.name, reached(channels, away)):
            app.store.adopt(deployment.id, this_process())
            Rollout(app, failed, good, channels, journal, away).back(deployment.reason)


@contextmanager
def recorded(
    app: Application,
    commit: str,
    good: str | None,
    trigger: Trigger,
    report: Report,
    *,
    settings: CommitSettings,
) -> Iterator[Journal]:
    """Opens a deployment's record, and closes it as failed if our own code breaks: a record never hangs.

    Args:
        app: the application.
        commit: where it is to go.
        good: the last good commit, or None.
        trigger: what set it off.
        report: told of every event.
        settings: with which the commit was read.
    """
    deployment = app.store.begin(
        app.name, commit, good or "", trigger, this_process(), settings=settings.text
    )
    journal = Journal(app.store, deployment, report)
    try:
        yield journal
    except Exception as error:
        if journal.deployment.outcome == "running":
            journal.move("failed", f"internal error, please report it: {type(error).__name__}: {error}")
        raise


def _in_sync(app: Application, plan: Plan, aim: _Aim, request: Request, report: Report) -> Result:
    """Nothing differs. A new commit that changes no container is recorded as good all the same.

    So are other settings with which the commit says the same.
    So is the end of a degraded state: the host that was missed is back, and had all but the record.
    """
    commit = aim.commit
    app.record_counts(plan.stack)
    last = app.store.last(app.name)
    recovered = last is not None and last.degraded and not plan.degraded
    if aim.same and not recovered:
        if not app.store.settings_used.of_good(app.name, commit):  # deployed before these were recorded
            app.store.settings_used.complete(app.name, aim.settings.text)
        return Result("nothing", commit, plan.degraded)
    trigger = aim.trigger(request.trigger)
    with recorded(app, commit, aim.good, trigger, report, settings=aim.settings) as journal:
        journal.undone = request.undone
        _tell_settings(journal, aim)
        journal.move("planning")
        journal.move("verifying")
        deployment = journal.move("succeeded", plan.degraded)
    app.clone.keep(commit, f"good/{commit}")
    return Result("nothing", commit, plan.degraded, deployment)


def _no_image(
    app: Application,
    desired: Desired,
    previous: Desired | None,
    channels: Mapping[str, Channel],
    away: tuple[ObservedHost, ...],
    request: Request,
    report: Report,
    problem: ImageError,
) -> Result:
    """An image that cannot be had fails the commit as a failed pull does, before any container is touched."""
    commit, good = desired.stack.commit, previous.stack.commit if previous else None
    settings = desired.settings
    aim = _Aim(commit, settings, good, previous.settings if previous else settings)
    locked = app.connections.locked(app.name, reached(channels, away))
    trigger = aim.trigger(request.trigger)
    record = recorded(app, commit, good, trigger, report, settings=settings)
    with locked:
        _check_not_paused(app)
        with record as journal:
            _tell_settings(journal, aim)
            journal.move("planning")
            app.store.quarantine(app.name, commit, str(problem), settings=settings.text)
            deployment = Rollout(app, desired, previous, channels, journal, away).back(str(problem))
    return Result(deployment.outcome, commit, deployment.reason, deployment)


def _refuse(app: Application, aim: _Aim, request: Request, report: Report, problem: GitopsError) -> Result:
    """A commit that cannot be deployed at all: nothing is touched, the record says why."""
    commit = aim.commit
    if aim.same:
        raise problem  # the commit is not at fault: told, and tried again
    if isinstance(problem, PortsHeldError):  # until it is tried again the good one is looked after
        app.store.retries.record(app.name, commit, "", str(problem))
    if of_host(problem):
        raise problem
    app.store.quarantine(app.name, commit, str(problem), settings=aim.settings.text)
    trigger = aim.trigger(request.trigger)
    with recorded(app, commit, aim.good, trigger, report, settings=aim.settings) as journal:
        _tell_settings(journal, aim)
        deployment = journal.move("failed", str(problem))
    return Result("failed", commit, deployment.reason, deployment)

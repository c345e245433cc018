"""One plan carried out, forward or back: render -> execute -> verify, and what follows a failure."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv4Network
from typing import Literal

from gitops.application import NOTHING_GIVEN, Application, Desired, Premises
from gitops.channel import Channel, Owner
from gitops.errors import GitopsError, PermanentError, TransientError, Where
from gitops.execute import runner
from gitops.execute.events import Failure
from gitops.images.fetch import fetch, private
from gitops.journal import Journal
from gitops.model.deployment import Deployment
from gitops.model.fleet import Fleet
from gitops.model.observed import Observed, ObservedHost
from gitops.model.placement import Scheduler
from gitops.model.plan import Plan, Relapse, Role, Spared
from gitops.model.tolerance import ANY, NONE, Tolerance
from gitops.observe.hosts import observe
from gitops.plan import fence, make_plan
from gitops.plan.discovery import discovered
from gitops.plan.jobs import hosts_of_runs
from gitops.plan.spare import spare
from gitops.render import deployment as render
from gitops.render.edge import check_claims, digest
from gitops.render.haproxy import fragment
from gitops.tasks import CANCEL, PROMOTE, STOP
from gitops.tasks.outcome import TaskError
from gitops.tasks.ways import way_of
from gitops.verify import NotVerifiedError, verify

log = logging.getLogger(__name__)

CANCELLED = "cancelled by hand: gitops cancel"
CONTAINER_FAILS = frozenset({"create", "exit", "unhealthy"})  # kinds of failures that are one container's
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
        self.where = Where(host=failure.host, container=failure.container)

    def __str__(self) -> str:
        """The reason names the place already."""
        return self.failure.reason


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
    tolerate: Tolerance = NONE,
    spared: tuple[Spared, ...] = (),
    relapses: tuple[Relapse, ...] = (),
    premises: Premises = NOTHING_GIVEN,
) -> Plan:
    """The plan from what was observed to what is desired, with the addresses of its services.

    `previous` lends the words for the reasons, and its hosts: one that has left
    the fleet is emptied, and so is one that the `premises` have as out. As many others as `tolerate`
    says may be absent. Hosts that are lost and do not answer are out, too.

    Raises:
        TransientError: hosts that are needed do not answer.
        PermanentError: the commit fits nowhere, or wants what another application has at the edge.
    """
    known = premises.hosts
    silent = {host.name for host in observed.away}
    lost = {name: why for name, why in known.lost.items() if name in silent}
    fleet = together(desired, previous)
    before = previous.stack if previous else None
    stack, before = discovered(desired.stack, before, fleet, observed, IPv4Network(desired.network))
    plan = make_plan(
        stack,
        fleet,
        observed,
        previous=before,
        rollback=rollback,
        jobs=jobs,
        fragment=fragment,
        config=digest,
        tolerate=tolerate.of(desired.fleet),
        spared=spared,
        relapses=relapses,
        out={**lost, **premises.out},
        shut=known.shut,
        scheduler=premises.scheduler,
    )
    if not rollback and not plan.empty:
        _check_claims(plan, observed)
    return plan


def _check_claims(plan: Plan, observed: Observed) -> None:
    """What the commit wants of the load balancers belongs to no other application there."""
    text = fragment(plan.stack, None, plan.backends, Role())
    for host in plan.fleet.load_balancers:
        state = observed.host(host.name)
        if text and state and state.reachable:
            check_claims({**dict(state.fragments), plan.app: text})


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
    away: tuple[ObservedHost, ...] = (),
    *,
    jobs: bool = True,
    scheduler: Scheduler | None = None,
    tolerate: Tolerance | None = None,
    relapses: tuple[Relapse, ...] = (),
) -> Deployment:
    """Moves the application to the commit, or back to the last good one if that fails.

    The caller holds the hosts' locks, but for those that are `away`: these take no part.
    The plan is made here, from what the hosts say under the lock; without `jobs` none of the
    commit is run. `scheduler` fills the hosts otherwise than the settings say. As many hosts as
    `tolerate` says may be absent, or as the settings do, and slots may be left alone for now
    (`relapses`).

    What only mends the good commit has nothing to go back to: if that fails it ends there.

    One whose lock another controller took over ends there: it touches nothing more, and
    the commit, which is not at fault, is not quarantined.

    Returns:
        The finished deployment: succeeded, rolled-back, failed; or cancelled or superseded at a batch
        boundary.
    """
    journal.move("planning")
    tolerate = app.settings.tolerate_unreachable if tolerate is None else tolerate
    signals = Signals(journal, interrupted)
    fleet = together(desired, previous)
    before = observe(channels, fleet, away)
    try:
        plan, after = _go_forward(
            app,
            desired,
            previous,
            channels,
            journal,
            signals,
            away,
            jobs=jobs,
            scheduler=scheduler or app.settings.placing,
            tolerate=tolerate,
            relapses=relapses,
        )
        journal.changes(before, after)
    except StoppedError as stop:
        journal.changes(before, observe(channels, fleet, away))
        if signals.why == "superseded":
            return journal.move("superseded", "a newer commit has come: it goes on from here")
        if signals.why != "cancel":
            return journal.move("cancelled", stop.message)
        _quarantine(app, desired, previous, CANCELLED)
        return go_back(app, desired, previous, channels, journal, CANCELLED, away, outcome="cancelled")
    except GitopsError as failure:
        journal.changes(before, observe(channels, fleet, away))
        log.info("%s: %s failed: %s", app.name, desired.stack.commit[:12], failure)
        if passed := app.connections.passed_over(channels):
            return journal.move("failed", "\n".join([str(failure), *_passed(passed)]))
        if journal.deployment.heals:
            return journal.move("failed", str(failure))
        _quarantine(app, desired, previous, str(failure))
        if _pauses(desired, failure) and not _rescaled(desired, previous):
            return journal.move("failed", f"{failure}\nleft as it is: update_config.failure_action is pause")
        return go_back(app, desired, previous, channels, journal, str(failure), away)
    app.record_counts(desired.stack)
    return journal.move("succeeded", plan.degraded)


def _rescaled(desired: Desired, previous: Desired | None) -> bool:
    """Whether nothing but counts of replicas is on trial: the commit is the good one, and stays it."""
    return (
        previous is not None
        and previous.stack.commit == desired.stack.commit
        and previous.stack != desired.stack
    )


def _quarantine(app: Application, desired: Desired, previous: Desired | None, reason: str) -> None:
    """Holds the commit back that failed; a good one is not at fault where it only cannot be scaled."""
    if not _rescaled(desired, previous):
        app.store.quarantine(app.name, desired.stack.commit, reason)


def _go_forward(
    app: Application,
    desired: Desired,
    previous: Desired | None,
    channels: Mapping[str, Channel],
    journal: Journal,
    signals: Signals,
    away: tuple[ObservedHost, ...],
    *,
    jobs: bool,
    scheduler: Scheduler,
    tolerate: Tolerance,
    relapses: tuple[Relapse, ...],
) -> tuple[Plan, Observed]:
    """Plans, runs and verifies; anew without a host that is lost meanwhile, as far as that is tolerated.

    A failure beside a lost host is put down to that: if the commit is to blame it fails again. But
    without a host that may still run a job of the commit nothing goes on. A container that fails is
    done without as far as its service's policy tolerates.

    Returns:
        The last plan, and what the hosts reported when it was verified.
    """
    first: Plan | None = None
    spared: tuple[Spared, ...] = ()
    while True:
        with journal.phase("plan"):
            make = partial(
                plan_for,
                desired,
                previous,
                jobs=jobs,
                tolerate=tolerate,
                spared=spared,
                relapses=relapses,
                premises=replace(app.premises, scheduler=scheduler),
            )
            look = partial(observe, channels, together(desired, previous), away)
            plan = app.connections.allotments.plan(app.name, look, make)
        first = first or plan
        try:
            if journal.deployment.state != "running":
                journal.move("running")
            _carry_out(app, plan, channels, journal, signals.files)
            journal.move("verifying")
            with journal.phase("verify"):
                return plan, verify(channels, plan)
        except (RolloutError, NotVerifiedError) as failure:
            if app.connections.passed_over(channels):
                raise
            if done_without := _done_without(first, plan, failure, journal):
                spared = (*spared, done_without)
                continue
            lost = () if _too_late(failure) else observe(channels, plan.fleet).away
            unknown = hosts_of_runs(plan) & {host.name for host in lost}
            if not lost or unknown or plan.missed + len(lost) > tolerate.of(desired.fleet):
                raise
            away = (*away, *lost)
            names = ", ".join(host.name for host in lost)
            journal.tell("absent", f"goes on without {names}: {failure}")


def _done_without(first: Plan, plan: Plan, failure: GitopsError, journal: Journal) -> Spared | None:
    """The slot that the rollout does without because its container has failed, where that is tolerated."""
    if isinstance(failure, RolloutError) and failure.failure.kind not in CONTAINER_FAILS:
        return None
    found = spare(first, plan, failure.where.container if failure.where else "", str(failure))
    if found is not None:
        what = f"goes on without {found.service}.{found.slot}: {failure}"
        journal.tell("tolerated", what, data={"service": found.service, "slot": found.slot})
    return found


def _too_late(failure: GitopsError) -> bool:
    """Whether the time of the whole deployment has run out."""
    return (
        isinstance(failure, RolloutError) and failure.failure.kind == "timeout" and not failure.failure.host
    )


def _passed(hosts: Mapping[str, Owner | None]) -> list[str]:
    """Why nothing more is done, not even the way back: the hosts are another controller's now."""
    return [
        f"{name}: left as it is: its lock was lost, and {owner or 'another controller'} has had it since"
        for name, owner in sorted(hosts.items())
    ]


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
    away: tuple[ObservedHost, ...] = (),
    *,
    outcome: Literal["rolled-back", "cancelled"] = "rolled-back",
) -> Deployment:
    """Returns the whole application to the last good commit, or to nothing where there is none.

    A host that does not answer is left out, and so is one that is `away`: the others serve the
    good commit without it, and it is brought back by the first pass after its return. A rollback
    that fails stops and says so: nothing more is touched.
    """
    if app.settings.on_failure == "halt" and outcome == "rolled-back" and not _rescaled(failed, good):
        return journal.move("failed", f"{reason}\nleft as it is: on_failure is halt")
    back = good or Desired(failed.stack.emptied(), failed.fleet, network=failed.network)
    observed = observe(channels, together(back, failed), away)
    if between := _fence(failed, good, observed, journal):
        hand = f"gitops rollback {app.name} goes back by hand, " if good else ""
        return journal.move(
            "failed",
            f"{reason}\nleft as it is: {between} is a fence, which no automatic rollback crosses "
            f"({hand}gitops retry {app.name} goes on)",
        )
    if not journal.rolling_back:  # a controller that died may have begun it
        journal.move("rolling-back", reason)
    lost = observed.away
    reason = "\n".join([reason, *(f"{host.name} is left out of the way back: {host.error}" for host in lost)])
    try:
        plan = _go_back(app, back, failed, channels, journal, lost)
        reason = "\n".join([reason, *(f"{one.service}.{one.slot}: {one.reason}" for one in plan.spared)])
        other = good is not None and good.stack.commit != failed.stack.commit
        if app.settings.on_failure == "revert" and good is not None and other:
            _push_revert(app, failed, good, journal, reason)
    except GitopsError as failure:
        return journal.move("failed", f"{reason}\nthe rollback failed too: {failure}")
    return journal.move(outcome, reason)


def _fence(failed: Desired, good: Desired | None, observed: Observed, journal: Journal) -> str:
    """What stands between the commit that failed and the last good one, or empty."""
    if good is not None and good.stack.commit == failed.stack.commit:
        return ""  # what was good is mended, and nothing crossed
    # As they run: with the addresses of their services, which are part of every spec.
    network = IPv4Network(failed.network)
    before = good.stack if good else None
    stack, before = discovered(failed.stack, before, together(failed, good), observed, network)
    seen = fence.crossed(before, observed, stack.app)
    begun = journal.deployment.state not in {"pending", "planning"}
    return seen or (fence.hidden(stack, before, failed.fleet, observed) if begun else "")


def _go_back(
    app: Application,
    back: Desired,
    failed: Desired,
    channels: Mapping[str, Channel],
    journal: Journal,
    lost: tuple[ObservedHost, ...],
) -> Plan:
    """Plans, runs and verifies the way back; a container that fails is done without where that is tolerated.

    Returns:
        The last plan.
    """
    fleet = together(back, failed)
    first: Plan | None = None
    spared: tuple[Spared, ...] = ()
    while True:
        with journal.phase("plan"):
            plan = app.connections.allotments.plan(
                app.name,
                partial(observe, channels, fleet, lost),
                partial(
                    plan_for,
                    back,
                    failed,
                    rollback=True,
                    tolerate=ANY,
                    spared=spared,
                    premises=app.premises,
                ),
            )
        first = first or plan
        try:
            if not plan.empty:
                _carry_out(app, plan, channels, journal, signals=tuple)
            with journal.phase("verify"):
                verify(channels, plan)
        except (RolloutError, NotVerifiedError) as failure:
            done_without = _done_without(first, plan, failure, journal)
            if done_without is None:
                raise
            spared = (*spared, done_without)
        else:
            return plan


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
    _pull(app, plan, channels, journal)
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


def _pull(app: Application, plan: Plan, channels: Mapping[str, Channel], journal: Journal) -> None:
    """Pulls what needs a login of gitops.yaml; everything else is the playbook's.

    Raises:
        RolloutError: an image cannot be pulled.
    """
    rows = private(plan, app.settings.registries)
    if not rows:
        return
    with journal.phase("pull"):
        ended = fetch(rows, channels, app.settings.registries)
    for host, outcome in ended:
        if isinstance(outcome, GitopsError):
            service = outcome.service if isinstance(outcome, TaskError) else ""
            raise RolloutError(Failure("pull", outcome.message, host=host, service=service)) from outcome
        journal.tell("changed" if outcome.changed else "ok", outcome.message, host=host)


def _push_revert(app: Application, failed: Desired, good: Desired, journal: Journal, reason: str) -> None:
    """`on_failure: revert`: the branch itself goes back, so that Git says what runs."""
    bad, to = failed.stack.commit, good.stack.commit
    message = f"Revert to {to[:12]}: {bad[:12]} failed\n\n{reason}\n"
    commit = app.clone.push_revert(app.settings.source.branch or "main", bad, to, message)
    journal.tell("revert", f"pushed {commit[:12]}, which returns the branch to {to[:12]}")

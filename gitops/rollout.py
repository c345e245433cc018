"""One plan carried out, forward or back: render -> execute -> verify, and what follows a failure."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv4Network
from typing import Literal

from gitops.application import Application, Desired
from gitops.channel import Channel, Owner
from gitops.channel.faults import fault_of
from gitops.errors import GitopsError, PermanentError, TransientError, Where
from gitops.execute import runner
from gitops.execute.events import Failure
from gitops.images.fetch import fetch, private
from gitops.journal import Journal
from gitops.model.deployment import Deployment
from gitops.model.observed import Observed, ObservedHost
from gitops.model.placement import Scheduler
from gitops.model.plan import Plan, Relapse, Spared
from gitops.observe.hosts import observe
from gitops.plan import fence
from gitops.plan.discovery import discovered
from gitops.plan.jobs import hosts_of_runs
from gitops.plan.spare import spare
from gitops.planning import BACK, Terms, plan_for, together
from gitops.render.deployment import deployment as render
from gitops.tasks import CANCEL, PROMOTE, STOP
from gitops.tasks.outcome import TaskError
from gitops.tasks.ways import way_of
from gitops.trouble import Trouble, of_host
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


@dataclass(frozen=True)
class Rollout:
    """One application on its way to a commit, and back to the last good one if that fails.

    The caller holds the hosts' locks, but for those that are `away`: these take no part.

    Attributes:
        app: the application.
        desired: the commit that it is to go to.
        good: the last good one; None where there is none.
        channels: by host name.
        journal: of the deployment.
        away: hosts that did not answer before anything was begun.
    """

    app: Application
    desired: Desired
    good: Desired | None
    channels: Mapping[str, Channel]
    journal: Journal
    away: tuple[ObservedHost, ...] = ()

    def forward(
        self, interrupted: Interrupted, terms: Terms, *, scheduler: Scheduler | None = None
    ) -> Deployment:
        """Moves the application to the commit.

        The plan is made here, from what the hosts say under the lock. `scheduler` fills the hosts
        otherwise than the settings say.

        What only mends the good commit has nothing to go back to: if that fails it ends there.

        A commit that fails for a host (`gitops.channel.faults`) is not quarantined: where another port or
        host does it goes on with that, else it goes back, and is tried again later.

        One whose lock another controller took over ends there: it touches nothing more, and
        the commit, which is not at fault, is not quarantined.

        Returns:
            The finished deployment: succeeded, rolled-back, failed; or cancelled or superseded at a
            batch boundary.
        """
        app, journal = self.app, self.journal
        journal.move("planning")
        signals = Signals(journal, interrupted)
        before = self._look(self.away)
        try:
            plan, after = self._go_forward(signals, terms, scheduler or app.settings.placing)
            journal.changes(before, after)
        except StoppedError as stop:
            journal.changes(before, self._look(self.away))
            if signals.why == "superseded":
                return journal.move("superseded", "a newer commit has come: it goes on from here")
            if signals.why != "cancel":
                return journal.move("cancelled", stop.message)
            self._quarantine(CANCELLED)
            return self.back(CANCELLED, outcome="cancelled")
        except GitopsError as failure:
            journal.changes(before, self._look(self.away))
            log.info("%s: %s failed: %s", app.name, self.desired.stack.commit[:12], failure)
            if passed := app.connections.passed_over(self.channels):
                return journal.move("failed", "\n".join([str(failure), *_passed(passed)]))
            if journal.deployment.heals:
                self._take_back(before, terms)
                return journal.move("failed", str(failure))
            if _of_host(failure):
                return self.back(self._retry_later(failure))
            self._quarantine(str(failure))
            if self._pauses(failure) and not self._rescales:
                return journal.move(
                    "failed", f"{failure}\nleft as it is: update_config.failure_action is pause"
                )
            return self.back(str(failure))
        app.record_counts(self.desired.stack)
        return journal.move("succeeded", plan.degraded)

    def back(
        self, reason: str, *, outcome: Literal["rolled-back", "cancelled"] = "rolled-back"
    ) -> Deployment:
        """Returns the whole application to the last good commit, or to nothing where there is none.

        A host that does not answer is left out: the others serve the good commit without it, and
        it is brought back by the first pass after its return. A rollback that fails stops and says
        so: nothing more is touched.
        """
        app, journal, failed, good = self.app, self.journal, self.desired, self.good
        if app.settings.on_failure == "halt" and outcome == "rolled-back" and not self._rescales:
            return journal.move("failed", f"{reason}\nleft as it is: on_failure is halt")
        observed = self._look_back(self.away)
        if between := self._fence(observed):
            hand = f"gitops rollback {app.name} goes back by hand, " if good else ""
            return journal.move(
                "failed",
                f"{reason}\nleft as it is: {between} is a fence, which no automatic rollback crosses "
                f"({hand}gitops retry {app.name} goes on)",
            )
        if not journal.rolling_back:  # a controller that died may have begun it
            journal.move("rolling-back", reason)
        lost = observed.away
        left_out = (f"{host.name} is left out of the way back: {host.error}" for host in lost)
        reason = "\n".join([reason, *left_out])
        try:
            plan = self._go_back(lost)
            spared = (f"{one.service}.{one.slot}: {one.reason}" for one in plan.spared)
            reason = "\n".join([reason, *spared])
            other = good is not None and good.stack.commit != failed.stack.commit
            blamed = failed.stack.commit in app.store.quarantined(app.name)
            if app.settings.on_failure == "revert" and good is not None and other and blamed:
                self._push_revert(good, reason)
        except GitopsError as failure:
            return journal.move("failed", f"{reason}\nthe rollback failed too: {failure}")
        return journal.move(outcome, reason)

    def _take_back(self, before: Observed, terms: Terms) -> None:
        """Removes what a repair that failed has started: two containers that fail are worse than one.

        Where that fails as well, the next reconciliation does it.
        """
        app = self.app.name
        there = {(c.host, c.name) for c in before.containers(app)}
        try:
            observed = self._look(self.away)
            slots = {(c.service, c.slot) for c in observed.containers(app) if (c.host, c.name) not in there}
            others = tuple(each for each in terms.relapses if (each.service, each.slot) not in slots)
            failed = tuple(Relapse(*slot, "its repair failed") for slot in sorted(slots))
            terms = replace(terms, jobs=False, relapses=(*others, *failed))
            plan = plan_for(self.desired, self.good, observed, self.app.premises, terms)
            if slots and plan.retires and not plan.starts:
                self._carry_out(plan, signals=tuple)
        except GitopsError as problem:
            log.info("%s: what the repair has started is left for now: %s", app, problem)

    @property
    def _rescales(self) -> bool:
        """Whether nothing but counts of replicas is on trial: the commit is the good one, and stays it."""
        now, good = self.desired, self.good
        return good is not None and now.same_as(good) and good.stack != now.stack

    @property
    def _target_of_return(self) -> Desired:
        """What the way back leads to: nothing where nothing was good."""
        failed = self.desired
        return self.good or Desired(
            failed.stack.emptied(), failed.fleet, network=failed.network, settings=failed.settings
        )

    def _look(self, away: tuple[ObservedHost, ...]) -> Observed:
        """What the hosts of both commits report, on the way forward."""
        return observe(self.channels, together(self.desired, self.good), away)

    def _look_back(self, away: tuple[ObservedHost, ...]) -> Observed:
        """The same on the way back."""
        return observe(self.channels, together(self._target_of_return, self.desired), away)

    def _quarantine(self, reason: str) -> None:
        """Holds the commit back that failed; a good one is not at fault where it only cannot be scaled."""
        if not self._rescales:
            settings = self.desired.settings.text
            self.app.store.quarantine(self.app.name, self.desired.stack.commit, reason, settings=settings)

    def _retry_later(self, failure: GitopsError) -> str:
        """Has the commit tried again later, as a host is at fault; returns the reason to record."""
        if self._rescales:
            return str(failure)
        host = failure.where.host if failure.where else ""
        retry = self.app.store.retries.record(self.app.name, self.desired.stack.commit, host, str(failure))
        by_hand = self.app.settings.sync == "manual"
        when = "" if by_hand else f"in {retry.wait_s:.0f} s (attempt {retry.attempts + 1}), or "
        blame = "the host is at fault, not the commit: not quarantined"
        return f"{failure}\n{blame}, tried again {when}by gitops sync"

    def _pauses(self, failure: GitopsError) -> bool:
        """Whether the service that failed asks to be left as it is."""
        name = failure.failure.service if isinstance(failure, RolloutError) else ""
        service = self.desired.stack.service(name)
        return service is not None and service.update.failure_action == "pause"

    def _go_forward(self, signals: Signals, terms: Terms, scheduler: Scheduler) -> tuple[Plan, Observed]:
        """Plans, runs and verifies; anew without a host that is lost meanwhile, as far as that is tolerated.

        A failure beside a lost host is put down to that: if the commit is to blame it fails again. But
        without a host that may still run a job of the commit nothing goes on. A container that fails is
        done without as far as its service's policy tolerates.

        Returns:
            The last plan, and what the hosts reported when it was verified.
        """
        app, journal, away = self.app, self.journal, self.away
        first: Plan | None = None
        trouble = Trouble()
        met: RolloutError | None = None  # the fault of a host that is to be avoided
        while True:
            premises = trouble.given(replace(app.premises, scheduler=scheduler))
            make = partial(plan_for, self.desired, self.good, premises=premises, terms=terms)
            try:
                plan = self._planned(partial(self._look, away), make, trouble)
            except GitopsError as refused:
                if met is None:
                    raise
                raise met from refused
            first = first or plan
            try:
                if journal.deployment.state != "running":
                    journal.move("running")
                self._carry_out(plan, signals.files)
                journal.move("verifying")
                with journal.phase("verify"):
                    return plan, verify(self.channels, plan)
            except (RolloutError, NotVerifiedError) as failure:
                if app.connections.passed_over(self.channels):
                    raise
                if spared := self._done_without(first, plan, failure):
                    terms = replace(terms, spared=(*terms.spared, spared))
                    continue
                if isinstance(failure, RolloutError) and self._avoided(trouble, failure):
                    met = failure
                    continue
                lost = () if _too_late(failure) else observe(self.channels, plan.fleet).away
                unknown = hosts_of_runs(plan) & {host.name for host in lost}
                most = terms.tolerate.of(self.desired.fleet)
                if not lost or unknown or plan.missed + len(lost) > most:
                    raise
                away = (*away, *lost)
                names = ", ".join(host.name for host in lost)
                journal.tell("absent", f"goes on without {names}: {failure}")

    def _go_back(self, lost: tuple[ObservedHost, ...]) -> Plan:
        """Plans, runs and verifies the way back; a container that fails is done without where it may be.

        Returns:
            The last plan.
        """
        app, journal, terms = self.app, self.journal, BACK
        first: Plan | None = None
        trouble = Trouble()
        while True:
            back = self._target_of_return
            make = partial(plan_for, back, self.desired, premises=trouble.given(app.premises), terms=terms)
            plan = self._planned(partial(self._look_back, lost), make, trouble)
            first = first or plan
            try:
                if not plan.empty:
                    self._carry_out(plan, signals=tuple)
                with journal.phase("verify"):
                    verify(self.channels, plan)
            except (RolloutError, NotVerifiedError) as failure:
                if isinstance(failure, RolloutError) and self._avoided(trouble, failure):
                    continue
                spared = self._done_without(first, plan, failure)
                if spared is None:
                    raise
                terms = replace(terms, spared=(*terms.spared, spared))
            else:
                return plan

    def _planned(
        self, look: Callable[[], Observed], make: Callable[[Observed], Plan], trouble: Trouble
    ) -> Plan:
        """A plan from what the hosts report now, beside what other applications are about to start."""
        allotments = self.app.connections.allotments
        with self.journal.phase("plan"):
            return allotments.plan(self.app.name, lambda: trouble.seen(look()), make)

    def _avoided(self, trouble: Trouble, failure: RolloutError) -> bool:
        """Whether to plan anew, without the port or the host that failed."""
        found = trouble.avoid(failure.failure, together(self.desired, self.good))
        if found:
            self.journal.tell("host-fault", f"{found}: {failure}", host=failure.failure.host)
        return bool(found)

    def _done_without(self, first: Plan, plan: Plan, failure: GitopsError) -> Spared | None:
        """The slot that is done without because its container has failed, where that is tolerated."""
        if isinstance(failure, RolloutError) and failure.failure.kind not in CONTAINER_FAILS:
            return None
        found = spare(first, plan, failure.where.container if failure.where else "", str(failure))
        if found is not None:
            what = f"goes on without {found.service}.{found.slot}: {failure}"
            self.journal.tell("tolerated", what, data={"service": found.service, "slot": found.slot})
        return found

    def _fence(self, observed: Observed) -> str:
        """What stands between the commit that failed and the last good one, or empty."""
        failed, good = self.desired, self.good
        if failed.same_as(good):
            return ""  # what was good is mended, and nothing crossed
        # As they run: with the addresses of their services, which are part of every spec.
        network, before = IPv4Network(failed.network), good.stack if good else None
        stack, before = discovered(failed.stack, before, together(failed, good), observed, network)
        seen = fence.crossed(before, observed, stack.app)
        begun = self.journal.deployment.state not in {"pending", "planning"}
        return seen or (fence.hidden(stack, before, failed.fleet, observed) if begun else "")

    def _carry_out(self, plan: Plan, signals: Callable[[], Collection[str]]) -> None:
        """Renders a plan and runs it.

        Raises:
            RolloutError: a task failed.
            StoppedError: ended at a batch boundary.
        """
        app, journal = self.app, self.journal
        self._pull(plan)
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
                ways={host.name: way_of(self.channels[host.name]) for host in plan.fleet.hosts},
            )
        for old in sorted(app.runs.iterdir())[:-KEPT_RUNS]:
            shutil.rmtree(old, ignore_errors=True)
        if result.failure is None:
            return
        if result.failure.kind == "stopped":
            raise StoppedError("stopped at a batch boundary, as asked")
        raise RolloutError(result.failure)

    def _pull(self, plan: Plan) -> None:
        """Pulls what needs a login of gitops.yaml; everything else is the playbook's.

        Raises:
            RolloutError: an image cannot be pulled.
        """
        registries = self.app.settings.registries
        rows = private(plan, registries)
        if not rows:
            return
        with self.journal.phase("pull"):
            ended = fetch(rows, self.channels, registries)
        for host, outcome in ended:
            if isinstance(outcome, GitopsError):
                task = outcome if isinstance(outcome, TaskError) else None
                kind = task.kind if task else fault_of(outcome) or "pull"
                service = task.service if task else ""
                raise RolloutError(Failure(kind, outcome.message, host=host, service=service)) from outcome
            self.journal.tell("changed" if outcome.changed else "ok", outcome.message, host=host)

    def _push_revert(self, good: Desired, reason: str) -> None:
        """`on_failure: revert`: the branch itself goes back, so that Git says what runs."""
        app, bad, to = self.app, self.desired.stack.commit, good.stack.commit
        message = f"Revert to {to[:12]}: {bad[:12]} failed\n\n{reason}\n"
        commit = app.clone.push_revert(app.settings.source.branch or "main", bad, to, message)
        self.journal.tell("revert", f"pushed {commit[:12]}, which returns the branch to {to[:12]}")


def _of_host(failure: GitopsError) -> bool:
    """Whether a host is at fault, and not the commit."""
    if isinstance(failure, RolloutError):
        return failure.failure.of_host
    return failure.of_host if isinstance(failure, NotVerifiedError) else of_host(failure)


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

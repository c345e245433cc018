"""What the commands do with one configuration: its applications, its store, its connections."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from gitops import views
from gitops.application import Application
from gitops.config import Settings, load
from gitops.connections import Connections
from gitops.errors import ContendedError, GitopsError, PermanentError
from gitops.execute.runner import write
from gitops.execute.standby import Standby
from gitops.healing import left_alone, mending
from gitops.journal import Report
from gitops.logs import Line, container_logs
from gitops.model.deployment import Deployment
from gitops.model.observed import Observed
from gitops.model.plan import Plan
from gitops.observe.hosts import observe
from gitops.places import find_config
from gitops.plan.guard import ConfirmationRequiredError, removal_guard
from gitops.plan.orphans import Orphan, orphans
from gitops.planning import Terms, plan_for, together
from gitops.reconcile import Request, Result, left_half_way, reconcile
from gitops.render.deployment import deployment as rendered
from gitops.render.haproxy import fragment
from gitops.store.healing import DRIFT
from gitops.store.records import Store
from gitops.watch.watcher import Hosts

RETRY_S = 0.5  # between two tries while another controller holds a lock


@dataclass
class Session:
    """One configuration, opened."""

    settings: Settings
    store: Store
    connections: Connections
    standby: Standby

    @classmethod
    def open(cls, config: Path | None) -> Self:
        """Opens the configuration, its store, and no connection yet."""
        settings = load(find_config(config))
        connections = Connections(owner="gitops on the command line")
        standby = Standby(connections.folder, connections.environment())
        return cls(settings, Store(settings.store), connections, standby)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.standby.close()
        self.connections.close()
        self.store.close()

    def application(self, name: str) -> Application:
        """The application of that name.

        Raises:
            PermanentError: there is none.
        """
        settings = self.settings.app(name)
        app = Application(name, settings, self.store, self.connections, self.standby, self.settings.state_dir)
        app.hosts = Hosts(lost={host: f"host {host} lost" for host in self.store.healing.lost(name)})
        return app

    def resolve(self, name: str, revision: str) -> str:
        """The full SHA of a commit, branch or tag of the application's repo; HEAD is the one followed."""
        return self.application(name).resolve(revision)

    def reconcile(
        self, name: str, request: Request, show: Report, *, wait_s: float, say: Callable[[str], None]
    ) -> Result:
        """One pass; while another controller is at work, tries again until `wait_s` seconds are over.

        Raises:
            GitopsError: as `gitops.reconcile.reconcile`, or that the application is paused.
        """
        app = self.application(name)
        if self.store.paused(name):
            raise PermanentError(f"{name} is paused", hint=f"gitops resume {name}")
        deadline = time.monotonic() + wait_s
        told = ""
        while True:
            try:
                return reconcile(app, request, show)
            except ContendedError as problem:
                if time.monotonic() > deadline:
                    raise
                if str(problem) != told:  # once, not at every try
                    told = str(problem)
                    say(told)
                time.sleep(RETRY_S)

    def plan(self, name: str, revision: str) -> views.View:
        """`gitops plan`."""
        plan, observed, held = self._planned(name, revision)
        finals = {place: fragment(plan.stack, None, plan.backends, place.after) for place in plan.places}
        return views.plan_view(plan, observed, finals, held)

    def render(self, name: str, revision: str, out: Path) -> None:
        """`gitops render`: writes the run folder of the plan.

        Raises:
            PermanentError: the folder exists and holds something.
        """
        if out.exists() and any(out.iterdir()):
            raise PermanentError(f"{out} is not empty", hint="name a new folder")
        plan, _, _ = self._planned(name, revision)
        write(rendered(plan, deployment_id=f"render-{plan.commit[:12]}"), out)

    def _planned(self, name: str, revision: str) -> tuple[Plan, Observed, str]:
        """The plan, what the hosts report, and why it would not be carried out by itself, or empty."""
        app = self.application(name)
        desired = app.at(self.resolve(name, revision) if revision else app.fetch())
        previous = app.good()
        fleet = together(desired, previous)
        channels = self.connections.open(fleet)
        observed = observe(channels, fleet)
        desired = app.counted(app.resolved(desired, channels, observed, record=False), observed)
        previous = app.counted(previous, observed) if previous else None
        terms = Terms(tolerate=app.settings.tolerate_unreachable)
        plan = plan_for(desired, previous, observed, app.premises, terms)
        why = app.quarantined().get(plan.commit)
        held = f"quarantined: {why} (gitops retry {name})" if why else ""
        try:
            removal_guard(previous.stack if previous else None, desired.stack, fleet=desired.fleet)
        except ConfirmationRequiredError as problem:
            held = held or str(problem)
        return plan, observed, held

    def rollback(self, name: str, revision: str) -> Request:
        """The rollback to the previous good commit, or to the one named.

        What is newer is quarantined when it has succeeded, or the service would deploy it again.

        Raises:
            PermanentError: there is no good commit before the present one.
        """
        app = self.application(name)
        newest = app.fetch()
        goods = self.store.goods(name)
        last = self.store.last(name)
        half_way = last is not None and left_half_way(app, last.commit)
        present = last.commit if last and half_way else next(iter(goods), "")
        if revision:
            target = app.resolve(revision)
        elif last and half_way and last.trigger == "settings":
            target = last.previous_commit  # the same commit, as it was read before
        else:
            target = next((commit for commit in goods if commit != present), "")
        if not target:
            raise PermanentError(
                f"{name} has no good commit before {present[:12] or 'the first'}",
                hint="name one with --to REV",
            )
        why = f"undone by hand: gitops rollback to {target[:12]}"
        return Request("rollback", target, undone=dict.fromkeys({newest, present} - {target, ""}, why))

    def resume(self, name: str) -> None:
        """Releases an application; a commit that was left half-way is taken up again."""
        app = self.application(name)
        self.store.set_paused(name, paused=False)
        self.store.set_message(name, "")
        for commit in self.store.quarantined(name):
            if left_half_way(app, commit):
                self.store.lift(name, commit)

    def retry(self, name: str, revision: str) -> list[str]:
        """Lifts the quarantine of one commit or of all, and ends the wait for a retry; returns which."""
        self.application(name)
        held = set(self.store.quarantined(name))
        if (waiting := self.store.retries.of(name)) is not None:
            held.add(waiting.commit)
        lifted = [sha for sha in sorted(held) if sha.startswith(revision)]
        for commit in lifted:
            self.store.lift(name, commit)
        if lifted:
            self.store.set_message(name, "")
        return lifted

    def status(self, name: str) -> views.View:
        """`gitops status`: what should run, held against what the hosts report now."""
        app = self.application(name)
        good = self.store.good(name) or ""
        last = self.store.last(name)
        message = self.store.message(name)
        try:
            target = app.fetch()
        except GitopsError as problem:  # the Git server is down: the hosts can still be asked
            target, message = self.store.target(name) or "", str(problem)
        plan, observed = None, Observed()
        changed: tuple[str, ...] = ()
        try:
            if good or target:
                desired = app.good() or app.at(target)
                changed = tuple(app.commit_settings.differences(desired.settings))
                observed = observe(self.connections.open(desired.fleet), desired.fleet)
                desired = app.counted(app.known(desired, observed), observed)
                terms = Terms(app.settings.tolerate_unreachable)
                if good:
                    terms = mending(left_alone(app))
                plan = plan_for(desired, desired if good else None, observed, app.premises, terms)
                message = message or plan.notes
        except GitopsError as problem:
            message = str(problem)
        view = views.status_view(
            name,
            plan,
            observed,
            good=good,
            target=target,
            quarantined=app.quarantined(),
            last=last,
            paused=self.store.paused(name),
            message=message,
            changed=changed,
            readings=self.store.replicas.readings(name),
            retry=self.store.retries.of(name),
            waits_for=self._waits_for(last),
        )
        return {**view, "not_in_config": views.orphan_views(self.orphans(observed))}

    def strangers(self, statuses: Sequence[views.View]) -> list[views.View]:
        """What gitops.yaml does not name, of all applications' hosts: of each the fullest account.

        Args:
            statuses: of all applications.
        """
        found = {each["app"]: each for each in views.orphan_views(self.orphans(Observed()))}
        for each in (each for view in statuses for each in view["not_in_config"]):
            if each["containers"] >= found.get(each["app"], each)["containers"]:
                found[each["app"]] = each
        return [found[name] for name in sorted(found)]

    def orphans(self, observed: Observed) -> tuple[Orphan, ...]:
        """The applications on hosts that gitops.yaml does not name, and those that it named before."""
        return orphans(observed, self.settings.apps, self.store.deployed())

    def _waits_for(self, last: Deployment | None) -> str:
        """What the rollout that runs waits for, such as a person who promotes it; empty for nothing."""
        if last is None or last.outcome != "running":
            return ""
        told = [each for each in self.store.events(last.id) if each.kind in {"waits", "ok", "state"}]
        waiting = next((n for n in reversed(range(len(told))) if told[n].kind == "waits"), None)
        if waiting is None:
            return ""
        ended = any(each.kind == "state" or "promoted" in each.message for each in told[waiting + 1 :])
        return "" if ended else told[waiting].message

    def history(self, name: str, limit: int) -> views.View:
        """`gitops history`."""
        self.application(name)
        deployments = self.store.history(name, limit=limit)
        said = {
            each.id: [
                {"replica": event.data["replica"], "host": event.host, "lines": event.data["lines"]}
                for event in self.store.events(each.id, kind="job")
            ]
            for each in deployments
        }
        scaled = {
            each.id: [dict(event.data) for event in self.store.events(each.id, kind="scale")]
            for each in deployments
            if each.trigger == "scale"
        }
        healed = {
            each.id: [
                {"host": event.host, "reason": event.message}
                for event in self.store.events(each.id, kind=DRIFT)
            ]
            for each in deployments
            if each.heals
        }
        return views.history_view(name, deployments, said, scaled, healed)

    def logs(self, name: str, service: str, *, follow: bool, tail: int) -> Iterator[Line]:
        """`gitops logs`: lines of all replicas, each with the name of its replica."""
        app = self.application(name)
        desired = app.good() or app.at(app.fetch())
        channels = self.connections.open(desired.fleet)
        containers = observe(channels, desired.fleet).containers(name)
        wanted = [c for c in containers if not service or c.service == service]
        if not wanted:
            raise PermanentError(f"no container of {name}{'/' + service if service else ''} on any host")
        yield from container_logs(channels, wanted, follow=follow, tail=tail)

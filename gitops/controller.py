"""The service: follows many applications side by side, one worker each, until it is told to stop."""

from __future__ import annotations

import logging
import queue
import signal
import threading
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gitops.agenda import Agenda
from gitops.application import Application
from gitops.autoscaler import Autoscaler
from gitops.config import Settings, load
from gitops.connections import Connections
from gitops.control import Asked, Door, Show, View, only_service
from gitops.errors import GitopsError, PermanentError
from gitops.execute.events import Event
from gitops.execute.standby import Standby
from gitops.lookout import LookOut
from gitops.model.observed import Observed
from gitops.output.log import HostLines
from gitops.plan.orphans import Orphan, orphans
from gitops.reconcile import Request, Result, Trigger, reconcile, recover
from gitops.scaling import scale
from gitops.source.triggers import Watch
from gitops.store.records import Store
from gitops.surroundings import Surroundings
from gitops.views import result_view
from gitops.watch.signs import Sign
from gitops.watch.watcher import Watcher

log = logging.getLogger(__name__)

LOGGED = frozenset(
    {
        "state",
        "play",
        "changed",
        "failed",
        "unreachable",
        "job",
        "absent",
        "host-fault",
        "tolerated",
        "revert",
        "fence",
        "scale",
        "drift",
        "waits",
        "settings",
    }
)
"""Kinds of events."""


SIGNAL_LOOK_S = 0.5
"""A signal may meet another thread: the main one, whose business it is, must come round to hear of it."""

ORDER_LOOK_S = 0.5  # how often a command looks whether the service is still at work


@dataclass
class _Order:
    """What a command has asked for, and what came of it."""

    asked: Asked
    show: Show
    done: threading.Event = field(default_factory=threading.Event)
    result: View = field(default_factory=dict)
    failure: GitopsError | None = None


class Worker:
    """Follows one application: a pass at every poll, and at once when its repo or its hosts change."""

    def __init__(
        self, app: Application, watcher: Watcher, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.app = app
        self._clock = clock
        self._lines = HostLines(lambda line: log.info("%s: %s", app.name, line))
        self._agenda = Agenda(app.settings, clock)
        self._surroundings = Surroundings(app, watcher, self.notice)
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"app-{app.name}", daemon=True)
        self._look_out = LookOut(app)
        self._strangers: tuple[Collection[str], Callable[[Orphan], None]] | None = None
        self._orders: queue.SimpleQueue[_Order] = queue.SimpleQueue()
        repo = app.settings.source.local_repo
        self._watch = Watch(repo, self.wake) if repo else None
        self._autoscaler = Autoscaler(app, self._woken.set)

    def start(self) -> None:
        """Begins to follow."""
        if self._watch:
            self._watch.start()
        self._thread.start()
        self._autoscaler.start()

    def wake(self) -> None:
        """Asks for a pass at once; one that is under way learns of a newer commit."""
        self._agenda.poll_now()
        self._woken.set()
        self._look_out.wake()

    def look_for_orphans(self, named: Collection[str], tell: Callable[[Orphan], None]) -> None:
        """After the next pass that succeeds: what is on its hosts that gitops.yaml does not name.

        Args:
            named: the applications of gitops.yaml.
            tell: told of each.
        """
        self._strangers = named, tell
        self._woken.set()

    def notice(self, sign: Sign) -> None:
        """Something has happened on a host: asks for a look at once, after what is under way.

        A rollout's own changes are among the signs: the look that follows finds nothing to do.
        """
        log.debug("%s: %s", self.app.name, sign)
        self._woken.set()

    def ask(self, asked: Asked, show: Show) -> View:
        """Deploys as a command asks, after what is under way; returns the result's view.

        Raises:
            GitopsError: why it could not.
        """
        order = _Order(asked, show)
        self._orders.put(order)
        self._woken.set()
        while not order.done.wait(ORDER_LOOK_S):
            if not self._thread.is_alive():
                raise PermanentError("the service is stopping", hint="try again")
        if order.failure is not None:
            raise order.failure
        return order.result

    def stop(self) -> None:
        """Asks for the end: a rollout under way stops at its next batch boundary."""
        self._stopping.set()
        self._autoscaler.stop()
        self._woken.set()

    def join(self) -> None:
        """Waits for the end."""
        self._thread.join()
        self._autoscaler.join()
        if self._watch:
            self._watch.stop()

    def _follow(self) -> None:
        while not self._stopping.is_set():
            self._carry_out_orders()
            self._scale()
            self._pass(self._agenda.next())
            self._autoscaler.passed()
            if not self._woken.wait(self._agenda.idle_s()):
                continue
            if not self._stopping.wait(self._agenda.breath_s()):  # events come in crowds
                self.app.standby.warm()  # for the next rollout: whoever waits for the last one has been told
            self._woken.clear()
        self._surroundings.leave()

    def _carry_out_orders(self) -> None:
        """What commands have asked for meanwhile."""
        while not self._orders.empty():
            order = self._orders.get()
            try:
                order.result = result_view(self._ordered(order))
            except GitopsError as problem:
                order.failure = problem
            except Exception as error:  # one command's fault must not end the service
                log.exception("%s: internal error, please report it", self.app.name)
                order.failure = PermanentError(f"internal error: {type(error).__name__}: {error}")
            order.done.set()

    def _ordered(self, order: _Order) -> Result:
        app, asked = self.app, order.asked
        if app.store.paused(app.name):
            raise PermanentError(f"{app.name} is paused", hint=f"gitops resume {app.name}")
        commit = ""
        if asked.trigger == "drain":
            commit = app.store.good(app.name) or ""
        elif asked.revision:
            commit = app.resolve(asked.revision)
        if asked.confirm:
            app.store.lift(app.name, commit or app.fetch())

        def report(event: Event) -> None:
            self._report(event)
            order.show(event)

        request = Request(asked.trigger, commit, confirmed=asked.confirm, interrupted=self._shut_down)
        result = reconcile(app, request, report)
        self._log(result)
        return result

    def _scale(self) -> None:
        """Changes the counts of replicas that the load asks for."""
        app, wished = self.app, self._autoscaler.wished()
        if not wished:
            return
        # By hand means that no newer commit comes by itself, and so none takes over.
        interrupted = self._shut_down if app.settings.sync == "manual" else self._interrupted
        outcome = ""
        try:
            with self._look_out:
                result = scale(app, wished, interrupted, self._report)
            outcome = result.outcome
            self._log(result)
            if outcome == "held":
                log.info("%s: not scaled: %s", app.name, result.message)
        except GitopsError as problem:
            log.warning("%s: not scaled: %s", app.name, problem)
        except Exception:  # the application goes on with the counts that it has
            log.exception("%s: internal error, please report it", app.name)
        self._autoscaler.tried(wished, succeeded=outcome in {"succeeded", "nothing", "superseded"})

    def _shut_down(self, commit: str) -> Literal["", "shutdown", "superseded"]:
        """What a person has asked for is not given up for a newer commit."""
        del commit
        return "shutdown" if self._stopping.is_set() else ""

    def _pass(self, trigger: Trigger) -> None:
        """One pass, and when the next one is due."""
        app = self.app
        began = self._clock()
        again_s: float | None = None
        try:
            changes_in_s = self._surroundings.look()
            if app.store.paused(app.name):
                self._tell("paused")
            elif app.settings.sync == "manual":
                if trigger != "heal":
                    recover(app, self._report)
                    app.fetch()
                self._tell("")
            else:
                with self._look_out:
                    result = reconcile(app, Request(trigger, interrupted=self._interrupted), self._report)
                self._tell(result.message if result.outcome == "held" else "")
                self._log(result)
                again_s = result.again_s
                heals = result.deployment is not None and result.deployment.heals
                if result.outcome in ("rolled-back", "failed", "superseded", "cancelled") and not heals:
                    self.wake()  # the branch may have moved on meanwhile: the next commit goes on normally
            self._surroundings.follow()
            self._tell_orphans()
            self._agenda.succeeded(trigger, self._clock() - began, again_s, changes_in_s)
        except GitopsError as problem:
            self._tell(str(problem))
            self._agenda.failed(trigger, self._clock() - began)
        except Exception as error:  # one application's fault must not end the others'
            log.exception("%s: internal error, please report it", app.name)
            app.store.set_message(app.name, f"internal error: {type(error).__name__}: {error}")
            self._agenda.failed(trigger, self._clock() - began)

    def _tell_orphans(self) -> None:
        """Logs what the application's hosts have of others that gitops.yaml does not name, once asked to."""
        wanted = self._strangers
        observed = self._surroundings.observed() if wanted else None
        if wanted is None or observed is None:
            return
        self._strangers = None
        named, tell = wanted
        for each in orphans(observed, named):
            tell(each)

    def _tell(self, message: str) -> None:
        """What holds the application up, for `gitops status`; logged when it is another than before."""
        if message and message != self.app.store.message(self.app.name):
            log.warning("%s: %s", self.app.name, message)
        self.app.store.set_message(self.app.name, message)

    def _log(self, result: Result) -> None:
        if result.deployment is not None:
            log.info("%s: %s %s %s", self.app.name, result.commit[:12], result.outcome, result.message)

    def _interrupted(self, commit: str) -> Literal["", "shutdown", "superseded"]:
        """Why the rollout of that commit is to end at its next batch boundary."""
        if self._stopping.is_set():
            return "shutdown"
        newer = self._look_out.newest not in {"", commit}
        return "superseded" if newer and self.app.settings.on_new_commit == "supersede" else ""

    def _report(self, event: Event) -> None:
        """Logs what changes something and what fails; the store has every event."""
        if event.kind in LOGGED:
            self._lines.tell(event.host, event.message, waits=event.kind == "changed")


class Service:
    """Runs the workers that `gitops.yaml` asks for, and follows its changes."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self._stopping = threading.Event()
        self._changed = threading.Event()
        self._workers: dict[str, Worker] = {}
        self._watcher = Watcher()
        self._told: set[str] = set()  # orphans that have been logged since gitops.yaml changed
        self._telling = threading.Lock()

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT; then every rollout stops at its next batch boundary.

        Raises:
            InvalidInputError: the configuration is wrong at the start. Later mistakes in it
                are logged, and the last good one stays.
            PermanentError: another service follows this file.
        """
        settings = load(self._config)
        with only_service(self._config):
            self._serve(settings)

    def _serve(self, settings: Settings) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop())
        watch = Watch(self._config, self._changed.set)
        watch.start()
        with (
            ExitStack() as door,
            Store(settings.store) as store,
            Connections(owner="gitops serve") as connections,
            Standby(connections.folder, connections.environment()) as standby,
            Watcher() as watcher,
        ):
            self._watcher = watcher
            standby.warm()
            self._follow(settings, store, connections, standby)
            door.enter_context(Door(self._config, self._answer))
            log.info("serving %s", self._config)
            while not self._stopping.is_set():
                while not self._changed.wait(SIGNAL_LOOK_S):
                    pass
                self._changed.clear()
                if not self._stopping.is_set():
                    self._follow(self._reloaded(settings), store, connections, standby)
            door.close()
            log.info("stopping: rollouts end at their next batch boundary")
            for worker in self._workers.values():
                worker.stop()
            for worker in self._workers.values():
                worker.join()
        watch.stop()

    def _answer(self, asked: Asked, show: Show) -> View:
        """What a command asks, of the worker of its application."""
        worker = self._workers.get(asked.app)
        if worker is None:
            known = ", ".join(sorted(self._workers)) or "none"
            raise PermanentError(
                f"the service follows no application {asked.app!r}", hint=f"it follows {known}"
            )
        return worker.ask(asked, show)

    def stop(self) -> None:
        """Asks the service to end."""
        self._stopping.set()
        self._changed.set()

    def _reloaded(self, current: Settings) -> Settings:
        try:
            return load(self._config)
        except GitopsError as problem:
            log.error("%s: the last good configuration stays: %s", self._config, problem)  # noqa: TRY400 - a user's mistake has no stack trace
            return current

    def _follow(self, settings: Settings, store: Store, connections: Connections, standby: Standby) -> None:
        """Starts, restarts and ends workers so that they are those of the settings."""
        wanted = settings.apps
        for name, worker in list(self._workers.items()):
            if wanted.get(name) != worker.app.settings:
                worker.stop()
                worker.join()
                del self._workers[name]
        for name, app_settings in wanted.items():
            if name not in self._workers:
                app = Application(name, app_settings, store, connections, standby, settings.state_dir)
                self._workers[name] = Worker(app, self._watcher)
                self._workers[name].start()
                log.info("%s: following %s", name, app_settings.source.repo)
        with self._telling:
            self._told.clear()
        for each in orphans(Observed(), wanted, store.deployed()):
            self._tell_orphan(each)
        for worker in self._workers.values():
            worker.look_for_orphans(frozenset(wanted), self._tell_orphan)

    def _tell_orphan(self, orphan: Orphan) -> None:
        """Logs an application that gitops.yaml does not name; it is never removed by itself."""
        with self._telling:
            if orphan.app not in self._told:
                self._told.add(orphan.app)
                log.warning("%s", orphan)

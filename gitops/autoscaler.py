"""Watches the load of one application's services, and says how many replicas they are to have."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from gitops.application import Application, Desired
from gitops.errors import GitopsError
from gitops.model.load import Sample, Scaling
from gitops.model.stack import Metric, Service
from gitops.observe.load import look
from gitops.plan.autoscale import scaled
from gitops.plan.edge import backend_name
from gitops.plan.watched import Readings, Watched, decisions

log = logging.getLogger(__name__)

LOOK_S = 1.0
RECORDED_S = 5.0  # how often what was read is recorded, for `gitops status`

_OF_ENGINES: frozenset[Metric] = frozenset({"cpu", "memory"})


class Autoscaler:
    """Looks once a second, unless a deployment runs or a person holds the application.

    Args:
        app: the application.
        wake: called when a count should change; then `wished` says which.
        clock: monotonic seconds.
    """

    def __init__(
        self, app: Application, wake: Callable[[], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = replace(app, _read={})  # what commits say is remembered for one thread each
        self._wake = wake
        self._clock = clock
        self._mutex = threading.Lock()
        self._woken = threading.Event()
        self._stopping = False
        self._watched = Watched()
        self._services: tuple[Service, ...] = ()  # as they were at the last look
        self._wished: tuple[Scaling, ...] = ()
        self._recorded_at = 0.0
        self._problem = ""
        self._thread = threading.Thread(target=self._watch, name=f"scale-{app.name}", daemon=True)

    def start(self) -> None:
        """Begins to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Asks for the end."""
        self._stopping = True
        self._woken.set()

    def join(self) -> None:
        """Waits for the end."""
        self._thread.join()

    def passed(self) -> None:
        """A pass has ended: what it has deployed is watched from now on."""
        self._woken.set()

    def wished(self) -> tuple[Scaling, ...]:
        """The counts that should change now, as of the last look."""
        with self._mutex:
            return self._wished

    def tried(self, scalings: Iterable[Scaling], *, succeeded: bool) -> None:
        """What came of it: the next change waits for the cooldown, or longer after a failure."""
        names = {each.service for each in scalings}
        with self._mutex:
            for service in self._services:
                if service.name in names:
                    self._watched = self._watched.tried(service, succeeded=succeeded)
            self._interrupted()

    def _watch(self) -> None:
        while not self._stopping:
            watched = True
            try:
                watched = self._look()
                self._problem = ""
            except GitopsError as problem:
                self._tell(str(problem))
            except Exception:  # the application goes on with the counts that it has
                log.exception("%s: internal error, please report it", self._app.name)
            self._woken.wait(LOOK_S if watched else None)
            self._woken.clear()

    def _tell(self, problem: str) -> None:
        if problem != self._problem:
            log.warning("%s: its load is not known: %s", self._app.name, problem)
        self._problem = problem

    def _look(self) -> bool:
        """One look; whether there is something to be watched at all."""
        app = self._app
        desired = app.good()
        if desired is None or not any(service.autoscale for service in desired.stack.services):
            with self._mutex:
                self._watched, self._wished = Watched(), ()
            return False
        if not self._steady():
            with self._mutex:
                self._interrupted()
            return True
        sample = self._sample(desired)
        counts = app.store.replicas.counts(app.name)  # those that are not recorded are not known yet
        services = [each for each in scaled(desired.stack, counts).services if each.name in counts]
        with self._mutex:
            self._services = tuple(services)
            watched = self._watched.with_sample(sample)
            self._watched, self._wished, read = decisions(watched, services)
            wished = self._wished
        self._record(read, at_once=bool(wished))
        if wished:
            self._wake()
        return True

    def _steady(self) -> bool:
        """Whether nothing is under way, and nobody holds it."""
        app = self._app
        return not app.store.paused(app.name) and all(
            each.app != app.name for each, _, _ in app.store.running()
        )

    def _interrupted(self) -> None:
        self._watched, self._wished = self._watched.interrupted(), ()

    def _sample(self, desired: Desired) -> Sample:
        app = self._app.name
        own = [service for service in desired.stack.services if service.autoscale]
        asked = {
            each.name: {metric for metric, _ in each.autoscale.targets} for each in own if each.autoscale
        }
        served = {each.name: each.served for each in own}
        backends = {
            each.name: [
                backend_name(app, each.name, port)
                for port in (each.container.target_ports if each.served else each.listens)
            ]
            for each in own
            if asked[each.name] - _OF_ENGINES
        }
        return look(
            self._app.connections.open(desired.fleet),
            desired.fleet,
            app,
            at_edge={name: names for name, names in backends.items() if served[name]},
            at_nodes={name: names for name, names in backends.items() if not served[name]},
            in_engines={name for name, metrics in asked.items() if metrics & _OF_ENGINES},
            at=self._clock(),
        )

    def _record(self, read: Mapping[str, Readings], *, at_once: bool) -> None:
        now = self._clock()
        if read and (at_once or now - self._recorded_at >= RECORDED_S):
            self._app.store.replicas.record_readings(self._app.name, read)
            self._recorded_at = now

"""Watches the load of one application's services, and says how many replicas they are to have."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from gitops.application import Application
from gitops.errors import GitopsError
from gitops.model.load import Sample, Scaling
from gitops.model.stack import Metric, Service
from gitops.observe.load import look
from gitops.plan.autoscale import Course, begin, carried_out, decide, scaled
from gitops.plan.load import answered, readings, recent

log = logging.getLogger(__name__)

LOOK_S = 1.0
RECORDED_S = 5.0  # how often what was read is recorded, for `gitops status`
MEAN_OF = 1024
"""HAProxy's mean response time is that of so many answers: after a change it tells of the time before."""

_ENGINES: frozenset[Metric] = frozenset({"cpu", "memory"})


class Autoscaler:
    """Looks once a second, unless a deployment runs or a person holds the application.

    Seconds without a look do not count: what has to be so for a while must have been seen.

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
        self._samples: tuple[Sample, ...] = ()
        self._seen_s = 0.0  # the time of the courses
        self._courses: dict[str, Course] = {}
        self._answered: dict[str, int] = {}  # requests since the last deployment
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
        with self._mutex:
            for each in scalings:
                service = self._service(each.service)
                course = self._courses.get(each.service)
                if service and service.autoscale and course:
                    self._courses[each.service] = carried_out(
                        course, service.autoscale, self._seen_s, succeeded=succeeded
                    )
            self._interrupted()

    def _service(self, name: str) -> Service | None:
        good = self._app.store.good(self._app.name)
        return self._app.at(good).stack.service(name) if good else None

    def _watch(self) -> None:
        while not self._stopping:
            watched = True
            try:
                watched = self._look()
                self._problem = ""
            except GitopsError as problem:
                self._tell(str(problem))
            except Exception:  # the service goes on with the counts that it has
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
        good = app.store.good(app.name)
        desired = app.at(good) if good else None
        own = [each for each in desired.stack.services if each.autoscale] if desired else []
        if desired is None or not own:
            self._courses.clear()
            return False
        if not self._steady():
            with self._mutex:
                self._interrupted()
            return True
        sample = look(
            app.connections.open(desired.fleet),
            desired.fleet,
            app.name,
            at_edge={each.name for each in own if each.served},
            in_engines={each.name for each in own if _ENGINES & {metric for metric, _ in _targets(each)}},
            at=self._clock(),
        )
        counts = app.store.replicas.counts(app.name)
        known = [each for each in scaled(desired.stack, counts).services if each.name in counts]
        with self._mutex:
            self._take(sample)
            self._wished = self._decisions(known)
            wished = self._wished
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
        """What comes next is another state of things: its readings begin anew."""
        self._samples, self._wished = (), ()
        self._answered = dict.fromkeys(self._courses, 0)

    def _take(self, sample: Sample) -> None:
        if self._samples:
            last = self._samples[-1]
            self._seen_s += sample.at - last.at
            for service in self._answered:
                self._answered[service] += answered(service, last, sample)
        self._samples = recent((*self._samples, sample), sample.at)

    def _decisions(self, services: Iterable[Service]) -> tuple[Scaling, ...]:
        """What is to change, from the samples as they are."""
        complete = all(sample.complete for sample in self._samples)
        found: list[Scaling] = []
        read: dict[str, dict[Metric, float]] = {}
        for service in services:
            name, count = service.name, service.replicas
            course = self._courses.setdefault(name, begin(count, self._seen_s))
            values = dict(readings(service, count, self._samples))
            if not values:
                continue
            read[name] = dict(values)
            if self._stale(service, values):
                del values["response_ms"]
            scaling, self._courses[name] = decide(
                service, count, values, course, self._seen_s, complete=complete
            )
            found += [scaling] if scaling else []
        self._record(read, at_once=bool(found))
        return tuple(found)

    def _stale(self, service: Service, values: Mapping[Metric, float]) -> bool:
        """Whether a mean response time above its target may be that of before the last change."""
        few = self._answered.setdefault(service.name, MEAN_OF) < MEAN_OF
        target = dict(_targets(service)).get("response_ms")
        return few and target is not None and values.get("response_ms", 0.0) > target

    def _record(self, read: dict[str, dict[Metric, float]], *, at_once: bool) -> None:
        now = self._clock()
        if read and (at_once or now - self._recorded_at >= RECORDED_S):
            self._app.store.replicas.record_readings(self._app.name, read)
            self._recorded_at = now


def _targets(service: Service) -> tuple[tuple[Metric, float], ...]:
    return service.autoscale.targets if service.autoscale else ()

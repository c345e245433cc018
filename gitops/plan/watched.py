"""The load of an application's services as it goes on: from sample to sample, to what is to change. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from gitops.model.load import Sample, Scaling
from gitops.model.stack import Metric, Service
from gitops.plan.autoscale import Course, begin, carried_out, decide
from gitops.plan.load import answered, readings, recent

MEAN_OF = 1024
"""HAProxy's mean response time is that of so many answers: after a change it tells of the time before."""

Readings = Mapping[Metric, float]


@dataclass(frozen=True)
class Watched:
    """What is known of the load so far.

    Attributes:
        samples: those that the next reading is made of, oldest first.
        seen_s: seconds between samples, all together: the clock of the courses. What has to be so
            for a while must have been seen, so time without samples does not count.
        courses: of the decisions, by service.
        answered: requests since the last interruption, by service; a service that is not there had enough.
    """

    samples: tuple[Sample, ...] = ()
    seen_s: float = 0.0
    courses: Mapping[str, Course] = field(default_factory=dict)
    answered: Mapping[str, int] = field(default_factory=dict)

    def with_sample(self, sample: Sample) -> Watched:
        """One sample later."""
        if not self.samples:
            return replace(self, samples=(sample,))
        last = self.samples[-1]
        return replace(
            self,
            samples=recent((*self.samples, sample), sample.at),
            seen_s=self.seen_s + sample.at - last.at,
            answered={name: count + answered(name, last, sample) for name, count in self.answered.items()},
        )

    def interrupted(self) -> Watched:
        """A deployment runs, or a person holds the application: what comes next is read anew."""
        return replace(self, samples=(), answered=dict.fromkeys(self.courses, 0))

    def tried(self, service: Service, *, succeeded: bool) -> Watched:
        """After a change of the service's count, or an attempt at one."""
        course = self.courses.get(service.name)
        if course is None or service.autoscale is None:
            return self
        after = carried_out(course, service.autoscale, self.seen_s, succeeded=succeeded)
        return replace(self, courses={**self.courses, service.name: after})


def decisions(
    watched: Watched, services: Iterable[Service]
) -> tuple[Watched, tuple[Scaling, ...], dict[str, Readings]]:
    """What is to change now.

    Args:
        watched: with the latest sample.
        services: with `autoscale`, and with as many replicas as they have.

    Returns:
        What is known from here on; the changes; and what was read, by service.
    """
    complete = all(sample.complete for sample in watched.samples)
    courses: dict[str, Course] = {}
    changes: list[Scaling] = []
    read: dict[str, Readings] = {}
    for service in services:
        name, count = service.name, service.replicas
        courses[name] = watched.courses.get(name) or begin(count, watched.seen_s)
        values = readings(service, count, watched.samples)
        if not values:
            continue
        read[name] = values
        trusted = _trusted(watched, service, values)
        change, courses[name] = decide(
            service, count, trusted, courses[name], watched.seen_s, complete=complete
        )
        changes += [change] if change else []
    return replace(watched, courses=courses), tuple(changes), read


def _trusted(watched: Watched, service: Service, values: Readings) -> Readings:
    """The readings without a mean response time that is above its target and may be that of before."""
    few = watched.answered.get(service.name, MEAN_OF) < MEAN_OF
    targets = dict(service.autoscale.targets) if service.autoscale else {}
    if few and values.get("response_ms", 0.0) > targets.get("response_ms", 0.0):
        return {metric: value for metric, value in values.items() if metric != "response_ms"}
    return values

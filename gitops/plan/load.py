"""Samples of load as readings for one replica, to be held against a service's targets. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from gitops.model.load import EdgeLoad, Sample
from gitops.model.stack import Metric, Service

AVERAGED_S = 3.0
"""Over how long a reading is averaged: one look alone sees the sessions of one instant."""

_ALL = 100.0  # percent


def recent(samples: Sequence[Sample], now: float) -> tuple[Sample, ...]:
    """The samples that readings are made of: those of the last seconds, and the one before them."""
    young = [sample for sample in samples if now - sample.at < AVERAGED_S]
    return tuple(samples[-len(young) - 1 :])


def readings(service: Service, count: int, samples: Sequence[Sample]) -> Mapping[Metric, float]:
    """The metrics that the service has targets for, as far as the samples tell them.

    Args:
        service: with `autoscale`.
        count: how many replicas it has.
        samples: oldest first; too short a time tells nothing yet.

    Returns:
        Sessions, requests a second and queued requests for one replica; the mean response time in
        milliseconds; CPU and memory in percent, the mean of its containers.
    """
    if service.autoscale is None or len(samples) < 2 or samples[-1].at - samples[0].at < AVERAGED_S:  # noqa: PLR2004 - a rate needs two
        return {}
    found = {**_edge(service.name, count, samples), **_containers(service, samples)}
    return {metric: found[metric] for metric, _ in service.autoscale.targets if metric in found}


def answered(service: str, before: Sample, after: Sample) -> int:
    """How many requests the edge had between two samples."""
    return sum(_more(before.edges.get(key), load) for key, load in _of(service, after))


def _of(service: str, sample: Sample) -> Iterator[tuple[tuple[str, str], EdgeLoad]]:
    return ((key, load) for key, load in sample.edges.items() if key[1] == service)


def _more(before: EdgeLoad | None, after: EdgeLoad) -> int:
    """Requests between two looks at one load balancer; a reload begins its count anew."""
    if before is None:
        return 0
    return after.requests - before.requests if after.requests >= before.requests else after.requests


def _edge(service: str, count: int, samples: Sequence[Sample]) -> dict[Metric, float]:
    if not any(_of(service, samples[-1])):
        return {}
    passed = samples[-1].at - samples[0].at
    came = sum(answered(service, *pair) for pair in pairwise(samples))
    looks = samples[1:]

    def mean(totals: list[int]) -> float:
        return sum(totals) / len(looks) / count

    return {
        "sessions_per_replica": mean([load.sessions for each in looks for _, load in _of(service, each)]),
        "queue_per_replica": mean([load.queued for each in looks for _, load in _of(service, each)]),
        "requests_per_replica": came / passed / count,
        "response_ms": _mean_ms(service, samples[0], samples[-1]),
    }


def _mean_ms(service: str, first: Sample, last: Sample) -> float:
    """The mean response time, each load balancer's by its requests; none means nobody waits."""
    weighed = [(_more(first.edges.get(key), load), load.mean_ms) for key, load in _of(service, last)]
    came = sum(requests for requests, _ in weighed)
    return sum(requests * mean_ms for requests, mean_ms in weighed) / came if came else 0.0


def _containers(service: Service, samples: Sequence[Sample]) -> dict[Metric, float]:
    first, last = samples[0], samples[-1]
    own = [key for key in last.containers if key[0] == service.name]
    found: dict[Metric, float] = {}
    if limit := service.container.memory_limit:
        shares = [last.containers[key].memory / limit for key in own]
        if shares:
            found["memory"] = _ALL * sum(shares) / len(shares)
    cores = [
        (last.containers[key].cpu_s - first.containers[key].cpu_s) / (last.at - first.at)
        for key in own
        if key in first.containers
    ]
    if cores:
        found["cpu"] = _ALL * max(0.0, sum(cores)) / len(cores) / (service.container.cpu_limit or 1.0)
    return found

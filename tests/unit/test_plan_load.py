"""From samples to readings, and on to what is to change."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.planning import stack_of

from gitops.model.load import ContainerLoad, EdgeLoad, Sample
from gitops.model.stack import Autoscale, Metric, Service
from gitops.plan.load import AVERAGED_S, answered, readings, recent
from gitops.plan.watched import MEAN_OF, Watched, decisions

ALL: tuple[tuple[Metric, float], ...] = (
    ("cpu", 70.0),
    ("memory", 80.0),
    ("queue_per_replica", 1.0),
    ("requests_per_replica", 50.0),
    ("response_ms", 300.0),
    ("sessions_per_replica", 50.0),
)


def web(
    *targets: tuple[Metric, float], count: int = 2, cpus: float = 0.0, memory: int = 0, window_s: float = 5.0
) -> Service:
    service = stack_of({"web": {"ports": [80]}}).services[0]
    container = replace(service.container, cpu_limit=cpus, memory_limit=memory)
    bounds = Autoscale(1, 10, targets or ALL, window_s=window_s)
    return replace(service, container=container, autoscale=bounds, replicas=count)


def sample(at: float, *edges: EdgeLoad, complete: bool = True, **containers: ContainerLoad) -> Sample:
    return Sample(
        at,
        {(f"e{number}", "web"): load for number, load in enumerate(edges, start=1)},
        {("web", name): load for name, load in containers.items()},
        complete=complete,
    )


def test_readings_are_of_one_replica_over_all_load_balancers() -> None:
    looks = [
        sample(0.0, EdgeLoad(requests=1000, mean_ms=10), EdgeLoad(requests=7)),
        sample(2.0, EdgeLoad(30, 4, 1300, 10), EdgeLoad(50, 0, 107, 40)),
        sample(4.0, EdgeLoad(50, 8, 1600, 10), EdgeLoad(70, 0, 207, 40)),
    ]
    assert readings(web(), 4, looks) == {
        "sessions_per_replica": 25.0,  # (80 + 120) / 2 looks / 4
        "queue_per_replica": 1.5,
        "requests_per_replica": 50.0,  # 800 in 4 s
        "response_ms": 17.5,  # 600 of 10 ms and 200 of 40 ms
    }
    assert list(readings(web(("queue_per_replica", 1.0)), 4, looks)) == ["queue_per_replica"]


def test_too_short_a_time_tells_nothing() -> None:
    load = EdgeLoad(5, 0, 10)
    assert readings(web(), 2, [sample(0.0, load)]) == {}
    assert readings(web(), 2, [sample(0.0, load), sample(AVERAGED_S - 0.1, load)]) == {}
    assert readings(web(), 2, [sample(0.0, load), sample(AVERAGED_S, load)])
    assert readings(replace(web(), autoscale=None), 2, [sample(0.0, load), sample(9.0, load)]) == {}
    assert readings(web(), 2, [sample(0.0), sample(9.0)]) == {}


def test_a_reload_begins_the_count_of_requests_anew() -> None:
    before, after = sample(0.0, EdgeLoad(requests=5000)), sample(4.0, EdgeLoad(requests=40))
    assert answered("web", before, after) == 40
    assert readings(web(), 1, [before, after])["requests_per_replica"] == 10.0
    assert answered("web", sample(0.0), after) == 0, "a load balancer that is new has no before"


def test_without_requests_nobody_waits() -> None:
    """HAProxy's mean stays what it was when the requests cease."""
    idle = EdgeLoad(requests=100, mean_ms=900)
    assert readings(web(), 2, [sample(0.0, idle), sample(4.0, idle)])["response_ms"] == 0.0


def test_cpu_and_memory_are_shares_of_the_limits() -> None:
    before = sample(0.0, a=ContainerLoad(1.0, 10), b=ContainerLoad(5.0, 10), gone=ContainerLoad(1.0, 1))
    after = sample(4.0, a=ContainerLoad(2.0, 40), b=ContainerLoad(8.0, 60), new=ContainerLoad(9.0, 80))
    assert readings(web(cpus=0.5, memory=100), 3, [before, after]) == {"cpu": 100.0, "memory": 60.0}
    assert readings(web(), 3, [before, after]) == {"cpu": 50.0}, "without a limit: of one core"


def test_the_samples_that_are_kept_span_the_time_of_a_reading() -> None:
    looks = [sample(float(second)) for second in range(10)]
    assert [each.at for each in recent(looks, 9.0)] == [6.0, 7.0, 8.0, 9.0]
    assert recent(looks[:2], 1.0) == tuple(looks[:2])


def seen(
    watched: Watched, *loads: EdgeLoad, begins: float = 0.0, service: Service
) -> tuple[Watched, list[int]]:
    """A look a second; the counts that were wished for."""
    wished: list[int] = []
    for second, load in enumerate(loads):
        watched = watched.with_sample(sample(begins + second, load))
        watched, changes, _ = decisions(watched, [service])
        wished += [change.after for change in changes]
    return watched, wished


def test_time_without_a_look_does_not_count() -> None:
    """An hour without a look, as a deployment may take, makes no eight seconds of calm."""
    service = web(("sessions_per_replica", 50.0), count=4, window_s=8.0)
    calm = [EdgeLoad(4)] * 4
    watched, wished = seen(Watched(), *calm, service=service)
    assert wished == []
    watched, wished = seen(watched.interrupted(), *calm, begins=3600.0, service=service)
    assert (wished, watched.seen_s) == ([], 6.0)
    watched, wished = seen(watched.interrupted(), *[EdgeLoad(4)] * 6, begins=7200.0, service=service)
    assert set(wished) == {1}


def test_a_high_mean_from_before_a_change_adds_no_more_replicas() -> None:
    service = web(("response_ms", 300.0))
    slow = [EdgeLoad(2, 0, requests, 600) for requests in range(0, 500, 100)]
    watched, wished = seen(Watched(), *slow, service=service)
    assert set(wished) == {4}, "a controller that comes to it believes what it sees"
    watched = watched.tried(service, succeeded=True).interrupted()
    slow = [EdgeLoad(2, 0, requests, 590) for requests in range(0, MEAN_OF, 100)]
    watched, wished = seen(watched, *slow, service=web(("response_ms", 300.0), count=4))
    assert wished == []
    _, wished = seen(watched, EdgeLoad(2, 0, MEAN_OF + 100, 590), begins=11.0, service=service)
    assert wished, "with as many new answers as the mean is made of it counts again"


@pytest.mark.parametrize("complete", [True, False])
def test_a_load_balancer_that_does_not_answer_takes_no_replica_away(complete: bool) -> None:
    service = web(("sessions_per_replica", 50.0), count=4)
    watched, wished = Watched(), []
    for second in range(20):
        watched = watched.with_sample(sample(float(second), EdgeLoad(4), complete=complete))
        watched, changes, _ = decisions(watched, [service])
        wished += changes
    assert bool(wished) == complete


def test_what_was_tried_for_a_service_that_is_not_watched_changes_nothing() -> None:
    watched = Watched().with_sample(sample(0.0))
    assert watched.tried(web(), succeeded=False) == watched

"""Whose health checks are run, and when: an engine of canned answers and a clock of the test."""

from __future__ import annotations

import threading
from typing import Any, cast

from gitops.channel import Channel
from gitops.channel.failures import ContainerError
from gitops.watch.checks import LEAST_PAUSE_S, LONGEST_PAUSE_S, Checks
from gitops.watch.signs import Sign


class Engine:
    """A Podman with one container; `by_itself` where systemd's timers run its checks."""

    podman = True

    def __init__(self, *, by_itself: bool = False, test: list[str] | None = None) -> None:
        self.now, self.runs, self.status, self.by_itself = 0.0, 0, "healthy", by_itself
        self.test = test or ["CMD", "true"]
        self.fails = False

    def containers(self, filters: Any) -> list[dict[str, Any]]:
        assert filters == {"label": ["gitops.app"], "status": ["running"]}
        return [{"Id": "1f"}]

    def inspect(self, name: str) -> dict[str, Any]:
        if self.fails:
            raise ContainerError(f"container {name} is not running", status=409)
        ended = str(self.now if self.by_itself else self.runs)
        return {
            "Name": "/shop-web-1",
            "State": {"Health": {"Status": self.status, "Log": [{"End": ended}]}},
            "Config": {
                "Labels": {"gitops.app": "shop"},
                "Healthcheck": {"Test": self.test, "Interval": 3 * 10**9},
            },
        }

    def healthcheck_run(self, name: str) -> str:
        assert name == "1f"
        self.runs += 1
        return self.status


class Host:
    """A channel to it."""

    name = "p1"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def engine(self) -> Engine:
        return self._engine


def followed(engine: Engine, seconds: int) -> tuple[list[Sign], list[float]]:
    """What was told in so many seconds, with a look each half second, and the pauses that were asked for."""
    told: list[Sign] = []
    host = cast("Channel", Host(engine))
    checks = Checks(host, ready=lambda: True, tell=told.append, clock=lambda: engine.now)
    pauses = []
    for _ in range(2 * seconds):
        pauses.append(checks.look())
        engine.now += 0.5
        if engine.now == seconds / 2:
            engine.status = "unhealthy"
    return told, pauses


def test_what_nobody_runs_is_run_at_its_interval_and_a_change_is_told_once() -> None:
    engine = Engine()
    told, pauses = followed(engine, 30)
    assert 8 <= engine.runs <= 10
    assert told == [Sign("p1", "container shop-web-1: health_status: unhealthy", "shop")]
    assert LEAST_PAUSE_S <= min(pauses) <= max(pauses) <= LONGEST_PAUSE_S


def test_what_its_engine_runs_is_left_to_it_and_a_change_is_told_all_the_same() -> None:
    engine = Engine(by_itself=True)
    told, _ = followed(engine, 30)
    assert (engine.runs, len(told)) == (0, 1)


def test_a_container_without_a_check_is_not_asked_again() -> None:
    engine = Engine(test=["NONE"])
    told, pauses = followed(engine, 30)
    assert (engine.runs, told, set(pauses)) == (0, [], {LONGEST_PAUSE_S})


def test_a_container_that_ends_meanwhile_is_no_trouble_of_the_host() -> None:
    engine = Engine()
    engine.fails = True
    assert followed(engine, 2)[0] == []


def test_docker_is_left_alone_for_good() -> None:
    engine = Engine()
    engine.podman = False
    checks = Checks(cast("Channel", Host(engine)), ready=lambda: True, tell=lambda _: None)
    checks.run_on(threading.Event())  # it returns
    assert engine.runs == 0

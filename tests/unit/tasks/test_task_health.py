"""The rules of waiting, on an engine that is a script of answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from gitops.channel.failures import ChannelTimeoutError, EngineError, NotFoundError
from gitops.tasks.health import LEAST_LIMIT_S, Watch
from gitops.tasks.outcome import TaskError

BEGAN = "2026-11-23T07:00:00.000000001Z"
SECOND = 1_000_000_000


def state(**fields: Any) -> dict[str, Any]:
    """What the engine says of a container that runs well."""
    return {
        "State": {"Running": True, "StartedAt": BEGAN, "ExitCode": 0, **fields.pop("State", {})},
        "Config": {
            "Labels": {"gitops.service": "web", "gitops.slot": "2"},
            "Healthcheck": {"Test": ["CMD", "probe"]},
            **fields.pop("Config", {}),
        },
        "RestartCount": 0,
        **fields,
    }


class ScriptedEngine:
    """Answers with the given states, the last one again and again; probes fail until none is left."""

    def __init__(
        self, *states: dict[str, Any] | None, failing_probes: float = 0, podman: bool = False
    ) -> None:
        self.states = list(states)
        self.failing_probes = failing_probes
        self.podman = podman
        self.probes: list[Sequence[str]] = []
        self.recorded: list[str] = []
        self.now = BEGAN

    def inspect(self, name: str) -> dict[str, Any]:
        there = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if there is None:
            raise NotFoundError(f"no such container: {name}")
        return there

    def exec(self, _name: str, argv: Sequence[str], *, timeout_s: float) -> tuple[int, str]:
        assert timeout_s > 0
        self.probes.append(argv)
        if len(self.probes) <= self.failing_probes:
            return 1, "not yet"
        return 0, ""

    def logs(self, _name: str, *, tail: int = 20) -> list[str]:
        return ["first", "last words"][-tail:]

    def info(self) -> dict[str, str]:
        return {"SystemTime": self.now}

    def last_exit(self, _name: str) -> int:
        return 9

    def healthcheck_run(self, name: str) -> str:
        self.recorded.append(name)
        return "healthy"


def watch(engine: ScriptedEngine) -> Watch:
    return Watch(engine, "shop-web-2-abc", pause=lambda _: None)  # type: ignore[arg-type]  # the fake


def test_the_containers_own_check_is_run_until_it_passes() -> None:
    engine = ScriptedEngine(state(), failing_probes=3)
    watch(engine).healthy(monitor_s=1)
    assert engine.probes == [["probe"]] * 4


def test_a_shell_check_runs_in_the_images_shell() -> None:
    check = {"Healthcheck": {"Test": ["CMD-SHELL", "a && b"]}}
    for config, argv in (
        (check, ["/bin/sh", "-c", "a && b"]),
        ({**check, "Shell": ["ash"]}, ["ash", "a && b"]),
    ):
        assert watch(ScriptedEngine(state(Config=config))).test == argv


@pytest.mark.parametrize("check", [{}, {"Test": []}, {"Test": ["NONE"]}, None])
def test_without_a_check_it_stands_the_monitor_window(check: dict[str, Any] | None) -> None:
    engine = ScriptedEngine(state(Config={"Healthcheck": check}))
    engine.now = "2026-11-23T07:00:05Z"  # five seconds old by the host's own clock
    watch(engine).healthy(monitor_s=5)
    assert engine.probes == []


def test_podman_is_made_to_record_the_good_state() -> None:
    engine = ScriptedEngine(state(), podman=True)
    watch(engine).healthy(monitor_s=1)
    assert engine.recorded == ["shop-web-2-abc"]


def test_the_time_limit_is_the_engines_own_and_never_too_short() -> None:
    def limit(**check: int) -> float:
        return watch(ScriptedEngine(state(Config={"Healthcheck": {"Test": ["CMD", "x"], **check}}))).limit_s

    assert limit(Interval=SECOND, Timeout=SECOND, Retries=1) == LEAST_LIMIT_S
    assert limit(Interval=5 * SECOND, Timeout=2 * SECOND, Retries=3, StartPeriod=60 * SECOND) == 81
    assert limit() == 180  # what the engine takes where nobody says anything


def test_never_healthy_says_what_the_check_said() -> None:
    engine = ScriptedEngine(state(), failing_probes=math.inf)
    with pytest.raises(TaskError, match=r"web\.2 never became healthy: not yet") as failure:
        watch(engine).healthy(monitor_s=1, limit_s=0.01)
    assert failure.value.data("h1") == {
        "host": "h1",
        "service": "web",
        "container": "shop-web-2-abc",
        "kind": "unhealthy",
        "message": "web.2 never became healthy: not yet",
        "logs": ["first", "last words"],
    }


@pytest.mark.parametrize(
    ("then", "kind", "words"),
    [
        (state(State={"Running": False, "ExitCode": 3}), "exit", "exited with code 3"),
        (
            state(State={"Running": False, "ExitCode": 137, "Error": "oom"}),
            "exit",
            "exited with code 137: oom",
        ),
        (state(RestartCount=1), "exit", r"was restarted after it exited \(code 9\)"),
        (
            state(RestartCount=1, State={"Running": False, "Restarting": True, "ExitCode": 3}),
            "exit",
            "exited with code 3",
        ),
        (state(State={"StartedAt": "2026-11-23T07:00:02Z"}), "exit", "was restarted"),
        (None, "exit", "is gone"),
        (
            state(State={"Health": {"Status": "unhealthy", "Log": [{"Output": "500\n"}]}}),
            "unhealthy",
            "became unhealthy: 500",
        ),
    ],
)
def test_it_ends_at_once_when_the_container_does(then: dict[str, Any] | None, kind: str, words: str) -> None:
    for wait in (lambda w: w.healthy(monitor_s=60), lambda w: w.stand(60)):
        with pytest.raises(TaskError, match=words) as failure:
            wait(watch(ScriptedEngine(state(), then, failing_probes=math.inf)))
        assert failure.value.kind == kind


@pytest.mark.parametrize("error", [ChannelTimeoutError("too slow"), EngineError("container is not running")])
def test_a_probe_that_cannot_run_is_one_that_failed(error: Exception) -> None:
    engine = ScriptedEngine(state())
    answers = iter([error])

    def exec_(*_: object, **__: object) -> tuple[int, str]:
        failure = next(answers, None)
        if failure:
            raise failure
        return 0, ""

    engine.exec = exec_  # type: ignore[assignment,method-assign]
    watch(engine).healthy(monitor_s=1)


def test_the_age_counts_from_the_start_by_the_hosts_clock() -> None:
    engine = ScriptedEngine(state())
    engine.now = "2026-11-23T07:00:00.5Z"
    pauses: list[float] = []
    watched = Watch(engine, "x", pause=pauses.append)  # type: ignore[arg-type]  # the fake
    engine.states.append(state(State={"Running": False}))
    with pytest.raises(TaskError):
        watched.stand(3600)
    assert pauses
    assert all(pause <= 0.2 for pause in pauses)

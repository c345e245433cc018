"""A job is run once, heard to its end, and never longer than it may."""

from __future__ import annotations

from typing import Any

import pytest

from gitops.channel.failures import NotFoundError
from gitops.execute.events import event_of
from gitops.tasks import job, story
from gitops.tasks.outcome import TaskError

LABELS = {"gitops.app": "shop", "gitops.service": "migrate", "gitops.spec": "abc", "gitops.timeout": "60"}
SERVICE = {
    "service": "migrate",
    "body": {"Labels": LABELS, "HostConfig": {"NetworkMode": "gitops-shop"}, "StopTimeout": 7},
}
ROW = {"name": "shop-migrate-1-abc", "slot": 1, "ports": []}
BEGAN = "2026-11-23T07:00:00.123456789Z"


class JobEngine:
    """One container, whose states follow each other with every look."""

    podman = False

    def __init__(self, *states: dict[str, Any] | None, said: list[str] | None = None) -> None:
        self.states = list(states)
        self.said = said or []
        self.calls: list[str] = []

    def inspect(self, _name: str) -> dict[str, Any]:
        state = self.states[0]
        if len(self.states) > 1:
            del self.states[0]
        if state is None:
            raise NotFoundError("no such container")
        labels = {**LABELS, "gitops.slot": "1"}
        return {"Config": {"Labels": labels}, "HostConfig": {}, "State": {"StartedAt": BEGAN, **state}}

    def create(self, _name: str, body: dict[str, Any]) -> None:
        assert body["Labels"]["gitops.slot"] == "1"
        self.calls.append("create")

    def start(self, _name: str) -> None:
        self.calls.append("start")

    def stop(self, _name: str, *, grace_s: float) -> None:
        self.calls.append(f"stop {grace_s:g}")

    def remove(self, _name: str, *, force: bool) -> None:
        assert force
        self.calls.append("remove")

    def logs(self, _name: str, *, tail: int) -> list[str]:
        return self.said[-tail:]

    def info(self) -> dict[str, str]:
        return {"SystemTime": "2026-11-23T07:01:30Z"}


def running() -> dict[str, Any]:
    return {"Running": True, "Status": "running"}


def ended(code: int = 0, second: int = 5, **more: Any) -> dict[str, Any]:
    finished = f"2026-11-23T07:{second // 60:02d}:{second % 60:02d}.2Z"
    return {"Running": False, "Status": "exited", "ExitCode": code, "FinishedAt": finished, **more}


def see_through(engine: JobEngine) -> tuple[str, list[str]]:
    heard: list[str] = []
    done = job.see_through(engine, SERVICE, ROW, heard.extend, pause=lambda _: None)  # type: ignore[arg-type]  # the fake
    assert done.changed
    return done.message, heard


def test_one_that_has_finished_is_not_run_again() -> None:
    engine: Any = JobEngine(ended())
    done = job.finished(engine, SERVICE, ROW)
    assert done is not None
    assert (done.changed, done.message) == (False, "migrate.1 has finished")


@pytest.mark.parametrize(
    ("state", "calls"),
    [
        (None, ["create", "start"]),
        (running(), []),
        ({"Running": False, "Status": "created"}, ["start"]),
        (ended(1), ["remove", "create", "start"]),
        (ended(0, 100), ["remove", "create", "start"]),  # it took longer than a minute
    ],
)
def test_any_other_is_started_and_one_that_runs_is_left_running(
    state: dict[str, Any] | None, calls: list[str]
) -> None:
    engine: Any = JobEngine(state)
    assert job.finished(engine, SERVICE, ROW) is None
    removed = calls[:1] == ["remove"]
    engine.states = [state, *([None] if removed else [])]
    job.begin(engine, SERVICE, ROW)
    assert engine.calls == calls
    engine.calls, engine.states = [], [state]
    job.begin(engine, SERVICE, ROW, check=True)
    assert engine.calls == []


def test_it_is_heard_to_its_end() -> None:
    engine = JobEngine({**running(), "StartedAt": "2026-11-23T07:01:29Z"}, ended(), said=["one", "two"])
    assert see_through(engine) == ("migrate.1 finished in 5.1 s", ["one", "two"])


def test_a_failure_carries_its_code_and_last_words() -> None:
    engine = JobEngine(ended(3, Error="oom"), said=[f"line {n}" for n in range(99)])
    heard: list[str] = []
    with pytest.raises(TaskError, match=r"migrate\.1 exited with code 3: oom") as failure:
        job.see_through(engine, SERVICE, ROW, heard.extend)  # type: ignore[arg-type]  # the fake
    assert (failure.value.kind, failure.value.service, failure.value.container) == (
        "exit",
        "migrate",
        "shop-migrate-1-abc",
    )
    assert failure.value.logs[-1] == heard[-1] == "line 98"
    assert len(heard) == job.HEARD_LINES


def test_what_runs_too_long_is_stopped_and_has_failed_even_if_it_then_exits_with_0() -> None:
    engine = JobEngine(running(), ended(0, 91), said=["still at it"])
    with pytest.raises(TaskError, match=r"migrate\.1 did not end within 60 s") as failure:
        see_through(engine)
    assert failure.value.kind == "timeout"
    assert failure.value.logs == ("still at it",)
    assert engine.calls == ["stop 7"]


def test_one_that_somebody_removes_has_failed() -> None:
    with pytest.raises(TaskError, match=r"migrate\.1 is gone"):
        see_through(JobEngine(None))


def test_what_it_says_is_bounded_and_travels_as_it_is() -> None:
    engine = JobEngine(ended(), said=["x" * 9_000, "a  b", "\x1b[2Jc\x9bd", "| h1: e"])
    _, heard = see_through(engine)
    assert sum(map(len, heard)) == job.HEARD_CHARACTERS
    told = story.line(story.SAID, "h1", story.saying("migrate.1", heard))
    assert told.isascii()
    assert told.isprintable()
    event = event_of({"event": "verbose", "stdout": told})
    assert event is not None
    assert (event.kind, event.host) == ("job", "h1")
    assert event.data == {"replica": "migrate.1", "lines": heard}
    assert event.message.endswith("\n  | a  b\n  | \x1b[2Jc\x9bd\n  | | h1: e")
    assert event_of({"event": "verbose", "stdout": "| h1: a table"}) is None

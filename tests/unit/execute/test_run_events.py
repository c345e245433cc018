from __future__ import annotations

from typing import Any

from gitops.execute.events import Failure, event_of, failure_of

DATA = {"host": "h1", "task": "Wait until healthy", "play": "Batch 1"}
GITOPS = {
    "host": "h1",
    "service": "web",
    "container": "shop-web-1-abc",
    "kind": "exit",
    "message": "web.1 exited with code 7",
    "logs": ["out of luck"],
}


def raw(event: str, **result: Any) -> dict[str, Any]:
    return {"event": event, "created": "2026-11-23T07:00:00+00:00", "event_data": {**DATA, "res": result}}


def test_a_task_that_changed_something_says_so() -> None:
    event = event_of(raw("runner_on_ok", changed=True, msg="web.1 started"))
    assert event is not None
    assert (event.kind, event.host, event.message) == ("changed", "h1", "web.1 started")


def test_what_says_nothing_of_its_own_is_left_out() -> None:
    assert event_of({"event": "playbook_on_stats", "event_data": {}}) is None
    assert event_of({"event": "verbose", "stdout": "hello"}) is None


def test_the_failure_is_read_from_data_and_not_from_text() -> None:
    event = event_of(raw("runner_on_failed", msg="h1: something long", gitops=GITOPS))
    assert event is not None
    failure = failure_of(event)
    assert failure == Failure(
        "exit", "web.1 exited with code 7", "h1", "web", "shop-web-1-abc", ("out of luck",)
    )
    for word in ("web.1 exited with code 7", "shop-web-1-abc", "h1", "out of luck"):
        assert word in failure.reason


def test_a_failure_of_ansible_itself_is_told_too() -> None:
    lost = event_of(raw("runner_on_unreachable", msg="no route"))
    crashed = event_of(raw("runner_on_failed", msg="Unexpected failure"))
    assert lost is not None
    assert crashed is not None
    assert failure_of(lost) == Failure("unreachable", "no route", "h1")
    assert failure_of(crashed) == Failure("internal", "Unexpected failure", "h1")


def test_a_success_is_no_failure() -> None:
    event = event_of(raw("runner_on_ok"))
    assert event is not None
    assert failure_of(event) is None

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from gitops.output.console import THEME, Words
from gitops.output.result import print_result
from gitops.output.text import (
    columns,
    doctor_text,
    history_text,
    plan_text,
    result_text,
    seconds,
    status_text,
    unlock_text,
)
from gitops.terminal import printable

A, B, C = "a" * 40, "b" * 40, "c" * 40


def status(**changes: Any) -> dict[str, Any]:
    replica = {
        "slot": 1,
        "host": "h1",
        "container": "shop-web-1-0a",
        "id": "1f",
        "state": "running (healthy)",
    }
    service = {"name": "web", "image": "reg/web:1", "digest": "sha256:0123456789abcdef"}
    service |= {"desired": 2, "running": 1, "healthy": 1, "job": None, "autoscale": None}
    return {
        "app": "shop",
        "sync": "synced",
        "health": "healthy",
        "commit": A,
        "target_commit": A,
        "quarantined": [],
        "quarantine": [],
        "waits": "",
        "message": "",
        "drift": [],
        "services": [{**service, "replicas": [{**replica, "port": 20000, "commit": A}]}],
        "hosts": [{"name": "h1", "state": "ready", "error": ""}],
        **changes,
    }


def deployment(**changes: Any) -> dict[str, Any]:
    return {
        "id": "1",
        "commit": B,
        "previous_commit": A,
        "outcome": "succeeded",
        "state": "succeeded",
        "reason": "",
        "trigger": "push",
        "drift": [],
        "started_at": "2026-11-23T07:01:02.123+00:00",
        "finished_at": "2026-11-23T07:01:06.123+00:00",
        "duration_s": 4.04,
        "phases": {},
        "changes": {"started": 4, "stopped": 4, "kept": 2},
        "scaled": [],
        **changes,
    }


def test_columns_line_up_and_leave_no_trailing_space() -> None:
    assert columns(("A", "LONG"), [("xyz", 1), ("x", "")]) == "A    LONG\nxyz  1\nx"
    assert columns(("A",), []) == ""


@pytest.mark.parametrize(
    ("value", "text"), [(0.04, "0.0s"), (12.34, "12.3s"), (185.2, "3m05s"), (3599.7, "60m00s")]
)
def test_seconds(value: float, text: str) -> None:
    assert seconds(value) == text


def test_status_shows_the_whole_commit_and_every_replica() -> None:
    text = status_text(status())
    assert A in text
    assert "target" not in text
    assert "web.1    h1    running (healthy)  20000" in text
    assert "web      2        1        1        reg/web:1@sha256:0123456789ab" in text


def test_status_counts_the_runs_of_a_job() -> None:
    job = {
        "name": "migrate",
        "image": "reg/web:1",
        "digest": "",
        "desired": 0,
        "running": 0,
        "healthy": 0,
        "job": "pre-deploy",
        "autoscale": None,
    }
    text = status_text(status(services=[{**job, "finished": 2, "replicas": []}]))
    assert "migrate  job      0        2 finished  reg/web:1" in text


def test_status_tells_what_is_held_back_and_why() -> None:
    held = [{"commit": B, "reason": "web on h2 is unhealthy"}]
    text = status_text(
        status(target_commit=B, quarantined=[B], quarantine=held, message="web on h1 exited", commit="")
    )
    assert f"target       {B}" in text
    assert f"quarantined  {B}: web on h2 is unhealthy" in text
    assert "web on h1 exited" in text
    assert "commit       none yet" in text


def test_status_tells_whom_a_rollout_waits_for() -> None:
    told = "web: step 1 of 2, 10%, waits for gitops promote shop"
    assert f"  waits        {told}" in status_text(status(waits=told))
    assert "waits" not in status_text(status())


def test_status_shows_bounds_count_and_the_last_reading() -> None:
    targets = [
        {"metric": "cpu", "target": 70.0, "reading": None},
        {"metric": "sessions_per_replica", "target": 50.0, "reading": 83.25},
    ]
    read_at = "2026-11-23T07:01:02.123+00:00"
    view = status()
    view["services"][0]["autoscale"] = {
        "count": 4, "min": 2, "max": 10, "read_at": read_at, "targets": targets,
    }  # fmt: skip
    lines = [line.split() for line in status_text(view).splitlines()]
    assert ["web", "4", "2", "10", "cpu", "-", "70", "07:01:02"] in lines
    assert ["web", "4", "2", "10", "sessions_per_replica", "83.2", "50", "07:01:02"] in lines
    assert "AUTOSCALE" not in status_text(status())


def test_history_tells_what_was_scaled_and_why() -> None:
    text = "scaled web 2 -> 4: 83 sessions per replica, target 50"
    scaled = deployment(trigger="scale", scaled=[{"service": "web", "before": 2, "after": 4, "text": text}])
    assert history_text({"app": "shop", "deployments": [scaled]}).splitlines()[2] == f"    {text}"


def test_history_puts_the_reason_below_its_line() -> None:
    reason = "web.1 on h1 exited (7)\n  | out of luck"
    failed = deployment(commit=C, outcome="rolled-back", reason=reason, previous_commit=B)
    lines = history_text({"app": "shop", "deployments": [failed, deployment()]}).splitlines()
    assert lines[1].split() == [
        "2026-11-23", "07:01:02", "rolled-back", C[:12], B[:12], "4.0s", "push", "+4", "-4", "=2",
    ]  # fmt: skip
    assert lines[2:4] == ["    web.1 on h1 exited (7)", "      | out of luck"]
    assert lines[4].split()[2] == "succeeded"
    assert "no deployment" in history_text({"app": "shop", "deployments": []})


def test_plan_shows_steps_reasons_and_the_diff() -> None:
    step = {
        "batch": 1,
        "action": "start",
        "service": "web",
        "slot": 2,
        "host": "h2",
        "reason": "image changed: 1 -> 2",
    }
    view = {
        "app": "shop",
        "commit": B,
        "from_commit": A,
        "changes": 2,
        "held": "",
        "notes": "degraded, without h3: no route to host\ndb.1 stays: its volume is on h4",
        "steps": [step],
        "haproxy_diff": "-a\n+b",
    }
    text = plan_text(view)
    assert text.startswith(f"shop: {A[:12]} -> {B[:12]}: 2 changes\n")
    assert "1      start   web.2    h2    image changed: 1 -> 2" in text
    assert text.endswith("\n\n-a\n+b")
    assert "\n\ndegraded, without h3: no route to host\ndb.1 stays: its volume is on h4\n\n" in text
    empty = {**view, "changes": 0, "notes": "", "steps": [], "haproxy_diff": ""}
    assert plan_text(empty) == f"shop: {A[:12]} -> {B[:12]}: nothing to do"
    assert "nothing -> " in plan_text({**view, "from_commit": ""})


@pytest.mark.parametrize(
    ("view", "text"),
    [
        (
            {"outcome": "succeeded", "commit": B, "message": "", "deployment": deployment()},
            f"succeeded: {B[:12]} in 4.0s (+4 -4 =2)",
        ),
        (
            {"outcome": "succeeded", "commit": B, "message": "degraded", "deployment": deployment()},
            f"succeeded: {B[:12]} in 4.0s (+4 -4 =2)\ndegraded",
        ),
        (
            {"outcome": "rolled-back", "commit": B, "message": "web exited", "deployment": deployment()},
            f"rolled-back: {B[:12]} failed, back on {A[:12]} in 4.0s\nweb exited",
        ),
        (
            {
                "outcome": "rolled-back",
                "commit": B,
                "message": "",
                "deployment": deployment(previous_commit=""),
            },
            f"rolled-back: {B[:12]} failed, back on nothing: it was the first in 4.0s",
        ),
        (
            {"outcome": "failed", "commit": B, "message": "no such file", "deployment": None},
            f"failed: {B[:12]}\nno such file",
        ),
        (
            {"outcome": "nothing", "commit": B, "message": "", "deployment": None},
            f"nothing to do: {B[:12]} is what runs",
        ),
        ({"outcome": "held", "commit": B, "message": "quarantined", "deployment": None}, "held: quarantined"),
    ],
)
def test_result_is_told_truthfully(view: dict[str, Any], text: str) -> None:
    assert result_text(view) == text


def test_unlock_says_who_holds_each_lock_and_whom_it_ended() -> None:
    owner = {"name": "gitops serve", "process": 7, "controller": "ctrl", "since": "2026-01-02T03:04:05Z"}
    who = "gitops serve (process 7 on ctrl) since 2026-01-02T03:04:05Z"
    cases = {
        "free": ("free", None, ""),
        f"held by {who}": ("held", owner, ""),
        "held by somebody who has not signed": ("held", None, ""),
        f"free: ended {who}": ("taken-over", owner, ""),
        "no route to host": ("unknown", None, "no route to host"),
    }
    locks = [{"host": "h1", "state": s, "owner": o, "error": e} for s, o, e in cases.values()]
    assert unlock_text({"locks": locks}).splitlines() == [f"h1: {line}" for line in cases]


def test_doctor_says_what_mends_it_and_where() -> None:
    fine = {"host": "h1", "check": "engine", "ok": True, "message": "docker 20.10", "fix": "", "fix_on": ""}
    wrong = {**fine, "host": "h2", "ok": False, "message": "may not", "fix": "sudo usermod", "fix_on": "h2"}
    text = doctor_text({"ok": False, "checks": [fine, wrong]})
    assert "h2    FAIL  engine  may not\n    on h2: sudo usermod\n" in text
    assert text.endswith("1 of 2 checks failed")
    assert doctor_text({"ok": True, "checks": [fine]}).endswith("all 1 checks ok")
    low = {**fine, "message": "1 GiB free", "fix": "docker system prune", "fix_on": "h1", "warning": True}
    text = doctor_text({"ok": True, "checks": [low]})
    assert "h1    warn  engine  1 GiB free\n    on h1: docker system prune\n" in text
    assert text.endswith("all 1 checks ok, 1 with a warning")


def test_json_is_all_that_reaches_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    print_result({"b": "\x1b[2J", "a": [1]}, "json", lambda _: "never")
    out = capsys.readouterr()
    assert json.loads(out.out) == {"b": "\x1b[2J", "a": [1]}
    assert "\x1b" not in out.out
    assert out.out.startswith('{\n  "b"')
    assert out.err == ""


def test_text_is_neither_wrapped_nor_read_as_markup_nor_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    text = f"{'x' * 300} [bold]:smile: \x1b]0;title\x07 {A}"
    print_result({}, "text", lambda _: text)
    assert capsys.readouterr().out == f"{'x' * 300} [bold]:smile: \\x1b]0;title\\x07 {A}\n"


def test_colours_are_for_terminals() -> None:
    stream = io.StringIO()
    terminal = Console(file=stream, force_terminal=True, color_system="standard", theme=THEME, width=80)
    terminal.print(Words()("shop  synced  degraded"))
    assert stream.getvalue() == "shop  \x1b[32msynced\x1b[0m  \x1b[1;31mdegraded\x1b[0m\n"


@pytest.mark.parametrize(
    ("raw", "safe"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("tab\tline\nnext", "tab\tline\nnext"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("50%\r100%", "50%\\r100%"),
        ("\x9b31m", "\\x9b31m"),
        ("abc\u202edcb", "abc\\u202edcb"),
        ("half \udce4", "half \\udce4"),
        ("Grüße 漢字 🚀", "Grüße 漢字 🚀"),
    ],
)
def test_printable(raw: str, safe: str) -> None:
    assert printable(raw) == safe

from __future__ import annotations

import io
from itertools import count

from rich.console import Console

from gitops.execute.events import Event
from gitops.output.console import THEME
from gitops.output.progress import Progress

AT = "2026-11-23T07:00:00.000+00:00"


def plain(stream: io.StringIO) -> Console:
    return Console(file=stream, theme=THEME, markup=False, emoji=False, highlight=False, width=40)


def told(*events: Event, app: str = "shop") -> list[str]:
    stream = io.StringIO()
    clock = count()  # a second passes between two looks
    with Progress(app, to=plain(stream), clock=lambda: float(next(clock))) as progress:
        for event in events:
            progress.show(event)
    return stream.getvalue().splitlines()


def test_each_finished_task_and_state_is_a_line_with_its_time() -> None:
    assert told(
        Event(AT, "state", "planning"),
        Event(AT, "play", "Batch 1: start web.1"),
        Event(AT, "started", "", task="Start web.1 on h1: image changed"),
        Event(AT, "changed", "web.1 started", host="h1", task="Start web.1 on h1: image changed"),
        Event(AT, "ok", "web.1 is healthy", host="h1", task="Wait until healthy"),
    ) == [
        "   1.0s shop: planning",
        "   2.0s   Batch 1: start web.1",
        "   3.0s   + h1: web.1 started",
        "   4.0s   = h1: web.1 is healthy",
    ]


def test_a_failure_is_told_in_full_with_the_last_log_lines() -> None:
    message = "h1: web.1 exited with code 7\n    out of luck\n    good bye"
    assert told(Event(AT, "failed", message, host="h1", task="Wait until healthy")) == [
        "   1.0s   x h1: web.1 exited with code 7",
        "                  out of luck",
        "                  good bye",
    ]


def test_what_a_job_has_said_is_shown_below_its_name() -> None:
    event = Event(AT, "job", "migrate.1 said:\n  | one\n  | \x1b[2J", host="h1")
    assert told(event) == [
        "   1.0s     h1: migrate.1 said:",
        "              | one",
        "              | \\x1b[2J",
    ]


def test_hosts_of_which_the_same_is_told_share_a_line() -> None:
    assert told(
        Event(AT, "ok", "nothing to do", host="h1"),
        Event(AT, "ok", "nothing to do", host="h2"),
        Event(AT, "changed", "nothing to do", host="h3"),
        Event(AT, "changed", "pulled", host="h3"),
        Event(AT, "started", "", task="next"),
        Event(AT, "changed", "pulled", host="h4"),
    ) == [
        "   1.0s   = h1, h2: nothing to do",
        "   2.0s   + h3: nothing to do",
        "   3.0s   + h3: pulled",
        "   4.0s   + h4: pulled",
    ]


def test_the_reason_is_told_in_full_once() -> None:
    reason = "web on h1: exited\n  | out of luck"
    assert told(
        Event(AT, "state", f"rolling-back: {reason}"), Event(AT, "state", f"rolled-back: {reason}")
    ) == [
        "   1.0s shop: rolling-back: web on h1: exited",
        "            | out of luck",
        "   2.0s shop: rolled-back: web on h1: exited",
    ]
    failed = Event(AT, "failed", "h1: exited\n    out of luck", host="h1")
    assert told(failed, Event(AT, "state", f"rolling-back: {reason}")) == [
        "   1.0s   x h1: exited",
        "                  out of luck",
        "   2.0s shop: rolling-back: web on h1: exited",
    ]


def test_long_lines_are_not_wrapped_when_nobody_sees_a_terminal() -> None:
    lines = told(Event(AT, "changed", "x" * 200, host="h1"))
    assert len(lines) == 1


def test_text_of_users_is_text() -> None:
    (line,) = told(Event(AT, "changed", "[red]a[/red] [/] :smile: \x1b[2J", host="h1"))
    assert line.endswith("h1: [red]a[/red] [/] :smile: \\x1b[2J")


def test_other_events_and_words_of_our_own_are_told_too() -> None:
    assert told(Event(AT, "revert", "pushed abc")) == ["   1.0s shop: pushed abc"]


def test_a_terminal_has_a_status_line_that_leaves_nothing_behind() -> None:
    stream = io.StringIO()
    terminal = Console(file=stream, force_terminal=True, color_system=None, theme=THEME, width=60)
    with Progress("shop", to=terminal, clock=lambda: 0.0) as progress:
        progress.show(Event(AT, "state", "running"))
        progress.show(Event(AT, "started", task="Wait until healthy"))
        progress.say("waits for another controller")
    written = stream.getvalue()
    assert "shop  running  0.0s  Wait until healthy" in written
    assert "shop: waits for another controller" in written
    assert written.endswith("\x1b[2K")  # the status line is erased

"""Runs one container of a job to its end, once, and hears what it says.

How long it may run stands on the container itself: whoever finds it judges it alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gitops.channel.engine import Engine
from gitops.channel.times import lasted_s, when_s
from gitops.tasks.container import Row, Service, find, last_lines, same, slot_body, start
from gitops.tasks.outcome import Kind, Outcome, TaskError

TIMEOUT = "gitops.timeout"
HEARD_LINES = 50  # last lines of its output that are told
HEARD_CHARACTERS = 6_000  # of all these lines together
_NOT_YET = {"created", "configured", "initialized"}  # Docker's and Podman's words for one never started
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 0.5

Hear = Callable[[Sequence[str]], None]
"""Takes the last lines of what a job has said."""


def finished(engine: Engine, service: Service, row: Row) -> Outcome | None:
    """That the job has been run before; None where it is to be."""
    there = find(engine, row["name"])
    if there is None or not same(there, slot_body(service["body"], row)) or not _ended(there):
        return None
    return None if _why_not(there) else Outcome(changed=False, message=f"{_label(service, row)} has finished")


def begin(engine: Engine, service: Service, row: Row, *, check: bool = False) -> Outcome:
    """Starts the job unless it runs; one that has failed is run anew.

    Raises:
        TaskError: kind `create`.
    """
    there = find(engine, row["name"])
    if there is not None and same(there, slot_body(service["body"], row)) and _ended(there) and not check:
        engine.remove(row["name"], force=True)
    return start(engine, service, row, check=check)


def see_through(
    engine: Engine,
    service: Service,
    row: Row,
    hear: Hear,
    *,
    pause: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Waits for the job's end, and stops it when its time is over.

    Args:
        engine: of the host.
        service: what it is.
        row: its container.
        hear: told what it has said, however it ended.
        pause: waits; what it raises leaves the job running.

    Raises:
        TaskError: it did not exit with 0 (kind `exit`), or not in time (kind `timeout`).
    """
    name, label = row["name"], _label(service, row)
    there = _wait(engine, service, name, pause)
    if there is None:
        raise TaskError(f"{label} is gone", "exit", service=service["service"], container=name)
    lines = _bounded(last_lines(engine, name, HEARD_LINES))
    hear(lines)
    if wrong := _why_not(there):
        kind, why = wrong
        raise TaskError(f"{label} {why}", kind, service=service["service"], container=name, logs=lines)
    return Outcome(changed=True, message=f"{label} finished in {lasted_s(there['State']):.1f} s")


def _wait(
    engine: Engine, service: Service, name: str, pause: Callable[[float], None]
) -> Mapping[str, Any] | None:
    """The container after its end; None where somebody has removed it."""
    deadline, step = 0.0, _FIRST_PAUSE_S
    while (there := find(engine, name)) is not None and not _ended(there):
        deadline = deadline or when_s(engine, there["State"]["StartedAt"], _limit_s(there))
        left = deadline - time.monotonic()
        if left <= 0:
            engine.stop(name, grace_s=service["body"]["StopTimeout"])
            return find(engine, name)
        pause(min(step, left))
        step = min(step * 1.5, _LONGEST_PAUSE_S)
    return there


def _why_not(there: Mapping[str, Any]) -> tuple[Kind, str] | None:
    """Why a container that has ended has not finished its job; None where it has."""
    state = there["State"]
    if lasted_s(state) > _limit_s(there):  # however it ended: asked to stop, a program may exit with 0
        return "timeout", f"did not end within {_limit_s(there):g} s"
    if state["ExitCode"]:
        error = f": {state['Error']}" if state.get("Error") else ""
        return "exit", f"exited with code {state['ExitCode']}{error}"
    return None


def _ended(there: Mapping[str, Any]) -> bool:
    """Whether it has run, and does not any more."""
    return not there["State"]["Running"] and there["State"].get("Status") not in _NOT_YET


def _limit_s(there: Mapping[str, Any]) -> float:
    return float(there["Config"]["Labels"][TIMEOUT])


def _label(service: Service, row: Row) -> str:
    return f"{service['service']}.{row['slot']}"


def _bounded(lines: Sequence[str]) -> list[str]:
    """The last of the lines that are not too much together."""
    found: list[str] = []
    left = HEARD_CHARACTERS
    for line in reversed(lines):
        if not left:
            break
        found.append(line[:left])
        left -= len(found[-1])
    return found[::-1]

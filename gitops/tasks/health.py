"""Waits until a container is healthy, or stands its monitor window, and says why not."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from gitops.channel.engine import Engine
from gitops.channel.failures import ChannelTimeoutError, EngineError
from gitops.channel.times import when_s
from gitops.tasks.container import SERVICE, SLOT, find, last_lines
from gitops.tasks.live import Live
from gitops.tasks.outcome import Kind, Outcome, TaskError

LEAST_LIMIT_S = 10.0
"""A first probe may take this long, however short interval and retries are."""

_NANO = 1e9
_DEFAULTS = {"Interval": 30.0, "Timeout": 30.0, "Retries": 3}  # the engine's own
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 0.5
_WATCH_PAUSE_S = 0.2


class Watch:
    """One container that is to become healthy and stay so.

    Every method raises TaskError as soon as the container is gone, has exited,
    was restarted, or the engine calls it unhealthy.
    """

    def __init__(self, engine: Engine, name: str, *, pause: Callable[[float], None] = time.sleep) -> None:
        self._engine = engine
        self._name = name
        self._pause = pause
        self._state: Mapping[str, Any] = {}
        self._began = ""
        self._look()
        self._began = self._state["State"]["StartedAt"]

    @property
    def label(self) -> str:
        """`web.1`, or the container's name while nothing is known of it."""
        labels = (self._state.get("Config") or {}).get("Labels") or {}
        return f"{labels[SERVICE]}.{labels[SLOT]}" if SERVICE in labels and SLOT in labels else self._name

    @property
    def test(self) -> list[str]:
        """The command of the container's health check, image's or ours; empty where there is none."""
        kind, *words = (self._state["Config"].get("Healthcheck") or {}).get("Test") or ["NONE"]
        if kind == "CMD-SHELL":
            return [*(self._state["Config"].get("Shell") or ["/bin/sh", "-c"]), *words]
        return words if kind == "CMD" else []

    @property
    def limit_s(self) -> float:
        """The time in which the engine itself would have called it unhealthy, at least 10 seconds."""
        check = self._state["Config"].get("Healthcheck") or {}
        interval, timeout = (
            ((check.get(key) or 0) / _NANO or _DEFAULTS[key]) for key in ("Interval", "Timeout")
        )
        retries = check.get("Retries") or _DEFAULTS["Retries"]
        start_period = (check.get("StartPeriod") or 0) / _NANO
        return max(LEAST_LIMIT_S, start_period + float(retries) * (interval + timeout))

    def healthy(self, *, monitor_s: float, limit_s: float | None = None) -> None:
        """Runs the container's own health check at once and often, until it passes.

        The engine's first own check comes only after a whole interval. A container
        without one has to stand the monitor window instead.
        """
        if not self.test:
            self.stand(monitor_s)
            return
        deadline = time.monotonic() + (limit_s if limit_s is not None else self.limit_s)
        pause, output = _FIRST_PAUSE_S, ""
        while (left := deadline - time.monotonic()) > 0:
            passed, output = self._probe(left)
            self._look()
            if passed:
                if self._engine.podman:
                    # Podman checks by a systemd timer, where there is one: have the good state recorded.
                    self._engine.healthcheck_run(self._name)
                return
            self._pause(min(pause, max(0.0, deadline - time.monotonic())))
            pause = min(pause * 1.5, _LONGEST_PAUSE_S)
        self._fail(
            "unhealthy", f"never became healthy: {output.strip() or 'its health check does not answer'}"
        )

    def stand(self, monitor_s: float, besides: Callable[[], None] = lambda: None) -> None:
        """Waits until the container has run through its monitor window, counted from its start.

        Args:
            monitor_s: the window.
            besides: what else is looked at each time; raises what ends it.
        """
        deadline = when_s(self._engine, self._began, monitor_s)
        self._look()
        while (left := deadline - time.monotonic()) > 0:
            self._pause(min(left, _WATCH_PAUSE_S))
            self._look()
            besides()

    def _probe(self, left_s: float) -> tuple[bool, str]:
        timeout = ((self._state["Config"].get("Healthcheck") or {}).get("Timeout") or 0) / _NANO
        try:
            code, output = self._engine.exec(
                self._name, self.test, timeout_s=min(left_s, timeout or _DEFAULTS["Timeout"])
            )
        except ChannelTimeoutError:
            return False, "its health check does not end in time"
        except EngineError as error:
            return False, error.message  # not running any more: the look that follows says so
        return code == 0, output

    def _look(self) -> None:
        """Raises unless the container still runs, is the same process, and is not unhealthy."""
        there = find(self._engine, self._name)
        if there is None:
            self._fail("exit", "is gone")
        self._state = there
        state = self._state["State"]
        if not state["Running"]:
            self._fail(
                "exit",
                f"exited with code {state['ExitCode']}"
                + (f": {state['Error']}" if state.get("Error") else ""),
            )
        if self._state.get("RestartCount") or (self._began and state["StartedAt"] != self._began):
            self._fail("exit", f"was restarted after it exited{self._code()}")
        if ((state.get("Health") or {}).get("Status")) == "unhealthy":
            checks = (state["Health"].get("Log") or [{}])[-1]
            self._fail("unhealthy", f"became unhealthy: {str(checks.get('Output', '')).strip()}")

    def _code(self) -> str:
        """The code of the latest exit, in brackets; empty where the engine cannot tell."""
        try:
            code = self._engine.last_exit(self._name)
        except EngineError:
            return ""
        return "" if code is None else f" (code {code})"

    def _fail(self, kind: Kind, what: str) -> NoReturn:
        labels = (self._state.get("Config") or {}).get("Labels") or {}
        logs = last_lines(self._engine, self._name)
        raise TaskError(
            f"{self.label} {what}", kind, service=labels.get(SERVICE, ""), container=self._name, logs=logs
        )


def wait_healthy(
    engine: Engine, row: Mapping[str, Any], *, pause: Callable[[float], None] = time.sleep
) -> Outcome:
    """Waits until one container (`name`, `monitor_s`, perhaps `timeout_s`) is healthy."""
    watch = Watch(engine, row["name"], pause=pause)
    watch.healthy(monitor_s=float(row["monitor_s"]), limit_s=row.get("timeout_s"))
    return Outcome(changed=False, message=f"{watch.label} is healthy")


def stand_monitor(
    engine: Engine,
    row: Mapping[str, Any],
    *,
    pause: Callable[[float], None] = time.sleep,
    live: Live | None = None,
) -> Outcome:
    """Waits until one container (`name`, `monitor_s`) has stood its monitor window.

    Args:
        engine: of its host.
        row: the container.
        pause: waits so many seconds, or raises where that has lost its point.
        live: what the edge counts of its service, where that is judged.
    """
    watch, monitor_s = Watch(engine, row["name"], pause=pause), float(row["monitor_s"])
    if live is None:
        watch.stand(monitor_s)
        return Outcome(changed=False, message=f"{watch.label} stood {monitor_s:g} s")
    watch.stand(monitor_s, live.check)
    live.stand(row["name"], monitor_s, pause)
    said = f", {live.said}" if live.said else ""
    return Outcome(changed=False, message=f"{watch.label} stood {monitor_s:g} s{said}")

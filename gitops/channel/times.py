"""Times as an engine tells them. Both ends of a span are of the host's clock: the controller's may differ."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gitops.channel.engine import Engine


def when_s(engine: Engine, began: str, after_s: float) -> float:
    """So many seconds after a moment that the engine has told of, by our monotonic clock; never sooner.

    What the engine needs for its answer is not counted as passed.
    """
    age_s = _seconds(began, engine.info()["SystemTime"])
    return time.monotonic() + after_s - age_s


def lasted_s(state: Mapping[str, Any]) -> float:
    """How long a container ran that has ended, in seconds.

    Args:
        state: `State` of an engine's inspection.
    """
    return _seconds(state["StartedAt"], state["FinishedAt"])


def _seconds(since: str, until: str) -> float:
    return (datetime.fromisoformat(until) - datetime.fromisoformat(since)).total_seconds()

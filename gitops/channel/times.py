"""Times as an engine tells them. Both ends of a span are of the host's clock: the controller's may differ."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gitops.channel.engine import Engine


def age_s(engine: Engine, began: str) -> float:
    """Seconds since a moment that the engine has told of."""
    return _seconds(began, engine.info()["SystemTime"])


def lasted_s(state: Mapping[str, Any]) -> float:
    """How long a container ran that has ended, in seconds.

    Args:
        state: `State` of an engine's inspection.
    """
    return _seconds(state["StartedAt"], state["FinishedAt"])


def _seconds(since: str, until: str) -> float:
    return (datetime.fromisoformat(until) - datetime.fromisoformat(since)).total_seconds()

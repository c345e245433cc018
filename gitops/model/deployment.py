"""A deployment: one attempt to move an application to a commit. States and transitions, once, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal[
    "pending",
    "planning",
    "running",
    "verifying",
    "succeeded",
    "rolling-back",
    "rolled-back",
    "failed",
    "superseded",
    "cancelled",
]
Outcome = Literal["succeeded", "rolled-back", "failed", "superseded", "cancelled", "running"]

TRANSITIONS: dict[State, frozenset[State]] = {
    "pending": frozenset({"planning", "failed", "superseded", "cancelled"}),
    "planning": frozenset({"running", "verifying", "rolling-back", "failed", "superseded", "cancelled"}),
    "running": frozenset({"verifying", "rolling-back", "failed", "superseded", "cancelled"}),
    "verifying": frozenset({"running", "succeeded", "rolling-back", "failed", "superseded", "cancelled"}),
    "rolling-back": frozenset({"rolled-back", "failed", "cancelled"}),
    "succeeded": frozenset(),
    "rolled-back": frozenset(),
    "failed": frozenset(),
    "superseded": frozenset(),
    "cancelled": frozenset(),
}
"""From each state, the states that may follow. What nothing follows is an outcome."""

OUTCOMES: frozenset[State] = frozenset(state for state, following in TRANSITIONS.items() if not following)


def outcome_of(state: State) -> Outcome:
    """The outcome that users see: the final state, or `running` for every state before it."""
    match state:
        case "succeeded" | "rolled-back" | "failed" | "superseded" | "cancelled":
            return state
        case _:
            return "running"


@dataclass(frozen=True)
class Changes:
    """How many containers a deployment started, stopped and kept."""

    started: int = 0
    stopped: int = 0
    kept: int = 0


@dataclass(frozen=True)
class Deployment:
    """The record of one deployment."""

    id: str  # sortable, unique across controllers
    app: str
    commit: str  # full SHA
    previous_commit: str  # last good commit before, or empty
    state: State
    reason: str = ""  # why it did not succeed; for a success the hosts that it went on without
    trigger: str = ""  # push, poll, heal, manual, rollback, retry, resume, drain, scale, settings
    started_at: str = ""  # ISO 8601, UTC
    finished_at: str = ""
    duration_s: float = 0.0
    phases: tuple[tuple[str, float], ...] = ()  # (name, seconds), in order
    changes: Changes = Changes()

    @property
    def outcome(self) -> Outcome:
        """The outcome that users see."""
        return outcome_of(self.state)

    @property
    def heals(self) -> bool:
        """Whether it mends the commit that was good already: there is nothing to go back to."""
        return self.commit == self.previous_commit and self.trigger not in {"scale", "drain", "settings"}

    @property
    def degraded(self) -> bool:
        """Whether it succeeded without some of its hosts."""
        return self.state == "succeeded" and bool(self.reason)

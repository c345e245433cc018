"""The record of one deployment while it is being written: to the store, and to whoever watches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from gitops.execute.events import Event
from gitops.model.deployment import Changes, Deployment, State
from gitops.model.observed import Observed
from gitops.model.run import Run
from gitops.store.records import Ask, Store

MOST_OF_A_REASON = 8_000
"""Characters of a reason that are kept: it is stored, logged and shown by every history."""

Report = Callable[[Event], None]


@dataclass
class Journal:
    """Writes one deployment's states, phases and events.

    Attributes:
        deployment: the record as it stands.
        report: told of every event, in order; must not block.
        undone: commits that a success quarantines, each with the reason: a rollback goes back behind them.
    """

    store: Store
    deployment: Deployment
    report: Report
    undone: Mapping[str, str] = field(default_factory=dict)

    @property
    def rolling_back(self) -> bool:
        """Whether the deployment is on its way back."""
        return self.deployment.state == "rolling-back"

    def move(self, state: State, reason: str = "") -> Deployment:
        """Moves the deployment to its next state and tells of it."""
        if len(reason) > MOST_OF_A_REASON:
            reason = f"{reason[:MOST_OF_A_REASON]} [cut]"
        self.deployment = self.store.transition(self.deployment.id, state, reason=reason, undone=self.undone)
        self.tell("state", state if not reason else f"{state}: {reason}")
        return self.deployment

    def tell(self, kind: str, message: str, *, host: str = "", data: Mapping[str, Any] | None = None) -> None:
        """Records an event of our own, one that no task reported."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.event(Event(at=now, kind=kind, message=message, host=host, data=data or {}))

    def event(self, event: Event) -> None:
        """Records one event."""
        self.store.add_event(self.deployment.id, event)
        self.report(event)

    def run_started(self, run: Run) -> None:
        """Records the process group of the playbook run, so that a successor can end an orphan."""
        self.store.record_run(self.deployment.id, run.pgid, run.start_time, str(run.folder))

    def asked(self) -> frozenset[Ask]:
        """What operators have asked of this deployment since the last time."""
        return self.store.take_asks(self.deployment.id)

    def changes(self, before: Observed, after: Observed) -> None:
        """Records how many of the application's containers came, went and stayed: not the plan, the fact.

        Of a host that no longer answers nothing is known, so nothing is counted.
        """
        app, lost = self.deployment.app, {host.name for host in after.away}
        old, new = (
            {container.id for container in seen.containers(app) if container.host not in lost}
            for seen in (before, after)
        )
        self.store.record_changes(self.deployment.id, Changes(len(new - old), len(old - new), len(old & new)))

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times a phase; on the way back its name says so."""
        began = time.monotonic()
        label = f"rollback-{name}" if self.rolling_back else name
        try:
            yield
        finally:
            self.store.record_phase(self.deployment.id, label, time.monotonic() - began)

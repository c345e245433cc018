"""Events of deployments: written behind the run's back, so that a slow disk never slows a rollout."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import sqlalchemy as sa

from gitops.errors import GitopsError
from gitops.store.database import Database
from gitops.store.schema import events

log = logging.getLogger(__name__)

WAITING_LIMIT = 10_000
"""Most events that wait to be written; what comes on top is dropped and said."""
MESSAGE_LIMIT = 8_000
"""Characters of a message that are kept."""


class EventLike(Protocol):
    """What is recorded of an event."""

    @property
    def at(self) -> str:
        """When, ISO 8601 in UTC."""

    @property
    def kind(self) -> str:
        """Of what kind."""

    @property
    def host(self) -> str:
        """The host it is about, or empty."""

    @property
    def task(self) -> str:
        """The playbook's task, or empty."""

    @property
    def message(self) -> str:
        """One line for people."""

    @property
    def data(self) -> Mapping[str, Any]:
        """What programs read; JSON."""


@dataclass(frozen=True)
class RecordedEvent:
    """An event as the store has it."""

    number: int  # grows; what is newer has a larger one
    at: str
    kind: str
    host: str = ""
    task: str = ""
    message: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


class EventWriter:
    """Writes events in the order they came, in as few transactions as the disk allows.

    Nothing here raises into the run: an event that cannot be written is logged.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changed = threading.Condition()
        self._waiting: list[dict[str, Any]] = []
        self._writing = False
        self._closed = False
        self._thread: threading.Thread | None = None

    def add(self, deployment: str, event: EventLike) -> None:
        """Take an event; it is written soon."""
        try:
            row = {
                "deployment_id": deployment,
                "at": str(event.at),
                "kind": str(event.kind),
                "host": str(event.host),
                "task": str(event.task),
                "message": str(event.message)[:MESSAGE_LIMIT],
                "data": json.dumps(dict(event.data), default=str),
            }
        except (AttributeError, TypeError, ValueError) as error:
            log.warning("an event of deployment %s cannot be recorded: %s", deployment, error)
            return
        with self._changed:
            if self._closed or len(self._waiting) >= WAITING_LIMIT:
                log.warning("an event of deployment %s is dropped: %s", deployment, row["message"])
                return
            self._waiting.append(row)
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_all, name="gitops-events", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self) -> None:
        """Wait until what was taken so far is written, or given up."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._writing)

    def close(self) -> None:
        """Write what waits, then end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                rows, self._waiting, self._writing = self._waiting, [], True
            try:
                with self._database.write() as connection:
                    connection.execute(events.insert(), rows)
            except (GitopsError, sa.exc.SQLAlchemyError) as error:
                log.warning("%d events could not be recorded: %s", len(rows), error)
            finally:
                with self._changed:
                    self._writing = False
                    self._changed.notify_all()


def recorded(row: sa.Row[Any]) -> RecordedEvent:
    """Return a row of the table as an event."""
    return RecordedEvent(row.number, row.at, row.kind, row.host, row.task, row.message, json.loads(row.data))

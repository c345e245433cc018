"""How many replicas the controller has chosen for services that are scaled by load, and what it last read."""

from __future__ import annotations

import json
from collections.abc import Mapping

import sqlalchemy as sa

from gitops.model.load import Reading
from gitops.model.stack import Metric
from gitops.store.database import Database
from gitops.store.owner import Clocks
from gitops.store.schema import counts, readings


class Replicas:
    """The counts and readings of all applications, by service."""

    def __init__(self, database: Database, clocks: Clocks) -> None:
        self._database = database
        self._clocks = clocks

    def counts(self, app: str) -> dict[str, int]:
        """Return the counts of an application's services; only of those whose count is chosen by load."""
        with self._database.read() as connection:
            query = sa.select(counts).where(counts.c.app == app)
            return {row.service: row.replicas for row in connection.execute(query)}

    def record(self, app: str, found: Mapping[str, int]) -> None:
        """Record the counts of all such services of an application; others lose theirs."""
        if self.counts(app) == dict(found):
            return
        with self._database.write(durable=True) as connection:
            connection.execute(counts.delete().where(counts.c.app == app))
            connection.execute(
                readings.delete().where(readings.c.app == app, readings.c.service.not_in(sorted(found)))
            )
            if found:
                rows = [{"app": app, "service": name, "replicas": n} for name, n in sorted(found.items())]
                connection.execute(counts.insert(), rows)

    def readings(self, app: str) -> dict[str, Reading]:
        """Return what was last read of an application's services."""
        with self._database.read() as connection:
            query = sa.select(readings).where(readings.c.app == app)
            return {
                row.service: Reading(row.at, json.loads(row.metrics)) for row in connection.execute(query)
            }

    def record_readings(self, app: str, found: Mapping[str, Mapping[Metric, float]]) -> None:
        """Record what was read of services now."""
        rows = [
            {"app": app, "service": name, "at": self._clocks.stamp(), "metrics": json.dumps(dict(values))}
            for name, values in sorted(found.items())
        ]
        if not rows:
            return
        with self._database.write() as connection:
            connection.execute(
                readings.delete().where(readings.c.app == app, readings.c.service.in_(sorted(found)))
            )
            connection.execute(readings.insert(), rows)

"""Which hosts operators have taken out of service."""

from __future__ import annotations

import sqlalchemy as sa

from gitops.store.database import Database
from gitops.store.owner import Clocks
from gitops.store.schema import drained


class Drained:
    """The drained hosts of all applications, by inventory name."""

    def __init__(self, database: Database, clocks: Clocks) -> None:
        self._database = database
        self._clocks = clocks

    def every(self) -> dict[str, str]:
        """Return each with the time since when (ISO 8601, UTC), by name."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(drained).order_by(drained.c.host))
            return {row.host: row.at for row in rows}

    def add(self, host: str) -> None:
        """Record one; the time of one that is drained already stays."""
        with self._database.write(durable=True) as connection:
            if connection.execute(sa.select(drained).where(drained.c.host == host)).one_or_none() is None:
                connection.execute(drained.insert().values(host=host, at=self._clocks.stamp()))

    def remove(self, host: str) -> bool:
        """Put one back; return whether it was drained."""
        with self._database.write(durable=True) as connection:
            return bool(connection.execute(drained.delete().where(drained.c.host == host)).rowcount)

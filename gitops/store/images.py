"""Which images the commits mean: each reference with the digest that it had when it was first deployed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from gitops.store.database import Database
from gitops.store.schema import pins


class Pins:
    """The pins of all applications: reference -> the same with its digest, by commit."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, app: str, commit: str) -> dict[str, str]:
        """Return the pins of one commit; none where it was never to be deployed."""
        with self._database.read() as connection:
            return _of(connection, app, commit)

    def record(self, app: str, commit: str, found: Mapping[str, str]) -> dict[str, str]:
        """Record pins of a commit, on disk before anything is done with them. What is recorded stays.

        Returns:
            All pins of the commit.
        """
        with self._database.write(durable=True) as connection:
            known = _of(connection, app, commit)
            new = [
                {"app": app, "commit_sha": commit, "reference": reference, "pin": pin}
                for reference, pin in sorted(found.items())
                if reference not in known
            ]
            if new:
                connection.execute(pins.insert(), new)
            return {**found, **known}

    def forget(self, app: str) -> None:
        """Forget all pins of an application."""
        with self._database.write() as connection:
            connection.execute(pins.delete().where(pins.c.app == app))

    def every(self) -> dict[tuple[str, str], set[str]]:
        """Return the pins of all commits, by application and commit."""
        found: dict[tuple[str, str], set[str]] = {}
        with self._database.read() as connection:
            for row in connection.execute(sa.select(pins)):
                found.setdefault((row.app, row.commit_sha), set()).add(row.pin)
        return found


def _of(connection: sa.Connection, app: str, commit: str) -> dict[str, str]:
    query = sa.select(pins).where(pins.c.app == app, pins.c.commit_sha == commit)
    rows: list[sa.Row[Any]] = list(connection.execute(query))
    return {row.reference: row.pin for row in rows}

"""Commits whose deployment failed for a host: they are not quarantined, but tried again later."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from gitops.plan.backoff import LONGEST_S, retry_s
from gitops.store.database import Database
from gitops.store.owner import Clocks
from gitops.store.schema import retries


@dataclass(frozen=True)
class Retry:
    """A commit that is to be tried again.

    Attributes:
        commit: full SHA.
        attempts: how many deployments of it have failed for a host.
        at: when the next one is due, ISO 8601, UTC.
        host: the host at fault, or empty.
        reason: why the last one failed.
        wait_s: seconds until then; 0 where it is due.
    """

    commit: str
    attempts: int
    at: str
    host: str
    reason: str
    wait_s: float

    def __str__(self) -> str:
        """One sentence for people."""
        when = f"at {self.at[11:19]} UTC" if self.wait_s else "now"
        return f"{self.commit[:12]} is tried again {when} (attempt {self.attempts + 1}): {self.reason}"


class Retries:
    """What is to be tried again: one commit an application, the latest. Raises as the store's methods do."""

    def __init__(self, database: Database, clocks: Clocks) -> None:
        self._database = database
        self._clocks = clocks

    def of(self, app: str) -> Retry | None:
        """Return the commit that is to be tried again, or None."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(retries).where(retries.c.app == app)).one_or_none()
        if row is None:
            return None
        left = (datetime.fromisoformat(row.at) - self._clocks.wall()).total_seconds()
        left = left if 0 < left <= LONGEST_S else 0.0  # further off: the clock was wrong
        return Retry(row.commit_sha, row.attempts, row.at, row.host, row.reason, left)

    def wait_s(self, app: str, commit: str) -> float:
        """Return the seconds until a commit is due to be tried again; 0 where nothing keeps it waiting."""
        found = self.of(app)
        return found.wait_s if found is not None and found.commit == commit else 0.0

    def record(self, app: str, commit: str, host: str, reason: str) -> Retry:
        """Record one more deployment of the commit that has failed for a host; return what follows."""
        now = self._clocks.wall()
        with self._database.write(durable=True) as connection:
            row = connection.execute(sa.select(retries).where(retries.c.app == app)).one_or_none()
            attempts = row.attempts + 1 if row is not None and row.commit_sha == commit else 1
            wait_s = retry_s(attempts)
            at = (now + timedelta(seconds=wait_s)).astimezone(UTC).isoformat(timespec="milliseconds")
            connection.execute(retries.delete().where(retries.c.app == app))
            connection.execute(
                retries.insert().values(
                    app=app, commit_sha=commit, attempts=attempts, at=at, host=host, reason=reason
                )
            )
        return Retry(commit, attempts, at, host, reason, wait_s)

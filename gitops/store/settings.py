"""With which settings commits were read when they were deployed, and when they were quarantined."""

from __future__ import annotations

import sqlalchemy as sa

from gitops.store.database import Database
from gitops.store.schema import commit_settings, deployments, goods, quarantine_settings


class SettingsUsed:
    """The records of `gitops.model.commit_settings`, as text. Every method raises as the store's do."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_good(self, app: str, commit: str) -> str:
        """Return those with which a commit was good last; empty where that is not recorded."""
        query = (
            sa.select(commit_settings.c.settings)
            .select_from(goods.outerjoin(commit_settings, goods.c.deployment_id == _key))
            .where(goods.c.app == app, goods.c.commit_sha == commit)
            .order_by(goods.c.number.desc())
            .limit(1)
        )
        return self._first(query)

    def of_deployment(self, deployment: str) -> str:
        """Return those of one deployment; empty where that is not recorded."""
        return self._first(sa.select(commit_settings.c.settings).where(_key == deployment))

    def of_commit(self, app: str, commit: str) -> set[str]:
        """Return all with which a commit was deployed, or tried."""
        query = (
            sa.select(commit_settings.c.settings)
            .join(deployments, deployments.c.id == _key)
            .where(deployments.c.app == app, deployments.c.commit_sha == commit)
        )
        with self._database.read() as connection:
            return set(connection.execute(query).scalars())

    def complete(self, app: str, settings: str) -> None:
        """Record them for the last good commit, where a version from before these records deployed it."""
        query = (
            sa.select(goods.c.deployment_id)
            .where(goods.c.app == app)
            .order_by(goods.c.number.desc())
            .limit(1)
        )
        with self._database.write() as connection:
            last = connection.execute(query).scalar()
            known = sa.select(_key).where(_key == last)
            if last is not None and connection.execute(known).one_or_none() is None:
                connection.execute(commit_settings.insert().values(deployment_id=last, settings=settings))

    def of_quarantine(self, app: str) -> dict[str, str]:
        """Return with which settings commits failed that are held back; the others are held in any case."""
        query = sa.select(quarantine_settings).where(quarantine_settings.c.app == app)
        with self._database.read() as connection:
            return {row.commit_sha: row.settings for row in connection.execute(query)}

    def _first(self, query: sa.Select[tuple[str]]) -> str:
        with self._database.read() as connection:
            return str(connection.execute(query).scalar() or "")


_key = commit_settings.c.deployment_id

"""Records of healing: what was healed and when, and which hosts are lost."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

import sqlalchemy as sa

from gitops.plan.backoff import Heal
from gitops.store.database import Database
from gitops.store.events import recorded
from gitops.store.schema import deployments, events, lost_hosts

DRIFT = "drift"
"""The kind of event that tells of one difference that a deployment mends."""


class Healing:
    """What was healed, and which hosts are lost. Every method raises as the store's do."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def since(self, app: str, at: float) -> list[Heal]:
        """Return what was healed since then (seconds since 1970), each at the end of its deployment."""
        since = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
        query = (
            sa.select(events, deployments.c.finished_at, deployments.c.state)
            .join(deployments, deployments.c.id == events.c.deployment_id)
            .where(deployments.c.app == app, events.c.kind == DRIFT, events.c.at >= since)
            .order_by(events.c.number)
        )
        found = []
        with self._database.read() as connection:
            for row in connection.execute(query):
                data = recorded(row).data
                if data.get("slot"):
                    ended = datetime.fromisoformat(row.finished_at or row.at).timestamp()
                    sick = row.state == "failed" and str(data.get("reason", "")).startswith(
                        "container unhealthy"
                    )
                    found.append(Heal(str(data["service"]), int(data["slot"]), ended, sick))
        return found

    def lost(self, app: str) -> tuple[str, ...]:
        """Return the application's hosts that were lost when the service looked last, by name."""
        query = sa.select(lost_hosts.c.host).where(lost_hosts.c.app == app).order_by(lost_hosts.c.host)
        with self._database.read() as connection:
            return tuple(connection.execute(query).scalars())

    def set_lost(self, app: str, hosts: Collection[str], at: str) -> None:
        """Record which hosts are lost from now on, ISO 8601 in UTC; the same ones again change nothing."""
        if set(self.lost(app)) == set(hosts):
            return
        with self._database.write() as connection:
            connection.execute(
                lost_hosts.delete().where(lost_hosts.c.app == app, lost_hosts.c.host.not_in(hosts))
            )
            known = set(
                connection.execute(sa.select(lost_hosts.c.host).where(lost_hosts.c.app == app)).scalars()
            )
            for host in sorted(set(hosts) - known):
                connection.execute(lost_hosts.insert().values(app=app, host=host, at=at))

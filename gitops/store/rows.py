"""Rows of the tables as the words of the model, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from gitops.model.deployment import Changes, Deployment
from gitops.store.owner import Owner
from gitops.store.schema import phases


def owned_by(owner: Owner) -> dict[str, Any]:
    """Return the columns that say who works on a deployment."""
    return {
        "owner_host": owner.host,
        "owner_boot": owner.boot,
        "owner_pid": owner.pid,
        "owner_start": owner.start_time,
    }


def owner_of(row: sa.Row[Any]) -> Owner:
    """Return who works on the deployment of a row."""
    return Owner(row.owner_host, row.owner_pid, row.owner_start, row.owner_boot)


def as_deployments(connection: sa.Connection, rows: Sequence[sa.Row[Any]]) -> list[Deployment]:
    """Return rows as deployments, with their phases."""
    ids = [row.id for row in rows]
    query = sa.select(phases).where(phases.c.deployment_id.in_(ids)).order_by(phases.c.number)
    timed: dict[str, list[tuple[str, float]]] = {each: [] for each in ids}
    for phase in connection.execute(query):
        timed[phase.deployment_id].append((phase.name, phase.seconds))
    return [
        Deployment(
            id=row.id,
            app=row.app,
            commit=row.commit_sha,
            previous_commit=row.previous_commit,
            state=row.state,
            reason=row.reason,
            trigger=row.trigger_kind,
            started_at=row.started_at,
            finished_at=row.finished_at,
            duration_s=row.duration_s,
            phases=tuple(timed[row.id]),
            changes=Changes(row.started, row.stopped, row.kept),
        )
        for row in rows
    ]

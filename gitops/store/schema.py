"""The tables, and how an older database becomes one of this version.

The states of a deployment and what may follow each (the store enforces it, see
`gitops.model.deployment.TRANSITIONS`):

    pending       recorded, nothing done          -> planning
    planning      reading, observing, planning    -> running, verifying, rolling-back
    running       the playbook runs               -> verifying, rolling-back
    verifying     checking what serves            -> succeeded, rolling-back
    rolling-back  on the way to the last good one -> rolled-back
    succeeded, rolled-back, failed, superseded, cancelled: outcomes; nothing follows

From every state before an outcome a deployment may also become `failed` or
`cancelled`, and before its rollback `superseded`. The database itself holds the
invariant that an application has at most one deployment without an outcome.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from gitops.errors import PermanentError
from gitops.model.deployment import OUTCOMES

metadata = sa.MetaData()

_UNFINISHED = f"state NOT IN ({', '.join(repr(state) for state in sorted(OUTCOMES))})"

deployments = sa.Table(
    "deployments",
    metadata,
    sa.Column(
        "number", sa.Integer, primary_key=True, autoincrement=True
    ),  # the order, whatever the clock says
    sa.Column("id", sa.String, nullable=False, unique=True),
    sa.Column("app", sa.String, nullable=False),
    sa.Column("commit_sha", sa.String, nullable=False),
    sa.Column("previous_commit", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("reason", sa.Text, nullable=False, default=""),
    sa.Column("trigger_kind", sa.String, nullable=False),
    sa.Column("started_at", sa.String, nullable=False),  # ISO 8601, UTC
    sa.Column("finished_at", sa.String, nullable=False, default=""),
    sa.Column("started_clock", sa.Float, nullable=False),  # seconds since that boot of the machine
    sa.Column("started_boot", sa.String, nullable=False),
    sa.Column("duration_s", sa.Float, nullable=False, default=0.0),
    sa.Column("started", sa.Integer, nullable=False, default=0),  # containers
    sa.Column("stopped", sa.Integer, nullable=False, default=0),
    sa.Column("kept", sa.Integer, nullable=False, default=0),
    sa.Column("owner_host", sa.String, nullable=False),
    sa.Column("owner_boot", sa.String, nullable=False),
    sa.Column("owner_pid", sa.Integer, nullable=False),
    sa.Column("owner_start", sa.BigInteger, nullable=False),  # clock ticks since boot
    sa.Index("deployments_by_app", "app", "number"),
    sa.Index(
        "one_running_deployment",
        "app",
        unique=True,
        sqlite_where=sa.text(_UNFINISHED),
        postgresql_where=sa.text(_UNFINISHED),
    ),
    sqlite_autoincrement=True,
)

phases = sa.Table(
    "phases",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("deployment_id", sa.String, nullable=False, index=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("deployment_id", sa.String, nullable=False, index=True),
    sa.Column("pgid", sa.Integer, nullable=False),
    sa.Column("start_time", sa.BigInteger, nullable=False),
    sa.Column("folder", sa.String, nullable=False),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("deployment_id", sa.String, nullable=False, index=True),
    sa.Column("at", sa.String, nullable=False),  # ISO 8601, UTC
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("host", sa.String, nullable=False),
    sa.Column("task", sa.String, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("data", sa.Text, nullable=False),  # JSON object
)

asks = sa.Table(
    "asks",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("deployment_id", sa.String, nullable=False, index=True),
    sa.Column("what", sa.String, nullable=False),  # cancel, promote
)

goods = sa.Table(
    "goods",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),  # the last one is the good commit
    sa.Column("app", sa.String, nullable=False, index=True),
    sa.Column("commit_sha", sa.String, nullable=False),
    sa.Column("deployment_id", sa.String, nullable=False),
)

quarantine = sa.Table(
    "quarantine",
    metadata,
    sa.Column("app", sa.String, primary_key=True),
    sa.Column("commit_sha", sa.String, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", sa.String, nullable=False),
)

apps = sa.Table(
    "apps",
    metadata,
    sa.Column("app", sa.String, primary_key=True),
    sa.Column("paused", sa.Boolean, nullable=False, default=False),
    sa.Column("target", sa.String, nullable=False, default=""),  # last commit seen on the branch
    sa.Column("target_seen_at", sa.String, nullable=False, default=""),
    sa.Column("message", sa.Text, nullable=False, default=""),
)

pins = sa.Table(
    "pins",
    metadata,
    sa.Column("app", sa.String, primary_key=True),
    sa.Column("commit_sha", sa.String, primary_key=True),
    sa.Column("reference", sa.String, primary_key=True),  # of an image, as the commit has it
    sa.Column("pin", sa.String, nullable=False),  # the same with the digest that it had then
)

drained = sa.Table(
    "drained",
    metadata,
    sa.Column("host", sa.String, primary_key=True),  # inventory name
    sa.Column("at", sa.String, nullable=False),  # ISO 8601, UTC
)

counts = sa.Table(
    "counts",
    metadata,
    sa.Column("app", sa.String, primary_key=True),
    sa.Column("service", sa.String, primary_key=True),
    sa.Column("replicas", sa.Integer, nullable=False),  # chosen by the controller
)

readings = sa.Table(
    "readings",
    metadata,
    sa.Column("app", sa.String, primary_key=True),
    sa.Column("service", sa.String, primary_key=True),
    sa.Column("at", sa.String, nullable=False),  # ISO 8601, UTC
    sa.Column("metrics", sa.Text, nullable=False),  # JSON object: for one replica, by metric
)

lost_hosts = sa.Table(
    "lost_hosts",
    metadata,
    sa.Column("app", sa.String, primary_key=True),
    sa.Column("host", sa.String, primary_key=True),
    sa.Column("at", sa.String, nullable=False),  # ISO 8601, UTC
)

retries = sa.Table(
    "retries",
    metadata,
    sa.Column("app", sa.String, primary_key=True),
    sa.Column("commit_sha", sa.String, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),  # deployments of it that have failed for a host
    sa.Column("at", sa.String, nullable=False),  # when it is tried again, ISO 8601, UTC
    sa.Column("host", sa.String, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)

commit_settings = sa.Table(
    "commit_settings",
    metadata,
    sa.Column("deployment_id", sa.String, primary_key=True),
    sa.Column("settings", sa.Text, nullable=False),  # JSON object: with which its commit was read
)

quarantine_settings = sa.Table(
    "quarantine_settings",
    metadata,
    sa.Column("app", sa.String, primary_key=True),
    sa.Column("commit_sha", sa.String, primary_key=True),
    sa.Column("settings", sa.Text, nullable=False),  # JSON object: with which the commit failed
)

schema_version = sa.Table("schema_version", metadata, sa.Column("version", sa.Integer, nullable=False))

Migration = Callable[[sa.Connection], None]


def _version_1(connection: sa.Connection) -> None:
    metadata.create_all(connection, [deployments, phases, runs, events, goods, quarantine, apps])


def _version_2(connection: sa.Connection) -> None:
    metadata.create_all(connection, [asks, pins])


def _version_3(connection: sa.Connection) -> None:
    metadata.create_all(connection, [drained])


def _version_4(connection: sa.Connection) -> None:
    metadata.create_all(connection, [counts, readings])


def _version_5(connection: sa.Connection) -> None:
    metadata.create_all(connection, [lost_hosts])


def _version_6(connection: sa.Connection) -> None:
    metadata.create_all(connection, [retries])


def _version_7(connection: sa.Connection) -> None:
    metadata.create_all(connection, [commit_settings, quarantine_settings])


MIGRATIONS: tuple[Migration, ...] = (
    _version_1,
    _version_2,
    _version_3,
    _version_4,
    _version_5,
    _version_6,
    _version_7,
)
"""Each brings the database one version further; append, never change one that was released.

A table is made by the version that it came with. One that changes an older table turns the
step that made it into the frozen statements of then, and ends with the tables above.
"""


def migrate(connection: sa.Connection, migrations: tuple[Migration, ...] = MIGRATIONS) -> None:
    """Bring the database to this version, inside the caller's transaction.

    Raises:
        PermanentError: the database is of a newer version.
    """
    schema_version.create(connection, checkfirst=True)
    found = connection.execute(sa.select(schema_version.c.version)).scalar()
    version = 0 if found is None else int(found)
    if version > len(migrations):
        raise PermanentError(
            f"the store has version {version}, and this gitops knows versions up to {len(migrations)}",
            hint="install the newer gitops again",
        )
    if version == len(migrations):
        return
    for step in migrations[version:]:
        step(connection)
    connection.execute(schema_version.delete())
    connection.execute(schema_version.insert().values(version=len(migrations)))

"""The store: what was deployed, what is good, what is held back. The truth is on the hosts."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import sqlalchemy as sa

from gitops.errors import ContendedError, PermanentError, TransientError
from gitops.model.deployment import OUTCOMES, TRANSITIONS, Changes, Deployment, State
from gitops.model.run import Run
from gitops.store.database import BUSY_TIMEOUT_S, Database
from gitops.store.events import EventLike, EventWriter, RecordedEvent, recorded
from gitops.store.healing import Healing
from gitops.store.hosts import Drained
from gitops.store.images import Pins
from gitops.store.owner import Clocks, Owner, boot_id, this_process
from gitops.store.replicas import Replicas
from gitops.store.retries import Retries
from gitops.store.rows import as_deployments, owned_by, owner_of
from gitops.store.schema import (
    apps,
    asks,
    commit_settings,
    counts,
    deployments,
    events,
    goods,
    lost_hosts,
    phases,
    quarantine,
    quarantine_settings,
    readings,
    retries,
    runs,
)
from gitops.store.settings import SettingsUsed

__all__ = [
    "Ask",
    "Clocks",
    "DeploymentRunningError",
    "Owner",
    "RecordedEvent",
    "Run",
    "Store",
    "this_process",
]

_table = deployments.c
_PREDECESSORS: dict[State, frozenset[State]] = {
    state: frozenset(before for before, after in TRANSITIONS.items() if state in after)
    for state in TRANSITIONS
}


class DeploymentRunningError(ContendedError):
    """Another deployment of the application has no outcome yet.

    Attributes:
        deployment: that deployment.
        owner: the process that works on it.
    """

    def __init__(self, deployment: Deployment, owner: Owner) -> None:
        self.deployment = deployment
        self.owner = owner
        super().__init__(
            f"{deployment.app} is being deployed already: {deployment.commit[:8]} by {owner}",
            hint="wait for its end, or see `gitops status`",
        )


Ask = Literal["cancel", "promote"]
"""What an operator may ask of a deployment that runs."""


class Store:
    """The records of all applications. Safe for several threads, and for several processes at once.

    Every method may raise TransientError where the database is locked for long
    or its disk is full, and PermanentError where it is damaged.

    Args:
        url: `sqlite:////absolute/path` or `postgresql+driver://...`; tables are made or migrated.
        clocks: what to read the time from.
        busy_timeout_s: how long to wait for another process's transaction.
        events_kept: of how many deployments an application's events are kept; the deployments stay.

    Attributes:
        pins: which images the commits mean.
        drained: which hosts are out of service.
        replicas: how many replicas the controller has chosen, and by what readings.
        healing: what was healed, and which hosts are lost.
        retries: which commits are tried again, as a host was at fault.
        settings_used: with which settings commits were read.
    """

    def __init__(
        self,
        url: str,
        *,
        clocks: Clocks | None = None,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
        events_kept: int = 200,
    ) -> None:
        self._clocks = clocks or Clocks()
        self._events_kept = events_kept
        self._database = Database(url, busy_timeout_s=busy_timeout_s)
        self._events = EventWriter(self._database)
        self.pins = Pins(self._database)
        self.drained = Drained(self._database, self._clocks)
        self.replicas = Replicas(self._database, self._clocks)
        self.healing = Healing(self._database)
        self.retries = Retries(self._database, self._clocks)
        self.settings_used = SettingsUsed(self._database)
        self._lock = threading.Lock()
        self._own: dict[
            str, dict[str, Any]
        ] = {}  # rows of unfinished deployments, should the file be deleted

    def close(self) -> None:
        """Write what waits and close the database."""
        self._events.close()
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- one deployment

    def begin(
        self,
        app: str,
        commit: str,
        previous_commit: str,
        trigger: str,
        owner: Owner,
        *,
        settings: str = "",
    ) -> Deployment:
        """Record a new deployment, in state `pending`, and the settings with which its commit was read.

        Raises:
            DeploymentRunningError: another one of the application has no outcome yet.
        """
        row = {
            "id": self._clocks.new_id(),
            "app": app,
            "commit_sha": commit,
            "previous_commit": previous_commit,
            "state": "pending",
            "reason": "",
            "trigger_kind": trigger,
            "started_at": self._clocks.stamp(),
            "finished_at": "",
            "started_clock": self._clocks.boot(),
            "started_boot": boot_id(),
            **owned_by(owner),
        }
        try:
            with self._database.write() as connection:
                connection.execute(deployments.insert().values(row))
                if settings:
                    connection.execute(
                        commit_settings.insert().values(deployment_id=row["id"], settings=settings)
                    )
                _forget_old_events(connection, app, self._events_kept)
        except sa.exc.IntegrityError as error:
            for running, by, _ in self.running():
                if running.app == app:
                    raise DeploymentRunningError(running, by) from error
            hint = "try again"
            raise TransientError(f"{app} was being deployed until this moment", hint=hint) from error
        self._remember(str(row["id"]), row)
        return self.deployment(str(row["id"]))

    def transition(
        self, deployment_id: str, state: State, *, reason: str = "", undone: Mapping[str, str] | None = None
    ) -> Deployment:
        """Move a deployment to a state; an outcome also sets its end, and `succeeded` the good commit.

        Args:
            deployment_id: which.
            state: where to; only along TRANSITIONS.
            reason: why; an empty one leaves the reason as it is.
            undone: commits that are quarantined if the state is `succeeded`, each with the reason.

        Raises:
            PermanentError: there is no such deployment, or the state cannot follow the present one.
        """
        with self._database.write(durable=state in OUTCOMES) as connection:
            row = self._row(connection, deployment_id)
            values: dict[str, Any] = {"state": state}
            if reason:
                values["reason"] = reason
            if state in OUTCOMES:
                values |= {"finished_at": self._clocks.stamp(), "duration_s": self._duration(row)}
            moved = connection.execute(
                deployments.update()
                .where(_table.id == deployment_id, _table.state.in_(sorted(_PREDECESSORS[state])))
                .values(values)
            )
            if moved.rowcount != 1:
                raise PermanentError(
                    f"deployment {deployment_id} is {row.state} and cannot become {state}",
                    hint="another process has ended it" if row.state in OUTCOMES else "",
                )
            if state == "succeeded":
                for commit, why in (undone or {}).items():
                    _hold(connection, row.app, commit, why, self._clocks.stamp())
                _set_good(connection, row.app, row.commit_sha, deployment_id)
        self._remember(deployment_id, values)
        return self.deployment(deployment_id)

    def adopt(self, deployment_id: str, owner: Owner) -> None:
        """Give an unfinished deployment whose owner has died to another process.

        Raises:
            PermanentError: there is no such deployment, or it has ended.
        """
        with self._database.write() as connection:
            row = self._row(connection, deployment_id)
            if row.state in OUTCOMES:
                raise PermanentError(f"deployment {deployment_id} has ended: {row.state}")
            connection.execute(
                deployments.update().where(_table.id == deployment_id).values(**owned_by(owner))
            )
            mine = dict(self._row(connection, deployment_id)._mapping)  # noqa: SLF001 - public in SQLAlchemy, whose rows keep plain names for columns
        del mine["number"]
        self._remember(deployment_id, mine)

    def record_phase(self, deployment_id: str, name: str, seconds: float) -> None:
        """Add a phase with its duration; phases keep their order."""
        with self._database.write() as connection:
            connection.execute(
                phases.insert().values(deployment_id=deployment_id, name=name, seconds=round(seconds, 3))
            )

    def record_changes(self, deployment_id: str, changes: Changes) -> None:
        """Set how many containers the deployment started, stopped and kept."""
        with self._database.write() as connection:
            connection.execute(
                deployments.update()
                .where(_table.id == deployment_id)
                .values(started=changes.started, stopped=changes.stopped, kept=changes.kept)
            )

    def record_run(self, deployment_id: str, pgid: int, start_time: int, folder: str | Path) -> None:
        """Add the process group of a playbook that works for the deployment."""
        with self._database.write() as connection:
            connection.execute(
                runs.insert().values(
                    deployment_id=deployment_id, pgid=pgid, start_time=start_time, folder=str(folder)
                )
            )

    def runs(self, deployment_id: str) -> list[Run]:
        """Return the playbooks that worked for a deployment, oldest first."""
        with self._database.read() as connection:
            query = sa.select(runs).where(runs.c.deployment_id == deployment_id).order_by(runs.c.number)
            return [Run(row.pgid, row.start_time, Path(row.folder)) for row in connection.execute(query)]

    # -- looking back

    def deployment(self, deployment_id: str) -> Deployment:
        """Return one deployment.

        Raises:
            PermanentError: there is none of that id.
        """
        with self._database.read() as connection:
            return as_deployments(connection, [self._row(connection, deployment_id)])[0]

    def history(self, app: str, limit: int = 50) -> list[Deployment]:
        """Return the deployments of an application, newest first."""
        with self._database.read() as connection:
            query = (
                sa.select(deployments).where(_table.app == app).order_by(_table.number.desc()).limit(limit)
            )
            return as_deployments(connection, connection.execute(query).all())

    def last(self, app: str) -> Deployment | None:
        """Return the newest deployment of an application."""
        return next(iter(self.history(app, limit=1)), None)

    def running(self) -> list[tuple[Deployment, Owner, Run | None]]:
        """Return all deployments without an outcome, oldest first, with owner and latest playbook."""
        with self._database.read() as connection:
            query = (
                sa.select(deployments).where(_table.state.not_in(sorted(OUTCOMES))).order_by(_table.number)
            )
            rows = connection.execute(query).all()
            found = as_deployments(connection, rows)
        owners = [owner_of(row) for row in rows]
        latest = [next(reversed(self.runs(each.id)), None) for each in found]
        return list(zip(found, owners, latest, strict=True))

    def add_event(self, deployment_id: str, event: EventLike) -> None:
        """Record an event soon. Never raises: one that cannot be recorded is logged."""
        self._events.add(deployment_id, event)

    def events(self, deployment_id: str, *, after: int = 0, kind: str = "") -> list[RecordedEvent]:
        """Return a deployment's events in order, only those above `after`, and perhaps of one kind."""
        self._events.flush()
        with self._database.read() as connection:
            query = (
                sa.select(events)
                .where(events.c.deployment_id == deployment_id, events.c.number > after)
                .where(sa.true() if not kind else events.c.kind == kind)
                .order_by(events.c.number)
            )
            return [recorded(row) for row in connection.execute(query)]

    # -- what an operator asks of a deployment that runs

    def ask(self, app: str, what: Ask) -> Deployment:
        """Ask something of the application's running deployment, whichever process works on it.

        Raises:
            PermanentError: none runs.
        """
        found = next((each for each, _, _ in self.running() if each.app == app), None)
        if found is None:
            raise PermanentError(f"{app} is not being deployed", hint=f"gitops history {app}")
        with self._database.write() as connection:
            connection.execute(asks.insert().values(deployment_id=found.id, what=what))
        return found

    def take_asks(self, deployment_id: str) -> frozenset[Ask]:
        """Return what has been asked since the last time; each is returned once."""
        mine = asks.c.deployment_id == deployment_id
        with self._database.read() as connection:
            rows = connection.execute(sa.select(asks).where(mine)).all()
        if rows:
            with self._database.write() as connection:
                connection.execute(asks.delete().where(asks.c.number.in_([row.number for row in rows])))
        return frozenset(row.what for row in rows)

    # -- good and quarantined commits

    def good(self, app: str) -> str | None:
        """Return the last good commit: the one to go back to."""
        return next(iter(self.goods(app)), None)

    def goods(self, app: str) -> list[str]:
        """Return all good commits, the last one first, each once."""
        with self._database.read() as connection:
            query = sa.select(goods.c.commit_sha).where(goods.c.app == app).order_by(goods.c.number.desc())
            return list(dict.fromkeys(connection.execute(query).scalars()))

    def quarantine(self, app: str, commit: str, reason: str, *, settings: str = "") -> None:
        """Hold a commit back: it is not deployed again by itself. A second reason replaces the first.

        Args:
            app: the application.
            commit: full SHA.
            reason: why.
            settings: with which it failed: read with others it may be tried; empty: with none.
        """
        with self._database.write(durable=True) as connection:
            _hold(connection, app, commit, reason, self._clocks.stamp(), settings)

    def quarantined(self, app: str) -> dict[str, str]:
        """Return the commits that are held back, each with its reason, oldest first."""
        with self._database.read() as connection:
            query = sa.select(quarantine).where(quarantine.c.app == app).order_by(quarantine.c.at)
            return {row.commit_sha: row.reason for row in connection.execute(query)}

    def lift(self, app: str, commit: str | None) -> None:
        """Let a commit be deployed again and at once, or with None all of the application's."""
        with self._database.write() as connection:
            waits = [retries.c.app == app, *([retries.c.commit_sha == commit] if commit else [])]
            connection.execute(retries.delete().where(*waits))
            _lift(connection, app, commit)

    def deployed(self) -> list[str]:
        """Return the names of all applications that have been deployed, and not forgotten since."""
        with self._database.read() as connection:
            query = sa.select(goods.c.app).distinct().order_by(goods.c.app)
            return list(connection.execute(query).scalars())

    def forget(self, app: str) -> None:
        """Forget what was good, held back and chosen of an application.

        Its history stays, and so does whether it is paused; its pins are forgotten by themselves.
        """
        tables = (goods, quarantine, quarantine_settings, counts, readings, lost_hosts, retries)
        with self._database.write(durable=True) as connection:
            for table in tables:
                connection.execute(table.delete().where(table.c.app == app))
        self._set_flags(app, target="", target_seen_at="", message="")

    # -- an application's flags

    def paused(self, app: str) -> bool:
        """Whether nothing is deployed by itself."""
        return bool(self._flag(app, "paused"))

    def set_paused(self, app: str, *, paused: bool) -> None:
        """Hold an application, or release it."""
        self._set_flags(app, paused=paused)

    def target(self, app: str) -> str | None:
        """Return the last commit seen on the branch or tag."""
        return self._flag(app, "target") or None

    def target_seen_at(self, app: str) -> str:
        """Return when that commit was seen first, ISO 8601 in UTC, or nothing."""
        return self._flag(app, "target_seen_at") or ""

    def set_target(self, app: str, commit: str, seen_at: str = "") -> None:
        """Record the commit that is on the branch or tag; the same one again changes nothing."""
        if self.target(app) != commit:
            self._set_flags(app, target=commit, target_seen_at=seen_at or self._clocks.stamp())

    def message(self, app: str) -> str:
        """Return why the application is held back, or nothing."""
        return self._flag(app, "message") or ""

    def set_message(self, app: str, text: str) -> None:
        """Record why the application is held back; an empty text clears it."""
        if self.message(app) != text:
            self._set_flags(app, message=text)

    # -- inside

    def _flag(self, app: str, name: str) -> Any:
        with self._database.read() as connection:
            return connection.execute(sa.select(apps.c[name]).where(apps.c.app == app)).scalar()

    def _set_flags(self, app: str, **values: Any) -> None:
        with self._database.write() as connection:
            if not connection.execute(apps.update().where(apps.c.app == app).values(**values)).rowcount:
                connection.execute(apps.insert().values(app=app, **values))

    def _row(self, connection: sa.Connection, deployment_id: str) -> sa.Row[Any]:
        """Return a deployment's row; one of ours whose file was deleted meanwhile is recorded again."""
        query = sa.select(deployments).where(_table.id == deployment_id)
        row = connection.execute(query).one_or_none()
        if row is None and deployment_id in self._own:
            connection.execute(deployments.insert().values(self._own[deployment_id]))
            row = connection.execute(query).one()
        if row is None:
            raise PermanentError(
                f"there is no deployment {deployment_id}", hint="`gitops history APP` lists them"
            )
        return row

    def _remember(self, deployment_id: str, values: dict[str, Any]) -> None:
        """Keep what we know of our own unfinished deployments: a whole row at first, then what changes."""
        with self._lock:
            if values["state"] in OUTCOMES:
                self._own.pop(deployment_id, None)
            elif deployment_id in self._own or "id" in values:
                self._own.setdefault(deployment_id, {}).update(values)

    def _duration(self, row: sa.Row[Any]) -> float:
        """Return the seconds since a deployment began; across a reboot as the wall clock has them."""
        if row.started_boot == boot_id():
            passed = self._clocks.boot() - float(row.started_clock)
        else:
            passed = (self._clocks.wall() - datetime.fromisoformat(row.started_at)).total_seconds()
        return round(max(0.0, passed), 3)


def _lift(connection: sa.Connection, app: str, commit: str | None) -> None:
    """Let one quarantined commit go, or all of an application."""
    for table in (quarantine, quarantine_settings):
        gone = table.delete().where(table.c.app == app)
        connection.execute(gone if commit is None else gone.where(table.c.commit_sha == commit))


def _hold(connection: sa.Connection, app: str, commit: str, reason: str, at: str, settings: str = "") -> None:
    """Quarantine a commit, in place of what was said of it before."""
    _lift(connection, app, commit)
    connection.execute(quarantine.insert().values(app=app, commit_sha=commit, reason=reason, at=at))
    if settings:
        connection.execute(quarantine_settings.insert().values(app=app, commit_sha=commit, settings=settings))


def _set_good(connection: sa.Connection, app: str, commit: str, deployment_id: str) -> None:
    """Record a good commit as the last one; what is good is not held back."""
    connection.execute(goods.insert().values(app=app, commit_sha=commit, deployment_id=deployment_id))
    connection.execute(retries.delete().where(retries.c.app == app, retries.c.commit_sha == commit))
    held = connection.execute(
        sa.select(quarantine_settings.c.settings).where(
            quarantine_settings.c.app == app, quarantine_settings.c.commit_sha == commit
        )
    ).scalar()
    used = connection.execute(
        sa.select(commit_settings.c.settings).where(commit_settings.c.deployment_id == deployment_id)
    ).scalar()
    if held is None or held == used:  # one that failed with other settings is held with those
        _lift(connection, app, commit)


def _forget_old_events(connection: sa.Connection, app: str, kept: int) -> None:
    """Delete the events of deployments that are long past."""
    old = sa.select(_table.id).where(_table.app == app).order_by(_table.number.desc()).offset(kept)
    if connection.dialect.name == "sqlite":
        old = old.limit(-1)  # SQLite has no offset without a limit
    connection.execute(events.delete().where(events.c.deployment_id.in_(old)))

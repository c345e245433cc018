"""The connection to the records' database: SQLite with its outcomes on disk, or PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import exc

from gitops.errors import GitopsError, PermanentError, TransientError
from gitops.store.schema import migrate

BUSY_TIMEOUT_S = 15.0
"""How long a transaction waits for another process's."""

_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_NOT_NOW = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})
_PRIMARY = 0xFF  # the low byte of SQLite's extended result codes


class Database:
    """Transactions over a migrated database. Safe for several threads and processes.

    A SQLite file that is deleted while it is open is made anew: what is recorded
    from then on is not lost.

    Args:
        url: `sqlite:////absolute/path` or `postgresql+driver://...`.
        busy_timeout_s: how long to wait for another process's transaction.

    Raises:
        PermanentError: the database is damaged, may not be opened, or is of a newer version.
        TransientError: it is locked for longer than that, or the disk is full.
    """

    def __init__(self, url: str, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        try:
            parsed = sa.make_url(url)
        except exc.ArgumentError as error:
            hint = "such as sqlite:////var/lib/gitops/gitops.db"
            raise PermanentError("the address of the store cannot be read", hint=hint) from error
        self._path = Path(parsed.database) if parsed.drivername == "sqlite" and parsed.database else None
        self._name = str(self._path or parsed.render_as_string(hide_password=True))
        self._busy_timeout_s = busy_timeout_s
        self._lock = threading.Lock()
        self._inode = 0
        with self._errors():
            self._engine = sa.create_engine(parsed)
            if parsed.get_backend_name() == "sqlite":
                sa.event.listen(self._engine, "connect", self._on_connect)
                sa.event.listen(self._engine, "begin", _on_begin)
        try:
            self._settle()
        except BaseException:
            self._engine.dispose()
            raise

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextlib.contextmanager
    def write(self, *, durable: bool = False) -> Iterator[sa.Connection]:
        """One transaction that writes; on SQLite it has the database for itself from its beginning.

        Args:
            durable: whether it must be on disk when it ends, with all before it. Otherwise it outlives
                this process in any case, and a power cut only if it came before the cut by a while.
        """
        self._settle()
        engine = self._engine.execution_options(gitops_durable=durable)
        with self._errors(), engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """One transaction that only reads; it waits for nobody."""
        self._settle()
        with self._errors(), self._engine.connect().execution_options(gitops_reads=True) as connection:
            yield connection

    def _settle(self) -> None:
        """Migrate the database when it is opened, and again where its file is another one by now."""
        inode = self._file() if self._path else -1
        if inode == self._inode and inode:
            return
        with self._lock, self._errors():
            if self._path:
                if self._file() == self._inode != 0:
                    return  # another thread was faster
                self._engine.dispose()
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                # One that is there is not opened: to close it again would drop the locks that another
                # store of this process has on it (sqlite.org/howtocorrupt.html, 2.2).
                with contextlib.suppress(FileExistsError):
                    os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            with self._engine.begin() as connection:
                migrate(connection)
            self._inode = self._file() if self._path else -1

    def _file(self) -> int:
        """Return the inode of the database's file, or 0 where there is none."""
        try:
            return self._path.stat().st_ino if self._path else 0
        except OSError:
            return 0

    def _on_connect(self, connection: sqlite3.Connection, _: object) -> None:
        """Prepare one SQLite connection."""
        connection.isolation_level = None  # transactions begin where we say, see _on_begin
        cursor = connection.cursor()
        try:
            cursor.execute(f"PRAGMA busy_timeout = {int(self._busy_timeout_s * 1000)}")
            cursor.execute("PRAGMA journal_mode = WAL")
        finally:
            cursor.close()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Tell a database's errors as ours."""
        try:
            yield
        except (exc.IntegrityError, GitopsError):
            raise
        except (exc.DBAPIError, sqlite3.Error) as error:
            raise self._told(error.orig if isinstance(error, exc.DBAPIError) else error) from error
        except exc.NoSuchModuleError as error:
            raise PermanentError(
                "the store's database is not known", hint="use sqlite or postgresql"
            ) from error
        except ModuleNotFoundError as error:
            hint = f"pip install {error.name}"
            raise PermanentError("the driver of the store's database is missing", hint=hint) from error
        except OSError as error:
            raise PermanentError(f"the store {self._name} cannot be opened: {error.strerror}") from error

    def _told(self, error: BaseException | None) -> GitopsError:
        """Return what to tell of an error of the database's driver."""
        code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
        if code in _DAMAGED:
            return PermanentError(
                f"the store {self._name} is damaged: {error}",
                hint="move it away and start again: hosts and Git carry the truth, this is only a record",
            )
        if code in _NOT_NOW:
            hint = "is the disk full, or another gitops busy with it?"
            return TransientError(f"the store {self._name} cannot be used now: {error}", hint=hint)
        if self._path is None:
            return TransientError(f"the store {self._name} does not answer: {error}")
        return PermanentError(
            f"the store {self._name} cannot be used: {error}", hint="may this user write there?"
        )


def _on_begin(connection: sa.Connection) -> None:
    """Begin a SQLite transaction: one that writes takes its lock at once, so that none fails half-way."""
    options = connection.get_execution_options()
    if options.get("gitops_reads"):
        connection.exec_driver_sql("BEGIN")
        return
    # A sync costs milliseconds, on a busy disk many: a rollout waits for it only where it matters.
    level = "FULL" if options.get("gitops_durable") else "NORMAL"
    connection.exec_driver_sql(f"PRAGMA synchronous = {level}")
    connection.exec_driver_sql("BEGIN IMMEDIATE")

"""Commits that are tried again: when, how often, and that an older store learns of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from gitops.plan.backoff import LONGEST_S, retry_s
from gitops.store import schema
from gitops.store.owner import Clocks
from gitops.store.records import Store, this_process

THEN = datetime(2026, 9, 21, 13, 33, 20, tzinfo=UTC)
ONE, TWO = "a" * 40, "b" * 40


class Time:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = THEN

    def clocks(self) -> Clocks:
        return Clocks(wall=lambda: self.now)


def test_a_commit_waits_longer_each_time_and_a_newer_one_begins_anew(tmp_path: Path) -> None:
    time, url = Time(), f"sqlite:///{tmp_path / 'gitops.db'}"
    with Store(url, clocks=time.clocks()) as store:
        assert store.retries.of("shop") is None
        first = store.retries.record("shop", ONE, "h1", "no space left")
        assert (first.attempts, first.wait_s) == (1, retry_s(1))
    with Store(url, clocks=time.clocks()) as store:  # a service that restarts goes on waiting
        assert store.retries.of("shop") == first
        assert store.retries.wait_s("shop", TWO) == 0.0
        time.now += timedelta(seconds=first.wait_s)
        assert store.retries.wait_s("shop", ONE) == 0.0
        again = store.retries.record("shop", ONE, "h1", "no space left")
        assert (again.attempts, again.wait_s) == (2, 2 * first.wait_s)
        assert store.retries.record("shop", TWO, "h2", "port 20000 is taken").attempts == 1
        assert store.retries.of("blog") is None
        time.now -= timedelta(days=1)  # a clock that was wrong keeps nothing waiting
        assert store.retries.wait_s("shop", TWO) == 0.0


def test_the_longest_wait() -> None:
    assert [retry_s(n) for n in (1, 2, 3)] == [5.0, 10.0, 20.0]
    assert retry_s(10_000) == LONGEST_S


def test_a_success_or_a_person_ends_the_wait(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path / 'gitops.db'}", clocks=Time().clocks()) as store:
        store.retries.record("shop", ONE, "h1", "no space left")
        store.lift("shop", TWO)
        assert store.retries.wait_s("shop", ONE)
        store.lift("shop", ONE)
        assert store.retries.of("shop") is None
        store.retries.record("shop", ONE, "h1", "no space left")
        for commit, waits in ((TWO, True), (ONE, False)):
            deployment = store.begin("shop", commit, TWO, "poll", this_process())
            for state in ("planning", "running", "verifying", "succeeded"):
                store.transition(deployment.id, state)  # type: ignore[arg-type] # of a tuple of literals
            assert bool(store.retries.wait_s("shop", ONE)) is waits


def test_a_store_of_the_version_before_learns_of_them(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'gitops.db'}"
    engine = sa.create_engine(url)
    before = schema.MIGRATIONS[: schema.MIGRATIONS.index(schema._version_6)]
    with engine.begin() as connection:
        schema.migrate(connection, before)
    assert not sa.inspect(engine).has_table("retries")
    engine.dispose()
    with Store(url) as store:
        assert store.retries.record("shop", ONE, "h1", "no space left").attempts == 1

"""The store on a SQLite file of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from gitops.errors import PermanentError
from gitops.model.deployment import Changes, Deployment, State
from gitops.model.run import Run
from gitops.store import schema
from gitops.store.records import Clocks, DeploymentRunningError, Owner, Store, this_process

A, B, C = ("a" * 40, "b" * 40, "c" * 40)


@dataclass
class Hands:
    """Clocks that are set by hand."""

    wall: datetime = datetime(2026, 11, 23, 7, 1, 2, 345000, tzinfo=UTC)
    boot: float = 1000.0

    def clocks(self) -> Clocks:
        return Clocks(wall=lambda: self.wall, boot=lambda: self.boot)

    def tick(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.boot += seconds


@dataclass(frozen=True)
class Event:
    """An event as the run tells it."""

    message: str
    at: str = "2026-11-23T07:01:02.345Z"
    kind: str = "task"
    host: str = "h1"
    task: str = "Start web 1"
    data: Mapping[str, Any] = field(default_factory=dict)


@pytest.fixture
def url(memory: Path) -> str:
    return f"sqlite:///{memory}/state/gitops.db"


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def store(url: str, hands: Hands) -> Iterator[Store]:
    with Store(url, clocks=hands.clocks()) as opened:
        yield opened


def _begin(store: Store, commit: str = A, *, app: str = "shop", previous: str = "") -> Deployment:
    return store.begin(app, commit, previous, "push", this_process())


def _succeed(store: Store, commit: str, settings: str = "") -> Deployment:
    begun = store.begin("shop", commit, "", "poll", this_process(), settings=settings)
    for state in ("planning", "running", "verifying"):
        store.transition(begun.id, state)
    return store.transition(begun.id, "succeeded")


def test_a_deployment_is_recorded_from_its_beginning_to_its_end(store: Store, hands: Hands) -> None:
    begun = _begin(store, B, previous=A)
    assert begun == Deployment(
        id=begun.id,
        app="shop",
        commit=B,
        previous_commit=A,
        state="pending",
        trigger="push",
        started_at="2026-11-23T07:01:02.345Z",
    )
    assert begun.id.startswith("20261123T070102.345-")
    store.transition(begun.id, "planning")
    store.record_phase(begun.id, "plan", 0.25)
    store.transition(begun.id, "running")
    store.record_changes(begun.id, Changes(4, 3, 2))
    hands.tick(2.5)
    store.record_phase(begun.id, "run", 2.25)
    store.transition(begun.id, "rolling-back", reason="h2/shop-web-1: exited with 1")
    ended = store.transition(begun.id, "rolled-back")
    assert ended == store.deployment(begun.id)
    assert (ended.outcome, ended.reason) == ("rolled-back", "h2/shop-web-1: exited with 1")
    assert (ended.finished_at, ended.duration_s) == ("2026-11-23T07:01:04.845Z", 2.5)
    assert ended.phases == (("plan", 0.25), ("run", 2.25))
    assert ended.changes == Changes(started=4, stopped=3, kept=2)
    assert store.good("shop") is None


def test_what_is_recorded_is_there_after_a_restart(store: Store, url: str) -> None:
    ended = _succeed(store, A)
    store.quarantine("shop", B, "image missing")
    store.set_paused("shop", paused=True)
    store.close()
    with Store(url) as again:
        assert again.history("shop") == [ended]
        assert again.good("shop") == A
        assert again.quarantined("shop") == {B: "image missing"}
        assert again.paused("shop")


def test_an_application_has_one_running_deployment_and_others_are_not_held_up(store: Store) -> None:
    first = _begin(store, A)
    with pytest.raises(
        DeploymentRunningError, match=f"shop is being deployed already: aaaaaaaa by process {os.getpid()}"
    ) as held:
        _begin(store, B)
    assert (held.value.deployment, held.value.owner) == (first, this_process())
    other = _begin(store, A, app="blog")
    assert [each.id for each, _, _ in store.running()] == [first.id, other.id]
    store.transition(first.id, "cancelled", reason="stopped")
    second = _begin(store, B)
    assert [each.id for each in store.history("shop")] == [second.id, first.id]


def test_a_state_that_cannot_follow_is_refused_and_changes_nothing(store: Store) -> None:
    begun = _begin(store)
    with pytest.raises(PermanentError, match="is pending and cannot become succeeded"):
        store.transition(begun.id, "succeeded")
    assert store.good("shop") is None
    ended = store.transition(begun.id, "superseded", reason="a newer commit")
    with pytest.raises(PermanentError, match="another process has ended it"):
        store.transition(begun.id, "failed", reason="late")
    assert store.deployment(begun.id) == ended
    with pytest.raises(PermanentError, match="there is no deployment nope"):
        store.transition("nope", "failed")


def test_the_last_good_commit_is_the_last_that_succeeded(store: Store) -> None:
    assert (store.good("shop"), store.goods("shop")) == (None, [])
    for commit in (A, B, C, A):
        _succeed(store, commit)
    assert store.good("shop") == A
    assert store.goods("shop") == [A, C, B]
    assert store.good("blog") is None


def test_a_quarantined_commit_is_held_until_it_is_lifted_or_succeeds(store: Store) -> None:
    store.quarantine("shop", A, "exited with 1")
    store.quarantine("shop", B, "first")
    store.quarantine("shop", B, "second")
    store.quarantine("blog", A, "other")
    assert store.quarantined("shop") == {A: "exited with 1", B: "second"}
    store.lift("shop", C)
    store.lift("shop", A)
    assert store.quarantined("shop") == {B: "second"}
    _succeed(store, B)
    assert store.quarantined("shop") == {}
    store.quarantine("shop", A, "again")
    store.lift("shop", None)
    assert store.quarantined("shop") == {}
    assert store.quarantined("blog") == {A: "other"}


def test_an_application_s_flags_are_its_own(store: Store, hands: Hands) -> None:
    assert (store.paused("shop"), store.target("shop"), store.message("shop")) == (False, None, "")
    store.set_paused("shop", paused=True)
    store.set_target("shop", A)
    hands.tick(60)
    store.set_target("shop", A)
    store.set_message("shop", "paused by hand")
    assert (store.paused("shop"), store.target("shop"), store.message("shop")) == (True, A, "paused by hand")
    assert store.target_seen_at("shop") == "2026-11-23T07:01:02.345Z"
    store.set_target("shop", B)
    assert store.target_seen_at("shop") == "2026-11-23T07:02:02.345Z"
    store.set_paused("shop", paused=False)
    store.set_message("shop", "")
    assert (store.paused("shop"), store.message("shop"), store.paused("blog")) == (False, "", False)


def test_runs_and_owners_are_found_again(store: Store) -> None:
    gone = Owner("elsewhere", 7, 8, "boot")
    begun = store.begin("shop", A, "", "poll", gone)
    assert store.running() == [(begun, gone, None)]
    store.record_run(begun.id, 100, 5, "/runs/1")
    store.record_run(begun.id, 101, 6, Path("/runs/2"))
    assert store.runs(begun.id) == [Run(100, 5, Path("/runs/1")), Run(101, 6, Path("/runs/2"))]
    store.adopt(begun.id, this_process())
    assert store.running() == [(begun, this_process(), Run(101, 6, Path("/runs/2")))]
    store.transition(begun.id, "cancelled")
    with pytest.raises(PermanentError, match="has ended: cancelled"):
        store.adopt(begun.id, this_process())
    assert store.running() == []


def test_an_owner_is_alive_while_that_very_process_runs() -> None:
    here = this_process()
    assert here.alive()
    assert not Owner(here.host, here.pid, here.start_time + 1, here.boot).alive()
    assert not Owner(here.host, here.pid, here.start_time, "an earlier boot").alive()
    assert Owner("elsewhere", 1, 1, "another").alive()


def test_events_keep_their_order_and_can_be_followed(store: Store) -> None:
    begun = _begin(store)
    for number in range(300):
        store.add_event(begun.id, Event(f"step {number}", data={"number": number, "path": Path("/x")}))
    found = store.events(begun.id)
    assert [each.message for each in found] == [f"step {number}" for number in range(300)]
    assert (found[7].host, found[7].task, found[7].kind) == ("h1", "Start web 1", "task")
    assert found[7].data == {"number": 7, "path": "/x"}
    assert store.events(begun.id, after=found[-2].number) == [found[-1]]
    assert store.events("nope") == []
    assert store.events(begun.id, kind="job") == []
    assert store.events(begun.id, kind="task", after=found[-2].number) == [found[-1]]


def test_an_event_that_cannot_be_recorded_is_logged_and_never_raises(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    begun = _begin(store)
    store.add_event(begun.id, object())  # type: ignore[arg-type] # what is tried here
    store.add_event(begun.id, Event("looped", data=_loop()))
    store.add_event(begun.id, Event("fine"))
    assert [each.message for each in store.events(begun.id)] == ["fine"]
    store.close()
    store.add_event(begun.id, Event("late"))
    assert caplog.text.count("cannot be recorded") == 2
    assert "is dropped: late" in caplog.text


def _loop() -> dict[str, Any]:
    loop: dict[str, Any] = {}
    loop["self"] = loop
    return loop


def test_events_of_long_past_deployments_are_forgotten(url: str) -> None:
    with Store(url, events_kept=2) as store:
        first = _begin(store)
        store.add_event(first.id, Event("old"))
        assert len(store.events(first.id)) == 1
        store.transition(first.id, "cancelled")
        second = _begin(store)
        assert len(store.events(first.id)) == 1
        store.transition(second.id, "cancelled")
        _begin(store)
        assert store.events(first.id) == []
        assert store.deployment(first.id).state == "cancelled"


@pytest.mark.parametrize("jump_s", [3600, -3600])
def test_a_jump_of_the_clock_changes_no_duration_and_no_order(
    store: Store, hands: Hands, jump_s: int
) -> None:
    first = _begin(store, A)
    hands.tick(2)
    hands.wall += timedelta(seconds=jump_s)
    assert store.transition(first.id, "cancelled").duration_s == 2
    second = _begin(store, B)
    assert [each.id for each in store.history("shop")] == [second.id, first.id]


def test_a_deployment_that_outlived_a_reboot_never_lasts_less_than_nothing(url: str, hands: Hands) -> None:
    with Store(url, clocks=hands.clocks()) as store:
        begun = _begin(store)
    _change(url, "UPDATE deployments SET started_boot = 'an earlier boot', started_clock = 99999")
    hands.wall += timedelta(seconds=90)
    with Store(url, clocks=hands.clocks()) as store:
        assert store.transition(begun.id, "failed").duration_s == 90
        again = _begin(store)
        _change(url, "UPDATE deployments SET started_boot = 'an earlier boot'")
        hands.wall -= timedelta(seconds=90)
        assert store.transition(again.id, "failed").duration_s == 0


def _change(url: str, statement: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text(statement))
    engine.dispose()


def test_what_an_image_means_to_a_commit_is_recorded_once(store: Store, url: str) -> None:
    assert store.pins.of("shop", A) == {}
    assert store.pins.record("shop", A, {"web:1": "web:1@x"}) == {"web:1": "web:1@x"}
    later = {"web:1": "web:1@moved", "api:1": "api:1@y"}
    assert store.pins.record("shop", A, later) == {"web:1": "web:1@x", "api:1": "api:1@y"}
    assert store.pins.record("shop", B, {"web:1": "web:1@moved"}) == {"web:1": "web:1@moved"}
    with Store(url) as again:
        assert again.pins.of("shop", A) == {"web:1": "web:1@x", "api:1": "api:1@y"}
        assert again.pins.every() == {
            ("shop", A): {"web:1@x", "api:1@y"},
            ("shop", B): {"web:1@moved"},
        }


def test_a_store_of_the_first_version_gets_what_is_new(url: str) -> None:
    with Store(url) as store:
        _succeed(store, A)
    for table in ("pins", "asks", "counts", "readings", "commit_settings", "quarantine_settings"):
        _change(url, f"DROP TABLE {table}")
    _change(url, "UPDATE schema_version SET version = 1")
    with Store(url) as store:
        assert store.good("shop") == A
        assert store.pins.record("shop", A, {"web:1": "web:1@x"}) == {"web:1": "web:1@x"}
        assert store.replicas.counts("shop") == {}
        assert store.settings_used.of_good("shop", A) == "", "nobody knows"
        assert _succeed(store, B, settings="{}").commit == B
        assert store.settings_used.of_good("shop", B) == "{}"


def test_the_settings_of_a_good_commit_are_those_of_its_last_success(store: Store) -> None:
    _succeed(store, A, settings="one")
    _succeed(store, A, settings="two")
    failed = store.begin("shop", A, A, "settings", this_process(), settings="bad")
    store.transition(failed.id, "failed", reason="no such folder")
    used = store.settings_used
    assert (used.of_good("shop", A), used.of_deployment(failed.id)) == ("two", "bad")
    assert used.of_commit("shop", A) == {"one", "two", "bad"}
    assert (used.of_good("blog", A), used.of_deployment("none"), used.of_commit("shop", B)) == ("", "", set())
    used.complete("shop", "three")
    assert used.of_good("shop", A) == "two", "what is recorded stays"


def test_a_commit_that_failed_with_other_settings_stays_held_with_those(store: Store) -> None:
    store.quarantine("shop", A, "no such folder", settings="bad")
    store.quarantine("shop", B, "undone by hand")
    _succeed(store, A, settings="good")
    assert set(store.quarantined("shop")) == {A, B}
    assert store.settings_used.of_quarantine("shop") == {A: "bad"}, "the other one is held with all"
    _succeed(store, A, settings="bad")
    assert set(store.quarantined("shop")) == {B}
    store.quarantine("shop", A, "again", settings="bad")
    store.lift("shop", None)
    assert (store.quarantined("shop"), store.settings_used.of_quarantine("shop")) == ({}, {})


def test_what_a_rollback_undoes_is_held_back_with_its_success_and_not_before(store: Store) -> None:
    undone = {B: "undone by hand"}
    failed = store.begin("shop", A, B, "rollback", this_process())
    back: tuple[State, ...] = ("planning", "rolling-back", "rolled-back")
    for state in back:
        store.transition(failed.id, state, undone=undone)
    assert store.quarantined("shop") == {}
    done = store.begin("shop", A, B, "rollback", this_process())
    forward: tuple[State, ...] = ("planning", "verifying", "succeeded")
    for state in forward:
        store.transition(done.id, state, undone=undone)
    assert (store.quarantined("shop"), store.good("shop")) == (undone, A)


def test_counts_of_replicas_are_recorded_until_the_commit_chooses_them_again(store: Store, url: str) -> None:
    store.replicas.record("shop", {"web": 4, "api": 2})
    store.replicas.record("blog", {"web": 1})
    store.replicas.record_readings("shop", {"web": {"cpu": 71.5}, "api": {"sessions_per_replica": 3.0}})
    store.replicas.record_readings("shop", {"web": {"cpu": 12.0}})
    with Store(url) as again:
        assert again.replicas.counts("shop") == {"web": 4, "api": 2}
        read = again.replicas.readings("shop")
        assert (read["web"].values, read["api"].values) == ({"cpu": 12.0}, {"sessions_per_replica": 3.0})
    store.replicas.record("shop", {"web": 5})
    assert store.replicas.counts("shop") == {"web": 5}
    assert list(store.replicas.readings("shop")) == ["web"]
    store.replicas.record("shop", {})
    assert store.replicas.counts("shop") == {}
    assert store.replicas.counts("blog") == {"web": 1}


def test_the_schema_is_migrated_step_by_step(url: str) -> None:
    def second(connection: sa.Connection) -> None:
        connection.execute(sa.text("CREATE TABLE second (number INTEGER)"))

    with Store(url):
        pass
    engine = sa.create_engine(url)
    for _ in range(2):
        with engine.begin() as connection:
            schema.migrate(connection, (*schema.MIGRATIONS, second))
            found = connection.execute(sa.text("SELECT version FROM schema_version")).scalars().all()
            assert found == [len(schema.MIGRATIONS) + 1]
    assert sa.inspect(engine).has_table("second")
    engine.dispose()
    with pytest.raises(PermanentError, match="install the newer gitops"):
        Store(url)


def test_drained_hosts_are_remembered(url: str) -> None:
    with Store(url) as store:
        store.drained.add("h2")
        since = store.drained.every()["h2"]
        store.drained.add("h1")
        store.drained.add("h2")
    with Store(url) as store:
        assert list(store.drained.every()) == ["h1", "h2"]
        assert store.drained.every()["h2"] == since
        assert store.drained.remove("h2") is True
        assert store.drained.remove("h2") is False
        assert list(store.drained.every()) == ["h1"]


def test_the_schema_is_one_for_postgresql_too() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call] # SQLAlchemy leaves it without types
    made = [
        str(sa.schema.CreateTable(table).compile(dialect=dialect)) for table in schema.metadata.sorted_tables
    ]
    assert len(made) == len(schema.metadata.tables)
    index = next(each for each in schema.deployments.indexes if each.name == "one_running_deployment")
    assert str(sa.schema.CreateIndex(index).compile(dialect=dialect)) == (
        "CREATE UNIQUE INDEX one_running_deployment ON deployments (app) WHERE state NOT IN "
        "('cancelled', 'failed', 'rolled-back', 'succeeded', 'superseded')"
    )

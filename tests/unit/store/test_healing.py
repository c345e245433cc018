"""What the store knows of healing: when which slot was mended, and which hosts are lost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gitops.execute.events import Event
from gitops.plan.backoff import Heal
from gitops.store.healing import DRIFT
from gitops.store.owner import Clocks
from gitops.store.records import Store, this_process

THEN = datetime(2026, 9, 21, 13, 33, 20, tzinfo=UTC)
NOW = THEN.timestamp()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path / 'gitops.db'}", clocks=Clocks(wall=lambda: THEN)) as opened:
        yield opened


def healed(store: Store, app: str, at: str, slot: int) -> str:
    deployment = store.begin(app, "a" * 40, "a" * 40, "heal", this_process())
    data = {"service": "web", "slot": slot, "reason": "container exited (137)"}
    store.add_event(deployment.id, Event(at, DRIFT, "web exited", "h1", data=data))
    store.add_event(deployment.id, Event(at, "play", "Roll out"))
    store.events(deployment.id)  # waits until they are written
    return deployment.id


def test_heals_count_from_the_end_of_their_deployment(store: Store) -> None:
    running = healed(store, "shop", "2026-09-21T13:33:00.000+00:00", 1)
    assert store.healing.since("shop", NOW - 60) == [Heal("web", 1, NOW - 20)], "while it runs: its beginning"
    store.transition(running, "failed")
    assert store.healing.since("shop", NOW - 60) == [Heal("web", 1, NOW)]


def test_only_the_slots_of_the_application_and_of_the_time_count(store: Store) -> None:
    store.transition(healed(store, "shop", "2026-09-21T13:33:00.000+00:00", 1), "failed")
    store.transition(healed(store, "shop", "2026-09-21T13:33:05.000+00:00", 0), "failed")
    store.transition(healed(store, "blog", "2026-09-21T13:33:10.000+00:00", 2), "failed")
    assert [heal.slot for heal in store.healing.since("shop", NOW - 60)] == [1]
    assert store.healing.since("shop", NOW - 10) == []


def test_lost_hosts(store: Store) -> None:
    assert store.healing.lost("shop") == ()
    store.healing.set_lost("shop", ["h2", "h1"], "2026-09-21T13:33:00Z")
    store.healing.set_lost("blog", ["h3"], "2026-09-21T13:33:00Z")
    assert store.healing.lost("shop") == ("h1", "h2")
    store.healing.set_lost("shop", ["h2", "h4"], "2026-09-21T13:34:00Z")
    assert store.healing.lost("shop") == ("h2", "h4")
    store.healing.set_lost("shop", [], "2026-09-21T13:35:00Z")
    assert (store.healing.lost("shop"), store.healing.lost("blog")) == ((), ("h3",))

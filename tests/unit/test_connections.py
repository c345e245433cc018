"""Locks of hosts that the applications of one process share: a host that hangs holds up nobody else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gitops.connections import Connections
from gitops.errors import TransientError
from gitops.model.fleet import Fleet


class FakeLock:
    def __init__(self) -> None:
        self.released = 0

    def lost(self) -> bool:
        return False

    def release(self) -> None:
        self.released += 1


class FakeChannel:
    """A host whose lock is given as `give` says."""

    def __init__(self, name: str, give: Callable[[], object] = lambda: None) -> None:
        self.name = name
        self.locks: list[FakeLock] = []
        self._give = give

    def lock(self, owner: str) -> FakeLock:
        assert owner == "test"
        self._give()
        self.locks.append(FakeLock())
        return self.locks[-1]


@pytest.fixture
def connections(tmp_path: Path) -> Connections:
    return Connections(owner="test", folder=tmp_path)


def hosts(*channels: FakeChannel) -> Any:
    return {channel.name: channel for channel in channels}


def test_a_host_that_hangs_holds_up_only_those_who_use_it(connections: Connections) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        asked.set()
        assert go_on.wait(30)

    slow, quick = FakeChannel("h1", hang), FakeChannel("h2")

    def deploy() -> None:
        with connections.locked("slow", hosts(slow)):
            pass

    waiting = threading.Thread(target=deploy)
    waiting.start()
    try:
        assert asked.wait(30)
        with connections.locked("quick", hosts(quick)):
            assert connections.open(Fleet()) == {}
        assert waiting.is_alive(), "it was not waited for at all"
    finally:
        go_on.set()
        waiting.join(30)
    assert [lock.released for lock in (*slow.locks, *quick.locks)] == [1, 1]


def test_applications_share_the_lock_of_a_host(connections: Connections) -> None:
    one, two = FakeChannel("h1"), FakeChannel("h2")
    with connections.locked("a", hosts(one)):
        with connections.locked("b", hosts(one, two)):
            pass
        assert (len(one.locks), one.locks[0].released, two.locks[0].released) == (1, 0, 1)
    assert one.locks[0].released == 1


def test_all_locks_or_none(connections: Connections) -> None:
    def refuse() -> None:
        raise TransientError("held by another controller")

    free, held, shared = FakeChannel("h1"), FakeChannel("h2", refuse), FakeChannel("h3")
    with connections.locked("b", hosts(shared)):
        with (
            pytest.raises(TransientError, match="another controller"),
            connections.locked("a", hosts(free, held, shared)),
        ):
            pass
        assert (free.locks[0].released, shared.locks[0].released) == (1, 0)
    assert shared.locks[0].released == 1

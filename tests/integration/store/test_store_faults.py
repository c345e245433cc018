"""FAULTS 23 and 22: the store locked, full, torn, deleted, and two processes at once."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from gitops.errors import PermanentError, TransientError
from gitops.store.records import DeploymentRunningError, Store, this_process

A = "a" * 40


@pytest.fixture
def path(memory: Path) -> Path:
    return memory / "state" / "gitops.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{path}") as opened:
        yield opened


def _race(url: str, ready: Connection) -> None:
    with Store(url) as store:
        ready.send("ready")
        ready.recv()
        try:
            ready.send(store.begin("shop", A, "", "push", this_process()).id)
        except DeploymentRunningError as error:
            ready.send(f"held by {error.owner.pid}")


def test_of_processes_that_race_one_begins_and_the_others_learn_which(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    pipes, racers = [], []
    for _ in range(3):
        here, there = context.Pipe()
        racers.append(context.Process(target=_race, args=(f"sqlite:///{path}", there)))
        racers[-1].start()
        pipes.append(here)
    assert [pipe.recv() for pipe in pipes] == ["ready"] * 3
    for pipe in pipes:
        pipe.send("go")
    told = [pipe.recv() for pipe in pipes]
    for racer in racers:
        racer.join()
    assert [racer.exitcode for racer in racers] == [0, 0, 0]
    winners = [at for at, text in enumerate(told) if not text.startswith("held by")]
    assert len(winners) == 1
    assert {text for at, text in enumerate(told) if at not in winners} == {
        f"held by {racers[winners[0]].pid}"
    }
    with Store(f"sqlite:///{path}") as store:
        (running, owner, _), *others = store.running()
        assert (running.id, owner.pid, others) == (told[winners[0]], racers[winners[0]].pid, [])
        assert not owner.alive()


def test_threads_share_a_store(store: Store) -> None:
    def work(app: str) -> None:
        for _ in range(5):
            begun = store.begin(app, A, "", "push", this_process())
            for state in ("planning", "verifying", "succeeded"):
                store.transition(begun.id, state)

    threads = [threading.Thread(target=work, args=(f"app{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(store.history(f"app{number}")) for number in range(4)] == [5] * 4


def test_a_locked_store_is_waited_for(store: Store, path: Path) -> None:
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    done: list[str] = []
    writer = threading.Thread(
        target=lambda: done.append(store.begin("shop", A, "", "push", this_process()).id)
    )
    writer.start()
    assert store.history("shop") == []  # reading waits for nobody
    assert not done
    holder.execute("COMMIT")
    writer.join()
    holder.close()
    assert [each.id for each in store.history("shop")] == done


def test_a_store_that_stays_locked_is_transient(path: Path) -> None:
    with Store(f"sqlite:///{path}", busy_timeout_s=0.1) as store:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(TransientError, match="cannot be used now: database is locked"):
            store.begin("shop", A, "", "push", this_process())
        holder.close()
        assert store.begin("shop", A, "", "push", this_process()).state == "pending"


def test_a_full_disk_is_transient_and_loses_nothing(path: Path) -> None:
    with Store(f"sqlite:///{path}") as store:
        begun = store.begin("shop", A, "", "push", this_process())
        with store._database.write() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1")  # this connection may not grow the file
        with pytest.raises(TransientError, match="database or disk is full"):
            store.quarantine("shop", A, "x" * 1_000_000)
        assert store.quarantined("shop") == {}
        assert store.deployment(begun.id) == begun


@pytest.mark.parametrize("wreck", ["rubbish", "torn"])
def test_a_damaged_file_is_one_clear_error_with_its_mend(path: Path, wreck: str) -> None:
    with Store(f"sqlite:///{path}") as store:
        for number in range(200):
            store.quarantine("shop", f"{number:040d}", "reason " * 50)
    content = path.read_bytes()
    path.write_bytes(b"rubbish" * 1000 if wreck == "rubbish" else content[: len(content) // 2])
    with (
        pytest.raises(PermanentError, match=r"is damaged: .*move it away and start again"),
        Store(f"sqlite:///{path}") as store,
    ):
        store.quarantined("shop")
    path.rename(path.with_suffix(".damaged"))
    with Store(f"sqlite:///{path}") as store:
        assert store.history("shop") == []


def test_a_store_that_is_deleted_in_the_middle_loses_no_outcome(store: Store, path: Path) -> None:
    begun = store.begin("shop", A, "", "push", this_process())
    store.transition(begun.id, "planning")
    for file in path.parent.iterdir():
        file.unlink()
    assert store.history("shop") == []
    store.transition(begun.id, "verifying")
    ended = store.transition(begun.id, "succeeded")
    assert (ended.id, ended.commit, ended.outcome) == (begun.id, A, "succeeded")
    with Store(f"sqlite:///{path}") as other:
        assert other.history("shop") == [ended]
        assert other.good("shop") == A


def _says(url: str, message: str) -> None:
    with Store(url) as store:
        store.set_message("shop", message)


def test_a_second_store_of_a_process_leaves_the_first_its_locks(store: Store, path: Path) -> None:
    """Else another process holds itself for the last, and takes the log away that the first one reads."""
    url = f"sqlite:///{path}"
    context = multiprocessing.get_context("spawn")
    store.set_message("shop", "first")
    with Store(url) as second:
        second.message("shop")
        for message in ("second", "third"):
            other = context.Process(target=_says, args=(url, message))
            other.start()
            other.join(30)
            assert other.exitcode == 0
            assert store.message("shop") == message


def test_the_file_is_its_owner_s_alone(store: Store, path: Path) -> None:
    store.set_message("shop", "x")
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("nonsense", "the address of the store cannot be read"),
        ("oracle9://x", "not known"),
        ("postgresql+psycopg://user:hunter2@127.0.0.1:1/x", "pip install psycopg"),
        ("sqlite:////proc/nope/gitops.db", "cannot be opened"),
    ],
)
def test_a_store_that_cannot_be_opened_is_said(url: str, told: str) -> None:
    with pytest.raises(PermanentError, match=told) as refused:
        Store(url)
    assert "hunter2" not in str(refused.value)


def test_closing_leaves_no_thread_and_no_file_open(path: Path) -> None:
    threads = set(threading.enumerate())
    with Store(f"sqlite:///{path}") as store:
        begun = store.begin("shop", A, "", "push", this_process())
        store.add_event(begun.id, _Event())
    assert set(threading.enumerate()) == threads
    links = [Path("/proc/self/fd", each) for each in os.listdir("/proc/self/fd")]  # noqa: PTH208 - names, some gone
    assert not [each for each in links if each.is_symlink() and str(path) in str(each.readlink())]


class _Event:
    at = "2026-11-23T07:01:02.345Z"
    kind = "task"
    host = task = message = ""
    data: dict[str, object] = {}  # noqa: RUF012 - never changed

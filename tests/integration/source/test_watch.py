"""Watching real files and repositories: a change is told, reading is not."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.repos import Origin

from gitops.source.git import Clone
from gitops.source.triggers import Watch

DEADLINE_S = 10.0
QUIET_S = 0.1


class Calls:
    """Counts the calls of a watch."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0

    def __call__(self) -> None:
        with self._changed:
            self._count += 1
            self._changed.notify_all()

    @property
    def count(self) -> int:
        with self._changed:
            return self._count

    def reach(self, number: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._count >= number, DEADLINE_S), "no change was told"

    def settle(self) -> None:
        """Waits until a change is told to its end: a slow one may be told twice."""
        with self._changed:
            known = -1
            while known != self._count:
                known = self._count
                self._changed.wait_for(lambda: self._count > known, QUIET_S)  # noqa: B023 - called in this turn


@pytest.fixture
def watch() -> Iterator[Callable[[Path], Calls]]:
    watches: list[Watch] = []

    def start(path: Path) -> Calls:
        calls = Calls()
        watches.append(Watch(path, calls))
        watches[-1].start()
        return calls

    yield start
    for each in watches:
        each.stop()


def _replace(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.replace(path)


def test_a_push_to_a_bare_repository_is_told(tmp_path: Path, watch: Callable[[Path], Calls]) -> None:
    origin = Origin(tmp_path)
    calls = watch(origin.bare)
    origin.commit({"a": "1"})  # the first branch
    calls.reach(1)
    for path in ("feature/deep/branch", "main"):
        before = calls.count
        origin.commit({"a": path}, branch=path)
        calls.reach(before + 1)
    before = calls.count
    origin.git("pack-refs", "--all", at=origin.bare)
    calls.reach(before + 1)
    before = calls.count
    origin.commit({"a": "packed and pushed again"})
    calls.reach(before + 1)


def test_a_commit_in_a_work_tree_is_told(tmp_path: Path, watch: Callable[[Path], Calls]) -> None:
    origin = Origin(tmp_path)
    calls = watch(origin.work)
    origin.commit({"a": "1"})
    calls.reach(1)


def test_fetching_from_what_is_watched_is_no_change(tmp_path: Path, watch: Callable[[Path], Calls]) -> None:
    origin = Origin(tmp_path)
    origin.commit({"a": "1"})
    calls = watch(origin.bare)
    clone = Clone(tmp_path / "state" / "shop.git", str(origin.bare))
    for _ in range(3):
        clone.fetch("main")
    shutil.rmtree(clone.folder)
    clone.fetch("main")
    (origin.bare / "description").write_text("words")  # a change in the folder that is none of a branch
    origin.commit({"a": "2"})
    calls.reach(1)
    assert calls.count == 1


def test_a_repository_may_come_after_the_watch_and_come_again(
    tmp_path: Path, watch: Callable[[Path], Calls]
) -> None:
    place = tmp_path / "later" / "git"
    calls = watch(place / "origin.git")
    for _ in range(2):
        place.mkdir(parents=True)
        origin = Origin(place)
        before = calls.count
        origin.commit({"a": "1"})
        calls.reach(before + 1)
        calls.settle()
        before = calls.count
        origin.commit({"a": "2"})
        calls.reach(before + 1)
        calls.settle()
        before = calls.count
        shutil.rmtree(tmp_path / "later")
        calls.reach(before + 1)
        calls.settle()


def test_a_repository_that_is_swapped_for_another_is_followed(
    tmp_path: Path, watch: Callable[[Path], Calls]
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    first, second = Origin(tmp_path / "one"), Origin(tmp_path / "two")
    first.commit({"a": "1"})
    second.commit({"a": "1"})
    calls = watch(first.bare)
    first.bare.rename(tmp_path / "aside")
    second.bare.rename(first.bare)
    calls.reach(1)
    calls.settle()
    before = calls.count
    second.git("update-ref", "refs/heads/next", "main", at=first.bare)
    calls.reach(before + 1)


def test_a_file_is_followed_through_every_way_to_write_it(
    tmp_path: Path, watch: Callable[[Path], Calls]
) -> None:
    path = tmp_path / "gitops.yaml"
    calls = watch(path)
    path.write_text("a")
    calls.reach(1)
    calls.settle()
    before = calls.count
    _replace(path, "b")
    calls.reach(before + 1)
    calls.settle()
    before = calls.count
    with path.open("a") as file:
        file.write("more")
    calls.reach(before + 1)
    calls.settle()
    before = calls.count
    path.unlink()
    calls.reach(before + 1)
    calls.settle()
    before = calls.count
    (tmp_path / "other").write_text("x")
    path.write_text("again")
    calls.reach(before + 1)


def test_a_file_behind_a_symlink_is_followed(tmp_path: Path, watch: Callable[[Path], Calls]) -> None:
    real = tmp_path / "real" / "gitops.yaml"
    real.parent.mkdir()
    real.write_text("a")
    link = tmp_path / "etc" / "gitops.yaml"
    link.parent.mkdir()
    link.symlink_to(real)
    calls = watch(link)
    _replace(real, "bb")
    calls.reach(1)


def test_a_listener_s_fault_does_not_end_the_watch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "gitops.yaml"
    calls = Calls()

    def listen() -> None:
        calls()
        if calls.count == 1:
            message = "fault"
            raise RuntimeError(message)

    watch = Watch(path, listen)
    watch.start()
    path.write_text("a")
    calls.reach(1)
    path.write_text("bb")
    calls.reach(2)
    watch.stop()
    assert "could not be told" in caplog.text


def test_no_call_comes_after_the_end_and_nothing_is_left_running(tmp_path: Path) -> None:
    path = tmp_path / "gitops.yaml"
    calls = Calls()
    before = set(threading.enumerate())
    files = len(list(Path("/proc/self/fd").iterdir()))
    watch = Watch(path, calls)
    watch.start()
    watch.stop()
    path.write_text("a")
    assert set(threading.enumerate()) == before
    assert len(list(Path("/proc/self/fd").iterdir())) == files
    assert calls.count == 0


def test_a_watch_that_never_started_can_be_ended(tmp_path: Path) -> None:
    Watch(tmp_path / "x", lambda: None).stop()

"""What says that it is time to look: the clock, and changes of files on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

log = logging.getLogger(__name__)

JITTER = 0.1
"""Every delay is drawn from 10 % below to 10 % above: many controllers do not ask in step."""
_MOST_SETTLES = 10  # a folder that never gets quiet is looked at all the same
LONGEST_S = 300.0
"""Longest delay after failures, in seconds, before the jitter."""


class Poll:
    """How long until the next look: the interval, or longer and longer while looking fails.

    Args:
        interval_s: seconds between two looks that succeed.
        chance: where the jitter comes from.
        longest_s: the longest delay after failures; an interval beyond it stays as it is.
    """

    def __init__(self, interval_s: float, chance: random.Random, *, longest_s: float = LONGEST_S) -> None:
        self._interval_s = interval_s
        self._chance = chance
        self._longest_s = max(longest_s, interval_s)
        self._failures = 0

    def succeeded(self) -> float:
        """Return the seconds until the next look, after one that succeeded."""
        self._failures = 0
        return self._jittered(self._interval_s)

    def failed(self) -> float:
        """Return the seconds until the next look, after one that failed: the delay doubles each time."""
        delay = self._interval_s * 2.0 ** min(self._failures, 32)
        self._failures += 1
        return self._jittered(min(delay, self._longest_s))

    def _jittered(self, delay_s: float) -> float:
        return delay_s * self._chance.uniform(1 - JITTER, 1 + JITTER)


class Watch:
    """Calls back when a file, or the branches and tags of a local repository, have changed.

    What is watched may come later than the watch, be replaced, or go and come
    again. Reading it is no change. Several changes in quick succession make one
    call. The call comes from a thread of the watch and should be quick.

    Args:
        path: a file, a bare repository, or a work tree (its `.git` is watched).
        changed: called without arguments.
        settle_s: how long it must have been quiet before the call.
    """

    def __init__(self, path: Path, changed: Callable[[], None], *, settle_s: float = 0.02) -> None:
        self._path = path.absolute()
        self._changed = changed
        self._settle_s = settle_s
        self._woken = threading.Event()
        self._stopping = False
        self._observer: BaseObserver = Observer()
        self._watches: dict[Path, tuple[_Folder, ObservedWatch | None]] = {}
        self._seen: Mapping[str, object] = {}
        self._thread = threading.Thread(target=self._follow, name=f"watch-{path.name}", daemon=True)

    def start(self) -> None:
        """Begin to watch: every change after this call is noticed.

        Where the machine has no watches left, it is logged, and polling has to do.
        """
        self._observer.start()
        self._arm()
        self._seen = _state(self._path)
        self._thread.start()

    def stop(self) -> None:
        """End; no call comes after this."""
        self._stopping = True
        self._woken.set()
        if self._thread.ident is not None:
            self._thread.join()
            self._observer.stop()
            self._observer.join()

    def _follow(self) -> None:
        while True:
            self._woken.wait()
            for _ in range(_MOST_SETTLES):
                self._woken.clear()
                if not self._woken.wait(self._settle_s) or self._stopping:
                    break  # else there was more of the same push
            if self._stopping:
                return
            self._arm()
            state = _state(self._path)
            if state != self._seen:
                self._seen = state
                self._call()

    def _call(self) -> None:
        try:
            self._changed()
        except Exception:  # a fault of the listener's must not end the watch
            log.exception("a change of %s could not be told", self._path)

    def _arm(self) -> None:
        """Watch the folders there are, and look again: one may have come before its parent was watched."""
        for _ in range(_MOST_SETTLES):
            wanted = dict(_folders(self._path))
            if wanted == {folder: identity for folder, (identity, _) in self._watches.items()}:
                return
            for folder in list(self._watches):
                if wanted.get(folder) != self._watches[folder][0]:
                    self._disarm(folder)  # gone, or a new folder under the old name
            for folder, identity in wanted.items():
                if folder not in self._watches:
                    self._watches[folder] = (identity, self._schedule(folder, below=identity.below))
        self._woken.set()  # folders come and go all the time: once more, after the look that follows

    def _schedule(self, folder: Path, *, below: bool) -> ObservedWatch | None:
        """Watch one folder, or say why it cannot be."""
        try:
            return self._observer.schedule(_Waker(self._woken), str(folder), recursive=below)
        except FileNotFoundError:
            return None  # gone in this moment, which the next look sees
        except OSError as error:
            log.warning("%s cannot be watched, polling has to do: %s", folder, error.strerror)
            return None

    def _disarm(self, folder: Path) -> None:
        """Forget one folder."""
        _, watch = self._watches.pop(folder)
        if watch is not None:
            with contextlib.suppress(KeyError, OSError):
                self._observer.unschedule(watch)


class _Waker(FileSystemEventHandler):
    """Says that something happened; what it was is looked up."""

    def __init__(self, woken: threading.Event) -> None:
        self._woken = woken

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Wake the watch for changes; opening and reading is none."""
        if event.event_type not in {"opened", "closed_no_write"}:
            self._woken.set()


def _repository(path: Path) -> Path | None:
    """Return Git's folder of a repository, bare or not, or None where there is none (yet)."""
    for folder in (path, path / ".git"):
        if (folder / "HEAD").is_file() and (folder / "refs").is_dir():
            return folder
    return None


class _Folder(NamedTuple):
    """What tells a folder from a later one of the same name, and how it is watched."""

    device: int
    inode: int
    below: bool  # with all folders in it


def _folders(path: Path) -> Iterator[tuple[Path, _Folder]]:
    """Name the folders to watch."""
    nearest = path.parent
    while not nearest.is_dir() and nearest != nearest.parent:
        nearest = nearest.parent  # where the missing ones will appear
    git = _repository(path)
    inside = [git, git / "refs"] if git else [path, path / ".git"]
    for folder in (nearest, path.resolve().parent, *inside):  # the second for a file behind a symlink
        with contextlib.suppress(OSError):
            status = folder.stat()
            if folder.is_dir():
                yield (
                    folder,
                    _Folder(status.st_dev, status.st_ino, below=folder == inside[-1] and git is not None),
                )


def _state(path: Path) -> dict[str, object]:
    """Return what is compared: each file with its identity, size and time of change."""
    git = _repository(path)
    if git is None:
        return {"": _stamp(path)} if not path.is_dir() else {}
    found: dict[str, object] = {name: _stamp(git / name) for name in ("HEAD", "packed-refs")}
    for folder, _, names in os.walk(git / "refs"):
        found |= {
            f"{folder}/{name}": _stamp(Path(folder, name)) for name in names if not name.endswith(".lock")
        }
    return found


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns

"""Runs a rendered deployment to its end."""

from __future__ import annotations

import logging
import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gitops.errors import GitopsError
from gitops.execute.events import Event, Failure, event_of, failure_of
from gitops.execute.process import Process
from gitops.execute.processes import end_all
from gitops.execute.standby import Standby
from gitops.model.run import Run
from gitops.render.playbook import LOCK_TAG
from gitops.tasks import WAITING
from gitops.tasks.ways import way_file

log = logging.getLogger(__name__)

LAST_LINES = 20  # of the playbook's output, for a failure that no task told of
DRAIN_S = 10.0  # how long a slow consumer may take for what is left when the run has ended
OUTPUT = "output.log"  # in the run folder: what the playbook has printed


@dataclass(frozen=True)
class Result:
    """How a run ended; without a failure it succeeded."""

    failure: Failure | None = None

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.failure is None


@dataclass
class _Running:
    """What is learnt of a run while it goes on. Nothing here takes time: it would stop the run."""

    folder: Path
    on_event: Callable[[Event], None]
    signals: Callable[[], Collection[str]]
    deadline: float
    failure: Failure | None = None
    timed_out: bool = False
    looked: float = field(default_factory=time.monotonic)
    _told: queue.SimpleQueue[Event | None] = field(default_factory=queue.SimpleQueue)

    def event(self, raw: dict[str, Any]) -> None:
        """Takes what ansible-runner tells."""
        event = event_of(raw)
        if event is not None:
            self.failure = self.failure or failure_of(event)
            self._told.put(event)

    def ending(self) -> bool:
        """Whether to kill the playbook now."""
        now = time.monotonic()
        if (self.folder / WAITING).exists():
            self.deadline += now - self.looked  # the limit is for what is done, not for a version on trial
        self.looked = now
        if now > self.deadline:
            self.timed_out = True
        for name in self._signals():
            (self.folder / name).touch()
        return self.timed_out

    def _signals(self) -> Collection[str]:
        try:
            return self.signals()
        except GitopsError as problem:  # a store that is locked for a while must not end the run
            log.warning("%s: %s", self.folder.name, problem)
            return ()

    def end(self) -> None:
        """Nothing more will be told."""
        self._told.put(None)

    def deliver(self) -> None:
        """Hands on what is told, in a thread of its own: neither slow nor raising consumers touch the run."""
        while (told := self._told.get()) is not None:
            try:
                self.on_event(told)
            except Exception:  # whatever a consumer does wrong, the run goes on
                log.exception("%s: an event was not delivered", self.folder.name)


def run(
    files: Mapping[str, bytes],
    folder: Path,
    *,
    on_event: Callable[[Event], None],
    on_start: Callable[[Run], None] = lambda _: None,
    timeout_s: float,
    env: Mapping[str, str] | None = None,
    signals: Callable[[], Collection[str]] = tuple,
    standby: Standby | None = None,
    ways: Mapping[str, bytes] | None = None,
) -> Result:
    """Writes a run folder and runs its playbook to the end.

    Args:
        files: of `gitops.render.deployment`.
        folder: absolute path of the run folder; what it held before is removed.
        on_event: told of every event, in order, from a thread of its own.
        on_start: told of the process group before anything is done.
        timeout_s: seconds after which everything that belongs to the run is killed.
        env: added to a minimal environment; with `standby` that has one.
        signals: asked twice a second for files to lay into the run folder: see `gitops.tasks`.
        standby: has a process that is ready; without one it is started now.
        ways: host -> how its standing connection is found (`gitops.tasks.ways`), where this
            process holds the locks; without them the playbook connects and takes them itself.

    Returns:
        How it ended. A deployment that fails is a result, not an error.
    """
    found = {way_file(host): content for host, content in (ways or {}).items()}
    shutil.rmtree(folder, ignore_errors=True)
    write({**files, **found}, folder)
    running = _Running(folder, on_event, signals, time.monotonic() + timeout_s)
    consumer = threading.Thread(target=running.deliver, name=f"events of {folder.name}", daemon=True)
    consumer.start()
    argv = ["ansible-playbook", "-i", str(folder / "inventory"), "rollout.yml"]
    argv += ["--skip-tags", LOCK_TAG] if ways else []
    with _process(standby, files, env or {}) as process:
        code: int | None = None
        try:
            process.begin(on_start)
            code = process.run(folder, argv, on_event=running.event, ending=running.ending)
        finally:
            running.end()
            consumer.join(DRAIN_S)
            (folder / OUTPUT).write_bytes(process.said())
    if consumer.is_alive():
        log.warning("%s: whoever watches the events is too slow and misses the rest", folder.name)
    if running.timed_out:
        return Result(Failure("timeout", f"the rollout did not end within {timeout_s:g} s"))
    if code != 0:
        return Result(running.failure or _untold(folder, code))
    return Result()


@contextmanager
def _process(
    standby: Standby | None, files: Mapping[str, bytes], env: Mapping[str, str]
) -> Iterator[Process]:
    """The process to run in: a prepared one, or one of our own."""
    if standby is not None:
        process = standby.take()
        try:
            yield process
        finally:
            standby.give_back(process)
        return
    with tempfile.TemporaryDirectory(prefix="gitops-run-") as folder:
        process = Process(Path(folder) / "p", files["ansible.cfg"], env)
        try:
            yield process
        finally:
            process.close()


def write(files: Mapping[str, bytes], folder: Path) -> None:
    """Writes a rendered deployment into a folder; one that it makes only this user may read."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def reap(run: Run) -> None:
    """Ends whatever is left of a run that has outlived its controller; nothing else, and nothing twice."""
    end_all(run.folder)


def _untold(folder: Path, code: int | None) -> Failure:
    """A failure that no task told of, such as a playbook that Ansible could not read."""
    output = folder / OUTPUT
    lines = output.read_text(encoding="utf-8", errors="replace").splitlines() if output.exists() else []
    return Failure("internal", f"ansible-playbook ended with code {code}", logs=tuple(lines[-LAST_LINES:]))

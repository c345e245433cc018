"""Runs a rendered deployment with ansible-runner.

Facts about ansible-runner 2.4 that this code follows: event handlers run inside
the loop that reads the playbook's output, so they only put events into a queue;
an exception of theirs would end the run; its `command` artifact keeps the whole
environment, so it is removed as soon as it is written; a controller that is
killed leaves `ansible-playbook` alive, so the process group is reported early.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gitops.channel import processes
from gitops.channel.processes import start_time
from gitops.execute.events import Event, Failure, event_of, failure_of
from gitops.model.run import Run
from gitops.tasks import STOP

log = logging.getLogger(__name__)

LAST_LINES = 20  # of the playbook's output, for a failure that no task told of
REAP_S = 10.0  # for an orphan to end after it was killed


@dataclass(frozen=True)
class Result:
    """How a run ended; without a failure it succeeded."""

    failure: Failure | None = None


@dataclass
class _Running:
    """What is learnt of a run while it goes on."""

    folder: Path
    on_event: Callable[[Event], None]
    on_start: Callable[[Run], None]
    stopping: Callable[[], bool]
    failures: list[Failure] = field(default_factory=list)
    pid: int = 0
    events: queue.SimpleQueue[Event | None] = field(default_factory=queue.SimpleQueue)

    def event(self, raw: dict[str, Any]) -> bool:
        """ansible-runner's event handler: only notes and enqueues; False keeps the event out of the artifacts."""
        if not self.pid and raw.get("pid"):
            self.pid = int(raw["pid"])
            self._started()
        event = event_of(raw)
        if event is not None:
            failure = failure_of(event)
            if failure is not None:
                self.failures.append(failure)
            self.events.put(event)
        return False

    def status(self, status: dict[str, Any], **_: Any) -> None:
        """ansible-runner's status handler: the file with the environment lies there only until the process starts."""
        if status.get("status") == "running":
            (self.folder / "artifacts" / "run" / "command").unlink(missing_ok=True)

    def cancelled(self) -> bool:
        """ansible-runner's cancel callback, about once a second: asks the playbook to end at its next batch."""
        if self.stopping():
            (self.folder / "project" / STOP).touch()
        return False

    def deliver(self) -> None:
        """Hands the events on, in a thread of its own: neither slow nor raising consumers touch the run."""
        while (event := self.events.get()) is not None:
            try:
                self.on_event(event)
            except Exception:  # whatever a consumer does wrong, the run goes on
                log.exception("an event was not delivered")

    def _started(self) -> None:
        try:
            self.on_start(Run(os.getpgid(self.pid), processes.start_time(self.pid), self.folder))
        except Exception:  # as above
            log.exception("the run's process group was not recorded")


def run(
    files: Mapping[str, bytes],
    folder: Path,
    *,
    on_event: Callable[[Event], None],
    on_start: Callable[[Run], None],
    timeout_s: float,
    env: Mapping[str, str],
    stopping: Callable[[], bool],
) -> Result:
    """Writes the run folder and runs its playbook to the end.

    Args:
        files: of `gitops.render.deployment`.
        folder: of this run, new; the playbook lies in its `project`.
        on_event: told of every event, in order, from a thread of its own.
        on_start: told of the process group once the playbook runs.
        timeout_s: seconds after which the playbook is killed.
        env: variables on top of this process's own.
        stopping: asked once a second; after True the playbook ends before its next batch.
    """
    import ansible_runner  # noqa: PLC0415 - 0.2 s that a pass with nothing to do must not pay

    write(files, folder / "project")
    running = _Running(folder, on_event, on_start, stopping)
    consumer = threading.Thread(target=running.deliver, name="events", daemon=True)
    consumer.start()
    binaries = str(Path(sys.executable).parent)
    try:
        done = ansible_runner.run(
            private_data_dir=str(folder),
            project_dir=str(folder / "project"),
            playbook="rollout.yml",
            inventory=str(folder / "project" / "inventory"),
            ident="run",
            envvars={**env, "PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', os.defpath)}"},
            settings={"pexpect_timeout": 1, "pexpect_use_poll": True},
            suppress_env_files=True,
            quiet=True,
            timeout=max(1, round(timeout_s)),
            event_handler=running.event,
            status_handler=running.status,
            cancel_callback=running.cancelled,
        )
    finally:
        running.events.put(None)
        consumer.join()
    if done.status == "successful":
        return Result()
    if done.status == "timeout":
        return Result(Failure("timeout", f"the playbook did not end within {timeout_s:g} s"))
    return Result(next(iter(running.failures), None) or _untold(folder))


def write(files: Mapping[str, bytes], folder: Path) -> None:
    """Writes a rendered deployment into a folder that only this user may read."""
    folder.mkdir(mode=0o700, parents=True)
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def reap(run: Run) -> None:
    """Ends the process group of a playbook that has outlived its controller; does nothing if it has ended."""
    if not processes.alive(run.pgid, run.start_time):
        return
    with suppress(ProcessLookupError):
        os.killpg(run.pgid, signal.SIGKILL)
    deadline = time.monotonic() + REAP_S
    while processes.alive(run.pgid, run.start_time) and time.monotonic() < deadline:
        time.sleep(0.02)


def _untold(folder: Path) -> Failure:
    """A failure that no task told of, such as a playbook that Ansible could not read."""
    output = folder / "artifacts" / "run" / "stdout"
    lines = output.read_text(encoding="utf-8", errors="replace").splitlines() if output.exists() else []
    return Failure("internal", "ansible-playbook failed", logs=tuple(lines[-LAST_LINES:]))

"""Runs a rendered deployment with ansible-runner.

Facts about ansible-runner 2.4 that this code follows: event handlers run inside
the loop that reads the playbook's output, so they only put events into a queue;
its loader forgets settings that are not in files, so they are set on the
prepared configuration; it hands its whole environment on and keeps it in the
artifact `command`; what it kills is a process group, but Ansible's workers lead
sessions of their own; a controller that is killed leaves all of them alive.
"""

from __future__ import annotations

import logging
import os
import queue
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gitops.channel.processes import start_time
from gitops.execute.events import Event, Failure, event_of, failure_of
from gitops.execute.processes import MARK, end_all
from gitops.model.run import Run
from gitops.tasks import STOP

log = logging.getLogger(__name__)

LAST_LINES = 20  # of the playbook's output, for a failure that no task told of
LOOK_S = 0.5  # how often the time limit and `stopping` are looked at
DRAIN_S = 10.0  # how long a slow consumer may take for what is left when the run has ended
KEPT = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "TMPDIR", "SSH_AUTH_SOCK", "XDG_RUNTIME_DIR")
"""Of this process's environment; the rest may hold secrets, and decides nothing in a run."""


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
    on_start: Callable[[Run], None]
    stopping: Callable[[], bool]
    deadline: float
    failure: Failure | None = None
    timed_out: bool = False
    _started: bool = False
    _told: queue.SimpleQueue[Event | Run | None] = field(default_factory=queue.SimpleQueue)

    def event(self, raw: dict[str, Any]) -> bool:
        """ansible-runner's event handler; False keeps the event out of the artifacts."""
        line = str(raw.get("stdout") or "").strip()
        if not self._started and line.isdigit():
            self._started = True
            self._told.put(Run(int(line), start_time(int(line)), self.folder))
        event = event_of(raw)
        if event is not None:
            self.failure = self.failure or failure_of(event)
            self._told.put(event)
        return False

    def ending(self) -> bool:
        """ansible-runner's cancel callback: whether to kill the playbook now."""
        if time.monotonic() > self.deadline:
            self.timed_out = True
        elif self.stopping():
            (self.folder / STOP).touch()
        return self.timed_out

    def end(self) -> None:
        """Nothing more will be told."""
        self._told.put(None)

    def deliver(self) -> None:
        """Hands on what is told, in a thread of its own: neither slow nor raising consumers touch the run."""
        while (told := self._told.get()) is not None:
            try:
                if isinstance(told, Run):
                    self.on_start(told)
                else:
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
    env: Mapping[str, str],
    stopping: Callable[[], bool] = lambda: False,
) -> Result:
    """Writes a run folder and runs its playbook to the end.

    Args:
        files: of `gitops.render.deployment`.
        folder: absolute path of the run folder; what it held before is removed.
        on_event: told of every event, in order, from a thread of its own.
        on_start: told of the process group as soon as it runs, from the same thread.
        timeout_s: seconds after which everything that belongs to the run is killed.
        env: added to a minimal environment.
        stopping: asked twice a second; after True the playbook ends before its next batch.

    Returns:
        How it ended. A deployment that fails is a result, not an error.
    """
    from ansible_runner import Runner  # noqa: PLC0415 - 0.2 s that a pass with nothing to do must not pay

    write(files, folder)
    running = _Running(folder, on_event, on_start, stopping, time.monotonic() + timeout_s)
    consumer = threading.Thread(target=running.deliver, name=f"events of {folder.name}", daemon=True)
    consumer.start()
    code: int | None = None
    try:
        runner = Runner(_config(folder, env), event_handler=running.event, cancel_callback=running.ending)
        _, code = runner.run()
    finally:
        if code != 0:
            end_all(folder)  # a failed task ends the playbook, perhaps not the others beside it
        running.end()
        consumer.join(DRAIN_S)
        (_artifacts(folder) / "command").unlink(missing_ok=True)
    if consumer.is_alive():
        log.warning("%s: whoever watches the events is too slow and misses the rest", folder.name)
    if running.timed_out:
        return Result(Failure("timeout", f"the rollout did not end within {timeout_s:g} s"))
    if code != 0:
        return Result(running.failure or _untold(folder, code))
    return Result()


def write(files: Mapping[str, bytes], folder: Path) -> None:
    """Writes a rendered deployment into a folder that only this user may read."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def reap(run: Run) -> None:
    """Ends whatever is left of a run that has outlived its controller; nothing else, and nothing twice."""
    end_all(run.folder)


def _config(folder: Path, env: Mapping[str, str]) -> Any:
    from ansible_runner import RunnerConfig  # noqa: PLC0415 - as in `run`

    config = RunnerConfig(
        private_data_dir=str(folder / ".runner"),
        project_dir=str(folder),
        playbook="rollout.yml",
        inventory=str(folder / "inventory"),
        ident="run",
        fact_cache_type="memory",
        suppress_env_files=True,
        quiet=True,
    )
    config.prepare()
    config.pexpect_timeout = LOOK_S
    own = os.environ
    kept = {key: value for key, value in own.items() if key in KEPT or key.startswith("LC_")}
    added = {key: value for key, value in config.env.items() if own.get(key) != value}
    config.env = {**kept, **added, **env, "ANSIBLE_CONFIG": str(folder / "ansible.cfg"), MARK: str(folder)}
    beside = Path(sys.executable).parent / config.command[0]
    program = str(beside) if beside.exists() else config.command[0]
    # The shell says its process id first; it stays when ansible-playbook takes its place.
    config.command = ["/bin/sh", "-c", 'echo "$$"; exec "$@"', "sh", program, *config.command[1:]]
    return config


def _artifacts(folder: Path) -> Path:
    return folder / ".runner" / "artifacts" / "run"


def _untold(folder: Path, code: int | None) -> Failure:
    """A failure that no task told of, such as a playbook that Ansible could not read."""
    output = _artifacts(folder) / "stdout"
    lines = output.read_text(encoding="utf-8", errors="replace").splitlines() if output.exists() else []
    return Failure("internal", f"ansible-playbook ended with code {code}", logs=tuple(lines[-LAST_LINES:]))

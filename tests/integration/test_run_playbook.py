"""Runs of real playbooks on this machine: what they leave behind, whatever happens to them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from gitops.channel.processes import alive, start_time
from gitops.errors import PermanentError
from gitops.execute import process, runner
from gitops.execute.events import Event
from gitops.execute.processes import find
from gitops.execute.standby import Standby
from gitops.model.run import Run

INVENTORY = b"all: {hosts: {here: {ansible_connection: local, ansible_python_interpreter: auto_silent}}}\n"
WAIT_S = 60.0


def playbook(command: str) -> dict[str, bytes]:
    """A run folder whose one task runs a shell command."""
    task = {"name": "Do it", "ansible.builtin.raw": command}
    plays = [{"name": "One", "hosts": "all", "gather_facts": False, "tasks": [task]}]
    return {"rollout.yml": json.dumps(plays).encode(), "inventory/hosts.yml": INVENTORY, "ansible.cfg": b""}


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_events_come_in_order_and_the_process_group_first(tmp_path: Path) -> None:
    told: list[Event | Run] = []
    done = runner.run(
        playbook("true"),
        tmp_path / "run",
        on_event=told.append,
        on_start=told.append,
        timeout_s=WAIT_S,
        env={},
    )
    assert done.ok
    first, *rest = told
    assert isinstance(first, Run)
    assert first.start_time > 0
    assert find(first.folder) == []
    assert not alive(first.pgid, first.start_time)
    assert [event.kind for event in rest if isinstance(event, Event)] == ["play", "started", "changed"]


def test_a_consumer_that_raises_does_not_hurt_the_run(tmp_path: Path) -> None:
    def consume(event: Event) -> None:
        raise ValueError(event.kind)

    assert runner.run(playbook("true"), tmp_path / "run", on_event=consume, timeout_s=WAIT_S, env={}).ok


def test_a_failed_task_and_an_unreadable_playbook_are_results(tmp_path: Path) -> None:
    failed = runner.run(playbook("exit 3"), tmp_path / "a", on_event=lambda _: None, timeout_s=WAIT_S, env={})
    assert failed.failure is not None
    assert (failed.failure.kind, failed.failure.host) == ("internal", "here")
    broken = {**playbook("true"), "rollout.yml": b"- hosts: all\n  nonsense: 1\n"}
    unread = runner.run(broken, tmp_path / "b", on_event=lambda _: None, timeout_s=WAIT_S, env={})
    assert unread.failure is not None
    assert "nonsense" in unread.failure.reason


def test_a_time_limit_ends_everything_that_belongs_to_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = tmp_path / "pids"
    # The time is up as soon as the task runs, however slow this machine is.
    clock = SimpleNamespace(monotonic=lambda: 1e9 if pids.exists() else 0.0)
    monkeypatch.setattr(runner, "time", clock)
    files = playbook(f"echo $$ >> {pids}; exec sleep 600")
    runs: list[Run] = []
    done = runner.run(
        files, tmp_path / "run", on_event=lambda _: None, on_start=runs.append, timeout_s=WAIT_S, env={}
    )
    assert done.failure is not None
    assert done.failure.kind == "timeout"
    assert find(runs[0].folder) == []
    assert [start_time(int(pid)) for pid in pids.read_text().split()] == [0]


def test_nothing_of_the_controllers_environment_reaches_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_PASSWORD", "canary-7e1f")
    monkeypatch.setenv("ANSIBLE_STRATEGY", "no-such-strategy")
    seen = tmp_path / "environment"
    folder = tmp_path / "run"
    files = playbook(f"env > {seen}")
    done = runner.run(files, folder, on_event=lambda _: None, timeout_s=WAIT_S, env={"OURS": "given"})
    assert done.ok, done.failure
    assert "OURS=given" in seen.read_text()
    assert "canary" not in seen.read_text()
    kept = [path for path in folder.rglob("*") if path.is_file()]
    assert kept
    assert not any(b"canary" in path.read_bytes() for path in kept)


def test_what_a_killed_controller_leaves_is_reaped(tmp_path: Path) -> None:
    folder, started = tmp_path / "run", tmp_path / "started"
    program = f"""
from pathlib import Path
from gitops.execute import runner
files = {playbook(f"touch {started}; exec sleep 600")!r}
def note(run): Path({str(tmp_path / "pgid")!r}).write_text(f"{{run.pgid}} {{run.start_time}} {{run.folder}}")
runner.run(files, Path({str(folder)!r}), on_event=print, on_start=note, timeout_s=600, env={{}})
"""
    with tempfile.TemporaryDirectory() as short:  # it cannot remove its own
        environment = {**os.environ, "TMPDIR": short}
        controller = subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.DEVNULL, env=environment
        )
        try:
            until(started.exists)
        finally:
            os.kill(controller.pid, signal.SIGKILL)
            controller.wait()
        pgid, began, own = (tmp_path / "pgid").read_text().split()
        run = Run(int(pgid), int(began), Path(own))
        assert alive(run.pgid, run.start_time)
        assert find(run.folder)
        runner.reap(run)
        assert find(run.folder) == []
        assert not alive(run.pgid, run.start_time)
        runner.reap(run)


class Ready:
    """Runs in the processes of one standby, each in a run folder of its own."""

    def __init__(self, folder: Path, standby: Standby) -> None:
        self._folder = folder
        self._standby = standby
        self.runs: list[Run] = []

    def run(
        self,
        files: dict[str, bytes],
        *,
        signals: Callable[[], list[str]] = list,
        on_start: Callable[[Run], None] | None = None,
    ) -> runner.Result:
        self.folder = self._folder / f"run-{len(self.runs)}"
        return runner.run(
            files,
            self.folder,
            on_event=lambda _: None,
            on_start=on_start or self.runs.append,
            timeout_s=WAIT_S,
            signals=signals,
            standby=self._standby,
        )


@pytest.fixture
def ready(tmp_path: Path) -> Iterator[Ready]:
    with tempfile.TemporaryDirectory() as short:
        with Standby(Path(short), {"OURS": "given"}) as standby:
            standby.warm()
            yield (here := Ready(tmp_path, standby))
        assert [find(run.folder) for run in here.runs] == [[]] * len(here.runs)
        assert list(Path(short).iterdir()) == []


def test_a_process_that_is_ready_runs_one_after_the_other_and_each_has_its_own_output(ready: Ready) -> None:
    for word in ("one", "two"):
        assert not ready.run(playbook(f"echo $OURS $PWD {word}; exit 3")).ok
        output = (ready.folder / runner.OUTPUT).read_text()
        assert f"given {ready.folder} {word}" in output
        assert "given" not in output.replace(f"given {ready.folder} {word}", "")
    assert ready.run(playbook("true")).ok
    assert ready.runs[0] == ready.runs[1] == ready.runs[2]


def test_what_a_failed_run_leaves_is_ended_and_the_process_goes_on(ready: Ready, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    assert not ready.run(playbook(f"setsid sleep 600 > /dev/null 2>&1 & echo $! > {pid}; exit 3")).ok
    assert start_time(int(pid.read_text())) == 0
    assert ready.run(playbook("true")).ok
    assert ready.runs[0] == ready.runs[1]


def test_a_playbook_that_cannot_be_read_is_told_and_the_next_one_runs(ready: Ready) -> None:
    unread = ready.run({**playbook("true"), "rollout.yml": b"- hosts: all\n  nonsense: 1\n"})
    assert unread.failure is not None
    assert "nonsense" in "\n".join([unread.failure.reason, *unread.failure.logs])
    assert ready.run(playbook("true")).ok


def test_where_the_process_dies_in_a_run_another_one_runs_the_next(ready: Ready) -> None:
    def kill() -> list[str]:
        with suppress(ProcessLookupError):  # asked again before it is known to be gone
            os.kill(ready.runs[-1].pgid, signal.SIGKILL)
        return []

    assert not ready.run(playbook("exec sleep 600"), signals=kill).ok
    assert find(ready.runs[0].folder) == []
    assert ready.run(playbook("true")).ok
    assert ready.runs[0] != ready.runs[1]


def test_a_process_that_died_while_it_waited_is_not_used(ready: Ready) -> None:
    assert ready.run(playbook("true")).ok
    os.kill(ready.runs[0].pgid, signal.SIGKILL)
    until(lambda: not alive(ready.runs[0].pgid, ready.runs[0].start_time))
    assert ready.run(playbook("true")).ok
    assert ready.runs[0] != ready.runs[1]


def test_a_run_that_never_began_has_not_the_output_of_the_one_before(ready: Ready) -> None:
    def refuse(_: Run) -> None:
        raise PermanentError("the store is locked")

    assert not ready.run(playbook("echo of another application; exit 3")).ok
    with pytest.raises(PermanentError):
        ready.run(playbook("true"), on_start=refuse)
    assert (ready.folder / runner.OUTPUT).read_bytes() == b""


def test_a_process_is_not_used_for_ever(ready: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "MOST_RUNS", 2)
    assert [ready.run(playbook("true")).ok for _ in range(3)] == [True, True, True]
    assert ready.runs[0] == ready.runs[1] != ready.runs[2]


def test_a_process_that_waits_ends_with_its_controller() -> None:
    program = """
import sys, time
from pathlib import Path
from gitops.execute.standby import Standby
standby = Standby(Path(sys.argv[1]), {})
standby.warm()
standby.take().begin(lambda run: print(run.pgid, run.start_time, flush=True))
sys.stdin.read()
"""
    with (
        tempfile.TemporaryDirectory() as short,
        subprocess.Popen(
            [sys.executable, "-c", program, short], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as controller,
    ):
        assert controller.stdout is not None
        pgid, began = map(int, controller.stdout.readline().split())
        assert alive(pgid, began)
        os.kill(controller.pid, signal.SIGKILL)
        until(lambda: not alive(pgid, began))

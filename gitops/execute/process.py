"""One process of `ansible-playbook` under ansible-runner: imported, and waiting for what to run.

Facts about ansible-runner 2.4 that this code follows: event handlers run inside the
loop that reads the playbook's output; its loader forgets settings that are not in
files, so they are set on the prepared configuration; it hands its whole environment
on and keeps it in the artifact `command`; what it kills is a process group, but
Ansible's workers lead sessions of their own; it keeps in memory what a process says.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gitops.channel.processes import alive, start_time
from gitops.execute.processes import MARK, end_all
from gitops.model.run import Run

LOOK_S = 0.5  # how often `ending` is asked
MOST_RUNS = 50  # of one process: what they have said is in this one's memory
KEPT = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "TMPDIR", "SSH_AUTH_SOCK", "XDG_RUNTIME_DIR")
"""Of this process's environment; the rest may hold secrets, and decides nothing in a run."""

OnEvent = Callable[[dict[str, Any]], None]


class Process:
    """Waits from its construction on for what to run, and again after each run."""

    def __init__(self, folder: Path, config: bytes, env: Mapping[str, str]) -> None:
        """Starts it in the background.

        Args:
            folder: a new folder of its own, with a short path; removed in the end.
            config: the content of `ansible.cfg`.
            env: added to a minimal environment.
        """
        folder.mkdir(mode=0o700, parents=True)
        (folder / "ansible.cfg").write_bytes(config)
        self.folder = folder
        self.leader: Run | None = None  # known as soon as it runs
        self._env = env
        self._on_event: OnEvent = _ignore
        self._ending: Callable[[], bool] = _never
        self._ended = False
        self._runs = 0
        self._code: int | None = None
        self._said = 0  # bytes of output before this run
        self._last_event = threading.Event()
        self._known = threading.Event()
        self._link: socket.socket | None = None
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / "go"))
        self._listener.listen(1)
        self._listener.settimeout(LOOK_S)
        self._thread = threading.Thread(target=self._live, name=f"ansible-runner {folder.name}", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it can still be told what to run, or runs."""
        leader = self.leader  # ansible-runner learns of its end only some time later
        gone = leader is not None and not alive(leader.pgid, leader.start_time)
        return self._thread.is_alive() and not gone and self._runs < MOST_RUNS

    def begin(self, on_start: Callable[[Run], None]) -> None:
        """Tells of the process group as soon as it is known; nothing of this run has been done by then."""
        self._said = self._output.stat().st_size if self._output.exists() else 0
        while self.alive:
            if self._known.wait(LOOK_S) and self.leader is not None:
                on_start(self.leader)
                return

    def run(
        self, cwd: Path, argv: Sequence[str], *, on_event: OnEvent, ending: Callable[[], bool]
    ) -> int | None:
        """Runs one playbook to its end; what it leaves behind is ended then.

        Args:
            cwd: working directory.
            argv: of `ansible-playbook`, its name first.
            on_event: told of ansible-runner's events; nothing there may take time.
            ending: asked twice a second; True kills the run, and this process with it.

        Returns:
            The exit code, when every event has been told. None where it could not be started.
        """
        self._last_event.clear()
        self._on_event, self._ending = on_event, ending
        code = None
        try:
            link = self._link = self._link or self._accept()
            if link is not None:
                link.sendall(json.dumps({"cwd": str(cwd), "argv": list(argv)}).encode() + b"\n")
                code = self._answer(link)
            if code is None or not self._last_event.wait(LOOK_S):
                self._end()  # a playbook that cannot be read has no last event: the end of its output is it
        finally:
            self._runs += 1
            self._on_event, self._ending = _ignore, _never
            if code != 0:  # a failed task ends the playbook, perhaps not the others beside it
                end_all(self.folder, but=self.leader.pgid if self.leader and self.alive else 0)
        return self._code if code is None else code

    def said(self) -> bytes:
        """What has been printed since `begin`."""
        return self._output.read_bytes()[self._said :] if self._output.exists() else b""

    def close(self) -> None:
        """Ends it, whatever it does, and removes its folder."""
        self._ended = True
        self._listener.close()
        self._end()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _output(self) -> Path:
        """What all its playbooks have printed."""
        return self.folder / "artifacts" / "run" / "stdout"

    def _end(self) -> None:
        """It ends by itself where nobody can tell it anything more; else it is killed."""
        if self._link is not None:
            self._link.close()
            self._link = None
        self._thread.join(2 * LOOK_S)
        if self._thread.is_alive():
            end_all(self.folder)
            self._thread.join()

    def _live(self) -> None:
        from ansible_runner import Runner  # noqa: PLC0415 - 0.3 s that a pass with nothing to do must not pay

        runner = Runner(self._config(), event_handler=self._event, cancel_callback=self._cancel)
        _, self._code = runner.run()
        (self.folder / "artifacts" / "run" / "command").unlink(missing_ok=True)

    def _event(self, raw: dict[str, Any]) -> bool:
        """ansible-runner's event handler; False keeps the event out of the artifacts."""
        line = str(raw.get("stdout") or "").strip()
        if self.leader is None and line.isdigit():
            self.leader = Run(int(line), start_time(int(line)), self.folder)
            self._known.set()
        self._on_event(raw)
        if raw.get("event") == "playbook_on_stats":
            self._last_event.set()
        return False

    def _cancel(self) -> bool:
        return self._ended or self._ending()

    def _accept(self) -> socket.socket | None:
        while self.alive:
            try:
                return self._listener.accept()[0]
            except TimeoutError:
                continue
        return None

    def _answer(self, link: socket.socket) -> int | None:
        """The exit code in its own words; None where it ended without."""
        poller = select.poll()
        poller.register(link, select.POLLIN)
        while self.alive:
            if poller.poll(LOOK_S * 1000):
                said = link.recv(16).strip()
                return int(said) if said else None
        return None

    def _config(self) -> Any:
        from ansible_runner import RunnerConfig  # noqa: PLC0415 - as in `_live`

        config = RunnerConfig(
            private_data_dir=str(self.folder),
            project_dir=str(self.folder),
            playbook="rollout.yml",
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
        marks = {"ANSIBLE_CONFIG": str(self.folder / "ansible.cfg"), MARK: str(self.folder)}
        config.env = {**kept, **added, **self._env, **marks}
        config.command = [sys.executable, "-P", "-m", "gitops.execute.playbook", str(self.folder / "go")]
        return config


def _ignore(_: dict[str, Any]) -> None:
    """Between two runs nobody listens."""


def _never() -> bool:
    """Between two runs nothing has a time limit."""
    return False

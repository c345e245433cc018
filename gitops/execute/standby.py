"""Processes of `ansible-playbook` that are ready before there is something to run."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from gitops.execute.process import Process
from gitops.render.deployment import ansible_cfg

KEPT = 2  # that wait for another run, however many applications were deployed side by side


class Standby:
    """Processes for the rollouts of one controller.

    Args:
        folder: where each has a folder of its own; the path must be short.
        env: of each, added to a minimal environment.
    """

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._folder = folder
        self._env = env
        self._numbers = itertools.count(1)
        self._ready: list[Process] = []
        self._used: list[Process] = []
        self._mutex = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def warm(self) -> None:
        """Starts one in the background unless one is ready: a rollout is likely."""
        with self._mutex:
            self._clear()
            if not self._ready:
                self._ready.append(self._start())

    def take(self) -> Process:
        """One that is ready, or will be soon; to be given back."""
        with self._mutex:
            self._clear()
            process = self._ready.pop(0) if self._ready else self._start()
            self._used.append(process)
            return process

    def give_back(self, process: Process) -> None:
        """It has nothing to do any more: it is for the next rollout, or ends."""
        with self._mutex:
            self._used.remove(process)
            if process.alive and len(self._ready) < KEPT:
                self._ready.append(process)
                return
        process.close()

    def close(self) -> None:
        """Ends all of them."""
        with self._mutex:
            for process in [*self._used, *self._ready]:
                process.close()
            self._used, self._ready = [], []

    def _start(self) -> Process:
        return Process(self._folder / f"p{next(self._numbers)}", ansible_cfg(forks=1), self._env)

    def _clear(self) -> None:
        """Removes what those have left that have ended by themselves."""
        for process in [process for process in self._ready if not process.alive]:
            self._ready.remove(process)
            process.close()

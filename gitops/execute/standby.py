"""One `ansible-playbook` that is ready before there is something to run."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from gitops.execute.process import Process
from gitops.render.deployment import ansible_cfg


class Standby:
    """Processes for the rollouts of one controller.

    Args:
        folder: where each has a folder of its own; the path must be short.
        env: of each, added to a minimal environment.
        ready: how many `warm` keeps ready: with two the way back need not wait for its own either.
    """

    def __init__(self, folder: Path, env: Mapping[str, str], *, ready: int = 1) -> None:
        self._folder = folder
        self._env = env
        self._most = ready
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
        """Starts in the background what is not ready yet: a rollout is likely."""
        with self._mutex:
            self._clear()
            while len(self._ready) < self._most:
                self._ready.append(self._start())

    def take(self) -> Process:
        """One that is ready, or will be soon."""
        with self._mutex:
            self._clear()
            process = self._ready.pop(0) if self._ready else self._start()
            self._used.append(process)
            return process

    def close(self) -> None:
        """Ends all of them."""
        with self._mutex:
            for process in self._all():
                process.close()
            self._used, self._ready = [], []

    def _start(self) -> Process:
        return Process(self._folder / f"p{next(self._numbers)}", ansible_cfg(forks=1), self._env)

    def _clear(self) -> None:
        """Removes what those have left that have ended."""
        for process in self._all():
            if not process.alive:
                process.close()
        self._used = [process for process in self._used if process.alive]
        self._ready = [process for process in self._ready if process.alive]

    def _all(self) -> list[Process]:
        return [*self._used, *self._ready]

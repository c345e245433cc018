"""Looks for newer commits of one application while a deployment of it runs."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Self

from gitops.application import Application
from gitops.errors import GitopsError

log = logging.getLogger(__name__)


class LookOut:
    """Within its block it fetches at every poll, and at once when woken.

    Attributes:
        newest: the last commit found that may be deployed, or empty.
    """

    def __init__(self, app: Application) -> None:
        self.newest = ""
        self._app = app
        self._woken = threading.Event()
        self._ended = False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Begins to look."""
        self.newest, self._ended = "", False
        self._woken.clear()
        self._thread = threading.Thread(target=self._look_on, name=f"look-out-{self._app.name}", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        self._woken.set()
        if self._thread is not None:
            self._thread.join()

    def wake(self) -> None:
        """The repo has changed: looks at once."""
        self._woken.set()

    def _look_on(self) -> None:
        while True:
            self._woken.wait(self._app.settings.poll_s)
            if self._ended:
                return
            self._woken.clear()
            try:
                found = self._app.fetch()
                waits = self._app.store.retries.wait_s(self._app.name, found)
                if found not in self._app.quarantined() and not waits:
                    self.newest = found
            except GitopsError as problem:  # the rollout goes on; the next pass tells of it
                log.info("%s: %s", self._app.name, problem)

"""The lines of a service's log."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime

from gitops.terminal import short_digests


class Lines(logging.Formatter):
    """Lines that begin with the time and its zone, and name digests by their first digits."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's own name
        """The time as ISO 8601 has it: `2026-12-01T14:03:05.123+01:00`."""
        del datefmt
        return datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")

    def format(self, record: logging.LogRecord) -> str:
        """The whole line."""
        return short_digests(super().format(record))


class HostLines:
    """Joins what is told of many hosts at the same moment into one line: `h1, h2, h3: release written`."""

    def __init__(self, say: Callable[[str], None], wait_s: float = 0.2) -> None:
        """Nothing is told yet.

        Args:
            say: takes a whole line; called from threads.
            wait_s: for how long a line waits for the next host.
        """
        self._say = say
        self._wait_s = wait_s
        self._mutex = threading.RLock()
        self._message = ""
        self._hosts: list[str] = []
        self._timer: threading.Timer | None = None

    def tell(self, host: str, message: str, *, waits: bool) -> None:
        """Tells of one host, or of none where that is empty; what does not wait is told at once."""
        with self._mutex:
            if not (waits and host and message == self._message):
                self.flush()
            self._message = message
            self._hosts += [host] if host else []
            if not (waits and host):
                self.flush(force=True)
            elif self._timer is None:
                self._timer = threading.Timer(self._wait_s, self.flush)
                self._timer.daemon = True
                self._timer.start()

    def flush(self, *, force: bool = False) -> None:
        """Tells what waits."""
        with self._mutex:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if self._hosts or force:
                hosts = ", ".join(dict.fromkeys(self._hosts))
                self._say(f"{hosts}: {self._message}" if hosts else self._message)
            self._message, self._hosts = "", []

"""A client that keeps asking while something is changed, and counts every request that failed."""

from __future__ import annotations

import http.client
import math
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

MOST_REQUESTS = 20_000  # of one client thread: a test that hangs ends all the same
TIMEOUT_S = 10.0


@dataclass
class Report:
    """What the clients saw."""

    requests: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)  # first line of a body -> how often
    slowest_s: float = 0.0
    latencies_s: list[float] = field(default_factory=list)  # of every request, failed ones too

    @property
    def failed(self) -> int:
        """Requests without a good answer."""
        return sum(self.failures.values())

    @property
    def p99_s(self) -> float:
        """What 99 of 100 requests took at most; 0 without requests."""
        ordered = sorted(self.latencies_s)
        return ordered[math.ceil(0.99 * len(ordered)) - 1] if ordered else 0.0


@dataclass
class Load:
    """Clients that ask an address over and over, in threads, until the block ends.

    Half of them keep their connection, half open one a request.

    Attributes:
        address: where to connect.
        host: the header `Host`; empty for the address.
        path: what to ask for.
        clients: how many.
        pause_s: between two requests of a client.
        port: TCP port.
    """

    address: str
    host: str = ""
    path: str = "/"
    clients: int = 4
    pause_s: float = 0.03
    port: int = 80
    report: Report = field(default_factory=Report)
    _end: threading.Event = field(default_factory=threading.Event)
    _mutex: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        for number in range(self.clients):
            thread = threading.Thread(target=self._ask_on, args=(number % 2 == 0,), daemon=True)
            self._threads.append(thread)
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(2 * TIMEOUT_S)

    def _ask_on(self, keep_alive: bool) -> None:
        connection = http.client.HTTPConnection(self.address, self.port, timeout=TIMEOUT_S)
        for _ in range(MOST_REQUESTS):
            began = time.monotonic()
            failure, answer = self._ask(connection, keep_alive)
            took = time.monotonic() - began
            with self._mutex:
                self.report.requests += 1
                self.report.slowest_s = max(self.report.slowest_s, took)
                self.report.latencies_s.append(took)
                self.report.failures.update([failure] if failure else [])
                self.report.answers.update([answer] if answer else [])
            if failure or not keep_alive:
                connection.close()
            if self._end.wait(self.pause_s):
                break
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, keep_alive: bool) -> tuple[str, str]:
        headers = {"Connection": "keep-alive" if keep_alive else "close"}
        if self.host:
            headers["Host"] = self.host
        try:
            connection.request("GET", self.path, headers=headers)
            response = connection.getresponse()
            lines = response.read().decode(errors="replace").splitlines()
        except (OSError, http.client.HTTPException) as error:
            return f"{type(error).__name__}: {error}", ""
        first = lines[0] if lines else ""
        return ("" if response.status == http.HTTPStatus.OK else f"{response.status} {first}"), first

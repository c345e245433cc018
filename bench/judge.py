"""Makes a version fail at its third replica, whichever tool brings it and in whatever order of hosts."""

from __future__ import annotations

import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

ADMITTED = 2


class Judge:
    """An HTTP server that a broken version's health check asks: it admits the first two containers only."""

    def __init__(self, address: str) -> None:
        self._seen: list[str] = []
        self._mutex = threading.Lock()
        self._server = ThreadingHTTPServer((address, 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def address(self) -> str:
        """ADDRESS:PORT."""
        host, port = self._server.server_address[:2]
        return f"{host!s}:{port}"

    def admits(self, container: str) -> bool:
        """Whether a container may be healthy; the answer stays the same."""
        with self._mutex:
            if container not in self._seen:
                self._seen.append(container)
            return self._seen.index(container) < ADMITTED

    def forget(self) -> None:
        """Begins anew with the next container."""
        with self._mutex:
            self._seen.clear()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        judge = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                good = judge.admits(self.path)
                self.send_response(HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        return Handler

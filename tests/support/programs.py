"""What stands for container hosts: programs of this process that answer on ports of its own address."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

STOP_S = 5.0


class Programs:
    """HTTP servers by name, each on some ports, that say who they are; all in one thread."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._loop = asyncio.new_event_loop()
        self._servers: dict[str, list[asyncio.Server]] = {}
        self._links: dict[str, set[asyncio.StreamWriter]] = {}
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in list(self._servers):
            self.stop(name)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_S)
        self._loop.close()

    def start(self, name: str, bodies: Mapping[int, str]) -> None:
        """Starts a program that answers on each port with its body."""
        self._run(self._start(name, bodies)).result(STOP_S)

    def stop(self, name: str) -> None:
        """Ends a program at once, with what it has begun to answer."""
        self._run(self._stop(name)).result(STOP_S)

    def _run(self, work: Any) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _start(self, name: str, bodies: Mapping[int, str]) -> None:
        assert name not in self._servers, f"{name} runs already"
        links = self._links.setdefault(name, set())

        def answer_with(body: str) -> Any:
            said = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()

            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                links.add(writer)
                with suppress(OSError, asyncio.IncompleteReadError):
                    while await reader.readuntil(b"\r\n\r\n"):
                        writer.write(said)
                        await writer.drain()
                links.discard(writer)
                writer.close()

            return serve

        self._servers[name] = [
            await asyncio.start_server(answer_with(body), self._address, port)
            for port, body in bodies.items()
        ]

    async def _stop(self, name: str) -> None:
        for server in self._servers.pop(name, []):
            server.close()
        for writer in self._links.pop(name, set()):
            writer.close()

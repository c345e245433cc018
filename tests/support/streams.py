"""Connections that last: a slow download and a WebSocket, and the image of a server that has both.

Its WebSocket says `hello` in a frame each second, its download takes as many seconds as it has lines.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import socket
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
FRAME = b"\x81\x05hello"  # RFC 6455, 5.2: final, text, 5 bytes, not masked
SILENCE_S = 10.0
LINES = 30

DOCKERFILE = """\
FROM busybox
ENV VERSION={version}
COPY serve ws /
COPY slow /www/cgi-bin/
RUN echo "{version}" > /www/index.html
CMD ["sh", "/serve"]
"""
FILES = {
    "serve": "httpd -p 80 -h /www\nexec nc -ll -p 81 -e sh /ws\n",
    "slow": f"""\
#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
n=0
while [ $n -lt {LINES} ]; do n=$((n + 1)); echo "line $n"; sleep 1; done
""",
    "ws": f"""\
key=
while IFS= read -r line; do
  line=$(echo "$line" | tr -d '\\r')
  [ -n "$line" ] || break
  case $line in [Ss]ec-[Ww]eb[Ss]ocket-[Kk]ey:*) key=${{line#*: }} ;; esac
done
[ -n "$key" ] || exit 0
accept=$(printf '%s{GUID}' "$key" | sha1sum | cut -d' ' -f1 | xxd -r -p | base64)
printf 'HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n'
printf 'Sec-WebSocket-Accept: %s\\r\\n\\r\\n' "$accept"
while printf '\\201\\005hello'; do sleep 1; done
""",
}


@dataclass
class Download:
    """Reads `/cgi-bin/slow` to its end, in a thread."""

    address: str
    host: str
    lines: list[str] = field(default_factory=list)
    problem: str = ""

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.join(3 * LINES)

    def _read(self) -> None:
        connection = http.client.HTTPConnection(self.address, 80, timeout=SILENCE_S)
        try:
            connection.request("GET", "/cgi-bin/slow", headers={"Host": self.host})
            response = connection.getresponse()
            for line in response:
                self.lines.append(line.decode().strip())
        except (OSError, http.client.HTTPException) as failure:
            self.problem = f"{type(failure).__name__}: {failure}"
        finally:
            connection.close()


@dataclass
class WebSocket:
    """Opens a WebSocket and counts its frames, in a thread, until the block ends."""

    address: str
    host: str
    frames: int = 0
    problem: str = ""
    _end: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._link = socket.create_connection((self.address, 80), timeout=SILENCE_S)
        key = base64.b64encode(os.urandom(16)).decode()
        self._link.sendall(
            f"GET /ws HTTP/1.1\r\nHost: {self.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        self._input = self._link.makefile("rb")
        head = []
        while line := self._input.readline().strip():
            head.append(line.decode())
        accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()  # noqa: S324 - RFC 6455
        assert " 101 " in head[0], head
        assert f"sec-websocket-accept: {accept}".lower() in [line.lower() for line in head], head
        self._thread = threading.Thread(target=self._count, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(SILENCE_S)
        self._input.close()
        self._link.close()

    def _count(self) -> None:
        try:
            while not self._end.is_set():
                frame = self._input.read(len(FRAME))
                if frame != FRAME:
                    self.problem = f"after {self.frames} frames came {frame!r}"
                    return
                self.frames += 1
        except OSError as failure:
            self.problem = f"{type(failure).__name__}: {failure}"

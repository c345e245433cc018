"""Many container engines in one process, for passes over a large fleet: each answers what a pass asks.

    python -m bench.engines HOSTS CONTAINERS DIGEST FOLDER...

Serves `1.sock` to `HOSTS.sock`, in turn in each folder, until it is ended; says `ready` when all listen.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from gitops.model.observed import LABEL_APP, LABEL_COMMIT, LABEL_SERVICE, LABEL_SLOT, LABEL_SPEC

APP, SERVICE, COMMIT, IMAGE = "large", "web", "c" * 40, "registry.test/web@sha256:" + "d" * 64
_VERSION = {"Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12", "Components": []}


def containers(host: int, hosts: int, count: int, digest: str) -> list[dict[str, Any]]:
    """What `GET /containers/json` says of one host: its replicas of the one service."""
    return [
        {
            "Id": f"{slot:064x}",
            "Names": [f"/{APP}-{SERVICE}-{slot}-{digest[:8]}"],
            "Image": IMAGE,
            "State": "running",
            "Status": "Up 2 hours (healthy)",
            "Created": 1_700_000_000,
            "Labels": {
                LABEL_APP: APP,
                LABEL_SERVICE: SERVICE,
                LABEL_SLOT: str(slot),
                LABEL_SPEC: digest,
                LABEL_COMMIT: COMMIT,
            },
            "Ports": [],
        }
        for slot in (host + hosts * number for number in range(count))
    ]


async def _answer(body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection: requests without a body, one after the other."""
    about = json.dumps(_VERSION).encode()
    while head := await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b"":
        path = head.split(maxsplit=2)[1]
        said = about if path.endswith(b"/version") else body
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(said), said)
        )
        await writer.drain()
    writer.close()


async def _connection(body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await _answer(body, reader, writer)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()  # whoever asked has gone


def place(number: int, folders: Sequence[Path]) -> Path:
    """The socket of one host."""
    return folders[number % len(folders)] / f"{number}.sock"


async def serve(hosts: int, count: int, digest: str, folders: Sequence[Path]) -> None:
    """Serves until cancelled."""
    for host in range(1, hosts + 1):
        body = json.dumps(containers(host, hosts, count, digest)).encode()
        socket = place(host, folders)
        socket.unlink(missing_ok=True)
        await asyncio.start_unix_server(partial(_connection, body), path=socket)
        socket.chmod(0o666)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], [Path(word) for word in sys.argv[4:]]))

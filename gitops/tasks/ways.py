"""How each host of a run is reached: whoever connects it writes it down for the task that acts on all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gitops.channel import Channel
from gitops.channel.lock import lost

FOLDER = "ways"


def way_file(host: str) -> str:
    """Path of a host's file in the run folder."""
    return f"{FOLDER}/{host}.json"


def way_of(channel: Channel) -> bytes:
    """The content of that file: no secret, only where the standing connection is found on this machine."""
    return json.dumps(channel.way()).encode()


def write_way(folder: Path, channel: Channel) -> None:
    """Writes the file of one host."""
    path = folder / way_file(channel.name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(way_of(channel))


def read_way(folder: Path, host: str) -> Mapping[str, Any]:
    """Reads it.

    Raises:
        LockLostError: nobody has connected the host in this run.
    """
    try:
        return dict(json.loads((folder / way_file(host)).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise lost(host) from error

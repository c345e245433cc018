"""A rollout's story, a line a step: printed by the task, and read back by the controller."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

DONE, UNCHANGED, FAILED, SAID, WAITS = "+", "=", "x", "|", "~"

_LINE = re.compile(r"([+=x|~]) (\S+): (.*)", re.DOTALL)


def line(mark: str, host: str, message: str) -> str:
    """`+ h1: web.1 started and is healthy`."""
    return f"{mark} {host}: {message if mark == SAID else ' '.join(message.split())}"


def saying(replica: str, lines: Sequence[str]) -> str:
    """The message of a SAID line: `migrate.1 ["first", "last"]`, in ASCII, for a terminal obeys the rest."""
    return f"{replica} {json.dumps(list(lines), separators=(',', ':'))}"


def said(message: str) -> tuple[str, list[str]] | None:
    """Replica and lines of such a message, or None where it is none."""
    replica, _, lines = message.partition(" ")
    try:
        return replica, [str(line) for line in json.loads(lines)]
    except ValueError:
        return None


def read(text: str) -> tuple[str, str, str] | None:
    """Mark, host and message of a line, or None where it is not one of the story."""
    found = _LINE.fullmatch(text.strip())
    return (found[1], found[2], found[3]) if found else None

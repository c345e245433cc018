"""A rollout's story, a line a step: printed by the task, and read back by the controller."""

from __future__ import annotations

import re

DONE, UNCHANGED, FAILED = "+", "=", "x"

_LINE = re.compile(r"([+=x]) (\S+): (.*)", re.DOTALL)


def line(mark: str, host: str, message: str) -> str:
    """`+ h1: web.1 started and is healthy`."""
    return f"{mark} {host}: {' '.join(message.split())}"


def read(text: str) -> tuple[str, str, str] | None:
    """Mark, host and message of a line, or None where it is not one of the story."""
    found = _LINE.fullmatch(text.strip())
    return (found[1], found[2], found[3]) if found else None

"""A folder in memory: a test of what is written need not wait for a busy disk."""

from __future__ import annotations

from pathlib import Path

_SHARED = Path("/dev/shm")
MEMORY: Path | None = _SHARED if _SHARED.is_dir() else None
"""Where temporary folders go; None is the system's usual place."""

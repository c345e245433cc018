"""What the tests of the store have in common."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.memory import MEMORY


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder of the test's own, in memory where there is such a place."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)

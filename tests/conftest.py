"""Fixtures that the whole tree of tests shares."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.labs import Lab, running_lab


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Four Docker hosts, a Podman host and an edge; every worker of a parallel run has its own."""
    with running_lab("session", hosts=4, podman=1, edges=1) as fleet:
        yield fleet

"""Fixtures that the whole tree of tests shares."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from hypothesis import settings
from support.labs import Lab, running_lab

# A deadline would measure the machine, and what is random today may fail somebody else tomorrow.
settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")


def pytest_collection_finish() -> None:
    """What has been imported is never garbage: looking through it is a tenth of the unit tests."""
    gc.freeze()


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Four Docker hosts, a Podman host and an edge; every worker of a parallel run has its own."""
    with running_lab("session", hosts=4, podman=1, edges=1) as fleet:
        yield fleet

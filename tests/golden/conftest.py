"""`--update-golden` writes what the code gives today; the diff of the commit is then the review."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the expected files anew")


@pytest.fixture
def same_as_golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Compares a text with the file that holds what is expected, or writes it."""
    # Where pytest starts above this folder it reads this file too late for the option.
    update = request.config.getoption("--update-golden", default=False)

    def compare(expected: Path, text: str) -> None:
        if update:
            expected.write_text(text)
        assert text == (expected.read_text() if expected.exists() else f"no file {expected}")

    return compare

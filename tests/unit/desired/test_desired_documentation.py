"""What the parser accepts and what its page says are the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gitops.desired.keys import SUPPORTED, UNSUPPORTED

PAGES = Path(__file__).parents[3] / "docs" / "reference"
NAMED = set(re.findall(r"`([\w-]+)`", (PAGES / "compose.md").read_text()))


@pytest.mark.parametrize("schema", sorted(SUPPORTED))
def test_every_key_that_is_accepted_is_explained(schema: str) -> None:
    assert set(SUPPORTED[schema]) - NAMED == set()  # type: ignore[index] # of its own keys


@pytest.mark.parametrize("schema", sorted(SUPPORTED))
def test_no_key_is_both_accepted_and_refused(schema: str) -> None:
    assert set(SUPPORTED[schema]) & set(UNSUPPORTED[schema]) == set()  # type: ignore[index] # of its own keys


def test_the_options_of_ssh_that_a_repo_may_set_are_listed() -> None:
    from gitops.desired.variables import _HARMLESS  # noqa: PLC0415 - the list is nowhere else

    options = re.findall(r"[A-Z][A-Za-z]+", _HARMLESS.pattern.partition("=")[0])
    page = (PAGES / "inventory.md").read_text()
    assert [option for option in options if option not in page] == []
    assert len(options) == len({"Compression"}) + 11

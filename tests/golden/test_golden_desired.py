"""A folder a case: what `compose.yaml` and its neighbours say, in `stack.json` or `errors.txt`.

`options.json`, where there is one, holds further arguments of `load`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from gitops.desired import load
from gitops.errors import InvalidInputError
from gitops.source.git import FolderTree

CASES = Path(__file__).parent / "desired"


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
def test_desired_state(case: str, same_as_golden: Callable[[Path, str], None]) -> None:
    folder = CASES / case
    options = folder / "options.json"
    arguments = json.loads(options.read_text()) if options.exists() else {}
    try:
        stack = load(FolderTree(folder), app="shop", commit="0123456789" * 4, **arguments)
    except InvalidInputError as error:
        same_as_golden(folder / "errors.txt", f"{error}\n")
        assert not (folder / "stack.json").exists()
    else:
        same_as_golden(folder / "stack.json", json.dumps(asdict(stack), indent=1) + "\n")
        assert not (folder / "errors.txt").exists()

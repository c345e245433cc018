"""An application for each acceptance test, taken away afterwards so that the lab serves the next."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.labs import Lab
from support.shop import MakeShop, Shop


@pytest.fixture
def make_shop(lab: Lab, tmp_path: Path) -> Iterator[MakeShop]:
    """Makes applications: `make_shop(NAME, replicas=4, **settings of gitops.yaml)`."""
    made: list[Shop] = []

    def make(name: str, **options: Any) -> Shop:
        shop = Shop.create(lab, name, tmp_path / name, **options)
        made.append(shop)
        return shop

    yield make
    for shop in made:
        shop.remove()

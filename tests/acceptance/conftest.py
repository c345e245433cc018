"""An application for each acceptance test, taken away afterwards so that the lab serves the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.labs import Lab
from support.shop import MakeShop, Shop

IDLE: Mapping[str, Any] = {"sync": "manual", "self_heal": False, "poll": "10m", "observe": "10m"}
"""Settings of an application for which a service does what it is asked, and nothing else."""


@pytest.fixture
def make_shop(lab: Lab, tmp_path: Path) -> Iterator[MakeShop]:
    """Makes applications: `make_shop(NAME, replicas=4, **settings of gitops.yaml)`.

    With `served=True` a service does what `gitops sync` asks for, and nothing by itself: such a command
    need not connect to every host and load Ansible, which takes longer than most of the deployments.
    """
    with ExitStack() as ending:

        def make(name: str, *, served: bool = False, **options: Any) -> Shop:
            shop = Shop.create(lab, name, tmp_path / name, **(IDLE if served else {}), **options)
            ending.callback(shop.remove)
            if served:
                ending.enter_context(shop.serving())
            return shop

        yield make

"""An application for each acceptance test, taken away afterwards so that the lab serves the next."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support import truth
from support.labs import Lab
from support.shop import MakeShop, Shop

PASSED = pytest.StashKey[bool]()

IDLE: Mapping[str, Any] = {"sync": "manual", "self_heal": False, "poll": "10m", "observe": "10m"}
"""Settings of an application for which a service does what it is asked, and nothing else."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remembers whether a test has passed, for what is checked after it."""
    report = yield
    if call.when == "call":
        item.stash[PASSED] = report.passed
    return report


@pytest.fixture
def make_shop(lab: Lab, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MakeShop]:
    """Makes applications: `make_shop(NAME, replicas=4, **settings of gitops.yaml)`.

    With `served=True` a service does what `gitops sync` asks for, and nothing by itself: such a command
    need not connect to every host and load Ansible, which takes longer than most of the deployments.
    """
    shops: list[Shop] = []
    with ExitStack() as removing, ExitStack() as ending:

        def make(name: str, *, served: bool = False, **options: Any) -> Shop:
            shop = Shop.create(lab, name, tmp_path / name, **(IDLE if served else {}), **options)
            removing.callback(shop.remove)
            shops.append(shop)
            if served:
                ending.enter_context(shop.serving())
            return shop

        yield make
        ending.close()
        if request.node.stash.get(PASSED, False):
            for shop in shops:
                truth.holds(shop)

from __future__ import annotations

import pytest
from support.trees import MemoryTree

from gitops.desired import load


def order_of(volumes: str, update: str = "") -> str:
    text = f"""
services:
  db:
    image: db
    volumes: [{volumes}]
    deploy: {{update_config: {{{update}}}}}
volumes: {{data: {{}}}}
"""
    stack = load(MemoryTree({"compose.yaml": text.encode()}), app="shop", commit="c" * 40)
    return stack.services[0].update.order


@pytest.mark.parametrize(
    ("volumes", "update", "order"),
    [
        ("'data:/data'", "", "stop-first"),
        ("'data:/data:ro'", "", "start-first"),
        ("'data:/data'", "order: start-first", "start-first"),
        ("/srv:/data", "", "start-first"),
    ],
)
def test_two_containers_do_not_write_one_volume_unless_asked(volumes: str, update: str, order: str) -> None:
    assert order_of(volumes, update) == order

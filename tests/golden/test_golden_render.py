"""Each folder of render/ is a rendered deployment, without the parts that are equal for all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.rendering import CASES

from gitops.render.deployment import deployment
from gitops.render.edge import assemble

HERE = Path(__file__).parent / "render"
MACHINERY = ("action_plugins/", "gitops/", "templates/")


@pytest.mark.parametrize("case", CASES)
def test_a_rendered_deployment_is_as_reviewed(case: str, same_as_golden: Callable[[Path, str], None]) -> None:
    files = deployment(CASES[case](), deployment_id="d-1")
    shown = {name: content.decode() for name, content in files.items() if not name.startswith(MACHINERY)}
    last = max(name for name in shown if name.startswith("haproxy/"))
    whole = assemble({"shop": shown[last]})
    shown["haproxy.cfg"] = whole.config
    shown["gitops-routes.map"], shown["gitops-ports.map"] = whole.routes, whole.ports

    for name, content in shown.items():
        expected = HERE / case / name
        expected.parent.mkdir(parents=True, exist_ok=True)
        same_as_golden(expected, content)
    kept = {str(path.relative_to(HERE / case)) for path in (HERE / case).rglob("*") if path.is_file()}
    assert kept == set(shown)

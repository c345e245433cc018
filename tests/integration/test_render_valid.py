"""What is rendered is valid to the programs that read it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from support.rendering import CASES, written
from support.rollouts import run_playbook

from gitops.assets import folder
from gitops.model.edge import PORTS_MAP, ROUTES_MAP, Assembled
from gitops.render.edge import assemble


def haproxy_accepts(whole: Assembled, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Asks HAProxy of a configuration whose maps lie in a folder of the test."""
    path, config = tmp_path / "haproxy.cfg", whole.config
    for place, text in ((ROUTES_MAP, whole.routes), (PORTS_MAP, whole.ports)):
        here = tmp_path / Path(place).name
        here.write_text(text)
        config = config.replace(place, str(here))
    path.write_text(config)
    program = "/usr/sbin/haproxy"  # not on everybody's path
    return subprocess.run(
        [program, "-c", "-f", str(path)], check=False, capture_output=True, text=True, timeout=30
    )


@pytest.mark.parametrize("case", CASES)
def test_stock_ansible_reads_the_playbook(case: str, tmp_path: Path) -> None:
    run_folder = written(CASES[case](), tmp_path)
    done = run_playbook(["-i", "inventory", "rollout.yml", "--syntax-check"], cwd=run_folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr


@pytest.mark.parametrize("case", CASES)
def test_haproxy_reads_the_edge_after_every_step_without_a_warning(case: str, tmp_path: Path) -> None:
    run_folder = written(CASES[case](), tmp_path)
    fragments = sorted([*run_folder.glob("haproxy/*.cfg"), *run_folder.glob("back/*.cfg")])
    assert fragments
    for fragment in fragments:
        done = haproxy_accepts(assemble({"shop": fragment.read_text()}), tmp_path)
        assert done.returncode == 0, done.stderr
        assert "WARNING" not in done.stderr


def test_haproxy_reads_an_edge_without_any_application(tmp_path: Path) -> None:
    done = haproxy_accepts(assemble({}), tmp_path)
    assert (done.returncode, "WARNING" in done.stderr) == (0, False)


@pytest.mark.parametrize("name", ["bootstrap", "teardown"])
def test_stock_ansible_reads_the_playbooks_for_operators(name: str) -> None:
    playbooks, example = folder("playbooks"), folder("inventory") / "example"
    done = run_playbook([f"{name}.yml", "-i", str(example), "--syntax-check"], cwd=playbooks)
    assert done.returncode == 0, done.stdout + done.stderr

"""The exit: what a wheel of ours renders is deployed by stock ansible-playbook, with nothing else of ours."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.load import Load
from support.shop import MakeShop, until

pytestmark = pytest.mark.lab

ROOT = Path(__file__).resolve().parents[2]
ANSIBLE_CORE_ALONE = [
    "ansible-core",
    "cffi",
    "cryptography",
    "jinja2",
    "markupsafe",
    "packaging",
    "pycparser",
    "pyyaml",
    "resolvelib",
]


def run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in command], check=False, capture_output=True, text=True, timeout=300, cwd=cwd
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def empty_environment(folder: Path, requirements: Path, *packages: Path) -> Path:
    """A virtual environment with what is locked, and packages on top; returns its `bin`."""
    run(sys.executable, "-m", "venv", folder)
    pip = (folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, "--require-hashes", "-r", requirements)
    for package in packages:
        run(*pip, "--no-deps", package)
    return folder / "bin"


def locked(names: Sequence[str], to: Path) -> Path:
    """The blocks of those packages from the lock file, as a lock file of their own."""
    blocks = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text())
    to.write_text("\n".join(block for block in blocks if block.split("==")[0] in names) + "\n")
    return to


def recap(output: str) -> dict[str, str]:
    return {line.split()[0]: line for line in output.splitlines() if " changed=" in line}


def test_an_installed_wheel_renders_what_stock_ansible_deploys(make_shop: MakeShop, tmp_path: Path) -> None:
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "dist", cwd=ROOT)
    wheel = next((tmp_path / "dist").glob("*.whl"))
    ours = empty_environment(tmp_path / "ours", ROOT / "requirements.lock", wheel)
    only = locked(ANSIBLE_CORE_ALONE, tmp_path / "ansible-core.lock")
    stock = empty_environment(tmp_path / "stock", only)

    shop = make_shop("exit", replicas=5)
    shop.push("v1")
    out = tmp_path / "rendered"
    run(ours / "gitops", "-c", shop.config, "render", shop.name, "--out", out, cwd=tmp_path)
    assert out.stat().st_mode & 0o077 == 0, "a commit's environment is nobody else's business"

    playbook = (stock / "ansible-playbook", "-i", "inventory", "rollout.yml")
    first = recap(run(*playbook, cwd=out))
    assert all("failed=0" in line and "unreachable=0" in line for line in first.values()), first
    with Load(shop.lab.address("e1"), host="exit.test") as load:
        until(lambda: load.report.requests > 20, 20, "answers")
        second = recap(run(*playbook, cwd=out))
    assert set(second) == {host["name"] for host in shop.lab.data["hosts"]} | {"e1", "localhost"}
    assert all("changed=0 " in line and "failed=0" in line for line in second.values()), second
    assert list(load.report.answers) == ["1"]
    assert not load.report.failures, load.report
    assert len(shop.containers()) == 6
    assert shop.gitops("plan", shop.name).returncode == 0, "gitops itself sees nothing left to do"

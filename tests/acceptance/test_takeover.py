"""FAULTS 22: a controller that was stopped in mid-rollout and passed over can do nothing when it goes on."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.controllers import stopped
from support.load import Load
from support.shop import MakeShop, Shop, until

from gitops.execute.processes import find

pytestmark = pytest.mark.lab


@contextmanager
def syncing(shop: Shop) -> Iterator[subprocess.Popen[str]]:
    """`gitops sync`, not waited for; it is ended however it stands."""
    command = shop.command("sync", shop.name, "-o", "json")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def run_of(shop: Shop) -> list[int]:
    """The processes of the deployment that runs: ansible-playbook and its workers."""
    return find(max((shop.folder / "runs" / shop.name).iterdir(), key=lambda run: run.stat().st_ctime_ns))


def locks(shop: Shop, *arguments: str) -> dict[str, dict[str, Any]]:
    names = [member["name"] for member in (*shop.lab.data["hosts"], *shop.lab.data["edges"])]
    return {lock["host"]: lock for lock in shop.read("unlock", *names, *arguments)["locks"]}


@pytest.mark.parametrize("whole", [True, False], ids=["with its playbook", "alone"])
def test_stopped_passed_over_and_continued_it_does_nothing(
    make_shop: MakeShop, tmp_path: Path, whole: bool
) -> None:
    first = make_shop("passed" if whole else "alone", replicas=2)
    first.compose["services"]["web"]["deploy"]["update_config"]["monitor"] = "3s"
    good = first.deploy("1")
    second = first.with_another_controller(tmp_path / "second")
    first.compose["services"]["web"]["image"] = half = first.image("2")
    bad = first.push("v2")
    with Load(first.lab.address("e1"), host=f"{first.name}.test") as load, syncing(first) as passed_over:
        until(lambda: any(half in rest for rest in first.containers().values()), 120, "a replica of v2")
        with stopped([passed_over.pid, *(run_of(first) if whole else [])]):
            held = locks(first)
            assert {(lock["state"], lock["owner"]["process"]) for lock in held.values()} == {
                ("held", passed_over.pid)
            }
            first.compose["services"]["web"]["image"] = new = first.image("3")
            first.push("v3")
            refused = second.gitops("sync", second.name, "--wait", "0")
            assert refused.returncode == 1
            assert f"held by gitops on the command line (process {passed_over.pid} on" in refused.stderr
            taken = locks(first, "--force")
            assert {lock["state"] for lock in taken.values()} == {"taken-over"}
            assert {name: lock["owner"] for name, lock in taken.items()} == {
                name: lock["owner"] for name, lock in held.items()
            }
            deployed = second.sync()
            assert deployed["outcome"] == "succeeded", deployed
            after = first.containers(), first.haproxy_cfg()
            left = run_of(first)
        said, _ = passed_over.communicate(timeout=120)
        assert [pid for pid in left if Path(f"/proc/{pid}").exists()] == []
        assert (first.containers(), first.haproxy_cfg()) == after
    assert passed_over.returncode == 1
    ended = next(d for d in first.history() if d["commit"] == bad)
    assert ended["outcome"] == "failed", said
    assert "its lock was lost, and another controller has had it since" in ended["reason"]
    status = first.read("status", first.name)
    assert (status["commit"], status["quarantined"]) == (good, [])
    assert {rest.split()[2] for name, rest in after[0].items() if "-web-" in name} == {new}
    assert not load.report.failures, load.report
    assert list(load.report.answers) == ["1", "2", "3"] or list(load.report.answers) == ["1", "3"]

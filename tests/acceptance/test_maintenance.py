"""Hosts that are drained and maintained under load, one by one: nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.load import Load
from support.shop import MakeShop, Shop

pytestmark = pytest.mark.lab

PATCH = """\
- name: Patch
  hosts: all
  gather_facts: false
  tasks:
    - name: Leave a mark
      ansible.builtin.raw: "[ ! -e /var/lib/gitops/refuse ] && date >> /var/lib/gitops/patched"
"""


def on(shop: Shop, host: str) -> set[str]:
    """The application's containers on a host."""
    return {name for name in shop.containers() if name.startswith(f"{host}/")}


def moves(shop: Shop, *command: str) -> tuple[int, dict[str, object]]:
    """A command on hosts: its exit code and what it says."""
    done = shop.gitops(*command, "-o", "json")
    assert done.stdout, done.stderr
    print(done.stderr)  # noqa: T201 - of the playbook, for who reads why it failed
    return done.returncode, json.loads(done.stdout)


def test_hosts_are_maintained_one_by_one_under_load(make_shop: MakeShop, tmp_path: Path) -> None:
    shop = make_shop("care", scheduler={"rebalance": True})
    db = {
        "image": shop.image("1"),
        "init": True,
        "volumes": ["data:/data"],
    }
    shop.compose["services"]["db"] = db
    shop.compose["volumes"] = {"data": {}}
    playbook = tmp_path / "patch.yml"
    playbook.write_text(PATCH)
    hosts = [host["name"] for host in shop.lab.data["hosts"]]
    shop.deploy("1")
    home = next(name.split("/")[0] for name in shop.containers() if "-db-" in name)

    with Load(shop.lab.address("e1"), host="care.test") as load:
        with shop.serving():
            code, view = moves(shop, "maintain", "--playbook", str(playbook))
        assert code == 0, view
        assert view == {
            "hosts": [
                {"host": host, "state": "done", "message": "maintained, and back in service"}
                for host in hosts
            ]
        }
        for host in hosts:
            assert len(shop.lab.on(host, "cat", "/var/lib/gitops/patched").splitlines()) == 1
            shop.lab.on(host, "rm", "/var/lib/gitops/patched")

        # Without a service the command does the work itself. What has its data there stays, and says so.
        code, view = moves(shop, "drain", home)
        assert code == 0, view
        assert view["left"] == [
            {
                "app": "care",
                "service": "db",
                "slot": 1,
                "reason": f"stays: its volume care_data is on {home} (host {home} drained)",
            }
        ]
        assert {name.split("-")[1] for name in on(shop, home)} == {"db"}
        status = shop.read("status", "care")
        assert {host["name"] for host in status["hosts"] if host["state"] == "drained"} == {home}
        assert (status["sync"], status["health"]) == ("synced", "healthy")
        last = shop.history()[0]
        assert (last["trigger"], last["outcome"]) == ("drain", "succeeded")

        # A playbook that fails ends it there. The host that had been drained before is left alone.
        other = next(host for host in hosts if host != home)
        shop.lab.on(other, "touch", "/var/lib/gitops/refuse")
        code, view = moves(shop, "maintain", "--playbook", str(playbook), home, other, *hosts)
        assert (code, [(each["host"], each["state"]) for each in view["hosts"]]) == (
            1, [(home, "skipped"), (other, "failed")]
        )  # fmt: skip
        assert not on(shop, other)
        shop.lab.on(other, "rm", "/var/lib/gitops/refuse")
        for host in (home, other):
            code, view = moves(shop, "undrain", host)
            assert (code, view["drained"]) == (0, False)
        assert not on(shop, other)
        with shop.serving():
            shop.until(lambda: len(on(shop, other)) == 1, 120, f"a replica moved to {other}")
        moved = next(d for d in shop.history() if d["outcome"] == "succeeded")
        assert (moved["trigger"], moved["changes"]["started"], moved["changes"]["stopped"]) == ("poll", 1, 1)
    assert not load.report.failures, load.report
    assert (
        shop.gitops("undrain", home).stderr.strip().endswith(f"{home} is not drained (drained: no host is)")
    )
    assert "no container host 'h99'" in shop.gitops("drain", "h99").stderr

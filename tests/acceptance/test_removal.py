"""`gitops remove`, and what is said of applications that gitops.yaml does not name."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
import yaml
from support.controllers import controller, machine
from support.labs import Lab
from support.load import Load
from support.shop import MakeShop, Shop, until

pytestmark = pytest.mark.lab


def with_data(shop: Shop) -> None:
    """Its api keeps data, in one replica."""
    shop.compose["services"]["api"]["volumes"] = ["data:/data"]
    shop.compose["volumes"] = {"data": {}}


def name_none(shop: Shop) -> None:
    """The application is taken out of gitops.yaml."""
    content = yaml.safe_load(shop.config.read_text())
    shop.config.write_text(yaml.safe_dump({**content, "apps": {}}))


def left(shop: Shop) -> dict[str, list[str]]:
    """What each host has of it: volumes, networks, and its folder."""
    found: dict[str, list[str]] = {}
    for host in shop.lab.data["hosts"]:
        name, engine = host["name"], host["engine"]
        for kind in ("volume", "network"):
            listed = shop.lab.on(name, engine, kind, "ls", "-q", "--filter", f"label=gitops.app={shop.name}")
            found.setdefault(kind, []).extend(listed.split())
    members = [*shop.lab.data["hosts"], *shop.lab.data["edges"]]
    folder = f"/var/lib/gitops/{shop.name}"
    found["folder"] = [m["name"] for m in members if shop.lab.on(m["name"], "ls", "-d", folder, check=False)]
    return found


def test_an_application_is_removed_while_a_service_follows_it(make_shop: MakeShop) -> None:
    stays, shop = make_shop("stays", served=True, replicas=2), make_shop("goes", replicas=2)
    stays.deploy("1")
    with_data(shop)
    with shop.serving():
        shop.ended(shop.push("one"))
        before = shop.containers()
        refused = shop.gitops("remove", shop.name)
        assert (refused.returncode, "nobody has agreed" in refused.stderr) == (1, True), refused.stderr
        assert next(iter(before)).split("/")[1] in refused.stderr, "it says what would go"
        assert shop.containers() == before

        # Another controller names what this one has, and does not call it a fault.
        assert "goes is not in this gitops.yaml" in stays.gitops("status", stays.name).stdout
        doctor = stays.read("doctor")
        found = next(c for c in doctor["checks"] if c["check"] == "application goes")
        assert (found["ok"], "another controller may deploy it" in found["message"]) == (True, True)

        with Load(shop.lab.address("e1"), host="stays.test") as load:
            done = shop.gitops("remove", shop.name, "--confirm", "-o", "json")
        assert done.returncode == 0, done.stderr
        assert not load.report.failures, load.report
        view: dict[str, Any] = json.loads(done.stdout)
        assert (view["removed"], view["in_config"], view["volumes_removed"]) == (True, True, False)
        assert [v for host in view["hosts"] for v in host["volumes"]] == ["goes_data"]
        assert shop.containers() == {}
        assert left(shop) == {"volume": ["goes_data"], "network": [], "folder": []}
        assert "goes" not in shop.haproxy_cfg()
        assert not list(shop.folder.glob("repos/*"))
        assert not list(shop.folder.glob("runs/*"))
        assert shop.read("status", shop.name)["health"] == "suspended"
        again = shop.gitops("sync", shop.name)
        assert (again.returncode, "gitops resume goes" in again.stderr) == (1, True), again.stderr

        assert shop.gitops("resume", shop.name).returncode == 0
        assert shop.gitops("sync", shop.name).returncode == 0, "it may be deployed anew"
        assert len(shop.containers()) == 3
        name_none(shop)
        wanted = "goes is not in this gitops.yaml, and was deployed from here"
        shop.until(lambda: wanted in shop.service_log, 60, "the service names it")
        assert len(shop.containers()) == 3, "and does not remove it by itself"
        assert wanted in shop.gitops("status").stdout
        assert "gitops remove goes" in shop.gitops("doctor").stdout
        done = shop.gitops("remove", shop.name, "-y", "--volumes")
        assert done.returncode == 0, done.stderr
    assert left(shop) == {"volume": [], "network": [], "folder": []}
    assert shop.containers() == {}
    assert shop.gitops("remove", shop.name, "-y").returncode == 0, "a second time there is nothing to do"
    assert wanted not in shop.gitops("status").stdout


def test_what_is_paused_while_it_waits_for_a_lock_is_not_deployed(make_shop: MakeShop, lab: Lab) -> None:
    """As by `gitops remove`: a service that was about to deploy would bring it all back."""
    shop = make_shop("waits", replicas=1)
    shop.push("one")
    with controller(machine(lab, "h1")), (shop.folder / "sync.log").open("w") as log:
        sync = subprocess.Popen(shop.command("sync", shop.name), stdout=log, stderr=log)
        said = shop.folder / "sync.log"
        until(lambda: "another controller" in said.read_text(), 60, "it waits for the lock")
        assert shop.gitops("pause", shop.name).returncode == 0
    assert sync.wait(timeout=120) == 1
    assert "was paused meanwhile" in said.read_text()
    assert shop.containers() == {}


def test_a_host_that_does_not_answer_is_said_and_done_the_next_time(make_shop: MakeShop) -> None:
    shop = make_shop("partly", replicas=3)
    shop.deploy("1")
    other = make_shop("other", replicas=1, sync="manual")
    other.push("one")
    with other.serving():  # another controller, which looks at the same hosts when it starts
        wanted = "partly is not in this gitops.yaml: 4 containers on "
        other.until(lambda: wanted in other.service_log, 60, "the service names it")
    name_none(shop)
    shop.lab.run("cut", "h1")
    try:
        done = shop.gitops("remove", shop.name, "--confirm", "-o", "json")
    finally:
        shop.lab.run("mend", "h1")
    assert done.returncode == 1, done.stdout
    view = json.loads(done.stdout)
    assert view["removed"] is False
    assert [host["name"] for host in view["hosts"] if host["error"]] == ["h1"]
    there = shop.containers()
    assert there
    assert all(name.startswith("h1/") for name in there), "elsewhere it is done"
    assert "partly" not in shop.haproxy_cfg()
    done = shop.gitops("remove", shop.name, "--confirm")
    assert done.returncode == 0, done.stderr
    assert shop.containers() == {}
    assert left(shop)["folder"] == []

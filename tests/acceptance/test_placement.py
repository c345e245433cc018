"""Placement on real engines: labels of hosts, what is reserved, what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.labs import Lab
from support.shop import MakeShop, Shop

pytestmark = pytest.mark.lab

KIB = 1024


def labelled(lab: Lab, folder: Path, zones: dict[str, str]) -> str:
    """The lab's inventory with labels for some hosts."""
    inventory = folder / "inventory"
    shutil.copytree(Path(lab.data["inventory"]), inventory)
    for host, zone in zones.items():
        with (inventory / "host_vars" / f"{host}.yml").open("a") as file:
            file.write(f"gitops_labels: {{zone: {zone}}}\n")
    return str(inventory)


def hosts_of(shop: Shop, service: str) -> list[str]:
    return sorted(name.partition("/")[0] for name in shop.containers() if f"-{service}-" in name)


def memory_of(lab: Lab, host: str) -> int:
    """Bytes."""
    return int(lab.on(host, "sh", "-c", "grep MemTotal /proc/meminfo").split()[1]) * KIB


def beside(shop: Shop, hosts: list[str], others: list[str], memory: int) -> None:
    """Another application of the fleet finds no room beside the first, and says so of each host."""
    shop.compose["services"] = {"web": shop.compose["services"]["web"]}
    deploy = shop.compose["services"]["web"]["deploy"]
    deploy["placement"] = {"constraints": ["node.labels.zone == a"]}
    deploy["resources"] = {"reservations": {"memory": str(memory)}}
    shop.push("no room in zone a")
    planned = shop.gitops("plan", shop.name)
    assert planned.returncode == 1
    first, *table, _ = planned.stderr.splitlines()
    assert first.endswith("no host can take replica 1 of web:")
    told = {line.split()[0]: " ".join(line.split()[1:]) for line in table}
    assert all(told[host].startswith("memory: ") and told[host].endswith(" needed") for host in hosts)
    assert all(told[host] == "constraint node.labels.zone == a: zone is b" for host in others)
    refused = shop.sync()
    assert (refused["exit"], refused["outcome"]) == (1, "failed")
    assert "no host can take replica 1 of web" in refused["message"]
    assert not shop.containers()
    deploy["placement"]["constraints"] = ["node.labels.zone == b"]
    shop.push("room in zone b")
    assert shop.sync()["outcome"] == "succeeded"
    assert set(hosts_of(shop, "web")) <= set(others)


def impossible(shop: Shop, memory: int) -> None:
    """A label that no host has, and more memory than any host has."""
    deploy = shop.compose["services"]["web"]["deploy"]
    before, good = shop.containers(), shop.read("status", shop.name)["commit"]
    deploy["placement"]["constraints"] = ["node.labels.zoen == a"]
    shop.push("a slip")
    slip = shop.gitops("sync", shop.name)
    assert slip.returncode == 1
    assert "compose.yaml:" in slip.stderr
    assert "no container host has the label `zoen` (the hosts have the labels zone)" in slip.stderr
    deploy["placement"]["constraints"] = ["node.labels.zone == a"]
    wanted = deploy["resources"]["reservations"]["memory"]
    deploy["resources"]["reservations"]["memory"] = str(memory)
    shop.push("more than any host has")
    assert "memory: " in shop.sync()["message"]
    deploy["resources"]["reservations"]["memory"] = wanted
    assert shop.containers() == before
    assert shop.read("status", shop.name)["commit"] == good


def broken(shop: Shop, inventory: Path) -> None:
    """An inventory that is none, has lost its hosts, or has one machine twice: what runs is left alone."""
    before, file = shop.containers(), inventory / "hosts.yml"
    text = file.read_text()
    host, address = shop.lab.data["hosts"][0]["name"], shop.lab.data["hosts"][0]["address"]
    twin = f"container_hosts: {{hosts: {{{host}: , twin: {{ansible_host: {address}}}}}}}\n"
    for content, problem in (
        ("all: [\n", "hosts.yml"),
        ("all: {hosts: {x1: }}\n", "no host in the group `container_hosts`"),
        (twin, f"hosts {host} and twin have the same address {address}"),
    ):
        file.write_text(content)
        done = shop.gitops("sync", shop.name)
        assert (done.returncode, problem in done.stderr) == (1, True), done.stderr
    file.write_text(text)
    assert shop.containers() == before


def test_replicas_go_where_they_may_and_fit_or_nothing_is_touched(
    lab: Lab, make_shop: MakeShop, tmp_path: Path
) -> None:
    one, two, *others = sorted(host["name"] for host in lab.data["hosts"])
    inventory = labelled(lab, tmp_path, {one: "a", two: "a", **dict.fromkeys(others, "b")})
    most = memory_of(lab, one)
    share = most * 6 // 10  # twice as much is more than a host has
    shop = make_shop("placed", replicas=2, inventory=inventory)
    deploy = shop.compose["services"]["web"]["deploy"]
    deploy["placement"] = {
        "constraints": ["node.labels.zone == a", "node.platform.os == linux"],
        "max_replicas_per_node": 1,
    }
    deploy["resources"] = {"reservations": {"cpus": "0.1", "memory": str(share)}}
    shop.push("in zone a, one on each host")
    assert shop.sync()["outcome"] == "succeeded"
    assert hosts_of(shop, "web") == [one, two]
    before = shop.containers()
    name = next(each.partition("/")[2] for each in before if each.startswith(f"{one}/placed-web-"))
    labels = '{{index .Config.Labels "gitops.cpus"}} {{index .Config.Labels "gitops.memory"}}'
    engine = next(host["engine"] for host in lab.data["hosts"] if host["name"] == one)
    assert lab.on(one, engine, "inspect", "-f", labels, name) == f"100 {share}"

    beside(make_shop("beside", replicas=1, inventory=inventory), [one, two], others, share)
    impossible(shop, 2 * most)
    broken(shop, Path(inventory))
    assert shop.containers() == before

    deploy["placement"]["constraints"] = [f"node.hostname != {one}"]
    shop.push("off the first host")
    assert shop.sync()["outcome"] == "succeeded"
    after = shop.containers()
    assert one not in hosts_of(shop, "web")
    kept = {name: rest for name, rest in before.items() if not name.startswith(f"{one}/placed-web-")}
    assert kept.items() <= after.items(), "what need not move was moved"

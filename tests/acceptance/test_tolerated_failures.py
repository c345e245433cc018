"""`max_failure_ratio`: a replica that fails is done without, and what it was to replace stays."""

from __future__ import annotations

import pytest
from support.load import Load
from support.shop import MakeShop, Shop

pytestmark = pytest.mark.lab

FLAGS = "/run/flags"


def flagged(shop: Shop, but: str) -> None:
    """Makes a folder on every host, with a flag on all but one."""
    for host in shop.lab.data["hosts"]:
        command = f"mkdir -p {FLAGS}; rm -f {FLAGS}/ok; [ {host['name']} = {but} ] || touch {FLAGS}/ok"
        shop.lab.on(host["name"], "sh", "-c", command)


def test_within_the_ratio_the_rollout_goes_on_and_the_old_replica_serves(make_shop: MakeShop) -> None:
    shop = make_shop("ratio", served=True, replicas=5)
    web = shop.compose["services"]["web"]
    web["volumes"] = [f"{FLAGS}:/flags:ro"]
    flagged(shop, but="")
    good = shop.deploy("1")
    host = next(name.partition("/")[0] for name in shop.containers() if "-web-" in name)
    old = {name: rest for name, rest in shop.containers().items() if name.startswith(f"{host}/ratio-web-")}
    flagged(shop, but=host)
    web["image"] = image = shop.image("2")
    web["healthcheck"] = {"test": ["CMD", "test", "-e", "/flags/ok"], "interval": "200ms", "retries": 2}
    web["deploy"]["update_config"]["max_failure_ratio"] = 0.1
    shop.push("one of five fails, one of ten is tolerated")
    with Load(shop.lab.address("e1"), host="ratio.test") as load:
        assert shop.sync()["outcome"] == "rolled-back"
        web["deploy"]["update_config"]["max_failure_ratio"] = 0.3
        commit = shop.push("three of ten are tolerated")
        result = shop.sync()
    assert (result["exit"], result["outcome"]) == (0, "succeeded"), result
    assert "stays as it was" in result["message"]
    assert not load.report.failures, load.report
    webs = {name: rest for name, rest in shop.containers().items() if "-web-" in name}
    assert {name: rest for name, rest in webs.items() if image not in rest} == old
    assert len(webs) == 5
    status = shop.read("status", shop.name)
    assert (status["commit"], good != commit) == (commit, True)
    assert status["health"] == "degraded"
    flagged(shop, but="")
    assert shop.sync()["outcome"] == "succeeded"
    assert all(image in rest for name, rest in shop.containers().items() if "-web-" in name)

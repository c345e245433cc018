"""What a failed commit leaves behind, by policy, and what an operator does about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.load import Load
from support.shop import NEVER_HEALTHY, MakeShop, Shop, until

pytestmark = pytest.mark.lab


def broken(shop: Shop) -> str:
    """Pushes a commit whose web is never healthy, and changes the file back."""
    web = shop.compose["services"]["web"]
    before = dict(web)
    web["healthcheck"] = {"test": NEVER_HEALTHY, "interval": "200ms", "retries": 2}
    commit = shop.push("never healthy")
    shop.compose["services"]["web"] = before
    return commit


def ids(shop: Shop, service: str) -> set[str]:
    return {rest.split()[0] for name, rest in shop.containers().items() if f"-{service}-" in name}


def test_a_commit_that_changes_one_service_leaves_the_other_alone(make_shop: MakeShop) -> None:
    shop = make_shop("touch", served=True)
    shop.deploy("1")
    api, web = ids(shop, "api"), ids(shop, "web")
    shop.compose["services"]["web"]["image"] = shop.image("2")
    shop.push("a new web")
    plan = shop.read("plan", shop.name)
    assert {s["service"] for s in plan["steps"] if s["action"] == "start"} == {"web"}
    assert all("image changed" in s["reason"] for s in plan["steps"] if s["action"] == "start")
    assert "+" in plan["haproxy_diff"]
    result = shop.sync()
    assert result["exit"] == 0
    assert result["deployment"]["changes"] == {"started": 4, "stopped": 4, "kept": 1}
    assert ids(shop, "api") == api
    assert not ids(shop, "web") & web


def test_nothing_to_do_is_said_and_records_nothing(make_shop: MakeShop) -> None:
    shop = make_shop("idle", replicas=1)
    shop.deploy("1")
    assert shop.gitops("plan", shop.name).returncode == 0
    result = shop.sync()
    assert (result["exit"], result["outcome"]) == (0, "nothing")
    assert len(shop.history()) == 1


def test_a_first_deployment_that_fails_is_cleaned_up(make_shop: MakeShop) -> None:
    shop = make_shop("first", served=True, replicas=2)
    bad = broken(shop)
    result = shop.sync()
    assert (result["exit"], result["outcome"]) == (3, "rolled-back")
    assert shop.containers() == {}
    assert "first" not in shop.haproxy_cfg().replace("managed", "")
    assert shop.read("status", shop.name)["quarantined"] == [bad]
    shop.deploy("2")


def test_a_failed_commit_stays_quarantined_until_a_retry(make_shop: MakeShop) -> None:
    """No retry loop, no ping-pong: the second try of the same commit does nothing at all."""
    shop = make_shop("retry", served=True, replicas=2)
    good = shop.deploy("1")
    bad = broken(shop)
    assert shop.sync()["outcome"] == "rolled-back"
    before = shop.containers()
    again = shop.sync()
    assert again["outcome"] in {"nothing", "held"}
    assert shop.containers() == before
    assert len(shop.history()) == 2
    assert bad[:12] in shop.gitops("retry", shop.name).stdout
    assert shop.sync()["outcome"] == "rolled-back"
    third = broken(shop)
    assert shop.sync()["outcome"] == "rolled-back"
    status = shop.read("status", shop.name)
    assert status["commit"] == good
    assert set(status["quarantined"]) == {bad, third}
    assert status["sync"] == "out-of-sync"
    assert status["health"] == "healthy"


def test_on_failure_halt_leaves_it_as_it_is_and_says_so(make_shop: MakeShop) -> None:
    shop = make_shop("halt", served=True, replicas=2, on_failure="halt")
    shop.deploy("1")
    broken(shop)
    result = shop.sync()
    assert (result["exit"], result["outcome"]) == (1, "failed")
    assert "on_failure is halt" in result["message"]
    left = shop.containers()
    assert len(left) == 4, "the replica that never became healthy is still there to be looked at"
    assert shop.sync()["outcome"] == "held"
    assert shop.containers() == left
    shop.deploy("3")
    assert len(shop.containers()) == 3


def test_on_failure_revert_pushes_a_commit_that_returns_the_branch(make_shop: MakeShop) -> None:
    shop = make_shop("revert", served=True, replicas=2, on_failure="revert")
    shop.deploy("1")
    at = ("-C", str(shop.checkout))
    tree = shop.git(*at, "rev-parse", "HEAD^{tree}")
    bad = broken(shop)
    assert shop.sync()["outcome"] == "rolled-back"
    shop.git(*at, "fetch", "-q", "origin")
    assert shop.git(*at, "rev-parse", "origin/main^{tree}") == tree
    assert shop.git(*at, "rev-parse", "origin/main^") == bad
    assert "unhealthy" in shop.git(*at, "log", "-1", "--format=%B", "origin/main")
    result = shop.sync()
    assert result["exit"] == 0
    assert shop.read("status", shop.name)["sync"] == "synced"


def test_rollback_by_hand_goes_to_the_previous_good_commit_and_stays(make_shop: MakeShop) -> None:
    shop = make_shop("byhand", replicas=2)
    first = shop.deploy("1")
    second = shop.deploy("2")
    with Load(shop.lab.address("e1"), host="byhand.test") as load:
        done = shop.gitops("rollback", shop.name, "-o", "json")
    assert done.returncode == 0, done.stderr
    assert not load.report.failures, load.report
    status = shop.read("status", shop.name)
    assert status["commit"] == first
    assert status["quarantined"] == [second]
    assert [each["commit"] for each in status["quarantine"]] == [second]
    held = shop.read("plan", shop.name)["held"]
    assert held.startswith("quarantined: ")
    assert held.endswith(f"(gitops retry {shop.name})")
    # As the automatic way back does: all at once, not batch by batch.
    run = max((shop.folder / "runs" / shop.name).iterdir())
    starts = [line for line in (run / "rollout.yml").read_text().splitlines() if '"do": "start"' in line]
    assert len(starts) == 3
    assert not [line for line in starts if "start h" in line.partition('"after"')[2] and "web" in line], (
        starts
    )
    assert {s["image"] for s in status["services"]} == {shop.image("1")}
    assert shop.sync()["exit"] == 0
    assert shop.read("status", shop.name)["commit"] == first


def test_paused_holds_and_resumed_goes_on(make_shop: MakeShop) -> None:
    shop = make_shop("paused", replicas=1)
    shop.deploy("1")
    assert shop.gitops("pause", shop.name).returncode == 0
    shop.compose["services"]["web"]["image"] = shop.image("2")
    shop.push("v2")
    refused = shop.gitops("sync", shop.name)
    assert refused.returncode == 1
    assert f"gitops resume {shop.name}" in refused.stderr
    assert shop.read("status", shop.name)["health"] == "suspended"
    assert shop.gitops("resume", shop.name).returncode == 0
    assert shop.sync()["outcome"] == "succeeded"


def test_a_commit_that_says_nonsense_changes_nothing_and_is_told_with_its_place(make_shop: MakeShop) -> None:
    shop = make_shop("nonsense", replicas=1)
    good = shop.deploy("1")
    before = shop.containers(), shop.haproxy_cfg()
    web: dict[str, Any] = shop.compose["services"]["web"]
    web["deploy"]["replcas"] = 3
    web["build"] = "."
    shop.push("nonsense")
    result = shop.sync()
    assert (result["exit"], result["outcome"]) == (1, "failed")
    assert "compose.yaml:" in result["message"]
    assert "replicas" in result["message"]
    assert "registry" in result["message"]
    assert (shop.containers(), shop.haproxy_cfg()) == before
    assert shop.read("status", shop.name)["commit"] == good


def test_removing_most_of_an_application_waits_for_a_confirmation(make_shop: MakeShop) -> None:
    shop = make_shop("removal", replicas=1)
    web = shop.compose["services"]["web"]
    idle = {"image": web["image"], "command": ["sleep", "600"], "init": True}
    for number in range(4):
        deploy = {"update_config": {"monitor": "1s"}}
        shop.compose["services"][f"extra{number}"] = {**idle, "deploy": deploy}
    shop.deploy("1")
    before = shop.containers()
    shop.compose["services"] = {"web": web}
    commit = shop.push("only web is left")
    result = shop.sync()
    assert (result["exit"], result["outcome"]) == (1, "failed")
    assert "--confirm" in result["message"]
    assert shop.containers() == before
    assert shop.gitops("sync", shop.name, "--confirm").returncode == 0
    assert [name for name in shop.containers() if "-web-" not in name] == []
    assert shop.read("status", shop.name)["commit"] == commit


def test_text_of_a_commit_is_never_evaluated(make_shop: MakeShop, tmp_path: Path) -> None:
    """FAULTS 9: what looks like a template is literal text on the host."""
    shop = make_shop("literal", replicas=1)
    mark = tmp_path / "evaluated"
    trap = f"{{{{ lookup('pipe', 'touch {mark}') }}}}"
    web = shop.compose["services"]["web"]
    web["environment"] = {"TRAP": trap}
    web["labels"] = {"trap": trap}
    web["command"] = ["sh", "-c", f'echo "{trap}" > /www/index.html; exec httpd -f -p 80 -h /www']
    shop.deploy("1")
    with Load(shop.lab.address("e1"), host="literal.test", clients=1) as load:
        host, name = next(n.split("/") for n in shop.containers() if "-web-" in n)
        engine = next(h["engine"] for h in shop.lab.data["hosts"] if h["name"] == host)
        seen = shop.lab.on(host, engine, "inspect", name)
    assert trap in seen
    assert list(load.report.answers) == [trap]
    assert not mark.exists()


def test_a_version_that_flaps_never_replaces_the_one_that_serves(make_shop: MakeShop) -> None:
    """FAULTS 19: without a health check, one that exits within the monitor window takes no request."""
    shop = make_shop("flaps", served=True, replicas=2)
    web = shop.compose["services"]["web"]
    del web["healthcheck"]
    web["deploy"]["update_config"]["monitor"] = "4s"
    shop.deploy("1")
    web["command"] = ["sh", "-c", "httpd -p 80 -h /www; echo bad > /www/index.html; sleep 2; exit 9"]
    shop.push("exits after 2 s")
    with Load(shop.lab.address("e1"), host="flaps.test") as load:
        result = shop.sync()
    assert result["outcome"] == "rolled-back"
    assert "code 9" in result["message"]
    assert not load.report.failures, load.report
    assert list(load.report.answers) == ["1"]


def test_a_host_that_is_lost_half_way_is_left_out_and_the_commit_is_deployed_when_it_is_back(
    make_shop: MakeShop,
) -> None:
    shop = make_shop("lost", replicas=4)
    good = shop.deploy("1")
    lost = next(name.split("/")[0] for name in shop.containers() if "-web-3-" in name)
    shop.compose["services"]["web"]["image"] = image = shop.image("2")
    bad = shop.push("v2")
    with shop.serving():
        until(
            lambda: any(image in rest for rest in shop.containers().values()), 120, "the first replica of v2"
        )
        shop.lab.run("cut", lost)
        try:
            ended = shop.ended(bad)
            assert ended["outcome"] == "rolled-back", ended
            assert lost in ended["reason"]
            status = shop.read("status", shop.name)
            assert {"name": lost, "state": "unreachable"}.items() <= next(
                host for host in status["hosts"] if host["name"] == lost
            ).items()
            assert (status["commit"], status["quarantined"]) == (good, [])
        finally:
            shop.lab.run("mend", lost)
        shop.gitops("sync", shop.name)
        until(
            lambda: shop.read("status", shop.name)["health"] == "healthy", 120, "a fleet that is whole again"
        )
        until(lambda: shop.records.good(shop.name) == bad, 120, "the commit, which was not at fault")
        until(
            lambda: (
                [rest for name, rest in shop.containers().items() if "-web-" in name and image not in rest]
                == []
            ),
            120,
            "no container of the version before",
        )


def test_a_good_commit_that_cannot_be_put_back_is_not_blamed(make_shop: MakeShop) -> None:
    shop = make_shop("taken", replicas=1)
    web = shop.compose["services"]["web"]
    del shop.compose["services"]["api"], web["x-ingress"]
    web["ports"] = [{"target": 80, "published": 18080, "mode": "host"}]
    web["deploy"]["placement"] = {"constraints": ["node.hostname == h1"]}
    shop.deploy("1")
    shop.lab.on("h1", "sh", "-c", "docker rm -f $(docker ps -q --filter label=gitops.app=taken)")
    other = shop.lab.on("h1", "docker", "run", "-d", "-p", "18080:80", shop.image("1"))
    try:
        refused = shop.gitops("sync", "taken")
        assert refused.returncode == 1
        assert "host port 18080 is taken" in refused.stderr
        assert shop.read("status", "taken")["quarantined"] == []
        assert len(shop.history()) == 1
    finally:
        shop.lab.on("h1", "docker", "rm", "-f", other)
    assert shop.sync()["outcome"] == "succeeded"

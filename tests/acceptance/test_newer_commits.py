"""What ends a rollout before its end: newer commits, and operators."""

from __future__ import annotations

import pytest
from support.load import Load
from support.shop import NEVER_HEALTHY, MakeShop, Shop

pytestmark = pytest.mark.lab


def push_version(shop: Shop, version: str, *, monitor: str = "1s") -> str:
    """Pushes another image of web; with a long monitor window its fifth replica waits for a while."""
    web = shop.compose["services"]["web"]
    web["image"] = shop.image(version)
    web["deploy"]["update_config"]["monitor"] = monitor
    return shop.push(f"version {version}")


def started(shop: Shop, slot: int, version_commit: str) -> None:
    """Waits until the service has started that replica of web for the newest deployment."""

    def look() -> bool:
        newest = shop.deployments()[0]
        return newest.commit == version_commit and f"web.{slot} started" in shop.service_log

    shop.until(look, 120, f"web.{slot} of {version_commit[:12]}")


def images(shop: Shop) -> set[str]:
    return {rest.split()[2] for name, rest in shop.containers().items() if "-web-" in name}


def test_newer_commits_take_over_at_a_batch_boundary_and_each_is_deployed_once(make_shop: MakeShop) -> None:
    shop = make_shop("newer", replicas=5)
    shop.deploy("1")
    for version in "234":
        shop.image(version)
    with Load(shop.lab.address("e1"), host="newer.test") as load, shop.serving():
        first = push_version(shop, "2", monitor="20s")
        started(shop, 1, first)
        between = push_version(shop, "3")
        last = push_version(shop, "4")
        assert shop.ended(last)["outcome"] == "succeeded"
    outcomes = {d["commit"]: d["outcome"] for d in shop.history()}
    assert outcomes[first] == "superseded"
    assert outcomes.get(between) in {None, "superseded"}, "the commit in between was deployed, too"
    assert [d["outcome"] for d in shop.history() if d["commit"] == last] == ["succeeded"]
    assert images(shop) == {shop.compose["services"]["web"]["image"]}
    assert len(shop.containers()) == 6
    assert not load.report.failures, load.report
    assert "4" in load.report.answers


def test_by_policy_a_rollout_ends_before_a_newer_commit_is_deployed(make_shop: MakeShop) -> None:
    shop = make_shop("finish", replicas=2, on_new_commit="finish")
    shop.deploy("1")
    with shop.serving():
        first = push_version(shop, "2")
        started(shop, 1, first)
        last = push_version(shop, "3")
        assert shop.ended(last)["outcome"] == "succeeded"
    assert [d["outcome"] for d in shop.history()[:2]] == ["succeeded", "succeeded"]
    assert shop.history()[1]["commit"] == first


def test_cancel_ends_a_rollout_and_returns_to_the_last_good_commit(make_shop: MakeShop) -> None:
    shop = make_shop("cancelled", replicas=5)
    good = shop.deploy("1")
    before = images(shop)
    with Load(shop.lab.address("e1"), host="cancelled.test") as load, shop.serving():
        commit = push_version(shop, "2", monitor="20s")
        started(shop, 1, commit)
        assert shop.gitops("cancel", shop.name).returncode == 0
        ended = shop.ended(commit)
    assert (ended["outcome"], ended["reason"]) == ("cancelled", "cancelled by hand: gitops cancel")
    assert images(shop) == before
    assert len(shop.containers()) == 6
    status = shop.read("status", shop.name)
    assert (status["commit"], status["quarantined"]) == (good, [commit])
    assert not load.report.failures, load.report
    refused = shop.gitops("cancel", shop.name)
    assert refused.returncode == 1
    assert "is not being deployed" in refused.stderr


def test_a_paused_update_is_held_half_way_until_it_is_resumed(make_shop: MakeShop) -> None:
    shop = make_shop("paused", replicas=2)
    shop.deploy("1")
    web = shop.compose["services"]["web"]
    healthy = web["healthcheck"]
    web["deploy"]["update_config"]["failure_action"] = "pause"
    web["healthcheck"] = {"test": NEVER_HEALTHY, "interval": "200ms", "retries": 2}
    commit = push_version(shop, "2")
    result = shop.sync()
    assert (result["exit"], result["outcome"]) == (1, "failed")
    assert "failure_action is pause" in result["message"]
    left = shop.containers()
    assert len(left) == 4, "the replica that failed is still there, beside those that serve"
    assert shop.sync()["outcome"] == "held"
    assert shop.gitops("resume", shop.name).returncode == 0
    assert shop.sync()["outcome"] == "failed", "the same commit again, and it is as broken as before"
    assert [d["commit"] for d in shop.history()[:2]] == [commit, commit]
    web["healthcheck"] = healthy
    shop.push("mended")
    assert shop.sync()["outcome"] == "succeeded"
    assert len(shop.containers()) == 3

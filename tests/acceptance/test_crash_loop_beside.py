"""A container of one application that crashes for ever is no trouble of its host, nor of the others."""

from __future__ import annotations

import pytest
from support.labs import Lab
from support.load import Load
from support.shop import MakeShop

pytestmark = pytest.mark.lab


def loop(lab: Lab, host: str, engine: str, image: str) -> None:
    """Runs a container under our labels that ends at once and is restarted by its engine, for ever."""
    labels = ("gitops.app=crasher", "gitops.service=web", "gitops.slot=1", "gitops.spec=" + "0" * 64)
    words = [f"--label={label}" for label in labels]
    check = ("--health-cmd", "true", "--health-interval", "1s")
    run = (engine, "run", "-d", "--name", "crasher-web-1", "--restart", "always", *check, *words, image)
    lab.on(host, *run, "sh", "-c", "exit 1")


def test_a_crash_loop_disturbs_no_other_application_of_its_host(make_shop: MakeShop) -> None:
    shop = make_shop("calm", replicas=3, poll="10m", observe="1s")
    lab, places = shop.lab, [("h1", "docker"), ("p1", "podman")]
    web = shop.compose["services"]["web"]
    web["deploy"]["placement"] = {"constraints": ["node.hostname != h2", "node.hostname != h3"]}
    with shop.serving():
        assert shop.ended(shop.push("v1"))["outcome"] == "succeeded"
        for host, engine in places:
            loop(lab, host, engine, shop.image("1"))
        try:
            with Load(lab.address("e1"), host="calm.test") as load:
                for version in ("2", "1"):
                    web["image"] = shop.image(version)
                    ended = shop.ended(shop.push(f"version {version}"))
                    assert (ended["outcome"], ended["degraded"]) == ("succeeded", False), ended["reason"]
                for _ in range(5):
                    status = shop.read("status", "calm")
                    assert [host["error"] for host in status["hosts"]] == [""] * len(status["hosts"])
                assert not load.report.failures, load.report
        finally:
            for host, engine in places:
                lab.on(host, engine, "rm", "-f", "crasher-web-1")
    assert "is not running" not in shop.service_log
    assert "does not exist" not in shop.service_log
    assert "does not answer" not in shop.service_log


def test_what_crashes_after_its_success_is_seen(make_shop: MakeShop) -> None:
    shop = make_shop("late", replicas=1, served=True)
    del shop.compose["services"]["api"]
    web = shop.compose["services"]["web"]
    del web["healthcheck"]
    web["command"] = ["sh", "-c", "httpd -f -p 80 -h /www & sleep 6; exit 2"]
    web["deploy"]["placement"] = {"constraints": ["node.hostname == h1"]}
    shop.push("crashes after its monitor window")
    assert shop.sync()["outcome"] == "succeeded"

    def told() -> bool:
        status = shop.read("status", "late")
        named = [(each["what"], each["host"]) for each in status["crashing"] if each["restarts"] > 0]
        return named == [("web.1", "h1")] and status["health"] == "degraded"

    shop.until(told, 90, "a crash loop in status")
    assert "crashing     web.1 on h1: restarted" in shop.gitops("status", "late").stdout
    del web["command"]
    shop.push("does not crash")
    assert shop.sync()["outcome"] == "succeeded"
    assert (shop.read("status", "late")["health"], shop.read("status", "late")["crashing"]) == ("healthy", [])

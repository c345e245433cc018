"""Replicas that are unhealthy for what they depend on: a repair that does not help adds nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.labs import Lab
from support.programs import Programs
from support.shop import MakeShop

from gitops.model.deployment import Deployment

pytestmark = pytest.mark.lab

PORT = 19998


@pytest.fixture
def programs(lab: Lab) -> Iterator[Programs]:
    """What the replicas depend on; it is there until the application has been looked at for the last time."""
    with Programs(lab.registry.partition(":")[0]) as running:
        yield running


def test_what_all_replicas_depend_on_is_not_cured_by_more_of_them(
    programs: Programs, make_shop: MakeShop
) -> None:
    shop = make_shop("common", replicas=2, poll="10m", observe="1s")
    del shop.compose["services"]["api"]
    web = shop.compose["services"]["web"]
    address = shop.lab.registry.partition(":")[0]
    ask = ["CMD", "wget", "-q", "-O", "/dev/null", f"http://{address}:{PORT}/"]
    web["healthcheck"] = {"test": ask, "interval": "1s", "timeout": "5s", "retries": 2}
    web["deploy"]["placement"] = {"constraints": ["node.hostname == h1"]}
    seen: list[int] = []

    def drift() -> list[str]:
        seen.append(len(shop.containers()))
        return [entry["reason"] for entry in shop.read("status", "common")["drift"]]

    def failed() -> list[Deployment]:
        return [d for d in shop.deployments() if d.heals and d.outcome == "failed"]

    programs.start("dependency", {PORT: "fine"})
    with shop.serving():
        first = shop.ended(shop.push("v1"))
        assert first["outcome"] == "succeeded", first["reason"]
        before = shop.containers()
        programs.stop("dependency")
        # One is tried, fails as well, and all of them wait.
        told = "2 of 2 replicas are unhealthy at once: next try in"
        shop.until(lambda: any(why.startswith(told) for why in drift()) and failed(), 120, told)
        assert max(seen) <= 3, seen
        shop.until(lambda: len(shop.containers()) == 2, 30, "what the repair has started is gone")
        assert "crash loop" not in shop.service_log
        programs.start("dependency", {PORT: "fine"})
        shop.until(lambda: not drift(), 90, "well again, by itself")
        assert max(seen) <= 3, seen
        assert all("unhealthy" in d.reason or "never became healthy" in d.reason for d in failed())
        assert len(shop.containers().keys() & before.keys()) >= 1, "they were not all replaced"

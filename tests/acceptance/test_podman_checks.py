"""Podman without systemd never runs a health check by itself: the service does."""

from __future__ import annotations

from time import time

import pytest
from support.hand import Hand
from support.shop import MakeShop

pytestmark = pytest.mark.lab


def test_a_replica_on_podman_that_becomes_unhealthy_is_noticed_and_replaced(make_shop: MakeShop) -> None:
    shop = make_shop("checked", replicas=1, poll="10m", observe="10m")
    del shop.compose["services"]["api"]
    web = shop.compose["services"]["web"]
    web["healthcheck"].update(interval="1s", retries=2)
    web["deploy"]["placement"] = {"constraints": ["node.hostname == p1"]}
    hand = Hand(shop)
    with shop.serving():
        assert shop.ended(shop.push("v1"))["outcome"] == "succeeded"
        hand.quiet()
        (before,), began = shop.containers(), time()
        hand.engine("web.1", "exec", "{}", "rm", "/www/index.html")
        hand.noticed("web.1: container unhealthy", began, 60)
        shop.until(lambda: before not in shop.containers() and len(shop.containers()) == 1, 60, "another one")
        hand.quiet()
        shop.until(lambda: shop.read("status", "checked")["health"] == "healthy", 30, "healthy")

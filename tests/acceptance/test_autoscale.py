"""The count of replicas follows the load: out within seconds, in after the window, without a failed request."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest
from support.load import Load
from support.shop import MakeShop, Shop, until

pytestmark = pytest.mark.lab

OUT_WITHIN_S = 15.0
"""The issue's limit."""

BUSY = ["sh", "-c", "httpd -p 80 -h /www; exec sleep 1000000"]


def web(shop: Shop) -> dict[str, Any]:
    """The service as `gitops status` reports it."""
    services = shop.read("status", shop.name)["services"]
    return next(service for service in services if service["name"] == "web")


def count(shop: Shop) -> int:
    """How many containers of it run."""
    return sum(" Up " in f" {rest} " for name, rest in shop.containers().items() if "-web-" in name)


def scaled(shop: Shop) -> list[dict[str, Any]]:
    """The decisions as `gitops history` reports them, newest first."""
    return [change for each in shop.history() for change in each["scaled"]]


def test_the_count_follows_the_load(make_shop: MakeShop) -> None:
    """One deployment from its first commit over both ways, a killed controller and a new commit."""
    shop = make_shop("elastic", replicas=2)
    service = shop.compose["services"]["web"]
    del service["deploy"]["replicas"]
    service["x-autoscale"] = {
        "min": 2,
        "max": 4,
        "target": {"requests_per_replica": 10},
        "scale_in": {"stabilization_window": "5s"},
    }
    edge = shop.lab.address("e1")
    calm = Load(edge, host="elastic.test", clients=1, pause_s=0.1)  # at most 10 requests a second
    rush = Load(edge, host="elastic.test", clients=8, pause_s=0.1)  # more than double, on a slow machine too
    with calm:
        with shop.serving() as process:
            shop.ended(shop.push("scaled by load"))
            assert count(shop) == 2, "it begins with min"
            with rush:
                until(lambda: count(shop) == 4, OUT_WITHIN_S, "scaled out to max")
                until(lambda: scaled(shop), 30, "the decision in the history")
                process.send_signal(signal.SIGKILL)
                process.wait(timeout=10)
                shop.compose["services"]["web"]["environment"] = {"NEW": "1"}
                shop.push("while nobody serves")

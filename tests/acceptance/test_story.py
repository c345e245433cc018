"""The main job on a real fleet: pushes roll out, broken ones return, and no request is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.load import Load
from support.shop import DIES_AFTER_3_S, NEVER_HEALTHY, MakeShop

pytestmark = pytest.mark.lab


def image_missing(web: dict[str, Any]) -> None:
    web["image"] += "-never-built"


def exits_after_3_s(web: dict[str, Any]) -> None:
    web["command"] = DIES_AFTER_3_S


def never_healthy(web: dict[str, Any]) -> None:
    web["healthcheck"] = {"test": NEVER_HEALTHY, "interval": "200ms", "retries": 3}


BROKEN: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (image_missing, "never-built"),
    (exits_after_3_s, "out of luck"),
    (never_healthy, "unhealthy"),
]


def test_pushes_roll_out_and_broken_ones_return(make_shop: MakeShop) -> None:
    shop = make_shop("story")
    edge = shop.lab.address("e1")
    web = shop.compose["services"]["web"]
    web["deploy"]["update_config"]["monitor"] = "5s"
    with shop.serving():
        v1 = shop.push("v1")
        assert shop.ended(v1)["outcome"] == "succeeded"
        with Load(edge, host="story.test") as load:
            shop.compose["services"]["web"]["image"] = shop.image("2")
            shop.compose["services"]["api"]["image"] = shop.image("2")
            v2 = shop.push("v2")
            second = shop.ended(v2)
            assert second["outcome"] == "succeeded", second
            good_containers, good_cfg = shop.containers(), shop.haproxy_cfg()

            for breaks, told in BROKEN:
                kept = dict(web)
                breaks(web)
                broken = shop.push(f"v3: {breaks.__name__}")
                third = shop.ended(broken)
                assert third["outcome"] == "rolled-back", third
                assert "web" in third["reason"]
                assert told in third["reason"]
                web.clear()
                web.update(kept)
                status = shop.read("status", shop.name)
                assert status["commit"] == v2
                assert broken in status["quarantined"]
                assert images(shop.containers()) == images(good_containers)
                assert servers_of(shop.haproxy_cfg()) == {name.split("/")[1] for name in shop.containers()}
                assert routes_of(shop.haproxy_cfg()) == routes_of(good_cfg)

            web["image"] = shop.image("4")
            v4 = shop.push("v4")
            fourth = shop.ended(v4)
            assert fourth["outcome"] == "succeeded", fourth
            assert {v.split()[2] for k, v in shop.containers().items() if "-web-" in k} == {web["image"]}
        assert load.report.requests > 1000
        assert not load.report.failures, load.report
        assert {"1", "2", "4"} <= set(load.report.answers)


def images(containers: dict[str, str]) -> list[str]:
    """What runs, without the names that a rollback may give anew."""
    return sorted(f"{name.split('/')[0]} {rest.split(' ', 1)[1]}" for name, rest in containers.items())


def servers_of(cfg: str) -> set[str]:
    return {line.split()[1] for line in cfg.splitlines() if line.strip().startswith("server ")}


def routes_of(cfg: str) -> list[str]:
    return [line for line in cfg.splitlines() if not line.strip().startswith("server ")]

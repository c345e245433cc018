"""What an engine's events, HAProxy's servers and files tell, and whom it concerns."""

from __future__ import annotations

from typing import Any

import pytest

from gitops.model.observed import ProxyServer
from gitops.watch.signs import Sign, of_event, of_files, of_servers, servers_of


def event(action: str, **labels: str) -> dict[str, Any]:
    return {"Type": "container", "Action": action, "Actor": {"ID": "1f", "Attributes": labels}}


@pytest.mark.parametrize("action", ["die", "died", "pause", "destroy", "remove", "health_status: unhealthy"])
def test_a_container_that_changes_concerns_its_application(action: str) -> None:
    said = event(action, name="shop-web-1-0a", **{"gitops.app": "shop"})
    assert of_event("h1", said) == Sign("h1", f"container shop-web-1-0a: {action}", "shop")


@pytest.mark.parametrize("action", ["exec_start: true", "exec_die", "attach", "top", "resize"])
def test_what_changes_nothing_is_no_sign(action: str) -> None:
    assert of_event("h1", event(action, **{"gitops.app": "shop"})) is None


@pytest.mark.parametrize(
    "said", [{}, {"Action": "die"}, {"Action": "die", "Actor": {}}, event("die", name="x")]
)
def test_what_is_not_ours_is_no_sign(said: dict[str, Any]) -> None:
    assert of_event("h1", said) is None


def server(name: str, status: str, weight: int = 1, requests: int = 0) -> ProxyServer:
    return ProxyServer("shop.web.80", name, "198.18.0.1:20000", status, requests=requests, weight=weight)


def test_servers() -> None:
    before = servers_of([server("a", "UP"), server("b", "UP 1/2"), server("c", "UP")])
    counted = servers_of([server("a", "UP", requests=9), server("b", "UP"), server("c", "UP")])
    assert list(of_servers("lb1", before, counted)) == [], "counters and checks under way are no change"
    after = servers_of([server("a", "MAINT"), server("c", "UP", weight=5), server("mine", "UP")])
    assert [str(sign) for sign in of_servers("lb1", before, after)] == [
        "lb1: server a: UP 1 -> MAINT 1",
        "lb1: server b: UP 1 -> nothing",
        "lb1: server c: UP 1 -> UP 5",
        "lb1: server mine: nothing -> UP 1",
    ]
    assert {sign.app for sign in of_servers("lb1", before, after)} == {"shop"}


def test_files() -> None:
    before = {"shop/release.json": "1 2", "shop/haproxy.cfg": "3 4", "/etc/haproxy/haproxy.cfg": "5 6"}
    after = {"shop/haproxy.cfg": "3 5", "/etc/haproxy/haproxy.cfg": "0 0", "blog/release.json": "7 8"}
    assert list(of_files("lb1", before, before)) == []
    assert [(sign.what, sign.app) for sign in of_files("lb1", before, after)] == [
        ("/etc/haproxy/haproxy.cfg changed", ""),
        ("blog/release.json is new", "blog"),
        ("shop/haproxy.cfg changed", "shop"),
        ("shop/release.json is gone", "shop"),
    ]

"""Hosts that do not answer: releases go on without them, and they converge when they return."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.labs import Lab
from support.load import Load
from support.shop import MakeShop, Shop, until

pytestmark = pytest.mark.lab


def placed(shop: Shop) -> dict[str, str]:
    """Host of each replica of web that runs -> its image."""
    return {
        name.split("/")[0]: rest.split()[2]
        for name, rest in shop.containers().items()
        if "-web-" in name and " Up " in rest
    }


def where(shop: Shop, slot: int) -> str:
    """The host of a replica of web."""
    return next(name.split("/")[0] for name in shop.containers() if f"-web-{slot}-" in name)


def servers(shop: Shop, edge: str = "e1") -> list[str]:
    """The names of web's servers in the load balancer's file."""
    lines = (line.split() for line in shop.haproxy_cfg(edge).splitlines())
    return [words[1] for words in lines if words[:1] == ["server"] and "-web-" in words[1]]


@contextmanager
def switched_off(lab: Lab, host: str) -> Iterator[None]:
    lab.run("stop", host)
    try:
        yield
    finally:
        lab.run("start", host)


@contextmanager
def unplugged(lab: Lab, host: str) -> Iterator[None]:
    lab.run("cut", host)
    try:
        yield
    finally:
        lab.run("mend", host)


@contextmanager
def hanging(lab: Lab, host: str) -> Iterator[None]:
    """The host's Docker answers nothing; its containers run on."""
    lab.on(host, "sh", "-c", "kill -STOP $(cat /run/docker.pid)")
    try:
        yield
    finally:
        lab.on(host, "sh", "-c", "kill -CONT $(cat /run/docker.pid)")


@contextmanager
def another_key(lab: Lab, host: str, other: str) -> Iterator[None]:
    """The controller knows a host by the key of another one."""
    known = Path(lab.data["known_hosts"])
    before = known.read_text()
    keys = dict(line.split(maxsplit=1) for line in before.splitlines())  # names -> kind and key
    theirs = {names.rpartition(",")[2]: names for names in keys}
    keys[theirs[host]] = keys[theirs[other]]
    known.write_text("".join(f"{names} {key}\n" for names, key in keys.items()))
    wrong = known.read_text()
    try:
        yield
        assert known.read_text() == wrong, "the other key was accepted"
    finally:
        known.write_text(before)


def converged(shop: Shop, commit: str) -> None:
    """Waits until the service has brought everything to the commit."""

    def look() -> bool:
        last = shop.deployments()[0]
        return (last.commit, last.outcome, last.degraded) == (commit, "succeeded", False)

    shop.until(look, 120, "the host that returned")


def test_a_host_that_is_off_is_left_as_it_is_and_converges_when_it_returns(make_shop: MakeShop) -> None:
    shop = make_shop("off", tolerate_unreachable=1)
    shop.deploy("1")
    second, before = shop.image("2"), placed(shop)
    off = where(shop, 3)
    (its,) = (name for name in servers(shop) if "-web-3-" in name)
    web = shop.compose["services"]["web"]
    with switched_off(shop.lab, off):
        web["image"] = second
        commit = shop.push("v2")
        with Load(shop.lab.address("e1"), host="off.test") as load:
            result = shop.sync()
        assert (result["exit"], result["outcome"]) == (0, "succeeded"), result
        assert f"degraded, without {off}: SSH cannot connect" in result["message"]
        assert not load.report.failures, load.report
        assert placed(shop) == {host: second for host in before if host != off}
        assert its in servers(shop), "the load balancer's own check decides"
        assert len(servers(shop)) == 4
        status = shop.read("status", shop.name)
        assert (status["commit"], status["health"]) == (commit, "degraded")
        assert off in status["message"]
        assert {h["name"] for h in status["hosts"] if h["state"] == "unreachable"} == {off}
        last = shop.history()[0]
        assert (last["outcome"], last["degraded"], last["reason"]) == ("succeeded", True, result["message"])
        again = shop.sync()
        assert (again["exit"], again["outcome"]) == (0, "nothing"), again
        assert off in again["message"]
    with shop.serving():
        converged(shop, commit)
    assert placed(shop) == dict.fromkeys(before, second)
    assert its not in servers(shop)
    status = shop.read("status", shop.name)
    assert (status["sync"], status["health"], status["message"]) == ("synced", "healthy", "")


def test_a_host_that_is_cut_off_half_way_is_planned_around(make_shop: MakeShop) -> None:
    shop = make_shop("halfway", tolerate_unreachable="25%")
    shop.compose["services"]["web"]["deploy"]["update_config"]["monitor"] = "3s"  # longer than a cut takes
    shop.deploy("1")
    before = placed(shop)
    cut = where(shop, 3)
    shop.compose["services"]["web"]["image"] = second = shop.image("2")
    with Load(shop.lab.address("e1"), host="halfway.test") as load, shop.serving():
        commit = shop.push("v2")
        until(lambda: second in placed(shop).values(), 120, "the first replica of v2")
        with unplugged(shop.lab, cut):
            ended = shop.ended(commit)
            print("cut half-way:", load.report, ended["phases"])  # noqa: T201 - a measurement, with pytest -s
            assert (ended["outcome"], ended["degraded"]) == ("succeeded", True), ended
            assert f"degraded, without {cut}" in ended["reason"]
            assert f"goes on without {cut}" in shop.service_log
            assert {host: image for host, image in placed(shop).items() if host != cut} == {
                host: second for host in before if host != cut
            }
        converged(shop, commit)
    assert placed(shop) == dict.fromkeys(before, second)
    # A request that is on its way to the host when the cable goes cannot be sent again.
    assert load.report.failed <= load.clients, load.report


def test_a_host_that_returns_with_nothing_to_be_done_ends_the_degraded_state(make_shop: MakeShop) -> None:
    shop = make_shop("unused", replicas=1, tolerate_unreachable=1)
    shop.deploy("1")
    used = {name.split("/")[0] for name in shop.containers()}
    unused = next(host["name"] for host in shop.lab.data["hosts"] if host["name"] not in used)
    shop.compose["services"]["web"]["environment"] = {"NEW": "1"}
    shop.push("changed while it is away")
    with switched_off(shop.lab, unused):
        assert shop.sync()["outcome"] == "succeeded"
        assert shop.history()[0]["degraded"]
    assert shop.sync()["outcome"] == "nothing"
    last, *_ = shop.history()
    assert (last["outcome"], last["degraded"]) == ("succeeded", False)
    assert shop.sync()["outcome"] == "nothing"
    assert shop.history()[0]["id"] == last["id"], "it is recorded once"


def test_more_hosts_than_tolerated_change_nothing(make_shop: MakeShop) -> None:
    shop = make_shop("above", replicas=2, tolerate_unreachable=1)
    shop.deploy("1")
    before, cfg = shop.containers(), shop.haproxy_cfg()
    shop.compose["services"]["web"]["image"] = shop.image("2")
    shop.push("v2")
    with unplugged(shop.lab, "h1"), unplugged(shop.lab, "h2"):
        done = shop.gitops("sync", shop.name)
        assert done.returncode == 1
        assert "host h1 cannot be used" in done.stderr
        assert "tolerate_unreachable allows 1" in done.stderr
    assert (shop.containers(), shop.haproxy_cfg()) == (before, cfg)
    assert len(shop.deployments()) == 1


def test_an_engine_that_hangs_and_a_key_that_changed_are_absences_too(make_shop: MakeShop) -> None:
    shop = make_shop("hangs", tolerate_unreachable=1)
    shop.deploy("1")
    hung, stranger = sorted(placed(shop))[:2]  # of which both have Docker
    web = shop.compose["services"]["web"]
    web["image"] = second = shop.image("2")
    shop.push("v2")
    with Load(shop.lab.address("e1"), host="hangs.test") as load, hanging(shop.lab, hung):
        result = shop.sync()
    assert (result["exit"], result["outcome"]) == (0, "succeeded"), result
    assert f"degraded, without {hung}: the engine does not answer in time" in result["message"]
    assert not load.report.failures, load.report
    assert {"1", "2"} <= set(load.report.answers), "the containers of an engine that hangs serve on"
    assert sorted(placed(shop).values()).count(second) == 3

    web["image"] = third = shop.image("3")
    shop.push("v3")
    with another_key(shop.lab, stranger, hung):
        result = shop.sync()
        assert (result["exit"], result["outcome"]) == (0, "succeeded"), result
        assert f"degraded, without {stranger}: the host's key has changed" in result["message"]
        assert sorted(placed(shop).values()) == sorted([second, third, third, third])
    assert shop.sync()["outcome"] == "succeeded"
    assert set(placed(shop).values()) == {third}

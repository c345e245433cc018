"""What load balancers run is what the commit says, whatever has come in between: HAProxy itself is asked."""

from __future__ import annotations

import json

import pytest
import yaml
from support.hand import Hand
from support.load import Load
from support.shop import MakeShop, Shop

from gitops.model.edge import ROUTES_MAP

pytestmark = pytest.mark.lab


def routes(shop: Shop) -> dict[str, str]:
    """The routes that HAProxy on e1 runs."""
    lines = shop.lab.haproxy(f"show map {ROUTES_MAP}").splitlines()
    return dict(line.split()[1:] for line in lines if line.strip())


def test_a_port_on_which_nothing_listens_never_takes_the_route(make_shop: MakeShop) -> None:
    shop = make_shop("wrongport", replicas=2, served=True)
    web = shop.compose["services"]["web"]
    shop.deploy("1")
    with Load(shop.lab.address("e1"), host="wrongport.test") as load:
        web["x-ingress"]["port"] = 8081
        shop.push("nothing listens there")
        result = shop.sync()
        assert (result["outcome"], result["exit"]) == ("rolled-back", 3), result["message"]
        assert "HAProxy does not reach wrongport-web-1-" in result["message"]
        asked = load.report.requests
        shop.until(lambda: load.report.requests > asked + 100, 30, "requests after the way back")
        assert routes(shop) == {
            "wrongport.test/": "wrongport.web.80",
            "wrongport.test/api/": "wrongport.api.80",
        }
        assert shop.read("status", "wrongport")["health"] == "healthy"
        web["x-ingress"]["port"] = 80
        web["x-ingress"]["path"] = "/"
        shop.deploy("2")
    assert load.report.answers["2"], load.report
    assert not load.report.failures, load.report


def test_what_haproxy_runs_by_somebody_s_hand_is_put_right_once_for_all(make_shop: MakeShop) -> None:
    one, two = (make_shop(name, replicas=1, poll="10m", observe="10m") for name in ("first", "second"))
    both = {
        **yaml.safe_load(one.config.read_text())["apps"],
        **yaml.safe_load(two.config.read_text())["apps"],
    }
    store = f"sqlite:///{one.folder / one.store}"
    for shop in (one, two):
        shop.config.write_text(yaml.safe_dump({"store": store, "apps": both}))
    two.store = str(one.folder / one.store)
    hand = Hand(one)

    def heals() -> int:
        return sum(d.heals for shop in (one, two) for d in shop.deployments())

    with one.serving(), Load(one.lab.address("e1"), host="second.test") as load:
        for shop in (one, two):
            assert shop.ended(shop.push("v1"))["outcome"] == "succeeded"
        one.until(lambda: load.report.answers["1"] > 20, 30, "answers")
        failed = load.report.failed

        # Reloads for the one are no drift of the other.
        for version in ("/a", "/b", "/c"):
            one.compose["services"]["api"]["x-ingress"]["path"] = version
            one.compose["services"]["web"]["ports"] = [f"{7100 + ord(version[1])}:80"]
            assert one.ended(one.push(version))["outcome"] == "succeeded"
        assert heals() == 0, one.service_log[-3000:]

        said = {
            f"del map {ROUTES_MAP} first.test/": "route first.test/ of HAProxy leads to nothing",
            f"set map {ROUTES_MAP} first.test/ second.web.80": "leads to second.web.80, in the file to",
        }
        for number, (command, reason) in enumerate(said.items(), start=1):
            one.lab.haproxy(command)
            one.until(lambda n=number: heals() == n and quiet(one), 30, f"a heal of {reason}")
            assert reason in one.service_log
            assert routes(one)["first.test/"] == "first.web.80"

        # Of a whole file that somebody has changed and loaded, each application sees the difference.
        hand.on_edge(
            "sed -i 's/timeout queue 10s/timeout queue 11s/; s/gitops-[0-9a-f]*$/gitops-other/'"
            " /etc/haproxy/haproxy.cfg && echo reload | socat - /run/haproxy-master.sock"
        )
        one.until(lambda: heals() == len(said) + 1 and quiet(one), 30, "one heal for both")
        for shop in (one, two):
            assert shop.read("status", shop.name)["sync"] == "synced"
        assert "timeout queue 10s" in one.haproxy_cfg()
        assert heals() == len(said) + 1, [d.reason for d in (*one.deployments(), *two.deployments())]
        assert load.report.failed == failed, load.report


def test_doctor_names_a_route_that_leads_elsewhere(make_shop: MakeShop) -> None:
    shop = make_shop("astray", replicas=1, served=True)
    shop.deploy("1")

    def said() -> list[str]:
        checks = json.loads(shop.gitops("doctor", "-o", "json").stdout)["checks"]
        return [each["message"] for each in checks if each["check"] == "haproxy serves" and not each["ok"]]

    assert said() == []
    shop.lab.haproxy(f"del map {ROUTES_MAP} astray.test/")
    (told,) = said()
    assert told == "its route astray.test/ leads to nothing, in the file to astray.web.80"
    assert shop.sync()["outcome"] == "succeeded"
    assert said() == []


def quiet(shop: Shop) -> bool:
    """Whether no deployment of the applications of a service is under way."""
    return all(d.outcome != "running" for d in shop.deployments())

"""What is changed on hosts is noticed as it happens and put right; what hosts had moves when they go."""

from __future__ import annotations

import json
import re
from datetime import datetime
from itertools import pairwise
from time import time

import pytest
from support.hand import Hand, kinds
from support.load import Load
from support.shop import MakeShop, until

pytestmark = pytest.mark.lab

NOTICED_S = 4.0  # `make bench-healing` holds it to 1 s on a quiet machine; tests share two cores with others
SERVES_S = 8.0  # likewise 2 s
ENDS_IT = {"stopped", "killed", "removed"}  # an answer that its process has begun breaks off with it

BREAKABLE = "[ ! -e /data/broken ] || exit 3; exec httpd -f -p 80 -h /www"


def seconds(stamp: str) -> float:
    """Seconds since 1970."""
    return datetime.fromisoformat(stamp).timestamp()


def test_every_kind_of_drift_is_noticed_at_once_and_healed_with_its_reason(make_shop: MakeShop) -> None:
    # Only what is told as it happens can be noticed: no look is due within the time of the test.
    shop = make_shop("drift", poll="10m", observe="10m")
    other, hand = shop.image("other"), Hand(shop)
    with shop.serving() as service:
        shop.ended(shop.push("v1"))
        with Load(shop.lab.address("e1"), host="drift.test", path="/") as load:
            for kind, act, reason in kinds(hand, other, service.pid):
                hand.quiet()
                before, began = load.report.failed, time()
                act()
                took_s = hand.noticed(reason, began)
                hand.quiet()
                failed = load.report.failed - before
                print(f"{kind}: noticed after {took_s:.2f} s, {failed} failed")  # noqa: T201 - a measurement, with pytest -s
                assert took_s < NOTICED_S, kind
                assert failed <= (load.clients if kind in ENDS_IT else 0), (kind, load.report.failures)
        shop.until(lambda: shop.read("status", "drift")["sync"] == "synced", 20, "synced")
        assert len(shop.containers()) == 5
    assert all(failure.startswith("IncompleteRead") for failure in load.report.failures), load.report.failures
    healed = [entry["reason"] for deployment in shop.history() for entry in deployment["drift"]]
    assert any("container exited (137)" in reason for reason in healed), healed
    assert {deployment["trigger"] for deployment in shop.history()[:-1]} == {"heal"}


def test_what_was_killed_serves_again_and_what_must_not_be_healed_is_told(make_shop: MakeShop) -> None:
    shop = make_shop("killed", poll="10m", observe="10m")
    shop.compose["services"]["web"]["healthcheck"].update(interval="1s", retries=2)
    hand = Hand(shop)
    with shop.serving():
        shop.ended(shop.push("v1"))
        dies, sick, *_ = hand.replicas("web")
        hand.quiet()
        began, serves_s = time(), hand.killed_serves_s(dies)
        print(f"killed: serves again after {serves_s:.2f} s")  # noqa: T201 - a measurement, with pytest -s
        assert serves_s < SERVES_S
        hand.engine(sick, "exec", "{}", "rm", "/www/index.html")
        hand.noticed(f"{sick}: container unhealthy", began)
        hand.quiet()

        shop.settings["self_heal"] = False
        shop.configure()
        until(lambda: shop.service_log.count("following") == 2, 20, "the new settings")
        deployments, began = len(shop.deployments()), time()
        hand.engine(sick, "kill", "{}")
        hand.noticed(f"self_heal is false: {sick} on h.: container exited", began)
        status = shop.read("status", "killed")
        assert (status["sync"], status["health"]) == ("out-of-sync", "degraded")
        assert [entry["what"] for entry in status["drift"]] == [sick]
        assert "container exited (137)" in shop.gitops("status", "killed").stdout
        assert len(shop.deployments()) == deployments, "it was healed all the same"
        assert shop.sync()["outcome"] == "succeeded"


def test_a_crash_loop_is_not_fed_and_ends_when_its_cause_is_gone(make_shop: MakeShop) -> None:
    shop = make_shop("loop", replicas=1)
    web = shop.compose["services"]["web"]
    web.update(command=["sh", "-c", BREAKABLE], restart="no", volumes=["data:/data"])
    shop.compose["volumes"] = {"data": {}}
    hand = Hand(shop)
    rests = re.compile(r"crash loop: next try in \d+ s")

    def left_alone() -> list[str]:
        drift = shop.read("status", "loop")["drift"]
        return [entry["what"] for entry in drift if rests.fullmatch(entry["reason"])]

    with shop.serving():
        shop.ended(shop.push("v1"))
        host, _ = hand.where("web.1")
        hand.engine("web.1", "exec", "{}", "touch", "/data/broken")
        hand.engine("web.1", "kill", "{}")
        until(lambda: sum(d.outcome == "failed" for d in shop.deployments()) >= 3, 90, "heals that fail")
        until(lambda: left_alone() == ["web.1"], 30, "a slot that is left alone")
        assert shop.read("status", "loop")["quarantined"] == [], "the commit is not at fault"
        volume = json.loads(shop.lab.on(host, hand.kind(host), "volume", "inspect", "loop_data"))[0]
        shop.lab.on(host, "rm", f"{volume['Mountpoint']}/broken")
        shop.until(lambda: shop.deployments()[0].outcome == "succeeded", 90, "a heal that succeeds")
    heals = [d for d in shop.history()[::-1] if any("web.1: " in entry["reason"] for entry in d["drift"])]
    assert all("web.1 exited with code 3" in heal["reason"] for heal in heals[:-1]), heals
    pauses = [seconds(later["started_at"]) - seconds(heal["finished_at"]) for heal, later in pairwise(heals)]
    assert all(pause_s >= 2.0**number for number, pause_s in enumerate(pauses)), pauses


def test_a_host_that_goes_is_done_without_and_its_leftovers_go_when_it_returns(make_shop: MakeShop) -> None:
    shop = make_shop("gone", host_lost_after="10s", poll="10m", observe="10m")
    hand, lab = Hand(shop), shop.lab

    def at_rest() -> bool:
        last = shop.deployments()[0]  # looked at once: the next one may begin at any time
        return last.outcome == "succeeded" and last.heals

    with shop.serving(), Load(lab.address("e1"), host="gone.test") as load:
        shop.ended(shop.push("v1"))
        before_s = time()
        until(lambda: load.report.answers["1"] > 100, 30, "load")
        waiting = load.report.failed  # until the first version was there
        cut = hand.where(hand.replicas("web")[0])[0]
        lab.run("cut", cut)
        try:
            hand.noticed(f"host {cut} lost", before_s, 60)
            # A request that is on its way to the host when the cable goes cannot be sent again.
            on_their_way = load.report.failed - waiting
            assert on_their_way <= load.clients, load.report
            shop.until(at_rest, 45, "the move")
            status = shop.read("status", "gone")
            assert [(s["name"], s["healthy"]) for s in status["services"]] == [("api", 1), ("web", 4)]
            assert status["health"] == "degraded"
        finally:
            lab.run("mend", cut)
        returned = time()
        hand.noticed(f"host {cut} is back", returned - 1, 60)
        shop.until(lambda: len(shop.containers()) == 5 and at_rest(), 60, "what belongs there, alone")
        print(f"leftovers gone {time() - returned:.1f} s after its return, {on_their_way} requests lost")  # noqa: T201 - a measurement, with pytest -s
        assert load.report.failed == waiting + on_their_way, load.report

"""A version that is healthy and yet wrong: found by the edge's counters, while few requests meet it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from support.load import Load
from support.shop import MakeShop, Shop, until

pytestmark = pytest.mark.lab

DOCKERFILE = """\
FROM busybox
RUN mkdir -p /www/cgi-bin && echo fine > /www/healthz && {page}
CMD ["httpd", "-f", "-p", "80", "-h", "/www"]
"""
GOOD = "echo {version} > /www/index.html"
BAD = """printf '%s\\n' '#!/bin/sh' 'echo >> /tmp/asked' \\
 '[ $(($(wc -l < /tmp/asked) % 10)) = 0 ] && echo "Status: 500 Internal Server Error"' \\
 'echo "Content-Type: text/plain"' 'echo' 'echo {version}' > /www/cgi-bin/index.cgi \\
 && chmod 755 /www/cgi-bin/index.cgi"""
"""Answers every tenth request with 500; its health check asks for another page."""


def image(shop: Shop, version: str, page: str = GOOD) -> str:
    context = shop.folder / f"image-{version}"
    context.mkdir(parents=True, exist_ok=True)
    (context / "Dockerfile").write_text(DOCKERFILE.format(page=page.format(version=version)))
    return shop.lab.run("image", f"{shop.name}:{version}", str(context)).splitlines()[-1]


def web_of(make_shop: MakeShop, name: str, **rollout: Any) -> tuple[Shop, dict[str, Any]]:
    """An application of one service, with its first version deployed."""
    shop = make_shop(name, replicas=2)
    del shop.compose["services"]["api"]
    web: dict[str, Any] = shop.compose["services"]["web"]
    web["healthcheck"]["test"] = ["CMD", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1/healthz"]
    web["image"], web["x-rollout"] = image(shop, "1"), rollout
    shop.push("version 1")
    assert shop.sync()["outcome"] == "succeeded"
    return shop, web


def weights(shop: Shop) -> list[str]:
    return re.findall(r"weight (\d+)", shop.haproxy_cfg())


def replaced(shop: Shop, before: dict[str, str]) -> bool:
    """Whether both replicas are new ones, and nothing else is left."""
    now = shop.containers()
    return len(now) == 2 and not now.keys() & before.keys()


def test_a_canary_that_answers_errors_is_undone_before_many_have_met_it(make_shop: MakeShop) -> None:
    shop, web = web_of(make_shop, "sour", strategy="canary", steps=["1%", "25%", "50%"], pause="120s")
    before = shop.containers()
    web["image"] = image(shop, "bad", BAD)
    bad = shop.push("10% errors")
    with Load(shop.lab.address("e1"), host="sour.test", clients=8, pause_s=0.01) as load:
        result = shop.sync()
    assert (result["exit"], result["outcome"]) == (3, "rolled-back"), result
    reason = (
        r"web on h\d/sour-web-\S+: web with 1% of the requests: 5xx \d+(\.\d)?% of \d+ answers, allowed 1%"
    )
    assert re.search(reason, result["message"]), result["message"]
    seen = load.report
    assert seen.answers["bad"] > 0
    assert seen.answers["bad"] < 0.02 * seen.requests, seen
    assert seen.failed == seen.failures["500 bad"], seen
    assert shop.containers() == before
    assert weights(shop) == []
    assert shop.read("status", shop.name)["quarantined"] == [bad]


def test_a_good_canary_goes_through_all_steps_and_waits_where_a_person_has_to_promote_it(
    make_shop: MakeShop,
) -> None:
    shop, web = web_of(make_shop, "sweet", strategy="canary", steps=["10%", "50%"], pause="manual")
    before, web["image"] = shop.containers(), image(shop, "2")
    commit = shop.push("version 2")
    plan = shop.gitops("plan", shop.name).stdout
    assert "10% of the requests to 1 container" in plan
    assert "until `gitops promote sweet`" in plan
    with Load(shop.lab.address("e1"), host="sweet.test") as load, shop.serving():
        for number, step in enumerate(
            (["2", "9", "9"], ["2", "1", "1"]), start=1
        ):  # one new, two old servers
            until(lambda step=step: sorted(weights(shop)) == sorted(step), 120, f"weights {step}")
            until(lambda: list((shop.folder.parent / "sweet").rglob("waiting")), 60, "a trial")
            told = f"web: step {number} of 2, {('10%', '50%')[number - 1]}, waits for gitops promote sweet"
            until(lambda told=told: told in shop.service_log, 30, told)
            status = shop.read("status", shop.name)
            assert (status["waits"], status["health"], status["drift"]) == (told, "progressing", [])
            assert shop.gitops("promote", shop.name).returncode == 0
        ended = shop.ended(commit)
        assert ended["outcome"] == "succeeded", ended
    assert not load.report.failures, load.report
    assert {"1", "2"} <= set(load.report.answers)
    assert replaced(shop, before)
    assert weights(shop) == []


def test_a_canary_by_the_clock_tells_the_numbers_of_each_step(make_shop: MakeShop) -> None:
    judge = {"min_requests": 5, "max_mean_ms": 5000, "against": "old"}
    shop, web = web_of(make_shop, "clock", strategy="canary", steps=["20%", "60%"], pause="3s", judge=judge)
    before, web["image"] = shop.containers(), image(shop, "2")
    shop.push("version 2")
    with Load(shop.lab.address("e1"), host="clock.test") as load:
        done = shop.gitops("sync", shop.name)
    assert done.returncode == 0, done.stderr
    for step in ("20%", "60%"):
        assert re.search(rf"web with {step} of the requests: 5xx 0% of \d+ answers", done.stderr), done.stderr
    assert not load.report.failures, load.report
    assert replaced(shop, before)


def test_blue_green_goes_over_at_once_and_back_at_once_while_the_old_set_is_kept(
    make_shop: MakeShop,
) -> None:
    shop, web = web_of(make_shop, "blue", strategy="blue-green", keep="3s")
    before, web["image"] = shop.containers(), image(shop, "2")
    shop.push("version 2")
    with Load(shop.lab.address("e1"), host="blue.test") as load:
        done = shop.gitops("sync", shop.name)
        assert done.returncode == 0, done.stderr
    assert replaced(shop, before)
    assert not load.report.failures, load.report
    before = shop.containers()
    web["image"], web["x-rollout"]["keep"] = image(shop, "bad", BAD), "60s"
    shop.push("10% errors")
    with Load(shop.lab.address("e1"), host="blue.test") as load:
        result = shop.sync()
    assert result["outcome"] == "rolled-back", result
    assert "web with 100% of the requests: 5xx" in result["message"]
    assert load.report.failed == load.report.failures["500 bad"], load.report
    assert "all requests to the old version" in result["stderr"]
    assert shop.containers() == before, "the set that was kept is the one that serves again"
    assert weights(shop) == []

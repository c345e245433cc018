"""A rolling update whose health check passes and whose answers are wrong: found by what the edge counts."""

from __future__ import annotations

import re
from typing import Any

import pytest
from support.load import Load
from support.shop import MakeShop, Shop

pytestmark = pytest.mark.lab

DOCKERFILE = """\
FROM busybox
RUN mkdir -p /www/cgi-bin && echo fine > /www/healthz && {page}
CMD ["httpd", "-f", "-p", "80", "-h", "/www"]
"""
GOOD = "echo {version} > /www/index.html"
BAD = """printf '%s\\n' '#!/bin/sh' 'echo "Status: 500 Internal Server Error"' \\
 'echo "Content-Type: text/plain"' 'echo' 'echo {version}' > /www/cgi-bin/index.cgi \\
 && chmod 755 /www/cgi-bin/index.cgi"""
"""Answers everything with 500; its health check asks for another page."""


def image(shop: Shop, version: str, page: str) -> str:
    context = shop.folder / f"image-{version}"
    context.mkdir(parents=True, exist_ok=True)
    (context / "Dockerfile").write_text(DOCKERFILE.format(page=page.format(version=version)))
    return shop.lab.run("image", f"{shop.name}:{version}", str(context)).splitlines()[-1]


def test_an_update_that_answers_errors_is_undone_unless_the_old_version_does_too(make_shop: MakeShop) -> None:
    shop = make_shop("live", replicas=3, served=True)
    del shop.compose["services"]["api"]
    web: dict[str, Any] = shop.compose["services"]["web"]
    web["healthcheck"]["test"] = ["CMD", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1/healthz"]
    # The window is long enough for the requests by which a busy machine can judge.
    web["deploy"]["update_config"]["monitor"] = "4s"
    web["image"] = image(shop, "1", GOOD)
    shop.push("version 1")
    assert shop.sync()["outcome"] == "succeeded"
    before = shop.containers()
    with Load(shop.lab.address("e1"), host="live.test", clients=8, pause_s=0.01) as load:
        shop.until(lambda: load.report.answers["1"] > 100, 30, "answers of the first version")

        web["x-rollout"] = {"judge": {"min_requests": 20}}  # a busy machine answers fewer in these seconds
        web["image"] = image(shop, "bad", BAD)
        bad = shop.push("answers errors")
        result = shop.sync()
        assert (result["exit"], result["outcome"]) == (3, "rolled-back"), result["message"]
        reason = r"web, judged on its live answers: 5xx \d+(\.\d)?% of \d+ answers, allowed 1%"
        assert re.search(reason, result["message"]), result["message"]
        assert shop.containers() == before
        assert shop.read("status", "live")["quarantined"] == [bad]
        seen = load.report
        assert seen.failed == seen.failures["500 bad"] > 0, seen.failures

        # A person may want it all the same.
        web["x-rollout"] = {"judge": False}
        shop.push("judge: false")
        assert shop.sync()["outcome"] == "succeeded"

        # What is as bad as before is no reason to go back.
        del web["x-rollout"]
        web["image"] = image(shop, "sad", BAD)
        shop.push("as bad as the version before")
        result = shop.sync()
        assert result["outcome"] == "succeeded", result["message"]
    assert set(load.report.failures) == {"500 bad", "500 sad"}, load.report.failures


def test_nobody_who_asks_is_no_reason_to_wait_or_to_go_back(make_shop: MakeShop) -> None:
    shop = make_shop("quiet", replicas=2, served=True)
    shop.deploy("1")
    shop.deploy("2")

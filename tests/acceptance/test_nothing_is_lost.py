"""No request is lost, whatever rolls: many deployments in a row under load, and connections that last.

ENDURANCE in the environment says how many deployments; `make bench` documents a long run.
"""

from __future__ import annotations

import os
from itertools import cycle, islice
from typing import Any

import pytest
from support.load import Load
from support.shop import NEVER_HEALTHY, MakeShop, Shop, until
from support.streams import DOCKERFILE, FILES, LINES, Download, WebSocket

pytestmark = pytest.mark.lab

DEPLOYMENTS = int(os.environ.get("ENDURANCE", "8"))
REQUESTS_A_SECOND = 200
CLIENTS = 4
QUICK = {"max_5xx": "5%", "min_requests": 20}
WAYS: dict[str, dict[str, Any]] = {
    "rolling": {},
    "canary": {"x-rollout": {"strategy": "canary", "steps": ["50%"], "pause": "1s", "judge": QUICK}},
    "broken": {"healthcheck": {"test": NEVER_HEALTHY, "interval": "200ms", "retries": 2}},
    "blue-green": {"x-rollout": {"strategy": "blue-green", "keep": "1s", "judge": QUICK}},
}


def streaming_image(shop: Shop, version: str) -> str:
    """Builds and pushes the image of a server with a slow download and a WebSocket."""
    context = shop.folder / f"streams-{version}"
    context.mkdir()
    (context / "Dockerfile").write_text(DOCKERFILE.format(version=version))
    for name, text in FILES.items():
        (context / name).write_text(text)
        (context / name).chmod(0o755)
    return shop.lab.run("image", f"{shop.name}:{version}", str(context)).splitlines()[-1]


def test_many_deployments_in_a_row_lose_no_request(make_shop: MakeShop) -> None:
    shop = make_shop("row", replicas=3)
    del shop.compose["services"]["api"]
    images = [shop.image(version) for version in "12"]
    web = shop.compose["services"]["web"]
    web["deploy"]["update_config"]["monitor"] = "500ms"
    plain = dict(web)
    pause_s = CLIENTS / REQUESTS_A_SECOND
    with shop.serving():
        shop.ended(shop.push("first"))
        with Load(shop.lab.address("e1"), host="row.test", clients=CLIENTS, pause_s=pause_s) as load:
            outcomes = []
            for number, way in enumerate(islice(cycle(WAYS), DEPLOYMENTS), 1):
                image = {"image": images[number % 2]}
                shop.compose["services"]["web"] = {**plain, **image, **WAYS[way]}
                ended = shop.ended(shop.push(f"{number}: {way}"))
                outcomes.append((way, ended["outcome"]))
                assert not load.report.failures, (number, way, load.report.failures)
    for way, outcome in outcomes:
        assert outcome == ("rolled-back" if way == "broken" else "succeeded"), outcomes
    assert not load.report.failures, load.report.failures
    assert set(load.report.answers) == {"1", "2"}


def test_a_download_and_a_websocket_survive_a_rollout_of_their_service(make_shop: MakeShop) -> None:
    shop = make_shop("streams", replicas=2)
    del shop.compose["services"]["api"]
    web = shop.compose["services"]["web"]
    web |= {
        "image": streaming_image(shop, "1"),
        "stop_grace_period": "60s",
        "x-ingress": [
            {"host": "streams.test", "port": 80},
            {"host": "streams.test", "path": "/ws", "port": 81},
        ],
    }
    second = streaming_image(shop, "2")
    with shop.serving():
        shop.ended(shop.push("first"))
        edge = shop.lab.address("e1")
        with (
            Download(edge, "streams.test") as download,
            WebSocket(edge, "streams.test") as open_socket,
            Load(edge, host="streams.test") as load,
        ):
            until(lambda: open_socket.frames and len(download.lines) > 1, 20, "both streams")
            web["image"] = second
            commit = shop.push("second")
            until(lambda: "2" in load.report.answers, 60, "the second version serves")
            frames, lines = open_socket.frames, len(download.lines)
            until(lambda: len(download.lines) == LINES, 60, f"the rest of the download; {download}")
            until(lambda: open_socket.frames > frames + 2, 20, "frames beside the new version")
            assert shop.deployments()[0].outcome == "running", "the old containers did not wait"
        ended = shop.ended(commit)
    assert lines < LINES, "the download was over before the second version served: the test shows nothing"
    assert (download.problem, open_socket.problem) == ("", "")
    assert download.lines == [f"line {number}" for number in range(1, LINES + 1)]
    assert ended["outcome"] == "succeeded"
    assert not load.report.failures, load.report.failures
    assert ended["changes"] == {"started": 2, "stopped": 2, "kept": 0}

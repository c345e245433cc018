"""What HAProxy says of the load of a service, with a limit on sessions and through a reload."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from support.controllers import machine, opened
from support.labs import Lab
from support.rollouts import Rollouts
from support.shop import until

from gitops.model.load import EdgeLoad
from gitops.model.stack import Autoscale, Publish, Stack
from gitops.observe.load import edge_load

pytestmark = pytest.mark.lab

PORT = 8097


@pytest.fixture
def app(lab: Lab, tmp_path: Path) -> Iterator[Rollouts]:
    rollouts = Rollouts(lab, "loaded", tmp_path, hosts=("h1",))
    yield rollouts
    rollouts.remove()


def served(app: Rollouts, image: str, replicas: int) -> Stack:
    """Two sessions a replica at once, over TCP, where a connection that says nothing is one."""
    stack = app.stack(image, replicas=replicas)
    bounds = Autoscale(1, 4, (("queue_per_replica", 1.0),), max_sessions=2)
    web = replace(stack.services[0], ingress=(), publish=(Publish(PORT, 80),), autoscale=bounds)
    return replace(stack, services=(web,))


def test_sessions_are_counted_with_those_that_wait_and_those_of_an_older_worker(app: Rollouts) -> None:
    image = app.image("1")
    one, two = served(app, image, 1), served(app, image, 2)
    done, _ = app.run(app.plan(one), "one")
    assert done.ok, done.failure
    with ExitStack() as held, opened(machine(app.lab, "e1")) as channels:
        proxy = channels["e1"].proxy()

        def load() -> EdgeLoad:
            return edge_load(proxy, {"web": ["loaded.web.80"], "gone": ["loaded.gone.80"]})["web"]

        for _ in range(5):
            held.enter_context(socket.create_connection((app.edge, PORT), timeout=10))
        until(lambda: (load().sessions, load().queued) == (5, 3), 5, f"5 sessions, 3 waiting: {load()}")
        assert load().requests >= 5
        done, _ = app.run(app.plan(two, previous=one), "two")
        assert done.ok, done.failure
        until(lambda: (load().sessions, load().queued) == (5, 1), 5, f"the new one has two: {load()}")
        proxy.reload()
        assert proxy.stats()
        until(lambda: load().sessions == 5, 5, f"the older worker's sessions: {load()}")

"""A pass over many more hosts than the lab has: their engines are simulated, their connections are real."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.labs import Lab

from bench.engines import APP, COMMIT, IMAGE, SERVICE
from bench.passes import CONTAINERS, engines, simulated
from gitops.channel import close_channels, open_channels
from gitops.model.stack import ContainerSpec, Service, Stack
from gitops.observe.hosts import observe
from gitops.plan import make_plan

pytestmark = pytest.mark.lab

HOSTS = 40


def test_every_one_of_many_hosts_is_asked_by_its_own_connection(lab: Lab, tmp_path: Path) -> None:
    stack = Stack(APP, COMMIT, (Service(SERVICE, ContainerSpec(IMAGE), replicas=HOSTS * CONTAINERS),))
    with engines(lab, HOSTS, stack.services[0].container.digest):
        fleet = simulated(lab, HOSTS)
        folder = tmp_path / "c"
        folder.mkdir()
        channels = open_channels(fleet.hosts, folder)
        try:
            observed = observe(channels, fleet)
            assert not observed.away
            assert {len(host.containers) for host in observed.hosts} == {CONTAINERS}
            assert len({container.slot for container in observed.containers(APP)}) == HOSTS * CONTAINERS
            assert make_plan(stack, fleet, observed, previous=stack).empty
        finally:
            close_channels(channels.values(), folder)

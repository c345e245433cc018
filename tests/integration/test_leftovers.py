"""What goes with the last container of an application, as Docker and Podman have it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.controllers import machine, opened
from support.labs import Lab

from gitops.channel import Channel
from gitops.leftovers import sweep
from gitops.model.observed import LABEL_APP
from gitops.model.stack import ContainerSpec, Mount, Service, Stack

pytestmark = pytest.mark.lab


@pytest.fixture(params=["h2", "p1"])
def host(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Channel]:
    with opened(machine(lab, request.param)) as channels:
        yield channels[request.param]


def stack(*volumes: str) -> Stack:
    mounts = tuple(Mount("volume", f"/{name}", name) for name in volumes)
    return Stack("attic", "a" * 40, (Service("db", ContainerSpec("busybox", mounts=mounts)),))


def test_networks_go_with_the_last_container_and_volumes_only_on_demand(host: Channel) -> None:
    engine = host.engine()
    ours, theirs = {LABEL_APP: "attic"}, {LABEL_APP: "cellar"}
    engine.ensure_volume("attic_old", {}, ours)
    engine.ensure_volume("attic_data", {}, ours)
    engine.ensure_volume("cellar_data", {}, theirs)
    engine.ensure_network("gitops-attic", ours)
    engine.ensure_network("gitops-cellar", theirs)
    try:
        network = f"{host.name}: network gitops-attic"
        assert sweep(stack("data"), [host], volumes=False) == [network]
        assert sweep(stack("data"), [host], volumes=True) == [f"{host.name}: volume attic_old"]
        assert sweep(stack("data"), [host], volumes=True) == []
        assert {v["Name"] for v in engine.volumes() if v["Name"].endswith("_data")} >= {
            "attic_data",
            "cellar_data",
        }
        assert "gitops-cellar" in {network["Name"] for network in engine.networks()}
        assert sweep(stack(), [host], volumes=True) == [f"{host.name}: volume attic_data"]
    finally:
        engine.remove_volume("cellar_data")
        engine.remove_network("gitops-cellar")

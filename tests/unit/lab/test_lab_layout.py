from __future__ import annotations

from ipaddress import ip_address, ip_network
from itertools import combinations
from pathlib import Path

import pytest

from gitops.errors import PermanentError
from gitops.lab.layout import BRIDGE_PREFIX, MAX_DOCKER, MAX_EDGES, MAX_PODMAN, Layout, Shape, bridge, cable


def test_members_are_named_and_addressed_by_kind() -> None:
    members = Shape(docker=2, podman=1, edges=1).members(7)
    assert [(m.name, m.kind, m.address) for m in members] == [
        ("h1", "docker", "198.18.7.11"),
        ("h2", "docker", "198.18.7.12"),
        ("p1", "podman", "198.18.7.101"),
        ("e1", "edge", "198.18.7.201"),
    ]


def test_the_largest_lab_has_no_address_network_or_name_twice() -> None:
    members = Shape(MAX_DOCKER, MAX_PODMAN, MAX_EDGES).members(255)
    for values in (
        [m.name for m in members],
        [m.address for m in members],
        [m.hardware_address for m in members],
    ):
        assert len(set(values)) == len(members)
    assert all(ip_address(m.address) in ip_network("198.18.255.0/24") for m in members)
    assert all(len(cable(255, m.name)) <= 15 for m in members)
    networks = [ip_network(text) for m in members for text in (m.bridge_subnet, m.network_pool)]
    assert not any(a.overlaps(b) for a, b in combinations(networks, 2))
    reserved = [ip_network("198.18.0.0/15"), ip_network("10.96.0.0/16")]  # the lab's own, the services'
    assert not any(network.overlaps(other) for network in networks for other in reserved)


@pytest.mark.parametrize("shape", [Shape(docker=-1), Shape(podman=MAX_PODMAN + 1), Shape(edges=1000)])
def test_an_impossible_count_is_refused(shape: Shape) -> None:
    with pytest.raises(PermanentError, match="not possible"):
        shape.members(0)


def test_everything_is_named_after_the_folder() -> None:
    one, other = Layout.of(Path("/srv/one")), Layout.of(Path("/srv/other"))
    assert one == Layout.of(Path("/srv/x/../one"))
    assert one.mark != other.mark
    assert one.hardware_address.replace(":", "") == f"02{one.mark}"
    assert one.group == f"gitops-lab-{one.mark}"
    assert bridge(255) == f"{BRIDGE_PREFIX}255"
    assert len(bridge(255)) <= 15


@pytest.mark.parametrize("folder", ["/", "/tmp", "/srv/a,b", "/srv/a:b", "/srv/with blank", "/srv/a'b"])
def test_a_folder_that_mounts_cannot_name_is_refused(folder: str) -> None:
    with pytest.raises(PermanentError, match="cannot live"):
        Layout.of(Path(folder))

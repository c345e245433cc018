"""Names of kinds of machines, for images and for constraints."""

from __future__ import annotations

import pytest
from support.planning import service_of

from gitops.model.fleet import Host
from gitops.model.machine import go_name
from gitops.model.observed import ObservedHost
from gitops.plan.constraints import unmet


@pytest.mark.parametrize(
    ("uname", "go"),
    [("x86_64", "amd64"), ("aarch64", "arm64"), ("armv7l", "arm"), ("i686", "386"), ("s390x", "s390x")],
)
def test_images_are_named_as_go_does(uname: str, go: str) -> None:
    assert go_name(uname) == go_name(go) == go


@pytest.mark.parametrize(
    ("wanted", "machine", "met"),
    [
        ("amd64", "x86_64", True),
        ("AArch64", "aarch64", True),
        ("arm64", "x86_64", False),
        ("armv7l", "armv7l", True),
        ("armv6l", "armv7l", False),
    ],
)
def test_a_constraint_knows_both_names_of_a_kind_and_keeps_the_members_of_a_family_apart(
    wanted: str, machine: str, met: bool
) -> None:
    service = service_of("web", {"constraints": [f"node.platform.arch == {wanted}"]})
    state = ObservedHost("h1", reachable=True, architecture=machine)
    assert (unmet(service, Host("h1", "198.18.0.11"), state) == "") is met

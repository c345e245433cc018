"""The route by which a host takes the service network for its own, on one."""

from __future__ import annotations

import pytest
from support.controllers import machine, opened
from support.labs import Lab

from gitops.tasks.network import take
from gitops.tasks.outcome import TaskError

pytestmark = pytest.mark.lab

NETWORK = "198.19.0.0/16"


def routed(lab: Lab) -> bool:
    return lab.on("h1", "ip", "route", "get", "198.19.3.4", check=False).startswith("local ")


def test_a_lost_route_is_put_back_by_a_user_that_may_become_root(lab: Lab) -> None:
    assert routed(lab)
    lab.on("h1", "ip", "route", "delete", "local", NETWORK, "dev", "lo")
    assert not routed(lab)
    with opened(machine(lab, "h1")) as channels, pytest.raises(TaskError, match="as root: ip route replace"):
        take(channels["h1"], NETWORK)
    assert not routed(lab)
    with opened(machine(lab, "h1", ansible_user="ops")) as channels:
        take(channels["h1"], NETWORK)
    assert routed(lab)
    with opened(machine(lab, "h1")) as channels:
        take(channels["h1"], NETWORK)  # there is nothing to do, so nobody has to be root

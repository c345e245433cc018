"""What a deployment does about the faults of hosts that it meets."""

from __future__ import annotations

import pytest
from support.planning import small_fleet

from gitops.application import Premises
from gitops.channel.failures import DiskFullError, HostSetupError
from gitops.errors import PermanentError, TransientError
from gitops.execute.events import Failure
from gitops.model.observed import Observed, ObservedHost
from gitops.plan.refusal import PortsHeldError
from gitops.trouble import Trouble, of_host
from gitops.watch.watcher import Hosts

FLEET = small_fleet(2)


def test_a_port_that_was_lost_counts_as_taken_once() -> None:
    trouble = Trouble()
    lost = Failure("port", "address already in use", host="h1", ports=(20000,))
    assert "another port than 20000 is tried" in trouble.avoid(lost, FLEET)
    assert trouble.avoid(lost, FLEET) == "", "it was to be avoided, and was not"
    both = Observed((ObservedHost("h1", reachable=True), ObservedHost("h2", reachable=True)))
    seen = trouble.seen(both)
    assert [host.listening for host in seen.hosts] == [(20000,), ()]
    assert [host.listening_everywhere for host in seen.hosts] == [(20000,), ()]


@pytest.mark.parametrize("kind", ["disk", "pool"])
def test_a_host_that_can_start_nothing_gets_nothing_new(kind: str) -> None:
    trouble = Trouble()
    failure = Failure(kind, "none left", host="h1")
    assert trouble.avoid(failure, FLEET) == "h1: no new containers there"
    assert trouble.avoid(failure, FLEET) == "", "it is done without already"
    given = trouble.given(Premises(hosts=Hosts(shut={"h2": "host h2 was lost"})))
    assert sorted(given.hosts.shut) == ["h1", "h2"]
    assert given.hosts.shut["h1"].startswith("host h1 has no ")


def test_nothing_is_avoided_for_a_load_balancer_or_a_commit_s_fault() -> None:
    trouble = Trouble()
    assert trouble.avoid(Failure("disk", "full", host="lb1"), FLEET) == ""
    assert trouble.avoid(Failure("disk", "full", host="gone"), FLEET) == ""
    for kind in ("unhealthy", "exit", "create", "pull", "engine", "unreachable"):
        assert trouble.avoid(Failure(kind, "no", host="h1"), FLEET) == ""


def test_whose_fault_it_is() -> None:
    for kind in ("disk", "port", "pool", "engine", "unreachable", "lock"):
        assert Failure(kind, "no").of_host
    for kind in ("pull", "create", "exit", "unhealthy", "edge", "judged", "timeout", "internal"):
        assert not Failure(kind, "no").of_host
    assert of_host(TransientError("no answer"))
    assert of_host(DiskFullError("full"))
    assert of_host(PortsHeldError("host port 53 is taken"))
    assert of_host(HostSetupError("no engine"))
    assert not of_host(PermanentError("fits nowhere"))

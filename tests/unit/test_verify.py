"""When a fleet is what a plan leads to, and when not."""

from __future__ import annotations

from dataclasses import replace

from support.planning import applied, deployed, lost, plan_of, small_fleet, stack_of

from gitops.model.observed import Observed
from gitops.model.plan import Plan
from gitops.verify import difference

FLEET = small_fleet()
WAS = stack_of({"web": {"image": "web:1", "replicas": 3, "ports": [80]}, "worker": {"replicas": 3}}, "a")
NOW = stack_of({"web": {"image": "web:2", "replicas": 3, "ports": [80]}, "worker": {"replicas": 3}}, "b")


def without_h3() -> tuple[Plan, Observed]:
    """The plan, and what the hosts that take part report after it."""
    observed = lost(deployed(WAS, FLEET), ["h3"])
    plan = plan_of(NOW, FLEET, observed, WAS, tolerate=1)
    after = applied(plan, observed)
    return plan, Observed(tuple(host for host in after.hosts if host.name != "h3"))


def with_status(observed: Observed, part: str, status: str) -> Observed:
    """The same, with another status of the servers whose name has that part."""
    return Observed(
        tuple(
            replace(
                host,
                servers=tuple(
                    replace(server, status=status) if part in server.name else server
                    for server in host.servers
                ),
            )
            for host in observed.hosts
        )
    )


def test_what_an_absent_host_has_is_not_missed() -> None:
    plan, observed = without_h3()
    assert difference(plan, observed) is None
    assert difference(plan, with_status(observed, "-web-3-", "DOWN")) is None


def test_a_server_of_a_host_that_takes_part_is_missed() -> None:
    plan, observed = without_h3()
    problem = difference(plan, with_status(observed, "-web-2-", "DOWN"))
    assert problem is not None
    assert "DOWN" in problem.message


def test_a_host_that_is_lost_meanwhile_is_missed() -> None:
    plan, observed = without_h3()
    problem = difference(plan, lost(observed, ["h2"]))
    assert problem is not None
    assert problem.where.host == "h2"
    assert problem.passing

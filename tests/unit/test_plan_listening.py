"""Ports that any program of a host listens on are neither allotted nor published."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.planning import deployed, nothing_on, plan_of, small_fleet, stack_of

from gitops.model.observed import Observed
from gitops.plan.refusal import PortsHeldError

FLEET = small_fleet(1)
WEB = stack_of({"web": {"ports": [80]}})
FIXED = stack_of({"db": {"host_ports": [6379]}})


def listening(observed: Observed, *ports: int, everywhere: bool = True) -> Observed:
    """The hosts, each with programs that listen."""
    all_of = ports if everywhere else ()
    return replace(
        observed,
        hosts=tuple(replace(h, listening=ports, listening_everywhere=all_of) for h in observed.hosts),
    )


def test_a_port_is_allotted_that_nothing_listens_on() -> None:
    for everywhere in (True, False):
        seen = listening(nothing_on(FLEET), 20000, 20001, 20003, everywhere=everywhere)
        (start,) = plan_of(WEB, FLEET, seen).starts
        assert start.ports == ((80, 20002),)


def test_a_fixed_port_is_refused_where_a_program_has_it_on_all_addresses() -> None:
    with pytest.raises(PortsHeldError, match="host port 6379 is taken"):
        plan_of(FIXED, FLEET, listening(nothing_on(FLEET), 6379))
    assert plan_of(FIXED, FLEET, listening(nothing_on(FLEET), 6379, everywhere=False)).starts


def test_the_proxy_of_a_container_that_goes_keeps_nobody_from_its_port() -> None:
    before = listening(deployed(FIXED, FLEET), 6379)
    after = stack_of({"db": {"host_ports": [6379], "image": "db:2"}})
    plan = plan_of(after, FLEET, before, FIXED)
    assert [start.service for start in plan.starts] == ["db"]

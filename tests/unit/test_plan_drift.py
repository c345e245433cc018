"""What somebody or something has changed on hosts: each kind is known, has its reason, and is put right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from support.planning import (
    altered,
    applied,
    deployed,
    fragment,
    plan_of,
    small_fleet,
    stack_of,
    with_container,
)

from gitops.model.edge import Assembled, Running
from gitops.model.observed import Container, Observed, ProxyServer
from gitops.model.plan import Plan, Relapse
from gitops.plan import make_plan
from gitops.plan.drift import drifts, sentence

FLEET = small_fleet()
STACK = stack_of({"web": {"replicas": 3, "ports": [80], "healthcheck": True}})
WHOLE = deployed(STACK, FLEET)
PIN = "reg:5000/web:1@sha256:" + "a" * 64


def named(slot: int) -> Container:
    return next(c for c in WHOLE.containers("shop") if c.slot == slot)


def reasons(observed: Observed) -> list[str]:
    return [str(each) for each in drifts(plan_of(STACK, FLEET, observed, STACK))]


def at_the_edge(observed: Observed, servers: Mapping[str, str | None]) -> Observed:
    """The hosts, where HAProxy reports another status of some servers, or None: lacks them."""
    hosts = []
    for host in observed.hosts:
        known = {server.name: server for server in host.servers}
        now = [replace(s, status=servers.get(n) or s.status) for n, s in known.items()]
        gone = {name for name, status in servers.items() if status is None}
        hosts.append(replace(host, servers=tuple(s for s in now if s.name not in gone)))
    return Observed(tuple(hosts))


def test_nothing_has_drifted() -> None:
    assert reasons(WHOLE) == []


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"state": "exited", "exit_code": 137}, "container exited (137)"),
        ({"state": "exited", "exit_code": 0}, "container exited (0)"),
        ({"state": "paused"}, "container paused"),
    ],
)
def test_what_stands_still_is_started_again_in_place_unless_load_balancers_serve_it(
    fault: Mapping[str, object], reason: str
) -> None:
    it = named(2)
    observed = altered(WHOLE, it.name, **fault)
    plan = plan_of(STACK, FLEET, observed, STACK)
    assert reasons(observed) == [f"web.2 on {it.host}: {reason}"]
    (start,) = plan.starts
    assert (start.host, start.replaces) == (it.host, it.name)
    assert start.ports != it.ports, "where nobody has checked in vain while it starts"
    assert plan_of(STACK, FLEET, applied(plan, observed), STACK).empty

    alone = stack_of({"job": {"replicas": 1}})
    there = deployed(alone, FLEET)
    (it,) = there.containers("shop")
    observed = altered(there, it.name, **fault)
    plan = plan_of(alone, FLEET, observed, alone)
    assert [start.container for start in plan.starts] == [it.name]
    assert not plan.retires
    assert plan_of(alone, FLEET, applied(plan, observed), alone).empty


@pytest.mark.parametrize("state", ["exited", "paused"])
def test_on_the_second_time_in_a_row_a_new_container_is_made(state: str) -> None:
    it = named(2)
    observed = altered(WHOLE, it.name, state=state)
    plan = make_plan(STACK, FLEET, observed, previous=STACK, fragment=fragment, relapses=(Relapse("web", 2),))
    assert [start.container for start in plan.starts] != [it.name]
    assert [retire.container for retire in plan.retires] == [it.name]


def test_on_the_way_back_nothing_is_started_in_place() -> None:
    observed = altered(WHOLE, named(2).name, state="exited")
    plan = plan_of(STACK, FLEET, observed, STACK, rollback=True)
    assert plan.starts[0].container != named(2).name


def test_one_that_a_newer_commit_changes_is_not_started_again() -> None:
    newer = stack_of({"web": {"replicas": 3, "ports": [80], "image": "web:2"}}, "c")
    plan = plan_of(newer, FLEET, altered(WHOLE, named(2).name, state="exited"), STACK)
    assert named(2).name not in {start.container for start in plan.starts}


def test_what_its_engine_restarts_is_left_to_its_engine() -> None:
    assert reasons(altered(WHOLE, named(2).name, state="restarting")) == []


def test_what_is_unhealthy_is_replaced_before_it_goes() -> None:
    it = named(2)
    plan = plan_of(STACK, FLEET, altered(WHOLE, it.name, health="unhealthy"), STACK)
    assert [str(each) for each in drifts(plan)] == [f"web.2 on {it.host}: container unhealthy"]
    assert plan.starts[0].container != it.name


def test_another_image_under_our_labels() -> None:
    stack = stack_of({"web": {"image": PIN}})
    observed = deployed(stack, FLEET)
    (it,) = observed.containers("shop")
    tagless = PIN.replace(":1@", "@")  # as Podman says it
    assert plan_of(stack, FLEET, altered(observed, it.name, image=tagless), stack).empty
    alike = "reg:5000/other@" + PIN.partition("@")[2]  # likewise, of an image of two names
    assert plan_of(stack, FLEET, altered(observed, it.name, image=alike), stack).empty
    for other in ("reg:5000/web:2", PIN[:-1] + "b"):
        (found,) = drifts(plan_of(stack, FLEET, altered(observed, it.name, image=other), stack))
        assert found.reason.startswith("image changed by hand: reg:5000/web:1@sha256:aaaaaaaaaaaa -> ")


@pytest.mark.parametrize(
    ("service", "slot", "reason"),
    [
        ("web", 0, "stray container, its slot is not wanted"),
        ("web", 7, "stray container, its slot is not wanted"),
        ("", 0, "service removed"),
        ("mine", 1, "service removed"),
    ],
)
def test_a_stray_container_under_our_labels_goes(service: str, slot: int, reason: str) -> None:
    stray = replace(named(1), id="stray", name="stray", service=service, slot=slot, ports=(), spec="")
    observed = with_container(WHOLE, stray)
    plan = plan_of(STACK, FLEET, observed, STACK)
    assert [(r.container, r.reason) for r in plan.retires] == [("stray", reason)]
    assert not plan.starts
    assert applied(plan, observed).containers("shop") == WHOLE.containers("shop")


def test_servers_at_run_time() -> None:
    one, two = named(1).name, named(2).name
    assert reasons(at_the_edge(WHOLE, {one: "MAINT", two: "DRAIN"})) == [
        f"lb1: server {one} disabled in HAProxy (MAINT)",
        f"lb1: server {two} disabled in HAProxy (DRAIN)",
    ]
    assert reasons(at_the_edge(WHOLE, {one: None})) == [f"lb1: server {one} missing in HAProxy"]
    assert reasons(at_the_edge(WHOLE, {one: "DOWN"})) == [], "its own check rules over it"


def test_a_server_that_was_added_by_hand() -> None:
    def with_server(status: str, backend: str = "shop.web.80") -> Observed:
        extra = ProxyServer(backend, "mine", "198.18.0.9:80", status)
        return Observed(
            tuple(replace(h, servers=(*h.servers, extra)) if h.servers else h for h in WHOLE.hosts)
        )

    assert reasons(with_server("UP")) == ["lb1: server mine in HAProxy is not of the commit"]
    assert reasons(with_server("MAINT")) == [], "one that waits for its removal takes nothing"
    assert reasons(with_server("UP", "other.web.80")) == [], "another application's"


RUNNING: Mapping[str, Any] = {
    "mark": "mark",
    "routing": (("*/", "shop.web.80"), ("other.test/", "other.web.80")),
    "sections": frozenset({"backend shop.web.80", "frontend http"}),
}


def test_haproxy_cfg_was_changed() -> None:
    def files(fragments: Mapping[str, str], edge: bool) -> Assembled | None:
        return Assembled(f"file of {sorted(fragments)}", {"*/": "shop.web.80"}, "mark") if edge else None

    def planned(config: str, **running: Any) -> Plan:
        runs = Running(**{**RUNNING, **running})
        hosts = tuple(replace(h, config=config, running=runs) if h.fragments else h for h in WHOLE.hosts)
        return make_plan(
            STACK,
            FLEET,
            Observed(hosts),
            previous=STACK,
            fragment=fragment,
            config=files,
        )

    whole = files({"shop": ""}, edge=True)
    assert whole is not None
    assert planned(whole.digest).empty
    assert planned("").empty, "nobody looked"
    for told, why in (
        ({"mark": "other"}, "HAProxy has not loaded haproxy.cfg"),
        ({"routing": ()}, "route */ of HAProxy leads to nothing, in the file to shop.web.80"),
        ({"sections": frozenset()}, "HAProxy has no backend shop.web.80"),
    ):
        assert [str(each) for each in drifts(planned(whole.digest, **told))] == [f"lb1: {why}"]
    assert [str(each) for each in drifts(planned("other"))] == ["lb1: haproxy.cfg was changed by hand"]


def test_files_that_are_gone() -> None:
    bare = Observed(tuple(replace(host, releases=(), fragments=()) for host in WHOLE.hosts))
    assert reasons(bare) == [
        "lb1: its part of haproxy.cfg is missing",
        *(f"{name}: release file missing" for name in ("h1", "h2", "h3", "lb1")),
    ]


def test_a_slot_that_rests_is_left_as_it_is_and_its_server_stays() -> None:
    it = named(2)
    observed = altered(WHOLE, it.name, state="exited")
    rests = (Relapse("web", 2, "crash loop: next try in 40 s"),)
    plan = make_plan(STACK, FLEET, observed, previous=STACK, fragment=fragment, relapses=rests)
    assert plan.empty
    assert plan.degraded == "degraded, web.2: crash loop: next try in 40 s"
    assert it.name in {keep.container for keep in plan.keeps}
    unknown = make_plan(
        STACK,
        FLEET,
        at_the_edge(observed, {it.name: None}),
        previous=STACK,
        fragment=fragment,
        relapses=rests,
    )
    assert it.name not in {server.name for backend in unknown.backends for server in backend.servers}
    healthy = make_plan(STACK, FLEET, WHOLE, previous=STACK, fragment=fragment, relapses=rests)
    assert (healthy.empty, healthy.degraded) == (True, "")


def test_of_many_differences_a_line_tells_the_first() -> None:
    bare = Observed(tuple(replace(host, releases=(), fragments=()) for host in WHOLE.hosts))
    assert sentence(drifts(plan_of(STACK, FLEET, bare, STACK)), most=1) == (
        "lb1: its part of haproxy.cfg is missing and 4 more"
    )

from __future__ import annotations

from dataclasses import replace

from gitops.allotments import Allotments
from gitops.model.fleet import Fleet
from gitops.model.observed import Container, Observed, ObservedHost
from gitops.model.plan import Plan, Start, StartPhase
from gitops.model.size import Size
from gitops.model.stack import ContainerSpec, Service, Stack

HOSTS = Observed(
    (ObservedHost("h1", reachable=True, ports_used=(20000,)), ObservedHost("h2", reachable=True))
)


def lowest_free(app: str, observed: Observed) -> Plan:
    """A plan of one container on h1 with the lowest free port."""
    host = observed.host("h1")
    assert host
    port = next(number for number in range(20000, 30000) if number not in host.ports_used)
    start = Start("web", 1, "h1", f"{app}-web-1", ((80, port),), "new service")
    return Plan(app, Stack(app, "c"), Fleet(), "", phases=(StartPhase(1, (start,), None),))


def allotted(allotments: Allotments, app: str) -> int:
    plan = allotments.plan(app, lambda: HOSTS, lambda observed: lowest_free(app, observed))
    return plan.starts[0].ports[0][1]


def test_a_port_allotted_to_a_deployment_under_way_is_taken_for_the_others() -> None:
    allotments = Allotments()
    assert [allotted(allotments, app) for app in ("one", "two", "three")] == [20001, 20002, 20003]


def test_an_application_that_plans_again_gives_its_own_ports_back() -> None:
    allotments = Allotments()
    assert allotted(allotments, "one") == 20001
    assert allotted(allotments, "one") == 20001
    assert allotted(allotments, "two") == 20002
    allotments.forget("one")
    assert allotted(allotments, "two") == 20001


def test_an_address_allotted_to_a_deployment_under_way_is_taken_for_the_others() -> None:
    allotments = Allotments()
    service = Service("web", ContainerSpec("web:1"), address="10.96.0.7")
    given: list[Observed] = []

    def plan(app: str, observed: Observed) -> Plan:
        given.append(observed)
        return Plan(app, Stack(app, "c", (service,)), Fleet(), "")

    for app in ("one", "two", "one"):
        allotments.plan(app, lambda: HOSTS, lambda observed, app=app: plan(app, observed))
        allotments.forget("two")
    assert [observed.allotted for observed in given] == [frozenset(), {"10.96.0.7"}, frozenset()]


def test_what_another_deployment_is_to_start_takes_room() -> None:
    allotments = Allotments()
    size = Size(500, 1024)
    stack = Stack("one", "c", (Service("web", ContainerSpec("web:1", reserved=size)),))
    start = Start("web", 1, "h1", "one-web-1", (), "new service")
    plan = Plan("one", stack, Fleet(), "", phases=(StartPhase(1, (start,), None),))
    allotments.plan("one", lambda: HOSTS, lambda _: plan)
    seen: list[Observed] = []

    def look(app: str, observed: Observed) -> list[Size]:
        allotments.plan(app, lambda: observed, lambda given: (seen.append(given), lowest_free(app, given))[1])
        return [c.reserved for host in seen[-1].hosts for c in host.containers if c.app == "one"]

    assert look("two", HOSTS) == [size]
    assert look("one", HOSTS) == []
    started = Container("1", "one-web-1", "h1", "one", "web", 1, "s", "c", "web:1", "running", reserved=size)
    there = Observed((replace(HOSTS.hosts[0], containers=(started,)), HOSTS.hosts[1]))
    allotments.plan("one", lambda: HOSTS, lambda _: plan)
    assert look("two", there) == [size]


def test_a_slow_look_keeps_nobody_else_waiting_and_is_repeated_when_another_has_ended_meanwhile() -> None:
    allotments = Allotments()
    assert allotted(allotments, "one") == 20001
    looks = 0

    def slow() -> Observed:
        nonlocal looks
        looks += 1
        if looks > 1:
            return Observed((replace(HOSTS.hosts[0], ports_used=(20000, 20001)), HOSTS.hosts[1]))
        assert allotted(allotments, "two") == 20002, "planned while this one looks"
        allotments.forget("one")  # its container runs: an older look does not show its port
        return HOSTS

    plan = allotments.plan("three", slow, lambda observed: lowest_free("three", observed))
    assert (looks, plan.starts[0].ports) == (2, ((80, 20003),))

"""When a fleet is what a plan leads to, and when not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.planning import altered, applied, deployed, lost, plan_of, small_fleet, stack_of

from gitops.model.edge import Running
from gitops.model.observed import Observed
from gitops.model.plan import Plan, Relapse
from gitops.plan import make_plan
from gitops.render.edge import assemble
from gitops.render.haproxy import fragment
from gitops.verify import difference

FLEET = small_fleet()
WAS = stack_of({"web": {"image": "web:1", "replicas": 3, "ports": [80]}, "worker": {"replicas": 3}}, "a")
NOW = stack_of({"web": {"image": "web:2", "replicas": 3, "ports": [80]}, "worker": {"replicas": 3}}, "b")


def serving(plan: Plan, observed: Observed) -> Observed:
    """The same, with load balancers whose files and running HAProxy are as the plan leads to."""
    text = fragment(plan.stack, None, plan.backends)
    files = assemble({plan.app: text})
    running = Running(
        files.mark,
        tuple(sorted(files.routing.items())),
        frozenset(f"backend {b}" for b in files.routing.values()),
    )
    told = {"fragments": ((plan.app, text),), "config": files.digest, "running": running}
    names = {host.name for host in plan.fleet.load_balancers}
    return Observed(tuple(replace(h, **told) if h.name in names else h for h in observed.hosts))


def with_running(observed: Observed, **told: Any) -> Observed:
    """The same, with load balancers that have something else."""
    return Observed(tuple(replace(h, **told) if h.running else h for h in observed.hosts))


def without_h3() -> tuple[Plan, Observed]:
    """The plan, and what the hosts that take part report after it."""
    observed = lost(deployed(WAS, FLEET), ["h3"])
    plan = plan_of(NOW, FLEET, observed, WAS, tolerate=1)
    after = applied(plan, observed)
    return plan, serving(plan, Observed(tuple(host for host in after.hosts if host.name != "h3")))


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


def test_what_its_engine_restarts_has_not_settled() -> None:
    observed = deployed(NOW, FLEET)
    plan = plan_of(NOW, FLEET, observed, NOW)
    it = next(c for c in observed.containers("shop") if c.service == "worker")
    problem = difference(plan, altered(observed, it.name, state="restarting"))
    assert problem is not None
    assert (problem.message, problem.passing) == (f"worker.{it.slot} is restarted by its engine", True)


def test_a_slot_that_is_left_alone_for_now_is_not_missed() -> None:
    whole = deployed(NOW, FLEET)
    it = next(c for c in whole.containers("shop") if c.service == "web")
    observed = altered(whole, it.name, state="exited", exit_code=3)
    rests = (Relapse("web", it.slot, "crash loop: next try in 40 s"),)
    plan = make_plan(NOW, FLEET, observed, previous=NOW, relapses=rests)
    observed, whole = serving(plan, observed), serving(plan, whole)
    assert difference(plan, with_status(observed, it.name, "DOWN")) is None
    again = difference(plan, altered(observed, it.name, state="running"))
    assert again is None
    other = next(c for c in whole.containers("shop") if c.service == "web" and c.slot != it.slot)
    problem = difference(plan, altered(observed, other.name, state="exited", exit_code=3))
    assert problem is not None
    assert problem.where.container == other.name


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"config": "0" * 64}, "haproxy.cfg is not what its parts make"),
        ({"routing": ()}, "route */ of HAProxy leads to nothing, in the file to shop.web.80"),
        ({"routing": (("*/", "shop.api.80"),)}, "route */ of HAProxy leads to shop.api.80, in the file to"),
        (
            {"routing": (("*/", "shop.web.80"), ("x/", "shop.web.80"))},
            "route x/ of HAProxy leads to shop.web.80",
        ),
        ({"sections": frozenset()}, "HAProxy has no backend shop.web.80"),
        ({"mark": "f" * 64}, "HAProxy has not loaded haproxy.cfg"),
        ({"mark": ""}, "HAProxy has not loaded haproxy.cfg"),
    ],
)
def test_what_haproxy_runs_is_compared_with_files_and_plan(told: dict[str, Any], message: str) -> None:
    plan, observed = without_h3()
    balancer = observed.host("lb1")
    assert balancer is not None
    assert balancer.running is not None
    of_process = {key: value for key, value in told.items() if key in {"routing", "sections", "mark"}}
    if of_process:
        told = {"running": replace(balancer.running, **of_process)}
    problem = difference(plan, with_running(observed, **told))
    assert problem is not None
    assert problem.message.startswith(message)
    assert (problem.where.host, problem.passing) == ("lb1", True)


def test_while_another_deployment_loads_its_file_only_the_own_part_counts() -> None:
    plan, observed = without_h3()
    balancer = observed.host("lb1")
    assert balancer is not None
    assert balancer.running is not None
    other = replace(balancer.running, mark="f" * 64)
    assert difference(plan, with_running(observed, running=other, loading=True)) is None
    assert difference(plan, with_running(observed, running=replace(other, routing=()), loading=True))


def test_a_fragment_that_is_not_as_planned_is_told() -> None:
    plan, observed = without_h3()
    balancer = observed.host("lb1")
    assert balancer is not None
    (app, text), *_ = balancer.fragments
    problem = difference(plan, with_running(observed, fragments=((app, f"{text}# more\n"),)))
    assert problem is not None
    assert problem.message == "its part of haproxy.cfg is not as planned"

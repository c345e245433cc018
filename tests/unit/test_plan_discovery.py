"""Where services find each other: addresses, names, and the hosts that serve them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.planning import applied, fleet_of, lost, nothing_on, small_fleet, stack_of
from support.situations import CASES

from gitops.errors import PermanentError, TransientError
from gitops.model.fleet import CONTAINER_HOSTS, LOAD_BALANCERS, Fleet
from gitops.model.observed import Container, Found, Observed, ObservedHost, ProxyServer, Release
from gitops.model.plan import Place, Plan, Retire, Role, Start
from gitops.model.stack import Stack
from gitops.plan import make_plan
from gitops.plan.discovery import discovered, found, listeners, sought
from gitops.render.deployment import fragments
from gitops.render.fragment import parse
from gitops.render.graph import graph
from gitops.render.haproxy import fragment
from gitops.render.work import Step, Switch

NETWORK = IPv4Network("10.96.0.0/16")
FLEET = small_fleet()
NAMES = st.sets(st.from_regex(r"[a-z]{1,4}", fullmatch=True), min_size=2, max_size=8)


def services(**said: Mapping[str, Any]) -> Stack:
    """Services that listen on port 80 unless something else is said of them."""
    return stack_of({name: {"expose": [80], **words} for name, words in said.items()})


def ready(fleet: Fleet = FLEET) -> Observed:
    """Hosts that run nothing, and that take the service network for their own."""
    hosts = nothing_on(fleet).hosts
    return Observed(tuple(replace(host, networks=("127.0.0.0/8", str(NETWORK))) for host in hosts))


def with_release(observed: Observed, app: str, *services: Found, host: str = "h1") -> Observed:
    """The hosts, of which one has a record of an application."""
    release = Release(app, "c" * 40, "d", services)
    hosts = (
        replace(each, releases=(*each.releases, release)) if each.name == host else each
        for each in observed.hosts
    )
    return Observed(tuple(hosts))


def addresses(stack: Stack, observed: Observed | None = None, fleet: Fleet = FLEET) -> dict[str, str]:
    named, _ = discovered(stack, None, fleet, observed or ready(), NETWORK)
    return {service.name: service.address for service in named.services if service.address}


def plan(
    stack: Stack,
    observed: Observed,
    previous: Stack | None = None,
    fleet: Fleet = FLEET,
    tolerate: int = 0,
) -> Plan:
    named, before = discovered(stack, previous, fleet, observed, NETWORK)
    return make_plan(named, fleet, observed, previous=before, fragment=fragment, tolerate=tolerate)


def roles(plan: Plan) -> dict[str, tuple[Role, Role]]:
    return {host: (place.role, place.after) for place in plan.places for host in place.hosts}


@given(NAMES)
def test_every_service_has_its_own_address_of_the_network_whatever_the_order(names: set[str]) -> None:
    there = addresses(services(**{name: {} for name in sorted(names)}))
    back = addresses(services(**{name: {} for name in sorted(names, reverse=True)}))
    assert there == back
    assert len(set(there.values())) == len(names)
    assert all(IPv4Address(address) in NETWORK for address in there.values())


@given(NAMES, st.data())
def test_an_address_is_kept_whatever_comes_and_goes(names: set[str], data: st.DataObject) -> None:
    before = discovered(services(**{name: {} for name in names}), None, FLEET, ready(), NETWORK)[0]
    seen = with_release(ready(), "shop", *found(before))
    kept = data.draw(st.sets(st.sampled_from(sorted(names)), min_size=1))
    after = addresses(services(**{name: {} for name in kept | {"new", "other"}}), seen)
    assert {name: after[name] for name in kept} == {
        s.name: s.address for s in before.services if s.name in kept
    }


def test_an_address_that_hosts_report_is_kept_though_another_would_be_chosen() -> None:
    recorded = with_release(ready(), "shop", Found("api", "10.96.200.1"))
    assert addresses(services(api={}, web={}), recorded)["api"] == "10.96.200.1"
    text = "\nfrontend shop.api.at80\n    bind 10.96.200.2:80\n    mode tcp\n"
    hosts = (replace(host, fragments=(("shop", text),)) for host in ready().hosts)
    assert addresses(services(api={}, web={}), Observed(tuple(hosts)))["api"] == "10.96.200.2"
    outside = with_release(ready(), "shop", Found("api", "10.97.0.1"))
    assert addresses(services(api={}, web={}), outside) == addresses(services(api={}, web={}))


def test_an_address_that_another_application_has_is_not_given_again() -> None:
    mine = addresses(services(api={}, web={}))["api"]
    recorded = with_release(ready(), "blog", Found("api", mine))
    under_way = replace(ready(), allotted=frozenset({mine}))
    for observed in (recorded, under_way):
        assert addresses(services(api={}, web={}), observed)["api"] == str(IPv4Address(mine) + 1)


def test_a_network_that_is_full_is_refused() -> None:
    small = IPv4Network("10.96.0.0/28")
    many = services(**{f"s{number}": {} for number in range(15)})
    with pytest.raises(PermanentError, match="has no address left"):
        discovered(many, None, FLEET, ready(), small)


def test_a_network_that_a_host_is_in_is_refused() -> None:
    with pytest.raises(PermanentError, match="is in the service network"):
        discovered(services(api={}, web={}), None, FLEET, ready(), IPv4Network("198.18.0.0/15"))


@pytest.mark.parametrize(
    "said",
    [
        {"api": {"expose": [80]}},
        {"web": {}, "worker": {}},
        {"seed": {"job": "in-order", "expose": [80]}, "web": {}},
    ],
)
def test_who_has_nobody_to_look_for_is_as_before(said: dict[str, Any]) -> None:
    stack = stack_of(said)
    assert discovered(stack, None, FLEET, ready(), NETWORK) == (stack, None)
    assert sought(stack) == ()


def test_a_container_knows_all_others_but_itself_and_its_own_word_comes_first() -> None:
    stack = services(api={}, db={}, web={"expose": []})
    web = replace(stack.services[2].container, extra_hosts=(("db", "192.0.2.1"),))
    stack = replace(stack, services=(*stack.services[:2], replace(stack.services[2], container=web)))
    named, _ = discovered(stack, None, FLEET, ready(), NETWORK)
    at = {service.name: service.address for service in named.services}
    known = {service.name: dict(service.container.extra_hosts) for service in named.services}
    assert known["api"] == {"db": at["db"]}
    assert known["web"] == {"api": at["api"], "db": "192.0.2.1"}
    assert at["web"] == ""


def test_a_service_of_another_application_is_known_only_where_it_is_exposed() -> None:
    observed = with_release(
        ready(), "vote", Found("queue", "10.96.1.1", ("shop",)), Found("db", "10.96.1.2", ("blog",))
    )
    named, _ = discovered(stack_of({"web": {}}), None, FLEET, observed, NETWORK)
    assert named.services[0].container.extra_hosts == (("vote.queue", "10.96.1.1"),)


def test_what_most_hosts_have_recorded_of_another_application_holds() -> None:
    observed = ready()
    for host, address in (("h1", "10.96.1.1"), ("h2", "10.96.1.2"), ("h3", "10.96.1.2")):
        observed = with_release(observed, "vote", Found("queue", address, ("shop",)), host=host)
    named, _ = discovered(stack_of({"web": {}}), None, FLEET, observed, NETWORK)
    assert named.services[0].container.extra_hosts == (("vote.queue", "10.96.1.2"),)


def test_only_hosts_that_run_a_consumer_serve_an_address() -> None:
    two = fleet_of({"h1": CONTAINER_HOSTS, "h2": CONTAINER_HOSTS, "lb1": LOAD_BALANCERS})
    first = plan(services(api={}, web={"expose": [], "ports": [8080]}), ready(two), fleet=two)
    assert {start.service: start.host for start in first.starts} == {"api": "h1", "web": "h2"}
    edge = Role()
    h1, h2 = Role(edge=False, services=("web",)), Role(edge=False, services=("api",))
    assert roles(first) == {"lb1": (edge, edge), "h1": (h1, h1), "h2": (h2, h2)}
    assert [place.folder for place in first.places] == ["haproxy", "nodes/1", "nodes/2"]


def test_a_host_that_is_a_load_balancer_too_has_one_role_for_both() -> None:
    one = fleet_of({"h1": (CONTAINER_HOSTS, LOAD_BALANCERS)})
    first = plan(services(api={}, web={"ports": [8080]}), ready(one), fleet=one)
    (place,) = first.places
    assert place.role == Role(edge=True, services=("api", "web"))
    text = fragment(first.stack, None, first.backends, place.role)
    assert "route * / shop.web.8080" in text
    assert {port for _, port in listeners(text)} == {80, 8080}


def test_a_host_from_which_the_last_consumer_goes_serves_it_until_then() -> None:
    before = services(api={}, web={"expose": []})
    observed = deployed(before)
    after = services(api={}, web={"expose": [], "replicas": 0})
    leaving = plan(after, observed, before)
    (role, final), *_ = (
        roles(leaving)[host] for host in sorted(roles(leaving)) if roles(leaving)[host][0].services
    )
    assert role.services == ("api",)
    assert final == Role(edge=False)


def test_a_new_consumer_waits_until_its_host_serves_the_address() -> None:
    before = services(api={}, web={"expose": []})
    observed = deployed(before)
    more = services(api={}, web={"expose": [], "replicas": 3})
    steps = {step.name: step for step in graph(plan(more, observed, before))}
    opening = steps["switch 1"].work
    assert isinstance(opening, Switch)
    running = {c.host for c in observed.containers("shop") if c.service == "web"}
    assert {host for place in opening.places for host in place.hosts} >= {"h1", "h2", "h3"} - running
    starts = [step for step in steps.values() if isinstance(step.work, Start)]
    assert len(starts) == 2
    assert all("switch 1" in ancestors(steps, start) for start in starts)
    same = plan(replace(before, commit="d" * 40), observed, before)
    assert not any(place.opens for place in same.places)


def test_nothing_is_left_to_do_after_a_deployment() -> None:
    stack = services(api={"replicas": 2}, web={"ports": [8080], "replicas": 2}, worker={"expose": []})
    again = plan(stack, deployed(stack), stack)
    assert again.empty
    assert not any(place.opens or place.differs for place in again.places)


def test_an_application_that_goes_leaves_nothing_behind() -> None:
    stack = services(api={}, web={})
    gone = plan(stack.emptied(), deployed(stack), stack)
    assert all(final == Role(edge=final.edge) for _, final in roles(gone).values())
    assert {place.hosts for place in gone.places if place.role.services}


def test_consumers_of_another_application_find_what_is_exposed_to_it_on_their_hosts() -> None:
    stack = stack_of({"queue": {"expose": [80]}})
    stack = replace(stack, services=(replace(stack.services[0], expose_to=("blog",)),))
    other = Container("id", "blog-web-1", "h3", "blog", "web", 1, "s", "c", "i", "running")
    hosts = (replace(h, containers=(other,)) if h.name == "h3" else h for h in ready().hosts)
    found = roles(plan(stack, Observed(tuple(hosts))))
    assert {name for name, (role, _) in found.items() if role.services} == {"h3"}


def test_a_service_that_nobody_looks_for_yet_is_replaced_without_a_switch() -> None:
    first, second = (stack_of({"queue": {"expose": [80], "image": image}}) for image in "ab")
    first, second = (
        replace(stack, services=(replace(stack.services[0], expose_to=("blog",)),))
        for stack in (first, second)
    )
    changes = plan(second, deployed(first), first)
    assert changes.starts
    assert not [step for step in graph(changes) if isinstance(step.work, Switch)]


def test_what_is_exposed_to_others_is_a_change_of_its_own() -> None:
    stack = services(api={}, web={})
    exposed = replace(stack, services=(replace(stack.services[0], expose_to=("blog",)), stack.services[1]))
    changes = plan(exposed, deployed(stack), stack)
    assert {change.reason for change in changes.records} == {"its record of addresses differs"}
    assert not changes.starts


def test_a_host_without_haproxy_is_not_given_consumers() -> None:
    hosts = (replace(host, proxy=host.name != "h2") for host in ready().hosts)
    with pytest.raises(TransientError, match="has no HAProxy") as error:
        plan(services(api={"replicas": 3}, web={"replicas": 3}), Observed(tuple(hosts)))
    assert error.value.where
    assert error.value.where.host == "h2"


def test_a_port_that_the_host_itself_publishes_cannot_be_served_at_an_address() -> None:
    stack = services(api={"expose": [5432], "host_ports": [5432], "mode": "global"}, web={"mode": "global"})
    with pytest.raises(PermanentError, match="port 5432 of api cannot be served"):
        plan(stack, ready())


def test_a_host_that_has_lost_the_route_of_the_network_gets_it_back() -> None:
    stack = services(api={"replicas": 3}, web={"replicas": 3})
    hosts = (replace(h, networks=("127.0.0.0/8",)) if h.name == "h2" else h for h in deployed(stack).hosts)
    (place,) = (p for p in plan(stack, Observed(tuple(hosts)), stack).places if p.network)
    assert (place.network, place.differs) == (str(NETWORK), True)


def test_old_containers_go_when_edge_and_nodes_have_drained_them() -> None:
    before, after = (
        services(api={"image": image, "ports": [80], "replicas": 2}, web={"replicas": 3}) for image in "ab"
    )
    steps = {step.name: step for step in graph(plan(after, deployed(before), before))}
    removals = [step for step in steps.values() if isinstance(step.work, Retire)]
    assert len(removals) == 2
    for step in removals:
        drain = next(
            each.work
            for name in ancestors(steps, step)
            if isinstance((each := steps[name]).work, Switch) and step.work in each.work.drains
        )
        assert {host for place in drain.places for host in place.hosts} == {"lb1", "h1", "h2", "h3"}


def test_a_replica_of_an_absent_host_stays_though_one_node_has_missed_it() -> None:
    stack = services(api={"replicas": 3}, web={"replicas": 3})
    there = deployed(stack)
    (away,) = (c for c in there.containers("shop") if (c.host, c.service) == ("h2", "api"))
    hosts = (
        replace(host, servers=tuple(s for s in host.servers if s.name != away.name))
        if host.name == "h1"
        else host
        for host in there.hosts
    )
    one = plan(stack, lost(Observed(tuple(hosts)), ["h2"]), stack, tolerate=1)
    assert away.name in {keep.container for keep in one.keeps}
    assert not [start for start in one.starts if start.service == "api"]


SAID = st.fixed_dictionaries(
    {
        "image": st.sampled_from(["a", "b"]),
        "replicas": st.integers(0, 3),
        "parallelism": st.integers(0, 2),
        "order": st.sampled_from(["start-first", "stop-first"]),
        "ports": st.sampled_from([(), (), (80,), (8080,)]),
        "expose": st.sampled_from([(), (80,), (80, 9000)]),
    }
)


def routed(said: Mapping[str, Mapping[str, Any]]) -> Stack:
    """Services with a route each: no two may have the same."""
    stack = stack_of(said)
    return replace(
        stack,
        services=tuple(
            replace(each, ingress=tuple(replace(one, path=f"/{each.name}") for one in each.ingress))
            for each in stack.services
        ),
    )


STACKS = st.dictionaries(st.sampled_from(["api", "db", "web"]), SAID, max_size=3).map(routed)
BOTH = fleet_of({"h1": CONTAINER_HOSTS, "h2": (CONTAINER_HOSTS, LOAD_BALANCERS), "lb1": LOAD_BALANCERS})


@CASES
@given(STACKS, STACKS, st.sampled_from([FLEET, BOTH]))
def test_whatever_changes_names_are_found_and_nothing_is_stopped_that_somebody_is_sent_to(
    before: Stack, after: Stack, fleet: Fleet
) -> None:
    after = replace(after, commit="c" * 40)
    there = deployed(before, fleet)
    changes = plan(after, there, before, fleet)
    texts = {host.name: dict(host.fragments).get("shop", "") for host in there.hosts}
    files = fragments(changes)
    for work in (step.work for step in graph(changes)):
        if isinstance(work, Switch):
            texts |= {host: files[work.file(place)] for place in work.places for host in place.hosts}
        elif isinstance(work, Start):
            service = changes.stack.service(work.service)
            assert service
            heard = {address for address, _ in listeners(texts[work.host])}
            assert {address for _, address in service.container.extra_hosts} <= heard
        elif isinstance(work, Retire):
            assert not any(f"server {work.container} " in text for text in texts.values())
    done = served(changes, applied(changes, there))
    assert texts == {host.name: dict(host.fragments).get("shop", "") for host in done.hosts}
    assert plan(after, done, after, fleet).empty


def ancestors(steps: Mapping[str, Step], step: Step) -> set[str]:
    """The names of all steps that a step waits for."""
    return set(step.after).union(*(ancestors(steps, steps[name]) for name in step.after))


def deployed(stack: Stack, fleet: Fleet = FLEET) -> Observed:
    """What the fleet reports after the stack has been deployed to it."""
    first = plan(stack, ready(fleet), fleet=fleet)
    return served(first, applied(first, ready(fleet)))


def served(plan: Plan, observed: Observed) -> Observed:
    """The hosts with the fragments, servers and records that the plan ends with."""
    at = {host: place for place in plan.places for host in place.hosts}
    return Observed(tuple(_told(plan, at.get(host.name), host) for host in observed.hosts))


def _told(plan: Plan, place: Place | None, host: ObservedHost) -> ObservedHost:
    text = fragment(plan.stack, None, plan.backends, place.after) if place else ""
    release = Release(plan.app, plan.commit, "d", found(plan.stack))
    servers = tuple(
        ProxyServer(backend, name, line.split()[0], "UP")
        for backend, lines in parse(text).servers.items()
        for name, line in lines.items()
    )
    return replace(host, fragments=((plan.app, text),) if text else (), releases=(release,), servers=servers)

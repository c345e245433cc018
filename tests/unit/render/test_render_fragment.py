from __future__ import annotations

from dataclasses import replace

import pytest
from support.planning import stack_of

from gitops.errors import PermanentError
from gitops.model.plan import Backend, Role, Server
from gitops.model.stack import Autoscale, Ingress, Publish, Stack
from gitops.plan.discovery import listeners
from gitops.render.fragment import parse
from gitops.render.haproxy import fragment


def web(*ingress: Ingress, publish: tuple[Publish, ...] = (), port: int = 80) -> Stack:
    stack = stack_of({"web": {"ports": [port]}})
    return replace(stack, services=(replace(stack.services[0], ingress=ingress, publish=publish),))


def backend(service: str, port: int, *names: str) -> Backend:
    return Backend(
        service, port, tuple(Server(name, "198.18.0.1", 20000 + n) for n, name in enumerate(names))
    )


def routes(text: str) -> list[tuple[str, str, str]]:
    return [(route.host, route.path, route.backend) for route in parse(text).routes]


def test_a_stack_that_serves_nothing_has_no_fragment() -> None:
    assert fragment(stack_of({"job": {}}), None, ()) == ""


def test_a_service_without_servers_keeps_its_route_so_that_no_other_service_answers_for_it() -> None:
    text = fragment(web(Ingress(80, path="/api")), None, ())
    assert routes(text) == [("*", "/api", "shop.web.80")]
    assert parse(text).servers == {"shop.web.80": {}}


def test_servers_are_sorted_and_carry_the_options_that_a_dynamic_server_needs() -> None:
    text = fragment(web(Ingress(80)), None, (backend("web", 80, "b", "a"),))
    servers = parse(text).servers["shop.web.80"]
    assert list(servers) == ["a", "b"]
    assert servers["a"].startswith("198.18.0.1:20001 check inter ")


def test_a_limit_of_sessions_is_that_of_every_server_also_of_one_that_comes_later() -> None:
    stack = web(Ingress(80))
    bounds = Autoscale(1, 4, (("queue_per_replica", 1.0),), max_sessions=20)
    limited = replace(stack, services=(replace(stack.services[0], autoscale=bounds),))
    text = fragment(limited, None, (backend("web", 80, "a"),))
    assert parse(text).servers["shop.web.80"]["a"].endswith(" maxconn 20")
    assert "maxconn" not in fragment(stack, limited, (backend("web", 80, "a"),))
    assert "maxconn 20" in fragment(stack.emptied(), limited, (backend("web", 80, "a"),)), "on its way out"


def test_a_published_port_is_tcp_unless_an_ingress_says_that_it_speaks_http() -> None:
    plain = fragment(web(publish=(Publish(5432, 80),)), None, ())
    assert "bind :5432\n    mode tcp" in plain
    assert "backend shop.web.80\n    mode tcp" in plain
    assert "mode tcp" not in fragment(web(Ingress(80), publish=(Publish(8080, 80),)), None, ())


def test_publishing_the_shared_port_80_is_a_route_for_every_host() -> None:
    text = fragment(web(publish=(Publish(80, 80),)), None, ())
    assert routes(text) == [("*", "/", "shop.web.80")]
    assert "bind" not in text


def test_a_route_stays_with_the_old_port_until_the_new_one_has_a_server() -> None:
    before, after = web(Ingress(80)), web(Ingress(8080), port=8080)
    old = backend("web", 80, "old")
    assert routes(fragment(after, before, (old,))) == [("*", "/", "shop.web.80")]
    both = fragment(after, before, (old, backend("web", 8080, "new")))
    assert routes(both) == [("*", "/", "shop.web.8080")]
    assert set(parse(both).servers) == {"shop.web.80", "shop.web.8080"}


def test_a_removed_service_is_served_while_it_has_servers() -> None:
    before = web(Ingress(80), publish=(Publish(5432, 80),))
    after = replace(before, services=())
    text = fragment(after, before, (backend("web", 80, "old"),))
    assert routes(text) == [("*", "/", "shop.web.80")]
    assert "bind :5432" in text
    assert fragment(after, before, ()) == ""


def test_a_route_that_the_new_commit_has_dropped_is_gone_at_once() -> None:
    before, after = web(Ingress(80), Ingress(80, path="/old")), web(Ingress(80))
    assert routes(fragment(after, before, (backend("web", 80, "a"),))) == [("*", "/", "shop.web.80")]


def test_a_node_serves_the_addresses_that_its_consumers_look_for_and_nothing_of_the_edge() -> None:
    stack = web(Ingress(80), publish=(Publish(5000, 80),))
    (service,) = stack.services
    container = replace(service.container, expose=(9000,))
    stack = replace(stack, services=(replace(service, container=container, address="10.96.0.7"),))
    servers = (backend("web", 80, "a"), backend("web", 9000, "a"))
    text = fragment(stack, None, servers, Role(edge=False, services=("web",)))
    assert routes(text) == []
    assert "bind :5000" not in text
    assert listeners(text) == {("10.96.0.7", 80), ("10.96.0.7", 9000)}
    assert "bind 10.96.0.7:80\n    mode http" in text, "as x-ingress says"
    assert "bind 10.96.0.7:9000\n    mode tcp" in text
    assert set(parse(text).servers) == {"shop.web.80", "shop.web.9000"}
    assert fragment(stack, None, servers, Role(edge=False, services=("other",))) == ""
    assert listeners(fragment(stack, None, servers)) == set()
    both = fragment(stack, None, servers, Role(edge=True, services=("web",)))
    assert (routes(both), listeners(both)) == (routes(fragment(stack, None, servers)), listeners(text))


def test_a_service_that_goes_is_found_until_its_last_replica_has_gone() -> None:
    before = web()
    before = replace(before, services=(replace(before.services[0], address="10.96.0.7"),))
    after, role = replace(before, services=()), Role(edge=False, services=("web",))
    assert listeners(fragment(after, before, (backend("web", 80, "a"),), role)) == {("10.96.0.7", 80)}
    assert fragment(after, before, (), role) == ""


@pytest.mark.parametrize(
    "ingress",
    [
        Ingress(80, host="a b"),
        Ingress(80, host="a\nbackend evil"),
        Ingress(80, host="a # b"),
        Ingress(80, path="/a }"),
        Ingress(80, path="a"),
        Ingress(80, path='/"'),
    ],
)
def test_text_that_could_end_a_word_or_a_line_never_reaches_haproxy(ingress: Ingress) -> None:
    with pytest.raises(PermanentError, match=r"must not reach haproxy\.cfg"):
        fragment(web(ingress), None, ())


def test_names_and_addresses_of_servers_are_checked_too() -> None:
    for server in (Server("a\nb", "198.18.0.1", 1), Server("a", "198.18.0.1 disabled", 1)):
        with pytest.raises(PermanentError, match=r"must not reach haproxy\.cfg"):
            fragment(web(Ingress(80)), None, (Backend("web", 80, (server,)),))

"""The stages in which a load balancer goes from one fragment to another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gitops.render.edge import assemble
from gitops.render.fragment import Fragment, Route, before_joins, parse, stages, without_servers


def backend(name: str, *servers: str) -> str:
    lines = [f"    server {server} 198.18.0.1:{20000 + number}" for number, server in enumerate(servers)]
    return "\n".join([f"backend {name}", "    mode http", "    default-server check", *lines])


def frontend(name: str, to: str) -> str:
    return f"frontend {name}\n    bind :7000\n    mode tcp\n    default_backend {to}"


OLD = Fragment((Route("a.test", "/", "shop.web.80"),), (backend("shop.web.80", "one", "two"),))
NEW = Fragment((Route("a.test", "/", "shop.web.81"),), (backend("shop.web.81", "three"),))


def test_a_route_keeps_its_backend_until_the_new_one_is_ready() -> None:
    first, last = stages(OLD, NEW, OLD.routing, frozenset({"shop.web.80"}))
    assert last is NEW
    assert first.routing == OLD.routing
    assert first.servers.keys() == {"shop.web.80", "shop.web.81"}
    assert stages(OLD, NEW, OLD.routing, frozenset({"shop.web.81"})) == (NEW,)


def test_a_new_route_waits_for_its_backend() -> None:
    first, last = stages(Fragment(), NEW, {}, frozenset())
    assert (first.routing, first.servers, last) == ({}, NEW.servers, NEW)


def test_a_backend_that_is_to_have_no_server_is_not_waited_for() -> None:
    empty = Fragment((Route("a.test", "/", "shop.web.81"),), (backend("shop.web.81"),))
    assert stages(OLD, empty, OLD.routing, frozenset({"shop.web.80"})) == (empty,)


def test_a_published_port_keeps_its_backend_likewise() -> None:
    old = Fragment((), (frontend("shop.db.tcp7000", "shop.db.1"), backend("shop.db.1", "one")))
    new = Fragment((), (frontend("shop.db.tcp7000", "shop.db.2"), backend("shop.db.2", "two")))
    first, _ = stages(old, new, old.routing, frozenset({"shop.db.1"}))
    assert first.routing == {"shop.db.tcp7000": "shop.db.1"}
    files = assemble({"shop": first.text("shop")}), assemble({"shop": new.text("shop")})
    assert [each.ports for each in files] == ["shop.db.tcp7000 shop.db.1\n", "shop.db.tcp7000 shop.db.2\n"]


def test_what_haproxy_routes_counts_not_what_the_file_says() -> None:
    """A switch that broke off between file and socket: the file has the new route, HAProxy the old one."""
    on_disk = Fragment(NEW.routes, (*OLD.sections, *NEW.sections))
    first, _ = stages(on_disk, NEW, OLD.routing, frozenset({"shop.web.80"}))
    assert first.routing == OLD.routing


def test_before_servers_join_those_that_leave_are_still_there() -> None:
    wanted = Fragment(OLD.routes, (backend("shop.web.80", "two", "three"),))
    held = before_joins(wanted, OLD, {("shop.web.80", "three")})
    assert set(held.servers["shop.web.80"]) == {"one", "two"}
    assert without_servers(held, {("shop.web.80", "one")}).servers.keys() == {"shop.web.80"}


NAMES = st.sampled_from(["shop.web.80", "shop.web.81", "shop.api.80"])
FRAGMENTS = st.builds(
    lambda routes, backends: Fragment(
        tuple(Route(host, "/", to) for host, to in sorted(routes.items())),
        tuple(
            backend(name, *sorted(backends.get(name, ()))) for name in sorted({*backends, *routes.values()})
        ),
    ),
    st.dictionaries(st.sampled_from(["a.test", "b.test", "*"]), NAMES),
    st.dictionaries(NAMES, st.sets(st.sampled_from(["one", "two", "three"]))),
)


@given(FRAGMENTS, FRAGMENTS, st.frozensets(NAMES))
def test_no_stage_leads_to_what_is_not_ready_and_each_is_a_fragment(
    current: Fragment, wanted: Fragment, ready: frozenset[str]
) -> None:
    found = stages(current, wanted, current.routing, ready)
    assert found[-1] == wanted
    for stage in found:
        assert parse(stage.text("shop")) == stage
        assert {f"backend {to}" for to in stage.routing.values()} <= stage.by_header.keys()
    unready = {k: to for k, to in found[0].routing.items() if to not in (current.routing.get(k), *ready)}
    assert not any(found[0].servers.get(to) for to in unready.values())
    assert len(found) == 1 or not unready

"""Whatever `gitops validate` accepts is rendered: no later check refuses it, nothing in it ends a word."""

from __future__ import annotations

import json
import re
from ipaddress import IPv4Network
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.planning import nothing_on, plan_of, small_fleet
from support.trees import COMMIT, MemoryTree

from gitops.desired import load
from gitops.errors import InvalidInputError
from gitops.model.stack import SERVICE_NETWORK, Stack
from gitops.plan.discovery import discovered
from gitops.render.deployment import deployment
from gitops.render.edge import assemble
from gitops.render.fragment import parse

# Names, hosts and paths of characters that some check looks at, with what is usual more often.
ODD = "aA0.-_~/@+=:!$&'()*,;%2#\"\\ \n{}<>|é"
TEXT = st.one_of(st.text(st.sampled_from("aA0.-_/"), max_size=8), st.text(st.sampled_from(ODD), max_size=4))
NAME = st.one_of(st.sampled_from(["web", "a.b", "a_b", "a-b", "0", "x" * 63, "a..b"]), TEXT)
IMAGE = st.one_of(
    st.sampled_from(
        ["web", "r.example.com/a/b__c:X_1", "localhost/a", "h:5000/a@sha256:" + "0" * 64, "Web/a"]
    ),
    TEXT,
)
PATH = st.one_of(
    st.sampled_from(["/", "/@app", "/a+b=c:d", "/~u/$x&y(1)*,!", "/%7Eu", "/%00", "/a;b", "/a'"]),
    TEXT.map("/".__add__),
)
HOST = st.one_of(st.sampled_from(["shop.example.com", "A.B", "198.18.0.1", "a_b", "x" * 64, "*.a"]), TEXT)
VALUE = st.one_of(st.none(), st.booleans(), st.integers(-2, 70_000), TEXT)
WORDS = st.one_of(st.none(), st.lists(TEXT, max_size=3), TEXT)
PORT = st.one_of(st.integers(0, 65_536), st.sampled_from(["81:80", "80:80", "5000:5000/tcp", "5001:53/udp"]))
SERVICE = st.fixed_dictionaries(
    {"image": IMAGE},
    optional={
        "command": WORDS,
        "entrypoint": WORDS,
        "environment": st.dictionaries(TEXT, st.one_of(st.booleans(), st.integers(), TEXT), max_size=3),
        "labels": st.dictionaries(TEXT, VALUE, max_size=3),
        "healthcheck": st.fixed_dictionaries(
            {"test": WORDS},
            optional={
                "interval": st.sampled_from(["0s", "1us", "1ms", "30s", ".5s"]),
                "retries": st.integers(-1, 3),
            },
        ),
        "hostname": HOST,
        "user": TEXT,
        "stop_signal": st.one_of(
            st.sampled_from(["TERM", "sigusr1", "9", "65", "SIGRTMIN+3", "SIGFOO"]), TEXT
        ),
        "working_dir": TEXT,
        "expose": st.lists(PORT, max_size=2),
        "ports": st.lists(PORT, max_size=2),
        "x-ingress": st.fixed_dictionaries(
            {"port": st.integers(0, 65_536)}, optional={"host": HOST, "path": PATH}
        ),
        "volumes": st.lists(st.tuples(NAME, TEXT).map("{0[0]}:/{0[1]}".format), max_size=2),
        "tmpfs": TEXT.map("/".__add__),
        "ulimits": st.dictionaries(
            st.sampled_from(["nofile", "core", "any"]), st.integers(-1, 9), max_size=2
        ),
        "extra_hosts": st.dictionaries(HOST, st.just("198.18.0.9"), max_size=2),
    },
)


def accepted(services: dict[str, Any], volumes: dict[str, None]) -> Stack | None:
    """The stack, or None where `validate` refuses it."""
    # JSON is YAML; a dollar sign stands for itself.
    text = json.dumps({"services": services, "volumes": volumes}).replace("$", "$$")
    try:
        return load(MemoryTree({"compose.yaml": text}), app="shop", commit=COMMIT)
    except InvalidInputError:
        return None


def parts_that_are_accepted(service: dict[str, Any], volumes: dict[str, None]) -> dict[str, Any]:
    """The keys of a service that are accepted one by one: of many odd ones one is always refused."""
    kept = {"image": "web"}
    for key, value in service.items():
        if accepted({"web": {**kept, key: value}}, volumes):
            kept[key] = value
    return kept


def rendered(stack: Stack) -> None:
    fleet = small_fleet()
    observed = nothing_on(fleet)
    stack, _ = discovered(stack, None, fleet, observed, IPv4Network(SERVICE_NETWORK))
    files = deployment(plan_of(stack, fleet, observed), deployment_id="d-1")
    for name, content in files.items():
        if name.startswith("services/"):
            _check_body(json.loads(content)["body"])
        elif name.startswith(("haproxy/", "nodes/")):
            files_of_edge = assemble({"shop": content.decode()})
            for line in (*files_of_edge.config.splitlines(), *content.decode().splitlines()):
                # Nothing of a user's ends a word there, begins a string, or is a comment.
                assert not re.search(r"['\\]", line)
                assert "#" not in line.lstrip("# ")
            routes = [line.split(" ") for line in files_of_edge.routes.splitlines()]
            assert all(len(words) == 2 and not re.search(r"[#;\\]", words[0]) for words in routes)
            fragment = parse(content.decode())
            assert {key for key, _ in routes} == {route.key for route in fragment.routes}
            assert set(fragment.routing.values()) <= set(fragment.servers)


def _check_body(body: dict[str, Any]) -> None:
    """What engines refuse of any container."""
    assert body["Image"]
    assert all("=" in variable and variable[0] != "=" for variable in body["Env"]) if "Env" in body else True
    check = body.get("Healthcheck", {})
    assert all(check.get(key, 1_000_000) >= 1_000_000 for key in ("Interval", "Timeout", "StartPeriod"))
    assert len(body.get("Hostname", "")) <= 64
    for bind in body["HostConfig"].get("Binds", ()):
        assert 2 <= len(bind.split(":")) <= 3


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
@given(st.dictionaries(NAME, SERVICE, min_size=1, max_size=2), st.dictionaries(NAME, st.none(), max_size=2))
def test_whatever_is_accepted_is_rendered(services: dict[str, Any], volumes: dict[str, None]) -> None:
    volumes = {name: None for name in volumes if accepted({"web": {"image": "web"}}, {name: None})}
    services = {
        name if accepted({name: {"image": "web"}}, {}) else "web": parts_that_are_accepted(service, volumes)
        for name, service in services.items()
    }
    stack = accepted(services, volumes)
    if stack is not None:
        rendered(stack)


@settings(max_examples=500, deadline=None)
@given(HOST, PATH)
def test_whatever_route_is_accepted_is_rendered(host: str, path: str) -> None:
    ingress = {"port": 80, "path": path, **({"host": host} if host else {})}
    stack = accepted({"web": {"image": "web", "x-ingress": ingress}}, {})
    if stack is not None:
        rendered(stack)


@pytest.mark.parametrize(
    "path", ["/@app", "/a+b=c:d", "/~u/.well-known", "/$x&y(1)*,!", "/%7Eu/%20", "/%E2%82%AC", "/-/_.a"]
)
def test_a_path_may_have_what_urls_have(path: str) -> None:
    stack = accepted({"web": {"image": "web", "x-ingress": {"port": 80, "path": path}}}, {})
    assert stack is not None
    assert stack.services[0].ingress[0].path == path
    rendered(stack)


@pytest.mark.parametrize(
    "path", ["/a b", "/a#", '/a"', "/a'", "/a;b", "/a\\b", "/%0a", "/%7f", "/%", "/%zz", "/a?b", "/é"]
)
def test_a_path_that_is_none_is_refused_by_validate(path: str) -> None:
    assert accepted({"web": {"image": "web", "x-ingress": {"port": 80, "path": path}}}, {}) is None

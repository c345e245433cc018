from __future__ import annotations

import pytest

from gitops.errors import PermanentError
from gitops.render.edge import assemble, plain_servers, structure
from gitops.render.fragment import Route, parse

FRAGMENT = """\
# managed by ansible-gitops: application {app}
route {host} {path} {app}.web.80

backend {app}.web.80
    mode http
    default-server check inter 500ms
    server one 198.18.0.1:20000
"""


def text(app: str = "shop", host: str = "*", path: str = "/") -> str:
    return FRAGMENT.format(app=app, host=host, path=path)


def test_the_map_has_the_routes_of_all_applications() -> None:
    whole = assemble(
        {
            "a": text("a"),
            "b": text("b", "B.example.com"),
            "c": text("c", "b.example.com", "/long"),
            "d": text("d", path="/long/er/"),
        }
    )
    assert whole.routes.splitlines() == [
        "*/ a.web.80",
        "*/long/er/ d.web.80",
        "b.example.com/ b.web.80",
        "b.example.com/long/ c.web.80",
    ]
    assert whole.ports == ""


def test_a_frontend_finds_its_backend_by_the_map() -> None:
    port = text() + "frontend shop.web.tcp81\n    bind :81\n    mode http\n    default_backend shop.web.80\n"
    whole, other = (
        assemble({"shop": port}),
        assemble({"shop": port.replace("default_backend shop.web.80", "default_backend shop.web.90")}),
    )
    assert (whole.ports, other.ports) == ("shop.web.tcp81 shop.web.80\n", "shop.web.tcp81 shop.web.90\n")
    assert (whole.config, whole.mark) == (other.config, other.mark), "no reload is needed for that"


def test_a_path_ends_at_a_segment() -> None:
    assert Route("*", "/api", "x").key == Route("*", "/api/", "x").key == "*/api/"
    assert Route("Shop.test", "/", "x").key == "shop.test/"


def test_the_order_of_applications_does_not_matter() -> None:
    one, two = {"a": text("a", "a.test")}, {"b": text("b", "b.test")}
    assert assemble({**one, **two}) == assemble({**two, **one})


@pytest.mark.parametrize(
    ("first", "second", "claim"),
    [
        (text("a"), text("b"), r"the route \*/"),
        (
            text("a", "a.test") + "frontend a.db.tcp5432\n    bind :5432\n",
            text("b", "b.test") + "frontend b.db.tcp5432\n    bind :5432\n",
            "port 5432",
        ),
    ],
)
def test_a_route_or_port_belongs_to_one_application(first: str, second: str, claim: str) -> None:
    with pytest.raises(PermanentError, match=f"{claim} of the edge belongs to application a, b claims it"):
        assemble({"a": first, "b": second})


@pytest.mark.parametrize("line", ["nonsense", "route a b", "    server early 1.2.3.4:5", "listen x"])
def test_what_is_no_fragment_is_refused(line: str) -> None:
    with pytest.raises(PermanentError, match="not a line of a haproxy fragment"):
        parse(f"{line}\n")


def test_the_structure_leaves_out_servers_and_nothing_else() -> None:
    one, more = text(), text() + "    server two 198.18.0.2:20000\n"
    assert structure(assemble({"shop": one}).config) == structure(assemble({"shop": more}).config)
    assert assemble({"shop": one}).mark == assemble({"shop": more}).mark
    slower = text().replace("500ms", "900ms")
    assert structure(assemble({"shop": one}).config) != structure(assemble({"shop": slower}).config)
    assert assemble({"shop": one}).mark != assemble({"shop": slower}).mark


def test_a_fragment_is_written_as_it_was_read() -> None:
    for whole in (text(), text() + "\nbackend shop.api.80\n    mode http\n", ""):
        assert parse(whole).text("shop") == whole


@pytest.mark.parametrize(
    ("line", "plain"),
    [
        ("two 198.18.0.2:20000", True),
        ("two 198.18.0.2:20000 weight 0", True),
        ("two fd00::2:20000", True),
        ("two host.example:20000", False),
        ("two 198.18.0.999:20000", False),
        ("two 198.18.0.2:0", False),
        ("two 198.18.0.2:20000 weight 1 maxconn 5", False),
        ("one 198.18.0.2:20000", False),
    ],
)
def test_servers_that_cannot_make_a_file_invalid_are_told_from_others(line: str, plain: bool) -> None:
    assert plain_servers(assemble({"shop": text()}).config)
    assert plain_servers(assemble({"shop": f"{text()}    server {line}\n"}).config) is plain


def test_the_same_server_may_be_in_two_backends() -> None:
    assert plain_servers(assemble({"shop": text(), "blog": text(app="blog", path="/blog")}).config)


def test_no_application_leaves_a_configuration_that_serves_nothing() -> None:
    nothing = assemble({})
    assert (nothing.routes, nothing.ports) == ("", "")
    assert "frontend" not in assemble({}, edge=False).config

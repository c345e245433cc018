"""Applications on hosts that gitops.yaml does not name: told apart, and worded with care."""

from __future__ import annotations

from gitops.model.observed import Container, Observed, ObservedHost
from gitops.plan.orphans import orphans


def container(app: str, host: str, slot: int) -> Container:
    return Container(
        id=f"{app}{slot}",
        name=f"{app}-{slot}",
        host=host,
        app=app,
        service="web",
        slot=slot,
        spec="s",
        commit="c",
        image="i",
        state="running",
    )


SEEN = Observed(
    (
        ObservedHost("e1", reachable=True, fragments=(("shop", "x"), ("old", "y"))),
        ObservedHost(
            "h1", reachable=True, containers=(container("shop", "h1", 1), container("old", "h1", 1))
        ),
        ObservedHost("h2", reachable=True, containers=(container("old", "h2", 2),)),
        ObservedHost("h3", reachable=False, error="no answer"),
    )
)


def test_what_is_named_is_no_orphan() -> None:
    assert orphans(SEEN, {"shop", "old"}) == ()
    assert orphans(SEEN, {"shop", "old"}, ["shop"]) == ()


def test_what_another_controller_may_have_deployed_is_not_called_ours() -> None:
    (old,) = orphans(SEEN, {"shop"})
    assert (old.app, old.containers, old.hosts, old.routes, old.ours) == (
        "old", 2, ("h1", "h2"), ("e1",), False,
    )  # fmt: skip
    assert str(old) == (
        "old is not in this gitops.yaml: 2 containers on h1, h2, routes on e1;"
        " another controller may deploy it, else: gitops remove old"
    )


def test_what_was_deployed_from_here_is_an_orphan_also_where_no_host_tells() -> None:
    (old,) = orphans(SEEN, {"shop"}, ["old", "shop"])
    assert str(old).startswith("old is not in this gitops.yaml, and was deployed from here: 2 containers")
    (blog,) = orphans(Observed(), {"shop"}, ["blog"])
    assert str(blog) == "blog is not in this gitops.yaml, and was deployed from here; gitops remove blog"


def test_a_name_that_a_host_made_up_is_shown_as_text() -> None:
    strange = "\x1b[31mred"
    seen = Observed((ObservedHost("h1", reachable=True, containers=(container(strange, "h1", 1),)),))
    (found,) = orphans(seen, {"shop"})
    assert "\x1b" not in str(found)

"""What a commit wants of the load balancers may belong to another application: found before anything runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gitops.application import Desired
from gitops.errors import PermanentError
from gitops.model.fleet import CONTAINER_HOSTS, LOAD_BALANCERS, Fleet, Host
from gitops.model.observed import Observed, ObservedHost
from gitops.model.plan import Role
from gitops.model.stack import ContainerSpec, Ingress, Publish, Service, Stack
from gitops.planning import BACK, plan_for
from gitops.render.haproxy import fragment

FLEET = Fleet((Host("e1", "198.18.0.201", (LOAD_BALANCERS,)), Host("h1", "198.18.0.11", (CONTAINER_HOSTS,))))
NETWORK = "198.19.0.0/16"


def stack(app: str, *ingress: Ingress, publish: tuple[Publish, ...] = ()) -> Stack:
    spec = ContainerSpec("web:1", target_ports=(80,))
    return Stack(app, "a" * 40, (Service("web", spec, ingress=ingress, publish=publish),))


def beside(other: Stack) -> Observed:
    """A fleet on which another application serves."""
    text = fragment(other, None, (), Role())
    edge = ObservedHost("e1", reachable=True, fragments=((other.app, text),), proxy=True)
    return Observed((edge, ObservedHost("h1", reachable=True, engine="docker 20", cpus=2, memory=2 << 30)))


@pytest.mark.parametrize(
    ("theirs", "ours", "claim"),
    [
        (
            stack("shop", Ingress(80, "shop.test")),
            stack("blog", Ingress(80, "shop.test")),
            "the route shop.test/",
        ),
        (stack("shop", Ingress(80)), stack("blog", publish=(Publish(80, 80),)), r"the route \*/"),
        (
            stack("shop", publish=(Publish(8080, 80),)),
            stack("blog", publish=(Publish(8080, 80),)),
            "port 8080",
        ),
    ],
)
def test_two_applications_cannot_have_one_door(theirs: Stack, ours: Stack, claim: str) -> None:
    with pytest.raises(PermanentError, match=f"{claim} of the edge belongs to application"):
        plan_for(Desired(ours, FLEET, network=NETWORK), None, beside(theirs))


def test_another_door_is_free() -> None:
    ours = Desired(stack("blog", Ingress(80, "blog.test")), FLEET, network=NETWORK)
    theirs = stack("shop", Ingress(80, "shop.test"))
    assert plan_for(ours, None, beside(theirs)).starts
    back = replace(ours, stack=stack("blog", Ingress(80, "shop.test")))
    assert plan_for(back, None, beside(theirs), terms=BACK).starts, "the way back is not barred"

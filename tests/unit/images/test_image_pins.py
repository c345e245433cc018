"""Which image each reference of a commit means."""

from __future__ import annotations

from dataclasses import replace

from support.planning import deployed, nothing_on, plan_of, small_fleet, stack_of

from gitops.images.pins import given, loose, pinned, running
from gitops.model.observed import Observed, Release

OLD, NEW = "sha256:" + "0" * 64, "sha256:" + "1" * 64
STACK = stack_of({"web": {"image": "reg/web:1", "replicas": 2}, "api": {"image": f"reg/api@{OLD}"}})
PINS = {"reg/web:1": f"reg/web:1@{OLD}", f"reg/api@{OLD}": f"reg/api@{OLD}"}


def renamed(observed: Observed, old: str, new: str) -> Observed:
    """The same fleet, where the engines call an image otherwise."""
    hosts = (
        replace(host, containers=tuple(replace(c, image=c.image.replace(old, new)) for c in host.containers))
        for host in observed.hosts
    )
    return Observed(tuple(hosts))


def test_what_has_no_pin_is_loose_until_it_gets_one() -> None:
    assert loose(STACK, {}) == {"reg/web:1": "web", f"reg/api@{OLD}": "api"}
    assert loose(STACK, given(STACK)) == {"reg/web:1": "web"}
    assert loose(STACK, PINS) == {}
    assert [service.container.image for service in pinned(STACK, PINS).services] == list(PINS.values())


def test_another_digest_replaces_the_containers_and_says_why() -> None:
    fleet = small_fleet()
    before = pinned(STACK, PINS)
    after = pinned(replace(STACK, commit="c" * 40), PINS | {"reg/web:1": f"reg/web:1@{NEW}"})
    plan = plan_of(after, fleet, deployed(before, fleet), before)
    assert {start.reason for start in plan.starts} == {
        "image changed: reg/web:1@sha256:000000000000 -> reg/web:1@sha256:111111111111"
    }
    assert {start.service for start in plan.starts} == {"web"}
    assert plan_of(before, fleet, deployed(before, fleet), before).empty


def test_containers_of_this_very_commit_say_what_it_means() -> None:
    fleet = small_fleet()
    observed = deployed(pinned(STACK, PINS), fleet)
    assert running(STACK, observed) == PINS
    assert running(STACK, renamed(observed, "reg/web:1@", "reg/web@")) == PINS, "Podman leaves the tag out"
    assert running(STACK, renamed(observed, "reg/web", "reg/other")) == given(STACK)
    assert running(STACK, renamed(observed, f":1@{OLD}", ":1"))["reg/web:1"] == "reg/web:1"
    assert running(STACK, nothing_on(fleet)) == {}


def test_containers_of_another_commit_say_nothing_unless_their_host_was_released_with_this_one() -> None:
    fleet = small_fleet()
    observed = deployed(pinned(STACK, PINS), fleet)
    later = replace(STACK, commit="c" * 40)
    assert running(later, observed) == {}
    released = tuple(replace(h, releases=(Release("shop", later.commit, "d"),)) for h in observed.hosts)
    assert running(later, Observed(released)) == PINS
    other = tuple(replace(h, releases=(Release("blog", later.commit, "d"),)) for h in observed.hosts)
    assert running(later, Observed(other)) == {}

"""A repair that fails leaves nothing behind, and what has one cause is not repaired again and again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.planning import altered, deployed, small_fleet, stack_of, with_container, without

from gitops.application import Desired
from gitops.healing import mending
from gitops.model.observed import Observed
from gitops.model.plan import Relapse, RetirePhase, StartPhase
from gitops.model.stack import Stack
from gitops.plan import make_plan
from gitops.plan.remedy import relapses
from gitops.planning import plan_for

FLEET = small_fleet()
STACK = stack_of({"web": {"replicas": 4, "ports": [80], "healthcheck": True}, "api": {"replicas": 1}})
WHOLE = deployed(STACK, FLEET)


def unhealthy(*slots: int, of: Observed = WHOLE) -> Observed:
    for container in of.containers("shop"):
        if container.service == "web" and container.slot in slots:
            of = altered(of, container.name, health="unhealthy")
    return of


def test_one_of_many_is_repaired_at_once() -> None:
    assert relapses(STACK, unhealthy(2), {}) == ()
    assert relapses(STACK, unhealthy(1, 2), {}) == (), "no more than half"


def test_of_most_of_them_one_is_tried() -> None:
    why = "3 of 4 replicas are unhealthy at once: web.1 is replaced first"
    assert relapses(STACK, unhealthy(1, 2, 3), {}) == (Relapse("web", 2, why), Relapse("web", 3, why))


def test_where_that_did_not_help_all_of_them_wait() -> None:
    why = "3 of 4 replicas are unhealthy at once: next try in 15 s"
    found = relapses(STACK, unhealthy(1, 2, 3), {("web", 1): 15.0})
    assert found == tuple(Relapse("web", slot, why) for slot in (1, 2, 3))
    then = relapses(STACK, unhealthy(1, 2, 3), {("web", 1): 0.0})
    assert [each.slot for each in then if each.rests] == [1, 3], "another one is tried"


def test_what_comes_to_be_unhealthy_while_a_repair_begins_counts_as_well() -> None:
    """A repair is planned anew under the locks, from what is seen then."""
    said, terms = Desired(STACK, FLEET), mending({})
    first = plan_for(said, said, unhealthy(1, 2), terms=terms)
    assert [start.slot for start in first.starts if start.service == "web"] == [1, 2], (
        "half of them, each for itself"
    )
    then = plan_for(said, said, unhealthy(1, 2, 3), terms=terms)
    assert [start.slot for start in then.starts if start.service == "web"] == [1]
    assert {each.slot for each in then.resting} == {2, 3}


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ({"state": "exited", "exit_code": 3}, "crash loop"),
        ({"health": "unhealthy"}, "unhealthy again"),
    ],
)
def test_words_follow_what_is_seen(state: dict[str, object], word: str) -> None:
    name = next(c.name for c in WHOLE.containers("shop") if (c.service, c.slot) == ("web", 1))
    (found,) = relapses(STACK, altered(WHOLE, name, **state), {("web", 1): 39.6})
    assert found == Relapse("web", 1, f"{word}: next try in 40 s")
    gone = Observed(tuple(host for host in WHOLE.hosts if host.name == "lb1"))
    (found,) = relapses(STACK, gone, {("web", 1): 39.6})
    assert found.rests == "its start fails: next try in 40 s"


def counts(observed: Observed) -> dict[tuple[str, int], int]:
    found: dict[tuple[str, int], int] = {}
    for container in observed.containers("shop"):
        slot = container.service, container.slot
        found[slot] = found.get(slot, 0) + 1
    return found


@settings(max_examples=60)
@given(st.lists(st.tuples(st.frozensets(st.integers(1, 4), min_size=1), st.integers(0, 40)), max_size=5))
def test_whatever_fails_a_slot_never_has_more_than_one_container_too_many(
    rounds: list[tuple[frozenset[int], int]],
) -> None:
    observed, stack = WHOLE, STACK
    left: dict[tuple[str, int], float] = {}
    for sick, stops_at in rounds:
        observed = unhealthy(*sick, of=observed)
        plan = make_plan(stack, FLEET, observed, previous=stack, relapses=relapses(stack, observed, left))
        left |= {(start.service, start.slot): 10.0 for start in plan.starts}
        for number, phase in enumerate(plan.phases):  # a server is kept though its own check fails
            if isinstance(phase, StartPhase):
                for start in phase.starts:
                    there = next(c for c in observed.containers("shop") if c.service == start.service)
                    new = replace(there, name=start.container, slot=start.slot, host=start.host, ports=())
                    observed = with_container(observed, replace(new, health="healthy"))
            elif isinstance(phase, RetirePhase):
                observed = without(observed, [(r.host, r.container) for r in phase.retires])
            assert max(counts(observed).values()) <= 2
            if number == stops_at:
                break
        else:
            continue
        observed = _taken_back(stack, observed, plan.relapses)
        assert set(counts(observed).values()) <= {1}, "what a failed repair has started goes"


def _taken_back(stack: Stack, observed: Observed, before: tuple[Relapse, ...]) -> Observed:
    """As `Rollout._take_back` does, with everything that has been started unhealthy."""
    twice = [slot for slot, count in counts(observed).items() if count > 1]
    for container in observed.containers("shop"):
        if (container.service, container.slot) in twice:
            observed = altered(observed, container.name, health="unhealthy")
    failed = tuple(Relapse(*slot, "its repair failed") for slot in twice)
    others = tuple(each for each in before if (each.service, each.slot) not in twice)
    plan = make_plan(stack, FLEET, observed, previous=stack, relapses=(*others, *failed))
    assert not [start for start in plan.starts if (start.service, start.slot) in twice]
    return without(observed, [(r.host, r.container) for r in plan.retires]) if not plan.starts else observed

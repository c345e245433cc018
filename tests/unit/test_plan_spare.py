from __future__ import annotations

from dataclasses import replace

import pytest
from support.planning import deployed, plan_of, small_fleet, stack_of

from gitops.model.plan import Plan, Spared
from gitops.model.stack import FailureAction, UpdateConfig
from gitops.plan.spare import spare


def rollout(policy: UpdateConfig, *, replicas: int = 5, spared: tuple[Spared, ...] = ()) -> Plan:
    fleet = small_fleet()
    old, new = (stack_of({"web": {"image": i, "ports": [80], "replicas": replicas}}) for i in "ab")
    new = replace(new, services=(replace(new.services[0], update=policy),))
    return plan_of(new, fleet, deployed(old, fleet), previous=old, spared=spared)


@pytest.mark.parametrize(
    ("ratio", "action", "most"),
    [
        (0.0, "rollback", 0),
        (0.19, "rollback", 0),
        (0.2, "pause", 1),
        (0.5, "rollback", 2),
        (0.0, "continue", 5),
    ],
)
def test_as_many_failures_are_tolerated_as_the_policy_says(
    ratio: float, action: FailureAction, most: int
) -> None:
    policy = UpdateConfig(max_failure_ratio=ratio, failure_action=action)
    first = rollout(policy)
    spared: tuple[Spared, ...] = ()
    for slot in range(1, 6):
        plan = rollout(policy, spared=spared)
        start = next(start for start in plan.starts if start.slot == slot)
        found = spare(first, plan, start.container, "broken")
        assert (found is not None) == (slot <= most)
        if found is None:
            break
        assert found == Spared("web", slot, "broken")
        spared = (*spared, found)
        after = rollout(policy, spared=spared)
        assert slot not in {start.slot for start in after.starts}
        assert slot not in {retire.slot for retire in after.retires}
        assert f"web.{slot} stays as it was" in after.degraded


def test_what_no_start_of_the_plan_is_to_blame_for_is_not_tolerated() -> None:
    plan = rollout(UpdateConfig(failure_action="continue"))
    assert spare(plan, plan, "somebody-else", "broken") is None
    assert spare(plan, plan, "", "broken") is None

"""Which failures of new containers are tolerated: `max_failure_ratio`, `failure_action: continue`."""

from __future__ import annotations

from math import floor

from gitops.model.plan import Plan, Spared


def spare(first: Plan, plan: Plan, container: str, why: str) -> Spared | None:
    """The slot that stays on what it had because its new container has failed, or None: too many have.

    Swarm counts the same: failures against the tasks that the update replaces.

    Args:
        first: the rollout's first plan: of what it starts the ratio is taken.
        plan: the present one, with what was spared before.
        container: name of the one that failed.
        why: what is told of it.
    """
    start = next((start for start in plan.starts if start.container == container), None)
    service = plan.stack.service(start.service) if start else None
    if start is None or service is None or service.job is not None:
        return None
    policy = service.policy(rollback=plan.rollback)
    total = sum(other.service == service.name for other in first.starts)
    failed = sum(other.service == service.name for other in plan.spared) + 1
    most = total if policy.failure_action == "continue" else floor(policy.max_failure_ratio * total)
    return Spared(service.name, start.slot, why) if failed <= most else None

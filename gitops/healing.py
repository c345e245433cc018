"""What a pass may do that only mends what runs already, and what it records of that."""

from __future__ import annotations

import time
from collections.abc import Mapping

from gitops.application import Application
from gitops.journal import Journal
from gitops.model.plan import Plan
from gitops.model.tolerance import ANY
from gitops.plan.backoff import WINDOW_S, waits
from gitops.plan.drift import drifts
from gitops.planning import Terms
from gitops.store.healing import DRIFT


def mending(left: Mapping[tuple[str, int], float]) -> Terms:
    """What runs already is mended whatever host is missing, but not again and again at once.

    Args:
        left: see `left_alone`.
    """
    return Terms(tolerate=ANY, left=left)


def left_alone(app: Application) -> Mapping[tuple[str, int], float]:
    """Seconds for which each slot that was healed lately is left alone yet."""
    now = time.time()
    return waits(app.store.healing.since(app.name, now - WINDOW_S), now)


def tell_drifts(journal: Journal, plan: Plan) -> None:
    """Records what is mended, each with its reason, where nothing but that is done."""
    mends = journal.deployment.heals and not plan.scheduler.rebalance
    for each in drifts(plan) if mends else ():
        data = {
            "service": each.service,
            "slot": each.slot,
            "container": each.container,
            "reason": each.reason,
        }
        journal.tell(DRIFT, each.text, host=each.host, data=data)

"""Which slots of a service are started together, and when what they replace goes."""

from __future__ import annotations

from collections.abc import Sequence

from gitops.plan.diff import Need

_BESIDE = 3
"""How many replicas may be on trial while the next ones start; at least one batch."""


def lag(parallelism: int) -> int:
    """How many batches later the replaced containers of a batch go (start-first).

    They stay in the load balancer until their successors have stood the monitor
    window, which runs beside the next batches' starts: a version that dies within
    its window meets a fleet that still serves, and windows are not waited for one
    after the other. The start after those waits for the window. Small batches start
    sooner than a window passes, so it is more of them; a large one takes about as long
    as its window, and what stays longer only costs room and health checks.
    """
    return max(1, _BESIDE // max(1, parallelism))


def batches(needs: Sequence[Need], parallelism: int) -> list[Sequence[Need]]:
    """Slots by batch. Where nothing that works is taken away all start at once, as Swarm creates tasks."""
    size = parallelism if any(need.replaces_well for need in needs) else 0
    size = size or max(1, len(needs))
    return [needs[i : i + size] for i in range(0, len(needs), size)]

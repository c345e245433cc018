"""What is left alone for now of what needs a repair, and why. Pure: the clock is in the arguments."""

from __future__ import annotations

from collections.abc import Mapping

from gitops.model.observed import Container, Observed
from gitops.model.plan import Relapse
from gitops.model.stack import Service, Stack

_SEVERAL = 2  # replicas that are unhealthy at once have a cause in common

Slot = tuple[str, int]  # service, slot


def relapses(stack: Stack, observed: Observed, left: Mapping[Slot, float]) -> tuple[Relapse, ...]:
    """What planning is told of slots that were repaired lately, or that one repair would not help.

    Where most replicas of a service are unhealthy at once, the cause is not theirs: a database that is
    down, a host without room. One of them is replaced; only if its successor is healthy the next one
    follows. If it is not, all of them wait.

    Args:
        stack: what is to run.
        observed: what the hosts report.
        left: seconds for which each slot that was repaired lately is left alone yet.
    """
    there: dict[Slot, list[Container]] = {}
    for container in observed.containers(stack.app):
        there.setdefault((container.service, container.slot), []).append(container)
    found = {slot: _waiting(there.get(slot, []), seconds) for slot, seconds in left.items()}
    for service in stack.services:
        found |= _in_common(service, there, left)
    return tuple(Relapse(*slot, rests) for slot, rests in sorted(found.items()))


def _waiting(containers: list[Container], seconds: float) -> str:
    """Why a slot waits; empty where it does not."""
    if not seconds:
        return ""
    if any(c.running and c.health == "unhealthy" for c in containers):
        return f"unhealthy again: next try in {seconds:.0f} s"
    if not containers:
        return f"its start fails: next try in {seconds:.0f} s"
    return f"crash loop: next try in {seconds:.0f} s"


def _in_common(
    service: Service, there: Mapping[Slot, list[Container]], left: Mapping[Slot, float]
) -> dict[Slot, str]:
    """The unhealthy replicas that wait for the one whose replacement shows whether that helps."""
    if service.job:
        return {}
    slots = {slot: found for slot, found in there.items() if slot[0] == service.name}
    sick = sorted(
        slot for slot, found in slots.items() if all(c.running and c.health == "unhealthy" for c in found)
    )
    if len(sick) < _SEVERAL or 2 * len(sick) <= len(slots):
        return {}
    seen = f"{len(sick)} of {len(slots)} replicas are unhealthy at once"
    longest = max(left.get(slot, 0.0) for slot in sick)
    if longest:
        why = f"{seen}: next try in {longest:.0f} s"
        return dict.fromkeys(sick, why)
    tried = min(sick, key=lambda slot: (slot in left, slot))
    why = f"{seen}: {service.name}.{tried[1]} is replaced first"
    return {slot: why for slot in sick if slot != tried}

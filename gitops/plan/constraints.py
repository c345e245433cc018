"""Placement constraints, held against what is known of a host."""

from __future__ import annotations

from gitops.model.fleet import Host
from gitops.model.machine import one_name
from gitops.model.observed import ObservedHost
from gitops.model.placement import Constraint
from gitops.model.stack import Service

LABEL = "node.labels."
GROUP = "node.group."


def fact(key: str, host: Host, state: ObservedHost | None) -> str:
    """What is known of a host: the value of a key as constraints and preferences name it; or empty.

    Args:
        key: such as `node.labels.zone`.
        host: the host as the inventory has it.
        state: what it reported.
    """
    if key.startswith(LABEL):
        return dict(host.labels).get(key.removeprefix(LABEL), "")
    if key.startswith(GROUP):
        return "true" if key.removeprefix(GROUP) in host.groups else "false"
    match key:
        case "node.hostname":
            return host.name
        case "node.platform.os":
            return "linux"
        case "node.platform.arch":
            return state.architecture if state else ""
        case "node.engine":
            return state.engine.partition(" ")[0] if state else ""
        case _:
            raise KeyError(key)


def unmet(service: Service, host: Host, state: ObservedHost | None) -> str:
    """Why a service's constraints exclude a host: `constraint node.labels.zone == b: zone is a`; or empty."""
    for constraint in service.placement.constraints:
        found = fact(constraint.key, host, state)
        # Without regard to case, as Swarm compares.
        if (one_name(found) == one_name(constraint.value)) != constraint.equal:
            return _told(constraint, found)
    return ""


def _told(constraint: Constraint, found: str) -> str:
    name = constraint.key.removeprefix(LABEL).removeprefix(GROUP).removeprefix("node.")
    if constraint.key.startswith(GROUP):
        what = f"it is {'' if found == 'true' else 'not '}in {name}"
    else:
        what = f"{name} is {found or 'not set'}"
    return f"constraint {constraint}: {what}"

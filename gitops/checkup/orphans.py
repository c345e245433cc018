"""What `gitops doctor` says of applications on hosts that gitops.yaml does not name."""

from __future__ import annotations

from collections.abc import Collection

from gitops.checkup.check import CONTROLLER, Check, bad, good
from gitops.connections import Connections
from gitops.model.fleet import Fleet, Host
from gitops.observe.hosts import observe
from gitops.plan.orphans import orphans


def strangers(hosts: Collection[Host], named: Collection[str], deployed: Collection[str]) -> list[Check]:
    """A check for each of them: a fault where this controller has deployed it, else a remark.

    Args:
        hosts: that answer.
        named: the applications of gitops.yaml.
        deployed: those that this controller has deployed, and not removed.
    """
    fleet = Fleet(tuple(hosts))
    with Connections(owner="gitops doctor") as connections:
        seen = observe(connections.open(fleet), fleet)
    found = orphans(seen, named, deployed)
    return [
        bad(CONTROLLER, f"application {each.app}", str(each), f"gitops remove {each.app}")
        if each.ours
        else good(CONTROLLER, f"application {each.app}", str(each))
        for each in found
    ]

"""Removals that a person has to confirm: a commit or an inventory that lost most of what ran."""

from __future__ import annotations

from gitops.errors import PermanentError
from gitops.model.fleet import Fleet
from gitops.model.stack import Stack

_FEW = 2  # removing fewer services than this is everyday work


class ConfirmationRequiredError(PermanentError):
    """The change removes so much that it may be a mistake: nothing is touched until it is confirmed."""


def removal_guard(previous: Stack | None, desired: Stack, *, fleet: Fleet | None = None) -> None:
    """Refuses a change that removes most of an application.

    Args:
        previous: the last good commit, or None.
        desired: the commit to move to.
        fleet: the hosts, where an inventory without container hosts is to be refused too.

    Raises:
        ConfirmationRequiredError: more than half of the services (and at least two) would be
            removed, or all of them, or no container host is left for those that run.
    """
    if previous is None or not previous.services:
        return
    hint = f"if that is meant: gitops sync {desired.app} --confirm"
    kept = {service.name for service in desired.services}
    lost = [service.name for service in previous.services if service.name not in kept]
    most = len(lost) >= _FEW and 2 * len(lost) > len(previous.services)
    if most or not desired.services:
        raise ConfirmationRequiredError(
            f"{len(lost)} of {len(previous.services)} services would be removed: {', '.join(sorted(lost))}",
            hint=hint,
        )
    if fleet is not None and not fleet.container_hosts:
        raise ConfirmationRequiredError(
            f"the inventory has no container host any more, {len(previous.services)} services run", hint=hint
        )

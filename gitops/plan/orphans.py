"""Applications that have something on hosts and are in no gitops.yaml that is known here. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from gitops.desired.problems import quoted
from gitops.model.observed import Observed

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")


@dataclass(frozen=True)
class Orphan:
    """An application that gitops.yaml does not name.

    Attributes:
        app: its name, as a label or a folder has it; shown as that.
        containers: how many there are, in whatever state.
        hosts: names of those that have containers.
        routes: names of those whose HAProxy has a part of it.
        ours: whether this controller deployed it, and has not removed it.
    """

    app: str
    containers: int
    hosts: tuple[str, ...]
    routes: tuple[str, ...]
    ours: bool

    def __str__(self) -> str:
        """What it is, where, and what to do."""
        count = f"{self.containers} container{'s' if self.containers > 1 else ''}"
        what = [f"{count} on {', '.join(self.hosts)}"] if self.containers else []
        what += [f"routes on {', '.join(self.routes)}"] if self.routes else []
        there = f": {', '.join(what)}" if what else ""
        if self.ours:
            return (
                f"{self.app} is not in this gitops.yaml, and was deployed from here{there};"
                f" gitops remove {self.app}"
            )
        return (
            f"{self.app} is not in this gitops.yaml{there}; another controller may deploy it,"
            f" else: gitops remove {self.app}"
        )


def orphans(observed: Observed, named: Collection[str], deployed: Iterable[str] = ()) -> tuple[Orphan, ...]:
    """The applications on hosts that gitops.yaml does not name, by name.

    Args:
        observed: what hosts report.
        named: the applications of gitops.yaml.
        deployed: those that this controller has deployed, and not removed.
    """
    ours = set(deployed)
    found = set(ours)
    for host in observed.hosts:
        found |= {c.app for c in host.containers} | {app for app, _ in host.fragments}
    return tuple(_orphan(app, observed, ours=app in ours) for app in sorted(found - set(named)))


def _orphan(app: str, observed: Observed, *, ours: bool) -> Orphan:
    containers = observed.containers(app)
    return Orphan(
        app if _NAME.fullmatch(app) else quoted(app),
        len(containers),
        tuple(sorted({c.host for c in containers})),
        tuple(sorted(host.name for host in observed.hosts if app in dict(host.fragments))),
        ours,
    )

"""What has come to differ from the commit that runs: a plan read as a report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gitops.model.plan import Plan


@dataclass(frozen=True)
class Drift:
    """One difference, and why it is one."""

    reason: str  # "container exited (137)", "server web.1 disabled (MAINT)", "release file missing" ...
    host: str = ""
    service: str = ""
    slot: int = 0  # 0 where it concerns no slot
    container: str = ""

    @property
    def subject(self) -> str:
        """What differs: `web.1`, or the container where it has no slot; empty where it is the host's."""
        return f"{self.service}.{self.slot}" if self.service and self.slot else self.container

    @property
    def text(self) -> str:
        """The difference without its host: `web.1: container exited (137)`."""
        return f"{self.subject}: {self.reason}" if self.subject else self.reason

    def __str__(self) -> str:
        """The difference as an operator reads it: `web.1 on h2: container exited (137)`."""
        place = " on ".join(part for part in (self.subject, self.host) if part)
        return f"{place}: {self.reason}"


def drifts(plan: Plan) -> tuple[Drift, ...]:
    """All differences that a plan to the commit that runs already would put right, each once."""
    starts = [Drift(s.reason, s.host, s.service, s.slot, s.replaces or s.container) for s in plan.starts]
    told = {(start.service, start.slot) for start in plan.starts}
    goes = [
        Drift(r.reason, r.host, r.service, r.slot, r.container)
        for r in plan.retires
        if (r.service, r.slot) not in told
    ]
    moved = bool(starts or goes)  # the edge follows the containers: that is no difference of its own
    edge = [change for change in plan.edge_changes if not (moved and change.follows)]
    beside = [Drift(change.reason, change.host) for change in (*edge, *plan.records)]
    return (*starts, *goes, *beside)


def sentence(found: Iterable[Drift], most: int = 4) -> str:
    """The differences in one line: the first ones, and how many more there are."""
    texts = [str(each) for each in found]
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return "; ".join(texts[:most]) + more

"""Where containers may run, and where rather: what a commit and the controller's settings say of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gitops.errors import Where
from gitops.model.size import NOTHING, Size

PackStrategy = Literal["spread", "binpack"]


@dataclass(frozen=True)
class Constraint:
    """One entry of `placement.constraints`: a host that does not meet it is out of the question."""

    key: str  # `node.labels.zone`, `node.hostname` ...
    equal: bool  # `==`, else `!=`
    value: str
    where: Where | None = field(default=None, compare=False)  # where it stands in the Compose file

    def __str__(self) -> str:
        """The constraint as it is written."""
        return f"{self.key} {'==' if self.equal else '!='} {self.value}"


@dataclass(frozen=True)
class Placement:
    """`deploy.placement`: it places what is started, and is no part of a container's spec."""

    constraints: tuple[Constraint, ...] = ()
    spread: tuple[str, ...] = ()  # keys over whose values replicas are spread evenly, the first before all
    most_per_host: int = 0  # `max_replicas_per_node`; 0 means no limit
    where: Where | None = field(default=None, compare=False)  # of the service's `deploy`


ANYWHERE = Placement()


@dataclass(frozen=True)
class Scheduler:
    """How the hosts are filled.

    Attributes:
        strategy: `spread`: the emptiest host first, `binpack`: the fullest that has room.
        reserve: what of each host is not given to containers.
        rebalance: how many replicas may move at a time where all else is as the commit says.
    """

    strategy: PackStrategy = "spread"
    reserve: Size = NOTHING
    rebalance: int = 0


SPREAD = Scheduler()

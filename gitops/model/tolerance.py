"""How many hosts a deployment may go on without."""

from __future__ import annotations

from dataclasses import dataclass

from gitops.model.fleet import Fleet


@dataclass(frozen=True)
class Tolerance:
    """`tolerate_unreachable`: a count of hosts, or a percentage of the fleet's."""

    number: int = 0
    percent: bool = False

    def of(self, fleet: Fleet) -> int:
        """How many hosts of that fleet; a percentage is rounded down."""
        members = sum(host.runs_containers or host.balances for host in fleet.hosts)
        return members * self.number // 100 if self.percent else self.number


NONE = Tolerance()
ANY = Tolerance(100, percent=True)

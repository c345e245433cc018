"""What a deployment has learnt of the faults of hosts, and does without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from gitops.application import Premises
from gitops.channel.faults import fault_of
from gitops.errors import GitopsError, TransientError
from gitops.execute.events import Failure
from gitops.model.fleet import Fleet
from gitops.model.observed import Observed, ObservedHost
from gitops.plan.refusal import PortsHeldError

MOST_PORTS = 20
"""Ports that one deployment may lose to other processes before it gives up."""

_SHUT = {"disk": "has no space left", "pool": "has no addresses left"}
"""Faults of a host on which nothing new can be started, and how a plan calls it."""


@dataclass
class Trouble:
    """The faults of hosts that one deployment has met.

    Attributes:
        ports: by host, ports that other processes took between the look and the start.
        shut: hosts that get no new containers, with why.
    """

    ports: dict[str, set[int]] = field(default_factory=dict)
    shut: dict[str, str] = field(default_factory=dict)

    def avoid(self, failure: Failure, fleet: Fleet) -> str:
        """Remembers a fault, so that the next plan avoids it.

        Returns:
            What is done about it, or empty where planning anew does not help.
        """
        host = fleet.host(failure.host)
        if host is None or not host.runs_containers:
            return ""
        known = self.ports.setdefault(host.name, set())
        if failure.kind == "port" and set(failure.ports) - known and len(known) < MOST_PORTS:
            known.update(failure.ports)
            return f"{host.name}: another port than {', '.join(map(str, failure.ports))} is tried"
        if failure.kind in _SHUT and host.name not in self.shut:
            self.shut[host.name] = f"host {host.name} {_SHUT[failure.kind]}"
            return f"{host.name}: no new containers there"
        return ""

    def seen(self, observed: Observed) -> Observed:
        """What was observed, with the ports that were lost since."""
        return replace(observed, hosts=tuple(self._with_ports(host) for host in observed.hosts))

    def _with_ports(self, host: ObservedHost) -> ObservedHost:
        lost = self.ports.get(host.name)
        if not lost:
            return host
        return replace(
            host,
            listening=tuple(sorted(lost.union(host.listening))),
            listening_everywhere=tuple(sorted(lost.union(host.listening_everywhere))),
        )

    def given(self, premises: Premises) -> Premises:
        """What is given for a plan, with the hosts that get nothing new."""
        shut: Mapping[str, str] = {**premises.hosts.shut, **self.shut}
        return replace(premises, hosts=replace(premises.hosts, shut=shut))


def of_host(error: GitopsError) -> bool:
    """Whether hosts, not the commit, are why nothing could be done."""
    return isinstance(error, (TransientError, PortsHeldError)) or fault_of(error) is not None

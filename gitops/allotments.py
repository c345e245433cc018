"""Host ports and addresses between plan and use: allotted to a deployment under way, not yet seen on a host.

Applications of one controller are deployed side by side under the same host
locks. Each plans from what the hosts report, so what another has been
allotted a moment ago would look free.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from gitops.model.observed import Observed
from gitops.model.plan import Plan


@dataclass
class Allotments:
    """Who has been allotted what. Applications plan one at a time, and run side by side."""

    _ports: dict[str, dict[str, set[int]]] = field(default_factory=dict)  # application -> host -> ports
    _addresses: dict[str, frozenset[str]] = field(default_factory=dict)  # application -> of its services
    _planning: threading.Lock = field(default_factory=threading.Lock)

    def plan(self, app: str, look: Callable[[], Observed], make: Callable[[Observed], Plan]) -> Plan:
        """Plans from what `look` reports, with what the others' deployments were allotted in use."""
        with self._planning:
            plan = make(self._with_others(app, look()))
            ports: dict[str, set[int]] = {}
            for start in plan.starts:
                ports.setdefault(start.host, set()).update(port for _, port in start.ports)
            self._ports[app] = ports
            self._addresses[app] = frozenset(s.address for s in plan.stack.services if s.address)
            return plan

    def forget(self, app: str) -> None:
        """The application's deployment has ended: what it uses is seen on the hosts."""
        with self._planning:
            self._ports.pop(app, None)
            self._addresses.pop(app, None)

    def _with_others(self, app: str, observed: Observed) -> Observed:
        taken: dict[str, set[int]] = {}
        for other, ports in self._ports.items():
            if other != app:
                for host, numbers in ports.items():
                    taken.setdefault(host, set()).update(numbers)
        hosts = [
            replace(host, ports_used=tuple(sorted({*host.ports_used, *taken.get(host.name, ())})))
            for host in observed.hosts
        ]
        others = (addresses for other, addresses in self._addresses.items() if other != app)
        return Observed(tuple(hosts), allotted=frozenset().union(*others))

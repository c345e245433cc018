"""What a deployment under way has been given, between plan and use, and is not yet seen on the host.

Applications of one controller are deployed side by side under the same host
locks. Each plans from what the hosts report, so a port, an address or the memory that
another has been given a moment ago would look free.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from gitops.model.observed import Container, Observed, ObservedHost
from gitops.model.plan import Plan, Start
from gitops.model.size import NOTHING


@dataclass
class Allotments:
    """Who is to start what where. Applications choose one at a time; they look and run side by side."""

    _starts: dict[str, dict[str, list[Container]]] = field(default_factory=dict)
    """Application -> host -> containers as they will be."""
    _addresses: dict[str, frozenset[str]] = field(default_factory=dict)  # application -> of its services
    _given_up: int = 0  # how often something was taken out of the two: older looks do not show it
    _planning: threading.Lock = field(default_factory=threading.Lock)

    def plan(self, app: str, look: Callable[[], Observed], make: Callable[[Observed], Plan]) -> Plan:
        """Plans from what `look` reports, as if what the others' deployments are to start were there.

        A host that is slow to answer keeps only this application waiting. What another one started
        and was done with meanwhile is neither allotted any more nor in what was seen: then it looks anew.
        """
        while True:
            with self._planning:
                before = self._given_up
            seen = look()
            with self._planning:
                if before == self._given_up:
                    plan = make(self._with_others(app, seen))
                    self._allot(app, plan)
                    return plan

    def forget(self, app: str) -> None:
        """The application's deployment has ended: what it uses is seen on the hosts."""
        with self._planning:
            self._give_up(app)

    def _allot(self, app: str, plan: Plan) -> None:
        self._give_up(app)
        starts: dict[str, list[Container]] = {}
        for start in plan.starts:
            starts.setdefault(start.host, []).append(_container(plan, start))
        self._starts[app] = starts
        self._addresses[app] = frozenset(s.address for s in plan.stack.services if s.address)

    def _give_up(self, app: str) -> None:
        self._given_up += app in self._starts
        self._starts.pop(app, None)
        self._addresses.pop(app, None)

    def _with_others(self, app: str, observed: Observed) -> Observed:
        coming: dict[str, list[Container]] = {}
        for other, starts in self._starts.items():
            if other != app:
                for host, containers in starts.items():
                    coming.setdefault(host, []).extend(containers)
        hosts = (_with(host, coming.get(host.name, ())) for host in observed.hosts)
        others = (addresses for other, addresses in self._addresses.items() if other != app)
        return Observed(tuple(hosts), allotted=frozenset().union(*others))


def _container(plan: Plan, start: Start) -> Container:
    """A container that a plan starts, before there is any."""
    service = plan.stack.service(start.service)
    return Container(
        id=start.container,
        name=start.container,
        host=start.host,
        app=plan.app,
        service=start.service,
        slot=start.slot,
        spec=service.container.digest if service else "",
        commit=plan.commit,
        image=service.container.image if service else "",
        state="created",
        ports=start.ports,
        reserved=service.container.reserved if service else NOTHING,
    )


def _with(host: ObservedHost, coming: Iterable[Container]) -> ObservedHost:
    """A host with what is to come, as far as it is not there yet."""
    there = {container.name for container in host.containers}
    new = [container for container in coming if container.name not in there]
    if not new or not host.reachable:
        return host
    ports = {port for container in new for _, port in container.ports}
    return replace(
        host,
        containers=(*host.containers, *new),
        ports_used=tuple(sorted({*host.ports_used, *ports})),
    )

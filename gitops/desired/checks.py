"""What only the whole file can judge: dependencies, order, what the edge serves twice."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches

from gitops.desired.autoscale import OF_HAPROXY
from gitops.desired.dependencies import objections, rank
from gitops.desired.problems import Problems, quoted
from gitops.desired.service import Parsed
from gitops.model.stack import Dependency, Service


def check(parsed: Mapping[str, Parsed], left_out: frozenset[str], problems: Problems) -> tuple[Service, ...]:
    """Checks the services against each other.

    Args:
        parsed: the selected services by name.
        left_out: names of services whose profiles are not selected.
        problems: what is wrong goes there.

    Returns:
        The services with their dependencies, each after what it depends on; else jobs
        before the deployment first and those after it last; else by name.
    """
    _check_edge(parsed, problems)
    _check_sensors(parsed, problems)
    services = {
        name: replace(entry.service, depends_on=_dependencies(name, entry, parsed, left_out, problems))
        for name, entry in parsed.items()
    }
    return _sorted(services, parsed, problems)


def _check_edge(parsed: Mapping[str, Parsed], problems: Problems) -> None:
    published: dict[int, str] = {}
    routes: dict[tuple[str, str], str] = {}
    for name, entry in parsed.items():
        ports, ingress = (entry.node.entries.get(key) for key in ("ports", "x-ingress"))
        for port in entry.service.publish:
            where = ports.where if ports else entry.node.place
            if port.published in published:
                other = published[port.published]
                message = f"services.{name}.ports: port {port.published} of the edge is published twice"
                problems.report(message, where, f"also by services.{other}")
            published.setdefault(port.published, name)
        for route in entry.service.ingress:
            where = ingress.where if ingress else entry.node.place
            key = (route.host, route.path)
            if key in routes:
                answer = (route.host or "any host") + route.path
                message = f"services.{name}.x-ingress: {quoted(answer)} is routed twice"
                problems.report(message, where, f"also by services.{routes[key]}")
            routes.setdefault(key, name)


def _check_sensors(parsed: Mapping[str, Parsed], problems: Problems) -> None:
    """A service that neither the edge nor another service finds has no HAProxy that knows its load."""
    for name, entry in parsed.items():
        service = entry.service
        found = service.served or service.expose_to or len(parsed) > 1 or not service.listens
        for metric, _ in service.autoscale.targets if service.autoscale and not found else ():
            if metric in OF_HAPROXY:
                message = f"services.{name}.x-autoscale.target.{metric}: nobody reaches it by way of HAProxy"
                where = entry.node.entries["x-autoscale"].entries["target"].entries[metric].place
                problems.report(message, where, "`x-ingress` or `ports`; or `cpu`, `memory`")


def _dependencies(
    name: str, asking: Parsed, parsed: Mapping[str, Parsed], left_out: frozenset[str], problems: Problems
) -> tuple[Dependency, ...]:
    found: dict[str, Dependency] = {}
    for entry in asking.depends_on:
        other = entry.dependency.service
        path = f"services.{name}.depends_on"
        if other in parsed:
            found[other] = entry.dependency
            jobs = asking.service.job, parsed[other].service.job
            for why, hint in objections(name, jobs[0], entry.dependency, jobs[1]):
                problems.report(f"{path}.{other}: {why}", entry.condition, hint)
        elif entry.required or other not in left_out:
            close = get_close_matches(other, parsed, n=1)
            hint = f"did you mean `{close[0]}`?" if close else ""
            hint = "its profile is not selected" if other in left_out else hint
            problems.report(f"{path}: no service {quoted(other)}", entry.where, hint)
    return tuple(found[other] for other in sorted(found))


def _sorted(
    services: Mapping[str, Service], parsed: Mapping[str, Parsed], problems: Problems
) -> tuple[Service, ...]:
    """Kahn's algorithm over a heap of ranks and names: the order is stable."""
    waits = {name: {d.service for d in service.depends_on} for name, service in services.items()}
    ready = [(rank(services[name].job), name) for name, others in waits.items() if not others]
    heapq.heapify(ready)
    order: list[Service] = []
    while ready:
        _, done = heapq.heappop(ready)
        order.append(services[done])
        for name, others in waits.items():
            if done in others:
                others.remove(done)
                if not others:
                    heapq.heappush(ready, (rank(services[name].job), name))
    if len(order) < len(services):
        cycle = _cycle(waits)
        where = parsed[cycle[0]].node.entries["depends_on"].place
        problems.report(f"services.{cycle[0]}.depends_on: a cycle: {' -> '.join((*cycle, cycle[0]))}", where)
    return tuple(order)


def _cycle(waits: Mapping[str, set[str]]) -> list[str]:
    """One cycle, from its first name: what still waits leads into one."""
    name = min(name for name, others in waits.items() if others)
    seen: list[str] = []
    while name not in seen:
        seen.append(name)
        name = min(waits[name])
    cycle = seen[seen.index(name) :]
    first = cycle.index(min(cycle))
    return cycle[first:] + cycle[:first]

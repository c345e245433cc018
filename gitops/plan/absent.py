"""Hosts that cannot be reached: what they have as far as is known, and that it stays as it is.

A host that the controller cannot reach may serve all the same. So its replicas are
neither started elsewhere nor taken out of the load balancers, whose own checks rule
over them, until it is back and says what it has. A replica that the commit has no use
for counts as missing, like one that nobody knows of.

Another thing is a host that is to be empty (`out`: it is lost for good as far as anybody
knows, or was drained before it went): what it had is started elsewhere, but for what has
its data there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gitops.errors import TransientError, Where
from gitops.model.fleet import Fleet
from gitops.model.observed import Container, Observed, ObservedHost
from gitops.model.plan import Absent, Keep
from gitops.model.stack import Service, Stack
from gitops.plan.edge import Line, Seen
from gitops.plan.explain import bound_reason

_NAME = re.compile(r"(?P<slot>\d+)-(?P<digest>[0-9a-f]+)(-\d+)?")  # of a container, after `APP-SERVICE-`


@dataclass(frozen=True)
class Held:
    """What the absent hosts have of an application.

    Attributes:
        keeps: what is left as it is.
        stays: what the load balancers go on serving of it.
        leaves: what they serve until the end of the rollout: the commit has no use for it.
        moved: why a slot of theirs, (service, slot), is started elsewhere.
    """

    keeps: tuple[Keep, ...] = ()
    stays: frozenset[Line] = frozenset()
    leaves: frozenset[Line] = frozenset()
    moved: Mapping[tuple[str, int], str] = field(default_factory=dict)

    def slots(self, service: str) -> frozenset[int]:
        """The slots of a service that need no container elsewhere."""
        return frozenset(keep.slot for keep in self.keeps if keep.service == service)

    def moved_of(self, service: str) -> dict[int, str]:
        """The slots of a service that are started elsewhere, with why."""
        return {slot: why for (name, slot), why in self.moved.items() if name == service}


def absent_hosts(
    fleet: Fleet, observed: Observed, tolerate: int, out: Mapping[str, str]
) -> tuple[Absent, ...]:
    """The hosts to go on without, by name.

    Args:
        fleet: the hosts; one in no group has left and is not missed.
        observed: what the hosts reported.
        tolerate: how many may be absent.
        out: hosts that are to be empty: these nobody misses.

    Raises:
        TransientError: more are, or every container host or load balancer is.
    """
    states = {state.name: state for state in observed.hosts}
    found = [
        Absent(host, states[host.name].error if host.name in states else "")
        for host in sorted(fleet.hosts, key=lambda host: host.name)
        if (host.runs_containers or host.balances)
        and not (host.name in states and states[host.name].reachable)
    ]
    if not found:
        return ()
    names = {absent.host.name for absent in found}
    groups = (("container host", fleet.container_hosts), ("load balancer", fleet.load_balancers))
    lacking = next((kind for kind, hosts in groups if hosts and {host.name for host in hosts} <= names), "")
    missed = [absent for absent in found if absent.host.name not in out]
    if len(missed) > tolerate or lacking:
        first = next(iter(missed), found[0])
        why = f": {first.reason}" if first.reason else ""
        more = f"; nor can {', '.join(sorted(names - {first.host.name}))}" if len(found) > 1 else ""
        hint = f"no {lacking} is left" if lacking else f"tolerate_unreachable allows {tolerate}"
        raise TransientError(
            f"host {first.host.name} cannot be used{why}{more}",
            hint=hint if tolerate else "",
            where=Where(host=first.host.name),
        )
    return tuple(found)


def held(
    stack: Stack,
    previous: Stack | None,
    absent: Iterable[Absent],
    observed: Observed,
    seen: Seen,
    *,
    rollback: bool,
    out: Mapping[str, str],
) -> Held:
    """What the absent hosts have, and what becomes of it.

    The fragments of load balancers and nodes tell which servers they have. What is not served is found
    by elimination: a replica of the previous commit that no host reports is on one of them. So is
    one with a named volume, whatever the fragments tell.

    Args:
        stack: the desired state.
        previous: what ran before, or None.
        absent: the hosts.
        observed: what the other hosts reported.
        seen: what the load balancers serve.
        rollback: whether this goes back: then only replicas of the desired version count.
        out: hosts that are to be empty, with why.
    """
    hosts = {absent.host.address: absent.host for absent in absent if absent.host.runs_containers}
    if not hosts:
        return Held()
    containers = observed.containers(stack.app)
    keeps: dict[tuple[str, int, str], Keep] = {}
    stays: set[Line] = set()
    leaves: set[Line] = set()
    moved: dict[tuple[str, int], str] = {}
    taken = seen.everywhere | seen.up
    told_of = _told(stack.app, previous, observed)
    for line in (line for lines in told_of.values() for line in lines):
        away = hosts.get(line.address)
        service = stack.service(line.service)
        if away is not None and away.name in out and not (service and service.volumes):
            moved[line.service, _slot(stack.app, line, None)] = out[away.name]
            continue
        # One that some HAProxy does not serve now would have to be taken in, and to pass its check.
        if away is None or (line.service in seen.known and line.name not in taken):
            continue
        slot = _slot(stack.app, line, service if rollback else None)
        if service is None or not _useful(service, slot, line.target, containers):
            leaves.add(line)
            continue
        stays.add(line)
        keeps[line.service, slot, line.name] = _keep(stack.app, service, slot, away.name, line.name, out)
    names = sorted(host.name for host in hosts.values())
    for service in stack.services if names else ():
        before = previous.service(service.name) if previous else None
        told = {slot for name, slot, _ in keeps if name == service.name}
        balanced = service.name in {name for name, _ in told_of}
        for slot in set(_unseen(service, before, containers, balanced=balanced)) - told:
            if service.volumes or not set(names) <= out.keys():
                host = names[0] if len(names) == 1 else ""
                keeps[service.name, slot, ""] = _keep(stack.app, service, slot, host, "", out)
            else:
                moved.setdefault((service.name, slot), ", ".join(out[name] for name in names))
    return Held(tuple(keeps[key] for key in sorted(keeps)), frozenset(stays), frozenset(leaves), moved)


def _keep(app: str, service: Service, slot: int, host: str, container: str, out: Mapping[str, str]) -> Keep:
    """What is left as it is on an absent host, or on one of several where `host` is empty."""
    if host in out:
        return Keep(
            service.name, slot, host, container, bound_reason(app, service, host, out[host]), bound=True
        )
    reason = f"{host} is absent, left as it is" if container else "on an absent host, left as it is"
    return Keep(service.name, slot, host, container, reason)


def _told(app: str, previous: Stack | None, observed: Observed) -> dict[tuple[str, int], list[Line]]:
    """What load balancers and nodes were last told to serve, by service and container port.

    One that was away itself may have an old fragment: those that recorded the last commit come first.
    """

    def old(state: ObservedHost) -> bool:
        return previous is None or previous.commit not in {r.commit for r in state.releases if r.app == app}

    found: dict[tuple[str, int], list[Line]] = {}
    for state in sorted(observed.hosts, key=lambda state: (old(state), state.name)):
        for target, lines in _lines(app, dict(state.fragments).get(app, "")).items():
            found.setdefault(target, lines)
    return found


def _lines(app: str, fragment: str) -> dict[tuple[str, int], list[Line]]:
    """The servers of each backend of a fragment."""
    found: dict[tuple[str, int], list[Line]] = {}
    service, target = "", 0
    for words in (line.split() for line in fragment.splitlines()):
        if words[:1] == ["backend"]:
            service, _, port = words[1].removeprefix(f"{app}.").rpartition(".")
            target = int(port)
            found[service, target] = []
        elif words[:1] == ["server"]:
            address, _, port = words[2].rpartition(":")
            found[service, target].append(Line(service, target, words[1], address, int(port)))
    return found


def _slot(app: str, line: Line, version: Service | None) -> int:
    """The slot that a container's name tells; 0 where it tells none, or another version than asked for."""
    found = _NAME.fullmatch(line.name.removeprefix(f"{app}-{line.service}-"))
    if found is None or (version and not version.container.digest.startswith(found["digest"])):
        return 0
    return int(found["slot"])


def _useful(service: Service, slot: int, target: int, containers: Iterable[Container]) -> bool:
    """Whether the commit has a use for a container's port, and for its slot, which no other host has."""
    if slot == 0 or target not in service.balanced:
        return False
    return service.mode == "global" or slot in _empty(service, service.replicas, containers)


def _unseen(
    service: Service, before: Service | None, containers: Iterable[Container], *, balanced: bool
) -> Sequence[int]:
    """The slots of a service that ran before, that no host reports, and that no HAProxy tells of.

    Where data lies on the host, nothing is started without it.
    """
    if before is None or "global" in (before.mode, service.mode):
        return ()
    if (before.served or service.served or balanced) and not service.volumes:
        return ()
    return _empty(service, min(before.replicas, service.replicas), containers)


def _empty(service: Service, replicas: int, containers: Iterable[Container]) -> Sequence[int]:
    """The slots, of so many, for which no host reports a container."""
    taken = {c.slot for c in containers if c.service == service.name}
    return [slot for slot in range(1, replicas + 1) if slot not in taken]

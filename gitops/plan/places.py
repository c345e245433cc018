"""Where an application has a HAProxy: the edge, and each host that runs a consumer of one of its services."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network

from gitops.errors import PermanentError, TransientError, Where
from gitops.model.edge import Assembled
from gitops.model.fleet import Fleet
from gitops.model.observed import Observed, ObservedHost
from gitops.model.plan import Backend, HostChange, Place, Role, Start
from gitops.model.stack import Service, Stack
from gitops.plan import edge
from gitops.plan.diff import ServiceDiff
from gitops.plan.discovery import listeners

FragmentOf = Callable[[Stack, Stack | None, tuple[Backend, ...], Role], str]
"""Renders what one HAProxy serves of an application: its haproxy.cfg fragment."""

ConfigOf = Callable[[Mapping[str, str], bool], Assembled | None]
"""Assembles the whole haproxy.cfg that the fragments of all applications make, of the edge or of a node."""

Consumer = tuple[str, str]  # application, service


@dataclass(frozen=True)
class Consumers:
    """What runs on each host: during the rollout, and in the end."""

    during: Mapping[str, Collection[Consumer]]
    after: Mapping[str, Collection[Consumer]]


def consumers(
    stack: Stack, observed: Observed, diffs: Iterable[ServiceDiff], starts: Iterable[Start]
) -> Consumers:
    """Who runs where: all containers but those that have ended. In the end no job does."""
    during: dict[str, set[Consumer]] = {}
    after: dict[str, set[Consumer]] = {}
    for host in observed.hosts:
        there = [c for c in host.containers if c.state not in {"exited", "dead"}]
        during[host.name] = {(c.app, c.service) for c in there}
        after[host.name] = {each for each in during[host.name] if each[0] != stack.app}
    stay = [(c.host, c.service) for diff in diffs if not diff.service.job for c in diff.keeps]
    stay += [(start.host, start.service) for start in starts if not start.job]
    for host_name, service in stay:
        after.setdefault(host_name, set()).add((stack.app, service))
    for name, service in [*stay, *((start.host, start.service) for start in starts)]:
        during.setdefault(name, set()).add((stack.app, service))
    return Consumers(during, after)


def places(
    stack: Stack,
    previous: Stack | None,
    fleet: Fleet,
    observed: Observed,
    there: Consumers,
    final: tuple[Backend, ...],
    fragment: FragmentOf | None,
    config: ConfigOf | None = None,
) -> tuple[Place, ...]:
    """The HAProxies of an application, those that serve the same together; the edge alone comes first.

    Args:
        stack: the desired state, with addresses.
        previous: the state before, with addresses, or None.
        fleet: the hosts that take part.
        observed: what the hosts reported.
        there: what runs on them.
        final: what is served in the end.
        fragment: renders a final fragment, to be compared with what is there; without it none differs.
        config: assembles the whole haproxy.cfg that fragments make, to be compared likewise.

    Raises:
        TransientError: a host runs consumers and has no HAProxy, or has lost the service network.
        PermanentError: a container has an address's port for itself on such a host.
    """
    groups: dict[tuple[Role, Role], list[ObservedHost]] = {}
    now = tuple(service for service in stack.services if service.address)
    ever = (*now, *(service for service in (previous.services if previous else ()) if service.address))
    for host in fleet.hosts:
        state = observed.host(host.name) or ObservedHost(host.name, reachable=True)
        after = Role(host.balances, _found(stack.app, now, there.after.get(host.name, ())))
        consumed = there.during.get(host.name, ())
        during = Role(host.balances, _found(stack.app, ever, consumed))
        if during != Role(edge=False) or after != during or dict(state.fragments).get(stack.app):
            _check(stack, during, state)
            groups.setdefault((during, after), []).append(state)
    alone = Role(), Role()
    others = sorted(groups.keys() - {alone}, key=str)
    ordered = [*([alone] if alone in groups else []), *others]
    folders = {roles: f"nodes/{number}" for number, roles in enumerate(others, start=1)}
    return tuple(
        Place(
            folders.get(roles, "haproxy"),
            tuple(sorted(state.name for state in groups[roles])),
            *roles,
            opens=any(_unheard(stack, roles[0], state) for state in groups[roles]),
            network=stack.service_network if any(_astray(stack, roles[0], s) for s in groups[roles]) else "",
            changes=tuple(
                change
                for state in sorted(groups[roles], key=lambda state: state.name)
                for change in _changes(stack, roles[1], state, final, fragment, config)
            ),
        )
        for roles in ordered
    )


def _found(app: str, services: Iterable[Service], consumed: Collection[Consumer]) -> tuple[str, ...]:
    """The services, of those that have addresses, that one of these consumers looks for."""
    return tuple(
        sorted(
            {
                service.name
                for service in services
                if any(
                    name != service.name if owner == app else owner in service.expose_to
                    for owner, name in consumed
                )
            }
        )
    )


def _wanted(stack: Stack, role: Role) -> Iterator[tuple[Service, int]]:
    for service in stack.services:
        if service.name in role.services:
            for port in service.listens:
                yield service, port


def _check(stack: Stack, role: Role, state: ObservedHost) -> None:
    if role.services and state.reachable and not state.proxy:
        raise TransientError(
            f"it runs consumers of {', '.join(role.services)} and has no HAProxy to find them through",
            hint="gitops bootstrap prepares it, gitops doctor says what is missing",
            where=Where(host=state.name),
        )
    if state.networks and _astray(stack, role, state) and not state.root:
        raise TransientError(
            f"it does not take the service network {stack.service_network} for its own any more",
            hint=f"as root: ip route replace local {stack.service_network} dev lo"
            " (gitops bootstrap does so at every boot)",
            where=Where(host=state.name),
        )
    claimed = {port: s.name for s in stack.services for port, _, _ in s.container.host_ports}
    taken = dict.fromkeys(state.ports_used, "a container") | claimed
    for service, port in _wanted(stack, role):
        if port in taken:
            raise PermanentError(
                f"port {port} of {service.name} cannot be served at its address: "
                f"{taken[port]} publishes it on the host itself",
                hint="publish another port of the host (`mode: host`), or take it out of `expose`",
                where=Where(host=state.name),
            )


def _unheard(stack: Stack, role: Role, state: ObservedHost) -> bool:
    """Whether a host does not yet serve an address at which a consumer on it will look."""
    wanted = {(service.address, port) for service, port in _wanted(stack, role)}
    heard = listeners(dict(state.fragments).get(stack.app, ""))
    return not wanted <= heard or _astray(stack, role, state)


def _astray(stack: Stack, role: Role, state: ObservedHost) -> bool:
    """Whether it is not known that the host takes the service network's addresses for its own."""
    if not role.services or not stack.service_network:
        return False
    network = IPv4Network(stack.service_network)
    return not any(network.subnet_of(IPv4Network(own)) for own in state.networks)


def _changes(
    stack: Stack,
    role: Role,
    state: ObservedHost,
    final: tuple[Backend, ...],
    fragment: FragmentOf | None,
    config: ConfigOf | None,
) -> Iterator[HostChange]:
    """What of a host's fragment, haproxy.cfg or running HAProxy is not as in the end."""
    here = tuple(backend for backend in final if serves(role, backend, stack))
    yield from edge.drifted(stack.app, here, state)
    if _astray(stack, role, state):
        yield HostChange(state.name, "the service network is not its own", follows=True)
    fragments = dict(state.fragments)
    own = fragments.get(stack.app, "")
    if fragment is not None:
        anything = role.services or (role.edge and any(service.served for service in stack.services))
        wanted = fragment(stack, None, final, role) if anything else ""
        if own != wanted:
            runs = any(server.backend.startswith(f"{stack.app}.") for server in state.servers)
            gone = bool(wanted and runs and not own)
            reason = "its part of haproxy.cfg is missing" if gone else "haproxy.cfg differs"
            yield HostChange(state.name, reason, follows=not gone)
            return
    files = config(fragments, role.edge) if config and own and state.config else None
    if files is None:
        return
    if files.digest != state.config:
        yield HostChange(state.name, "haproxy.cfg was changed by hand")
    elif why := edge.runs_otherwise(stack.app, files, state):
        yield HostChange(state.name, why)


def serves(role: Role, backend: Backend, *stacks: Stack | None) -> bool:
    """Whether a HAProxy of this role has a backend, as one of the states has it."""
    known = [service for stack in stacks if stack and (service := stack.service(backend.service))]
    at_edge = any(backend.target in service.container.target_ports for service in known)
    return backend.service in role.services or (role.edge and at_edge)


def concerns(role: Role, service: str, *stacks: Stack | None) -> bool:
    """Whether a HAProxy of this role balances over a service."""
    known = [found for stack in stacks if stack and (found := stack.service(service))]
    return service in role.services or (role.edge and (not known or any(each.served for each in known)))

"""How services find each other: each that others look for gets an address of the service network.

On every host that runs a consumer a HAProxy listens at that address, and the name
stands in the consumer's `/etc/hosts`.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from gitops.errors import PermanentError, Where
from gitops.model.fleet import Fleet
from gitops.model.observed import Found, Observed, Release
from gitops.model.stack import Service, Stack

_LISTENER = re.compile(
    r"frontend (?P<service>\S+)\.at[0-9]+\n {4}bind (?P<address>[0-9.]+):(?P<port>[0-9]+)\n"
)


def sought(stack: Stack) -> tuple[str, ...]:
    """The services that listen and that somebody else may look for, by name."""
    return tuple(
        sorted(
            service.name
            for service in stack.services
            if service.listens and not service.job and (len(stack.services) > 1 or service.expose_to)
        )
    )


def discovered(
    stack: Stack, previous: Stack | None, fleet: Fleet, observed: Observed, network: IPv4Network
) -> tuple[Stack, Stack | None]:
    """Both states with the addresses of their services, and with the names that each container knows.

    A service keeps the address that hosts report of it. A new one gets the place in the
    network that its name hashes to, or the next one that is free: so whoever plans chooses
    the same, and adding a service moves no other.

    Args:
        stack: the desired state.
        previous: the state that runs now, or None.
        fleet: the hosts.
        observed: what they reported.
        network: where addresses come from.

    Raises:
        PermanentError: the network is full, or a host has an address in it.
    """
    names = {name for state in (stack, previous) if state for name in sought(state)}
    if names:
        _check(fleet, network)
    addresses = _allotted(stack.app, names, observed, network)
    others = _others(stack.app, observed)
    before = _named(previous, addresses, others, network) if previous else None
    return _named(stack, addresses, others, network), before


def found(stack: Stack) -> tuple[Found, ...]:
    """What hosts are to record of an application: where its services are found, and by whom besides."""
    return tuple(
        Found(service.name, service.address, service.expose_to)
        for service in sorted(stack.services, key=lambda service: service.name)
        if service.address
    )


def listeners(fragment: str) -> frozenset[tuple[str, int]]:
    """The addresses and ports at which a fragment lets consumers on its host find services."""
    return frozenset((each["address"], int(each["port"])) for each in _LISTENER.finditer(fragment))


def _named(
    stack: Stack, addresses: Mapping[str, str], others: Mapping[str, str], network: IPv4Network
) -> Stack:
    known = {name: addresses[name] for name in sought(stack)}

    def named(service: Service) -> Service:
        container = service.container
        names = {**{name: known[name] for name in known if name != service.name}, **others}
        said = {name for name, _ in container.extra_hosts}  # the user's own word comes first
        hosts = {*container.extra_hosts, *((n, address) for n, address in names.items() if n not in said)}
        container = replace(container, extra_hosts=tuple(sorted(hosts)))
        return replace(service, container=container, address=known.get(service.name, ""))

    services = tuple(named(service) for service in stack.services)
    return replace(stack, services=services, service_network=str(network) if known else "")


def _check(fleet: Fleet, network: IPv4Network) -> None:
    for host in fleet.hosts:
        if _within(host.address, network):
            raise PermanentError(
                f"its address {host.address} is in the service network {network}",
                hint="set `service_network` in gitops.yaml to a network that nothing else uses",
                where=Where(host=host.name),
            )


def _within(text: str, network: IPv4Network) -> bool:
    try:
        return IPv4Address(text) in network
    except ValueError:  # a name
        return False


def _allotted(app: str, names: Collection[str], observed: Observed, network: IPv4Network) -> dict[str, str]:
    seen = list(_seen(observed))
    taken = {address for owner, _, address in seen if owner != app} | observed.allotted
    kept: dict[str, str] = {}
    for owner, service, address in sorted(seen):
        if owner == app and service in names and address not in taken and _within(address, network):
            kept.setdefault(service, address)
    taken |= set(kept.values())
    for name in sorted(names - kept.keys()):
        kept[name] = _free(f"{app}.{name}", taken, network)
        taken.add(kept[name])
    return kept


def _seen(observed: Observed) -> Iterator[tuple[str, str, str]]:
    """Application, service and address of all that hosts serve or have recorded."""
    for host in observed.hosts:
        for app, text in host.fragments:
            for each in _LISTENER.finditer(text):
                yield app, each["service"].removeprefix(f"{app}."), each["address"]
        for release in host.releases:
            for one in release.services:
                yield release.app, one.service, one.address


def _free(name: str, taken: Collection[str], network: IPv4Network) -> str:
    """The address that a name hashes to, or the next one that nobody has."""
    usable = network.num_addresses - 2  # without the network's own and the broadcast address
    first = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % usable
    for step in range(usable):
        address = str(network[1 + (first + step) % usable])
        if address not in taken:
            return address
    raise PermanentError(
        f"the service network {network} has no address left for {name}",
        hint="set a larger `service_network` in gitops.yaml",
    )


def _others(app: str, observed: Observed) -> dict[str, str]:
    """The services of other applications that this one may find, as `APP.SERVICE`.

    Hosts that were away may have an old record of an application: what most of them say holds.
    """
    records: dict[str, Counter[Release]] = {}
    for host in observed.hosts:
        for release in host.releases:
            if release.app != app:
                records.setdefault(release.app, Counter())[release] += 1
    said = (max(counted, key=lambda r: (counted[r], r.commit)) for counted in records.values())
    return {
        f"{release.app}.{one.service}": one.address
        for release in said
        for one in release.services
        if app in one.expose_to
    }

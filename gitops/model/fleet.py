"""The fleet: hosts of an Ansible inventory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

CONTAINER_HOSTS = "container_hosts"
LOAD_BALANCERS = "load_balancers"


@dataclass(frozen=True)
class Host:
    """One host of the inventory."""

    name: str  # inventory name, of letters, digits, `.`, `_`, `-`
    address: str  # where the edge reaches its containers: gitops_address, else ansible_host, else the name
    groups: tuple[str, ...] = ()  # sorted
    variables: tuple[tuple[str, str | int | float | bool], ...] = ()
    """Connection variables (`ansible_*`, `gitops_*`), templates resolved, sorted by name."""
    labels: tuple[tuple[str, str], ...] = ()  # `gitops_labels`, sorted

    @property
    def runs_containers(self) -> bool:
        """Whether it is in the group `container_hosts`."""
        return CONTAINER_HOSTS in self.groups

    @property
    def balances(self) -> bool:
        """Whether it is in the group `load_balancers`."""
        return LOAD_BALANCERS in self.groups


@dataclass(frozen=True)
class Fleet:
    """All hosts that this project acts on, sorted by name."""

    hosts: tuple[Host, ...] = ()

    @property
    def container_hosts(self) -> tuple[Host, ...]:
        """The hosts that run containers."""
        return tuple(host for host in self.hosts if host.runs_containers)

    @property
    def load_balancers(self) -> tuple[Host, ...]:
        """The hosts that run the edge HAProxy."""
        return tuple(host for host in self.hosts if host.balances)

    def host(self, name: str) -> Host | None:
        """The host of that name, or None."""
        return self._by_name.get(name)

    @cached_property
    def _by_name(self) -> dict[str, Host]:
        return {host.name: host for host in reversed(self.hosts)}

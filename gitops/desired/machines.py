"""The hosts of an inventory, held against each other."""

from __future__ import annotations

from gitops.desired.problems import Problems
from gitops.errors import Where
from gitops.model.fleet import CONTAINER_HOSTS, LOAD_BALANCERS, Host

# What ssh needs to find a machine: two names that agree in all of it are one machine.
_SSH = (
    "ansible_user",
    "ansible_ssh_user",
    "ansible_ssh_args",
    "ansible_ssh_common_args",
    "ansible_ssh_extra_args",
)


def check_machines(hosts: list[Host], where: Where, problems: Problems) -> None:
    """Refuses a fleet without container hosts, and one machine under two names.

    Args:
        hosts: what was read.
        where: the inventory as a whole.
        problems: what is wrong goes there; where something is already, hosts may be missing for that.
    """
    if problems:
        return
    if not any(host.runs_containers for host in hosts):
        hint = f"put hosts into the group `{CONTAINER_HOSTS}`, and those with HAProxy into `{LOAD_BALANCERS}`"
        problems.report(f"no host in the group `{CONTAINER_HOSTS}`", where, hint)
    seen: dict[str, str] = {}
    for host in hosts:
        if host.address in seen:
            message = f"hosts {seen[host.address]} and {host.name} have the same address {host.address}"
            hint = "one machine has one name; set `gitops_address` where only the SSH address is shared"
            problems.report(message, where, hint)
        seen.setdefault(host.address, host.name)
    _check_ways(hosts, where, problems)


def _check_ways(hosts: list[Host], where: Where, problems: Problems) -> None:
    """One machine under two names would be filled twice, and locked once."""
    seen: dict[tuple[str, ...], Host] = {}
    for host in hosts:
        said = {key: str(value) for key, value in host.variables}
        at = said.get("ansible_host") or said.get("ansible_ssh_host") or host.name
        port = said.get("ansible_port") or said.get("ansible_ssh_port") or "22"
        machine = (at, port, *(said.get(key, "") for key in _SSH))
        other = seen.setdefault(machine, host)
        if other is not host and other.address != host.address:  # else that is said already
            message = f"hosts {other.name} and {host.name} are the same machine {at}, port {port}"
            problems.report(message, where, "one machine has one name: leave one of them out")

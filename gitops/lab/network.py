"""The lab's network: a bridge of its own for every lab, a cable for every host.

Bridges are named by number (`gitops-brN` stands for 198.18.N.0/24), so the
kernel itself sees to it that no two labs take the same subnet. A bridge's
hardware address is the mark of its lab's folder, given in the same request
that makes it: whose bridge it is never needs a file.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gitops.errors import PermanentError
from gitops.lab.layout import BRIDGE_PREFIX, RANGE, Layout, Member, bridge, cable, gateway
from gitops.lab.system import run, succeeds

_SUBNETS = range(256)
_ROUTE = ("unreachable", RANGE, "metric", "4294967295")


@contextmanager
def machine_lock() -> Iterator[None]:
    """Holds what all labs of a machine share (the route, the package manager). It leaves no file behind."""
    descriptor = os.open("/run", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def claim(layout: Layout) -> int:
    """Makes the lab's bridge in the first free subnet and opens the machine's packet filter for it.

    Returns:
        N of 198.18.N.0/24.

    Raises:
        PermanentError: no subnet is free.
    """
    subnet = _claim_bridge(layout)
    name = bridge(subnet)
    run("ip", "address", "add", f"{gateway(subnet)}/24", "dev", name)
    run("ip", "link", "set", name, "up")
    with machine_lock():
        run("ip", "route", "replace", *_ROUTE)
    for rule in _rules(name):
        run("iptables", "-w", "-I", *rule)
    return subnet


def _claim_bridge(layout: Layout) -> int:
    taken = {link["ifname"] for link in _links()}
    for subnet in _SUBNETS:
        name = bridge(subnet)
        if name in taken:
            continue
        try:
            run("ip", "link", "add", name, "address", layout.hardware_address, "type", "bridge")
        except PermanentError:
            if not succeeds("ip", "link", "show", name):
                raise
            continue  # another lab took it since we looked
        return subnet
    raise PermanentError("all 256 subnets of labs are in use", hint="gitops lab down --dir DIR for old ones")


def _rules(name: str) -> tuple[tuple[str, ...], ...]:
    """What must pass where a firewall or an engine closes the machine: to other hosts, to the registry."""
    return (
        ("FORWARD", "-i", name, "-o", name, "-j", "ACCEPT"),
        ("INPUT", "-i", name, "-j", "ACCEPT"),
    )


def plug(subnet: int, member: Member, pid: int) -> None:
    """Connects the host whose power supply is process `pid` to the bridge; its end of the cable is eth0."""
    name = cable(subnet, member.name)
    peer = ("peer", "name", "eth0", "address", member.hardware_address, "netns", str(pid))
    run("ip", "link", "add", name, "type", "veth", *peer)
    run("ip", "link", "set", name, "master", bridge(subnet), "up")


def unplug(subnet: int, member: Member) -> None:
    """Takes the host's cable away, if there is one."""
    succeeds("ip", "link", "delete", cable(subnet, member.name))


def set_cable(subnet: int, member: Member, *, up: bool) -> None:
    """Cuts or mends the host's cable."""
    run("ip", "link", "set", cable(subnet, member.name), "up" if up else "down")


def remove(layout: Layout) -> None:
    """Takes away every bridge, cable and rule of the lab, and the shared route with the last lab."""
    links = _links()
    own = [link["ifname"] for link in links if _is_bridge_of(link, layout)]
    for name in own:
        for link in links:
            if link.get("master") == name:
                succeeds("ip", "link", "delete", link["ifname"])
        for rule in _rules(name):
            while succeeds("iptables", "-w", "-D", *rule):
                pass
        run("ip", "link", "delete", name)
    with machine_lock():
        if not any(link["ifname"].startswith(BRIDGE_PREFIX) for link in _links()):
            succeeds("ip", "route", "delete", *_ROUTE)


def subnets(layout: Layout) -> list[int]:
    """The subnets whose bridges bear the lab's mark (one, or none)."""
    return [
        int(link["ifname"].removeprefix(BRIDGE_PREFIX)) for link in _links() if _is_bridge_of(link, layout)
    ]


def _is_bridge_of(link: dict[str, Any], layout: Layout) -> bool:
    return link["ifname"].startswith(BRIDGE_PREFIX) and link.get("address") == layout.hardware_address


def _links() -> list[dict[str, Any]]:
    """All network links of the machine as `ip` describes them."""
    links: list[dict[str, Any]] = json.loads(run("ip", "-json", "link", "show"))
    return links

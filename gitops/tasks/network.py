"""The service network on a host: one route by which the host takes all its addresses for its own.

So HAProxy can listen at any of them, and a container that asks for one reaches it through
its bridge. `gitops bootstrap` sets the route at every boot; this puts it back where it is missing.
"""

from __future__ import annotations

from ipaddress import IPv4Network

from gitops.channel import Channel
from gitops.tasks.outcome import TaskError

_TAKE = """
export PATH="$PATH:/usr/sbin:/sbin"
case $(ip route get "$2" 2>/dev/null) in local*) exit 0 ;; esac
as_root=
[ "$(id -u)" = 0 ] || as_root="sudo -n"
$as_root ip route replace local "$1" dev lo
"""


def take(channel: Channel, network: str) -> None:
    """Sets the route of the service network where it is missing.

    Raises:
        TaskError: kind `edge`: the user may not.
    """
    done = channel.run(_TAKE, args=(network, str(IPv4Network(network)[1])))
    if done.code:
        raise TaskError(
            f"the host does not take the service network {network} for its own "
            f"(as root: ip route replace local {network} dev lo; gitops bootstrap does so at every boot): "
            f"{done.words}",
            "edge",
        )

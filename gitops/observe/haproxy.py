"""What a HAProxy runs, as values of the model."""

from __future__ import annotations

from gitops.channel import Proxy
from gitops.model.edge import DESCRIPTION, PORTS_MAP, ROUTES_MAP, Running
from gitops.model.observed import ProxyServer


def running(proxy: Proxy) -> tuple[Running, tuple[ProxyServer, ...]]:
    """What HAProxy has loaded and where it routes requests, and every server of it, by backend and name.

    Raises:
        UnreachableError: HAProxy does not run.
        ProxyError: its answer is not whole.
    """
    look = proxy.look(ROUTES_MAP, PORTS_MAP)
    found = [
        ProxyServer(
            backend=stat.proxy,
            name=stat.name,
            address=stat.address,
            status=stat.status,
            check=stat.check,
            sessions=stat.sessions,
            requests=stat.requests,
            errors_5xx=stat.errors_5xx,
            weight=stat.weight,
        )
        for stat in look.stats
        if stat.server
    ]
    state = Running(
        mark=look.description.removeprefix(DESCRIPTION) if look.description.startswith(DESCRIPTION) else "",
        routing=tuple(sorted(look.entries.items())),
        sections=look.sections,
        pid=look.pid,
    )
    return state, tuple(sorted(found, key=lambda server: (server.backend, server.name)))

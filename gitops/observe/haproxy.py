"""HAProxy's counters as servers of the model."""

from __future__ import annotations

from gitops.channel import Proxy
from gitops.model.observed import ProxyServer


def servers(proxy: Proxy) -> tuple[ProxyServer, ...]:
    """Every server that HAProxy has now, by backend and name.

    Raises:
        UnreachableError: HAProxy does not run.
    """
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
        for stat in proxy.stats()
        if stat.server
    ]
    return tuple(sorted(found, key=lambda server: (server.backend, server.name)))

"""What a HAProxy is to load, and what it runs: plain data that rendering, planning and tasks share."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

CONFIG = "/etc/haproxy/haproxy.cfg"
ROUTES_MAP = "/etc/haproxy/gitops-routes.map"
"""HTTP routes: `HOST/PATH/ BACKEND`, host `*` for any. HAProxy takes the longest prefix of host and path."""

PORTS_MAP = "/etc/haproxy/gitops-ports.map"
"""Published ports and service addresses: `FRONTEND BACKEND`."""

DESCRIPTION = "gitops-"
"""How the description of a HAProxy begins that has loaded a file of ours; its mark follows."""

Routing = Mapping[str, str]
"""Where requests go: `HOST/PATH/` (an HTTP route) or the name of a frontend -> backend."""


@dataclass(frozen=True)
class Assembled:
    """The files of one HAProxy.

    Attributes:
        config: haproxy.cfg.
        routing: what its two maps hold.
        mark: digest of all that only a reload can change; `show info` tells it of the running process.
    """

    config: str
    routing: Routing
    mark: str

    @property
    def routes(self) -> str:
        """The text of the map of HTTP routes."""
        return _map({key: backend for key, backend in self.routing.items() if "/" in key})

    @property
    def ports(self) -> str:
        """The text of the map of frontends."""
        return _map({key: backend for key, backend in self.routing.items() if "/" not in key})

    @property
    def digest(self) -> str:
        """SHA-256 of the three files one after the other, hex."""
        return hashlib.sha256((self.config + self.routes + self.ports).encode()).hexdigest()


@dataclass(frozen=True)
class Running:
    """What one HAProxy says that it runs, beside its servers.

    Attributes:
        mark: of the file that it has loaded; empty where that was not one of ours.
        routing: the entries of its maps.
        sections: `frontend NAME` and `backend NAME` of each that it has.
        pid: of the worker that answered.
    """

    mark: str = ""
    routing: tuple[tuple[str, str], ...] = ()
    sections: frozenset[str] = frozenset()
    pid: int = 0


def _map(entries: Mapping[str, str]) -> str:
    return "".join(f"{key} {backend}\n" for key, backend in sorted(entries.items()))

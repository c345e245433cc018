"""What tells that an application is to be looked at: an engine's events, HAProxy's servers, files. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gitops.model.edge import Running
from gitops.model.observed import LABEL_APP, ProxyServer

CHANGES = frozenset(
    {"die", "died", "kill", "oom", "stop", "start", "restart", "pause", "unpause", "update", "rename"}
    | {"create", "destroy", "remove"}
)
"""An engine's events that change what a container is. Podman says `died` and `remove`."""

Servers = Mapping[tuple[str, str], str]
"""(Backend, server) -> state, as `running_of` has it."""

LOADED = ""
"""Stands for backend and server of what HAProxy as a whole has loaded."""

Files = Mapping[str, str]
"""Path -> checksum."""


@dataclass(frozen=True)
class Sign:
    """Something that has happened on a host."""

    host: str
    what: str  # "container shop-web-1-0a1b2c3d: die", "server shop-web-1-0a1b2c3d: UP -> MAINT" ...
    app: str = ""  # whom it concerns; empty: every application that uses the host

    def __str__(self) -> str:
        """As a log has it."""
        return f"{self.host}: {self.what}"


def of_event(host: str, event: Mapping[str, Any]) -> Sign | None:
    """What an event of a host's engine tells; None where it changes nothing."""
    actor = event.get("Actor") or {}
    labels = actor.get("Attributes") or {}
    action = str(event.get("Action") or event.get("status") or "")
    app = str(labels.get(LABEL_APP) or "")
    # Podman tells of every check that is run, without its result: see `gitops.watch.checks`.
    if not app or not (action in CHANGES or action.startswith("health_status:")):
        return None
    return Sign(host, f"container {labels.get('name', '')}: {action}", app)


def servers_of(servers: Iterable[ProxyServer]) -> Servers:
    """The state and weight of each server, without what HAProxy counts."""
    return {(s.backend, s.name): f"{s.status.partition(' ')[0]} {s.weight}" for s in servers}


def running_of(running: Running, servers: Iterable[ProxyServer]) -> Servers:
    """The state of each server, and where each route leads, which is told by its backend likewise."""
    routes = {(backend, f"route {key}"): "leads there" for key, backend in running.routing}
    return {**servers_of(servers), **routes, (LOADED, LOADED): running.mark}


def of_servers(host: str, before: Servers, after: Servers) -> Iterator[Sign]:
    """What has become of a load balancer's servers, a sign for each that is another."""
    for place in sorted({*before, *after}):
        was, now = before.get(place, "nothing"), after.get(place, "nothing")
        if was == now:
            continue
        backend, server = place
        if backend == LOADED:
            yield Sign(host, "HAProxy has loaded another file")
        else:
            what = server if server.startswith("route ") else f"server {server}"
            yield Sign(host, f"{what}: {was} -> {now}", backend.partition(".")[0])


def of_files(host: str, before: Files, after: Files) -> Iterator[Sign]:
    """What has become of a host's files; haproxy.cfg as a whole concerns everybody."""
    for path in sorted({*before, *after}):
        if before.get(path) != after.get(path):
            verb = "changed" if path in before and path in after else "is new" if path in after else "is gone"
            yield Sign(host, f"{path} {verb}", "" if path.startswith("/") else path.partition("/")[0])

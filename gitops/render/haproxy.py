"""One application's fragment of haproxy.cfg."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gitops.errors import PermanentError
from gitops.model.plan import Backend, Role, Server
from gitops.model.routes import ADDRESS, HOST, PATH
from gitops.model.stack import HTTP_PORT, Ingress, Stack
from gitops.render.environment import environment

_TIMES = "check inter 500ms fastinter 100ms downinter 100ms fall 2 rise 1"
_SERVER_OPTIONS = {
    # One failed connection counts as one failed check: a dead server is out after two.
    "http": f"{_TIMES} observe layer4 error-limit 1 on-error fail-check",
    # A TCP client that hangs on a dead server is told at once.
    "tcp": f"{_TIMES} observe layer4 error-limit 1 on-error fail-check on-marked-down shutdown-sessions",
}

_EDGE = Role()

# What may stand in haproxy.cfg; everything else could end a word or a line there.
_NAME = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class _Target:
    """One target port of one service."""

    service: str
    port: int
    http: bool


@dataclass(frozen=True, order=True)
class _Route:
    """One HTTP route of the shared frontend."""

    host: str
    path: str


@dataclass(frozen=True, order=True)
class _Listener:
    """One port of a service's address."""

    address: str
    port: int


_Door = _Route | int | _Listener
"""Where clients come in: a route of the shared frontend, a port of the edge, or of a service's address."""


def fragment(stack: Stack, previous: Stack | None, backends: tuple[Backend, ...], role: Role = _EDGE) -> str:
    """The text of one application's fragment; empty where the application serves nothing.

    Args:
        stack: the commit that is on its way; its routes, published ports and addresses hold.
        previous: the commit before, or None. While a target port of it still has servers
            and the new one has none, its doors stay with them.
        backends: the servers of that moment.
        role: what the HAProxy serves: the edge, or consumers on its own host, or both.

    Raises:
        PermanentError: a name, host, path or address that must not reach haproxy.cfg.
    """
    servers = {(backend.service, backend.target): backend.servers for backend in backends}

    def serves(target: _Target) -> bool:
        return bool(servers.get((target.service, target.port)))

    doors = _doors(stack, role)
    targets = set(doors.values())
    for door, target in _doors(previous, role).items() if previous else ():
        if serves(target):
            targets.add(target)
            left_over = door not in doors and stack.service(target.service) is None
            if left_over or (door in doors and not serves(doors[door])):
                doors[door] = target
    if not targets:
        return ""
    names = {target: backend_name(stack.app, target.service, target.port) for target in targets}
    http = {names[target] for target in targets if target.http}
    sections = {
        name: _section(
            name,
            "http" if name in http else "tcp",
            servers.get((target.service, target.port), ()),
            _most_sessions(target.service, stack, previous),
        )
        for target, name in names.items()
    }
    routes = {door: names[target] for door, target in doors.items() if isinstance(door, _Route)}
    ports = {door: target for door, target in doors.items() if isinstance(door, int)}
    heard = {door: target for door, target in doors.items() if isinstance(door, _Listener)}
    _check(stack.app, routes, backends, (*names.values(), *(door.address for door in heard)))
    template = environment().get_template("fragment.cfg.j2")
    return template.render(
        app=stack.app,
        routes=[
            {"host": route.host, "path": route.path, "backend": name}
            for route, name in sorted(routes.items())
        ],
        frontends=[
            {
                "name": frontend_name(stack.app, target.service, port),
                "bind": f":{port}",
                "mode": sections[names[target]]["mode"],
                "backend": names[target],
            }
            for port, target in sorted(ports.items())
        ]
        + [
            {
                "name": f"{stack.app}.{target.service}.at{door.port}",
                "bind": f"{door.address}:{door.port}",
                "mode": sections[names[target]]["mode"],
                "backend": names[target],
            }
            for door, target in sorted(heard.items(), key=lambda item: (item[1].service, item[0].port))
        ],
        backends=[section for _, section in sorted(sections.items())],
    )


def backend_name(app: str, service: str, target: int) -> str:
    """The name of the HAProxy backend of one target port of a service."""
    return f"{app}.{service}.{target}"


def frontend_name(app: str, service: str, port: int) -> str:
    """The name of the HAProxy frontend of one published port of a service."""
    return f"{app}.{service}.tcp{port}"


def _doors(stack: Stack, role: Role) -> dict[_Door, _Target]:
    """Where clients come in, and what serves them.

    Port 80 of the edge is shared, so publishing it is a route for any host. What
    an ingress calls HTTP is HTTP on a published port and at the service's address, too.
    """
    doors: dict[_Door, _Target] = {}
    for service in stack.services:
        published = [Ingress(port=p.target) for p in service.publish if p.published == HTTP_PORT]
        ingresses = [*service.ingress, *published]
        http = {ingress.port for ingress in ingresses}
        for ingress in ingresses if role.edge else ():
            doors[_Route(ingress.host, ingress.path)] = _Target(service.name, ingress.port, http=True)
        for publish in service.publish if role.edge else ():
            if publish.published != HTTP_PORT:
                doors[publish.published] = _Target(service.name, publish.target, publish.target in http)
        if service.address and service.name in role.services:
            for port in service.listens:
                doors[_Listener(service.address, port)] = _Target(service.name, port, port in http)
    return doors


def _most_sessions(service: str, *stacks: Stack | None) -> int:
    """How many sessions a replica gets at once; 0 means no limit."""
    found = next((s for stack in stacks if stack and (s := stack.service(service))), None)
    return found.autoscale.max_sessions if found and found.autoscale else 0


def _section(name: str, mode: str, servers: Iterable[Server], most_sessions: int) -> dict[str, Any]:
    by_name = sorted(servers, key=lambda server: server.name)
    return {
        "name": name,
        "mode": mode,
        "weighted": any(server.weight is not None for server in by_name),
        "options": _SERVER_OPTIONS[mode] + (f" maxconn {most_sessions}" if most_sessions else ""),
        "servers": by_name,
    }


def _check(app: str, routes: Iterable[_Route], backends: Iterable[Backend], names: Iterable[str]) -> None:
    words = [("application name", _NAME, app), *(("backend name", _NAME, name) for name in names)]
    for route in routes:
        words += [("x-ingress host", HOST, route.host)] if route.host else []
        words += [("x-ingress path", PATH, route.path)]
    for server in (server for backend in backends for server in backend.servers):
        words += [("server name", _NAME, server.name), ("host address", ADDRESS, server.address)]
    for what, allowed, text in words:
        if not allowed.fullmatch(text):
            raise PermanentError(
                f"{what} {text!r} must not reach haproxy.cfg",
                hint="use letters, digits, '.', '_', '-' (and in a path what RFC 3986 allows there)",
            )

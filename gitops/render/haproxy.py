"""One application's fragment of haproxy.cfg."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

from gitops.errors import PermanentError
from gitops.model.plan import Backend, Server
from gitops.model.stack import Ingress, Service, Stack
from gitops.render.environment import environment

HTTP_PORT = 80
"""The port of the frontend that all applications share."""

_TIMES = "check inter 500ms fastinter 100ms downinter 100ms fall 2 rise 1"
_SERVER_OPTIONS = {
    # One failed connection counts as one failed check: a dead server is out after two.
    "http": f"{_TIMES} observe layer4 error-limit 1 on-error fail-check",
    # A TCP client that hangs on a dead server is told at once.
    "tcp": f"{_TIMES} observe layer4 error-limit 1 on-error fail-check on-marked-down shutdown-sessions",
}

# What may stand in haproxy.cfg; everything else could end a word or a line there.
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_ADDRESS = re.compile(r"[A-Za-z0-9.:-]+")
_HOST = re.compile(r"(?:[A-Za-z0-9.-]+)?")
_PATH = re.compile(r"/[A-Za-z0-9._~/-]*")


@dataclass(frozen=True, order=True)
class _Route:
    host: str
    path: str
    backend: str


@dataclass(frozen=True, order=True)
class _Frontend:
    name: str
    port: int
    mode: str
    backend: str


@dataclass(frozen=True)
class _Section:
    name: str
    mode: str
    options: str
    servers: tuple[Server, ...]


def fragment(stack: Stack, previous: Stack | None, backends: tuple[Backend, ...]) -> str:
    """The text of one application's fragment; empty where the application serves nothing.

    Args:
        stack: the commit that is on its way; its routes and published ports hold.
        previous: the commit before, or None. While a target port of it still has servers
            and the new one has none, its routes and published ports stay with them.
        backends: the servers of that moment.

    Raises:
        PermanentError: a name, host, path or address that must not reach haproxy.cfg.
    """
    servers = {(backend.service, backend.target): backend.servers for backend in backends}
    routes: dict[tuple[str, str], _Route] = {}
    frontends: dict[int, _Frontend] = {}
    modes: dict[str, str] = {}
    targets: dict[str, tuple[str, int]] = {}

    def take(service: Service, target: int, mode: str) -> str:
        name = backend_name(stack.app, service.name, target)
        modes.setdefault(name, mode)
        targets[name] = (service.name, target)
        return name

    def served(name: str) -> bool:
        return bool(servers.get(targets[name]))

    for service in stack.services:
        for ingress in _ingresses(service):
            name = take(service, ingress.port, "http")
            routes[ingress.host, ingress.path] = _Route(ingress.host, ingress.path, name)
        for port, target, mode in _publishes(service):
            name = take(service, target, mode)
            frontends[port] = _Frontend(frontend_name(stack.app, service.name, port), port, modes[name], name)
    for service in previous.services if previous else ():
        for ingress in _ingresses(service):
            if servers.get((service.name, ingress.port)):
                key, name = (ingress.host, ingress.path), take(service, ingress.port, "http")
                gone = stack.service(service.name) is None and key not in routes
                if gone or (key in routes and not served(routes[key].backend)):
                    routes[key] = _Route(*key, name)
        for port, target, mode in _publishes(service):
            if servers.get((service.name, target)):
                name = take(service, target, mode)
                gone = stack.service(service.name) is None and port not in frontends
                if gone or (port in frontends and not served(frontends[port].backend)):
                    label = frontend_name(stack.app, service.name, port)
                    frontends[port] = _Frontend(label, port, modes[name], name)

    if not targets:
        return ""
    sections = [
        _Section(
            name,
            modes[name],
            _SERVER_OPTIONS[modes[name]],
            tuple(sorted(servers.get(targets[name], ()), key=lambda s: s.name)),
        )
        for name in sorted(targets)
    ]
    _check(stack.app, routes.values(), sections)
    return (
        environment()
        .get_template("fragment.cfg.j2")
        .render(
            app=stack.app,
            routes=sorted(routes.values()),
            frontends=sorted(frontends.values()),
            backends=sections,
        )
    )


def backend_name(app: str, service: str, target: int) -> str:
    """The name of the HAProxy backend of one target port of a service."""
    return f"{app}.{service}.{target}"


def frontend_name(app: str, service: str, port: int) -> str:
    """The name of the HAProxy frontend of one published port of a service."""
    return f"{app}.{service}.tcp{port}"


def _ingresses(service: Service) -> Iterable[Ingress]:
    """The HTTP routes of a service. Port 80 of the edge is shared, so publishing it is a route for any host."""
    published = (Ingress(port=p.target) for p in service.publish if p.published == HTTP_PORT)
    return chain(service.ingress, published)


def _publishes(service: Service) -> Iterable[tuple[int, int, str]]:
    """Ports of its own at the edge: (published, target, mode). What an ingress calls HTTP is HTTP here, too."""
    speaks_http = {ingress.port for ingress in _ingresses(service)}
    for publish in service.publish:
        if publish.published != HTTP_PORT:
            yield publish.published, publish.target, "http" if publish.target in speaks_http else "tcp"


def _check(app: str, routes: Iterable[_Route], sections: Iterable[_Section]) -> None:
    words = [("application name", _NAME, app)]
    for route in routes:
        words += [("x-ingress host", _HOST, route.host), ("x-ingress path", _PATH, route.path)]
    for section in sections:
        words.append(("backend name", _NAME, section.name))
        for server in section.servers:
            words += [("server name", _NAME, server.name), ("host address", _ADDRESS, server.address)]
    for what, allowed, text in words:
        if not allowed.fullmatch(text):
            raise PermanentError(
                f"{what} {text!r} must not reach haproxy.cfg",
                hint="use letters, digits, '.', '_', '-' (and '/' or '~' in a path)",
            )

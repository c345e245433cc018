"""`ports`, `expose` and `x-ingress`: what the edge balances over."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gitops.desired.fields import Fields
from gitops.desired.problems import Problems, quoted
from gitops.desired.yaml import Node
from gitops.model.routes import HOST, PATH
from gitops.model.stack import HTTP_PORT, Ingress, Publish

_LAST_PORT = 65535
_WIDEST_RANGE = 1_000  # ports of one entry of `expose`
_SHORT = re.compile(
    r"(?:(?P<ip>[0-9]+(?:\.[0-9]+)+|\[[0-9a-fA-F:.]+\]):)?(?:(?P<published>[0-9-]*):)?(?P<target>[0-9-]+)(?:/(?P<protocol>\w+))?",
    re.ASCII,
)


@dataclass(frozen=True)
class Ports:
    """What `ports` says: balanced at the edge, or published on each host that runs a replica."""

    publish: tuple[Publish, ...] = ()
    host: tuple[tuple[int, int, str], ...] = ()  # (host port, container port, protocol)


def parse_ports(fields: Fields) -> Ports:
    """Reads `ports`, short and long syntax."""
    publish: list[Publish] = []
    host: list[tuple[int, int, str]] = []
    for index, item in enumerate(fields.items("ports")):
        path = f"{fields.at('ports')}[{index}]"
        if isinstance(item.value, dict):
            _long(Fields(item, "port", path, fields.problems), publish, host)
        else:
            _short(item, path, fields.problems, publish)
    return Ports(tuple(dict.fromkeys(publish)), tuple(sorted(dict.fromkeys(host))))


def _short(item: Node, path: str, problems: Problems, publish: list[Publish]) -> None:
    match = _SHORT.fullmatch(item.text) if isinstance(item.value, str | int) else None
    if match is None:
        found = quoted(item.text) if item.text else item.kind
        problems.report(f"{path}: expected a port such as `8080:80`, found {found}", item.where)
        return
    published, target = match["published"], match["target"]
    if match["ip"] is not None:
        problems.report(
            f"{path}: an address is not supported",
            item.where,
            "the edge listens on all its addresses: leave it out",
        )
    elif "-" in target or "-" in (published or ""):
        problems.report(f"{path}: a range is not supported", item.where, "write one line a port")
    elif (match["protocol"] or "tcp").lower() != "tcp":
        problems.report(
            f"{path}: the edge balances TCP, not {quoted(match['protocol'])}",
            item.where,
            "publish it on the hosts with `mode: host` (long syntax)",
        )
    elif not published:
        problems.report(
            f"{path}: which port of the edge?",
            item.where,
            f"write `8080:{target}` to publish it at the edge, or `expose` for other services alone",
        )
    else:
        _publish(int(published[:9]), int(target[:9]), item, path, problems, publish)


def _long(fields: Fields, publish: list[Publish], host: list[tuple[int, int, str]]) -> None:
    target = fields.integer("target", minimum=1, maximum=_LAST_PORT)
    published = fields.integer("published", minimum=1, maximum=_LAST_PORT)
    protocol = fields.choice("protocol", ("tcp", "udp")) or "tcp"
    mode = fields.choice("mode", ("ingress", "host")) or "ingress"
    for key, value in (("target", target), ("published", published)):
        if value is None and fields.get(key) is None:
            fields.problems.report(f"{fields.path}: `{key}` is missing", fields.node.where)
    if target is None or published is None:
        return
    if mode == "host":
        host.append((published, target, protocol))
    elif protocol == "udp":
        fields.wrong(
            "protocol", "the edge balances TCP, not `udp`", "publish it on the hosts with `mode: host`"
        )
    else:
        _publish(published, target, fields.node, fields.path, fields.problems, publish)


def _publish(
    published: int, target: int, node: Node, path: str, problems: Problems, publish: list[Publish]
) -> None:
    for port in (published, target):
        if not 1 <= port <= _LAST_PORT:
            problems.report(f"{path}: a port is 1 to {_LAST_PORT}, found {port}", node.where)
            return
    if published == HTTP_PORT:
        problems.report(
            f"{path}: port {HTTP_PORT} of the edge serves HTTP for all applications",
            node.where,
            f"use `x-ingress: {{port: {target}}}`",
        )
        return
    publish.append(Publish(published, target))


def parse_expose(fields: Fields) -> tuple[int, ...]:
    """Reads `expose`: container ports, TCP, sorted."""
    found: set[int] = set()
    for index, item in enumerate(fields.items("expose")):
        path = f"{fields.at('expose')}[{index}]"
        text = item.text.removesuffix("/tcp")
        first, dash, last = text.partition("-")
        low, high = _port(first), _port(last if dash else first)
        if low is not None and high is not None and high - low >= _WIDEST_RANGE:
            message = f"{path}: a range of more than {_WIDEST_RANGE} ports"
            fields.problems.report(message, item.where, "name the ports that other services use")
        elif low is None or high is None or low > high:
            hint = "only TCP is exposed" if "/" in text else ""
            found_text = quoted(item.text) if item.text else item.kind
            fields.problems.report(
                f"{path}: expected a port such as `8080`, found {found_text}", item.where, hint
            )
        else:
            found.update(range(low, high + 1))
    return tuple(sorted(found))


def _port(text: str) -> int | None:
    port = int(text) if re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) else 0
    return port if 1 <= port <= _LAST_PORT else None


def parse_ingress(fields: Fields, known: tuple[int, ...]) -> tuple[Ingress, ...]:
    """Reads `x-ingress`: a mapping or a list of them.

    Args:
        fields: the service.
        known: the container ports that the service names otherwise; a single one is the default.
    """
    node = fields.get("x-ingress")
    if node is None:
        return ()
    nodes = node.items if isinstance(node.value, tuple) else (node,)
    found: list[Ingress] = []
    for index, item in enumerate(nodes):
        path = fields.at("x-ingress") + (f"[{index}]" if isinstance(node.value, tuple) else "")
        route = Fields(item, "x-ingress", path, fields.problems)
        ingress = _route(route, known)
        if ingress:
            found.append(ingress)
    return tuple(found)


def _route(route: Fields, known: tuple[int, ...]) -> Ingress | None:
    port = route.integer("port", minimum=1, maximum=_LAST_PORT)
    if port is None and route.get("port") is None:
        if len(known) == 1:
            port = known[0]
        elif isinstance(route.node.value, dict):
            what = "names several ports" if known else "names no port"
            route.problems.report(f"{route.path}: `port` is missing", route.node.place, f"the service {what}")
    host = route.string("host", HOST, "a host name such as `shop.example.com`").lower()
    path = route.string("path", PATH, "a path such as `/api`, as requests have it") or "/"
    if "//" in path or any(part in {".", ".."} for part in path.split("/")):
        route.wrong(
            "path", f"expected a path such as `/api`, found {quoted(path)}", "no `//`, `.` or `..` in it"
        )
        return None
    return None if port is None else Ingress(port, host, path.rstrip("/") or "/")

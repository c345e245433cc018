"""The whole haproxy.cfg of a load balancer, assembled from the fragments of its applications."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from gitops.errors import PermanentError
from gitops.render.environment import environment

MANAGED = "# managed by ansible-gitops"
"""How every file begins that this project writes on a host."""

_SERVER = "    server "
_PLAIN_SERVER = re.compile(
    r" {4}server (?P<name>[A-Za-z0-9_.-]+) (?P<address>[0-9A-Fa-f.:]+):[1-9][0-9]{0,4}(?: weight [0-9]{1,3})?"
)


@dataclass(frozen=True)
class Route:
    """One HTTP route of the shared frontend."""

    host: str  # "*" answers any host name
    path: str  # prefix, ends at a path segment
    backend: str

    @property
    def order(self) -> tuple[bool, str, int, str]:
        """Sorts named hosts before any host, and long paths before short ones."""
        return (self.host == "*", self.host, -len(self.path), self.path)

    @property
    def condition(self) -> str:
        """The condition of its `use_backend` line; empty for a route that takes everything."""
        host = "" if self.host == "*" else f"{{ req.hdr(host),host_only -m str -i {self.host} }} "
        path = self.path.rstrip("/")
        if not path:
            return host.strip()
        return f"{host}{{ path {path} }} || {host}{{ path_beg {path}/ }}"


@dataclass(frozen=True)
class Fragment:
    """One application's fragment, read back from its text."""

    routes: tuple[Route, ...]
    sections: tuple[str, ...]  # frontends and backends, each with its header line, no blank lines

    @property
    def servers(self) -> dict[str, dict[str, str]]:
        """Backend name -> server name -> arguments that `add server` takes (address and options)."""
        found: dict[str, dict[str, str]] = {}
        for section in self.sections:
            header, *lines = section.splitlines()
            if not header.startswith("backend "):
                continue
            words = [line.split(maxsplit=2) for line in lines]
            options = next((" ".join(w[1:]) for w in words if w[0] == "default-server"), "")
            found[header.split()[1]] = {w[1]: f"{w[2]} {options}".rstrip() for w in words if w[0] == "server"}
        return found


def parse(text: str) -> Fragment:
    """Reads a fragment; the empty text is a fragment with nothing in it.

    Raises:
        PermanentError: it is not a fragment (someone else's file, or half of one).
    """
    routes: list[Route] = []
    sections: list[list[str]] = []
    for line in text.splitlines():
        words = line.split()
        if not words or (not sections and line.startswith("#")):
            continue
        if words[0] == "route" and len(words) == 4 and not sections:  # noqa: PLR2004 - route, host, path, backend
            routes.append(Route(*words[1:]))
        elif line.startswith(("frontend ", "backend ")):
            sections.append([line.rstrip()])
        elif line.startswith(" ") and sections:
            sections[-1].append(line.rstrip())
        else:
            raise PermanentError(f"not a line of a haproxy fragment: {line!r}")
    return Fragment(tuple(routes), tuple("\n".join(section) for section in sections))


def assemble(fragments: Mapping[str, str], *, edge: bool = True) -> str:
    """The whole haproxy.cfg: global, defaults, the shared frontend, then each application's sections.

    Args:
        fragments: application -> text of its fragment.
        edge: whether the host is a load balancer: another one has the shared frontend only for a route.

    Raises:
        PermanentError: two applications claim the same route or port, or a text is not a fragment.
    """
    parsed = check_claims(fragments)
    sections = [section for part in parsed.values() for section in part.sections]
    return (
        environment()
        .get_template("haproxy.cfg.j2")
        .render(
            edge=edge,
            routes=sorted(
                (route for part in parsed.values() for route in part.routes), key=lambda r: r.order
            ),
            sections=sorted(
                sections, key=lambda s: s.startswith("backend ")
            ),  # stable: by application within
        )
    )


def digest(fragments: Mapping[str, str], edge: bool) -> str:
    """The SHA-256 of the whole file that the fragments make, hex; empty where they make none."""
    return _digest(tuple(sorted(fragments.items())), edge)


@functools.lru_cache(maxsize=64)  # asked at every pass, of fragments that hardly ever change
def _digest(fragments: tuple[tuple[str, str], ...], edge: bool) -> str:
    try:
        return hashlib.sha256(assemble(dict(fragments), edge=edge).encode()).hexdigest()
    except PermanentError:  # whoever swaps the file says what is wrong with them
        return ""


def structure(config: str) -> str:
    """A configuration without its server lines: what only a reload can change."""
    return "\n".join(line for line in config.splitlines() if not line.startswith(_SERVER))


def plain_servers(config: str) -> bool:
    """Whether no server line can make the file invalid: all have addresses, and no name is there twice."""
    seen: set[tuple[str, str]] = set()
    section = ""
    for line in config.splitlines():
        if not line.startswith(_SERVER):
            section = section if line.startswith(" ") else line
            continue
        match = _PLAIN_SERVER.fullmatch(line)
        if match is None or (section, match["name"]) in seen or not _is_address(match["address"]):
            return False
        seen.add((section, match["name"]))
    return True


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def check_claims(fragments: Mapping[str, str]) -> dict[str, Fragment]:
    """Every route, every port of the edge and every port of an address belongs to one application.

    Args:
        fragments: application -> text of its fragment.

    Returns:
        The fragments, by application.

    Raises:
        PermanentError: two applications claim the same, or a text is not a fragment.
    """
    parsed = {app: parse(text) for app, text in sorted(fragments.items())}
    owners: dict[str, str] = {}
    for app, part in parsed.items():
        claims = [f"the route {route.host}{route.path} of the edge" for route in part.routes]
        claims += [
            f"port {line.split(':')[-1]} of the edge"
            if line.startswith("    bind :")
            else f"the address {line.split()[1]}"
            for section in part.sections
            for line in section.splitlines()
            if line.startswith("    bind ")
        ]
        for claim in claims:
            owner = owners.setdefault(claim, app)
            if owner != app:
                raise PermanentError(
                    f"{claim} belongs to application {owner}, {app} claims it, too",
                    hint="change x-ingress or ports of one of them",
                )
    return parsed

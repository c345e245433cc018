"""The whole haproxy.cfg of a load balancer, assembled from the fragments of its applications."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping
from ipaddress import ip_address

from gitops.errors import PermanentError
from gitops.model.edge import PORTS_MAP, ROUTES_MAP, Assembled
from gitops.render.environment import environment
from gitops.render.fragment import MANAGED, Fragment, parse

__all__ = ["MANAGED", "assemble", "assembled", "check_claims", "plain_servers", "structure"]

_SERVER = "    server "
_PLAIN_SERVER = re.compile(
    r" {4}server (?P<name>[A-Za-z0-9_.-]+) (?P<address>[0-9A-Fa-f.:]+):[1-9][0-9]{0,4}(?: weight [0-9]{1,3})?"
)


def assemble(fragments: Mapping[str, str], *, edge: bool = True) -> Assembled:
    """The whole configuration: global, defaults, the shared frontend, then each application's sections.

    Args:
        fragments: application -> text of its fragment.
        edge: whether the host is a load balancer: another one has the shared frontend only for a route.

    Raises:
        PermanentError: two applications claim the same route or port, or a text is not a fragment.
    """
    parsed = check_claims(fragments)
    sections = [_routed(section) for part in parsed.values() for section in part.sections]
    sections.sort(key=lambda section: section.startswith("backend "))  # stable: by application within
    routing = {key: backend for part in parsed.values() for key, backend in part.routing.items()}
    show = functools.partial(
        environment().get_template("haproxy.cfg.j2").render,
        edge=edge or any(part.routes for part in parsed.values()),
        routes_map=ROUTES_MAP,
        sections=sections,
    )
    mark = hashlib.sha256(structure(show(mark="")).encode()).hexdigest()
    return Assembled(show(mark=mark), routing, mark)


def _routed(section: str) -> str:
    """A section as haproxy.cfg has it: a frontend finds its backend by the map, which needs no reload."""
    if not section.startswith("frontend "):
        return section
    lines = [line for line in section.splitlines() if not line.startswith("    default_backend ")]
    return "\n".join([*lines, f"    use_backend %[fe_name,map_str({PORTS_MAP})]"])


@functools.lru_cache(maxsize=64)  # asked at every pass, of fragments that hardly ever change
def _assembled(fragments: tuple[tuple[str, str], ...], edge: bool) -> Assembled | None:
    try:
        return assemble(dict(fragments), edge=edge)
    except PermanentError:  # whoever swaps the file says what is wrong with them
        return None


def assembled(fragments: Mapping[str, str], edge: bool) -> Assembled | None:
    """`assemble`, remembered; None where the fragments make no configuration."""
    return _assembled(tuple(sorted(fragments.items())), edge)


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

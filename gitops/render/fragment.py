"""One application's part of a haproxy.cfg as data: read from its text, and written back."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from gitops.errors import PermanentError

MANAGED = "# managed by ansible-gitops"
"""How every file begins that this project writes on a host."""

_SERVER = "    server "
_DEFAULT = "    default_backend "


@dataclass(frozen=True)
class Route:
    """One HTTP route of the shared frontend."""

    host: str  # "*" answers any host name
    path: str  # prefix, ends at a path segment
    backend: str

    @property
    def key(self) -> str:
        """Its key in the map of routes: a request's host and path, a slash behind them, begin with it."""
        return f"{self.host.lower()}{self.path.rstrip('/')}/"


@dataclass(frozen=True)
class Fragment:
    """One application's fragment."""

    routes: tuple[Route, ...] = ()
    sections: tuple[str, ...] = ()  # frontends and backends, each with its header line, no blank lines

    @property
    def routing(self) -> dict[str, str]:
        """Where requests go: key of a route, or name of a frontend -> backend."""
        return {**{route.key: route.backend for route in self.routes}, **dict(self._ports())}

    def _ports(self) -> Iterator[tuple[str, str]]:
        for header, section in self.by_header.items():
            for line in section.splitlines():
                if line.startswith(_DEFAULT):
                    yield header.split()[1], line.removeprefix(_DEFAULT)

    @property
    def by_header(self) -> dict[str, str]:
        """`frontend NAME` or `backend NAME` -> the section."""
        return {section.partition("\n")[0]: section for section in self.sections}

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

    def text(self, app: str) -> str:
        """The fragment as text; empty where there is nothing in it."""
        if not self.routes and not self.sections:
            return ""
        lines = [f"{MANAGED}: application {app}"]
        lines += [f"route {route.host} {route.path} {route.backend}" for route in self.routes]
        return "\n".join(lines) + "\n" + "".join(f"\n{section}\n" for section in self.sections)


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


def stages(
    current: Fragment, wanted: Fragment, running: Mapping[str, str], ready: Collection[str]
) -> tuple[Fragment, ...]:
    """The steps in which a HAProxy goes from one fragment to another, so that no request waits for a check.

    Args:
        current: the fragment on disk.
        wanted: the one to get to.
        running: where requests go now, as HAProxy says.
        ready: backends of which HAProxy has a server that is up.

    Returns:
        Where a route or port gets a backend that is not ready: first the sections of both, with
        everything that has a backend still there, then the wanted one. Else the wanted one alone.
    """
    both = {**current.by_header, **wanted.by_header}
    there = {k: v for k, v in {**current.routing, **running}.items() if f"backend {v}" in both}
    awaited = {k: v for k, v in wanted.routing.items() if there.get(k) != v and v not in ready}
    if not any(wanted.servers.get(backend) for backend in awaited.values()):
        return (wanted,)
    routing = {**there, **{k: v for k, v in wanted.routing.items() if k not in awaited}}
    routes = {route.key: route for route in (*current.routes, *wanted.routes)}
    sections = {
        header: _pointed(section, routing.get(header.removeprefix("frontend "), ""))
        if header.startswith("frontend ")
        else _with_servers(section, current.by_header.get(header, ""))
        for header, section in both.items()
    }
    order = sorted(sections, key=lambda header: (header.startswith("backend "), header))
    first = Fragment(
        tuple(replace(routes[key], backend=routing[key]) for key in sorted(routes) if key in routing),
        tuple(sections[header] for header in order),
    )
    return first, wanted


def before_joins(wanted: Fragment, current: Fragment, joining: Collection[tuple[str, str]]) -> Fragment:
    """The wanted fragment before servers have come and others gone: with those of its backends until now.

    Args:
        wanted: what is to be served.
        current: what is served now.
        joining: (backend, server) of those that come.
    """
    there = current.by_header
    sections = (_with_servers(section, there.get(header, "")) for header, section in wanted.by_header.items())
    return without_servers(replace(wanted, sections=tuple(sections)), joining)


def without_servers(fragment: Fragment, names: Collection[tuple[str, str]]) -> Fragment:
    """The fragment without some servers, given as backend and server."""

    def kept(section: str) -> str:
        header, *lines = section.splitlines()
        backend = header.removeprefix("backend ")
        left = (line for line in lines if not (_is_server(line) and (backend, line.split()[1]) in names))
        return "\n".join([header, *left])

    return replace(fragment, sections=tuple(map(kept, fragment.sections)))


def _is_server(line: str) -> bool:
    return line.startswith(_SERVER)


def _with_servers(section: str, before: str) -> str:
    """A backend with the servers that it had, too."""
    there = {line.split()[1] for line in section.splitlines() if _is_server(line)}
    leaving = [line for line in before.splitlines() if _is_server(line) and line.split()[1] not in there]
    return "\n".join([section, *leaving])


def _pointed(section: str, backend: str) -> str:
    """A frontend whose requests go to that backend; to none where it is empty."""
    lines = [line for line in section.splitlines() if not line.startswith(_DEFAULT)]
    return "\n".join([*lines, *([f"{_DEFAULT}{backend}"] if backend else [])])

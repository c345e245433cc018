"""The desired state of one commit: its Compose file, overlays and `.env` files."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence

from gitops.desired import dotenv
from gitops.desired.checks import check
from gitops.desired.environment import Environment
from gitops.desired.fields import Fields
from gitops.desired.interpolate import interpolate
from gitops.desired.mounts import VOLUME_NAME
from gitops.desired.overlay import clean, merge
from gitops.desired.problems import Problems, quoted
from gitops.desired.service import SERVICE_NAME, Parsed, parse_service
from gitops.desired.yaml import Node, read
from gitops.errors import PermanentError, Where
from gitops.model.stack import Stack
from gitops.model.tree import Tree

NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
_ENV = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_DEFAULT_NETWORK = "default"
_MOST_SERVICES = 1_000


def load(
    tree: Tree,
    *,
    app: str,
    commit: str,
    path: str = "",
    overlays: Sequence[str] = (),
    env: str = "",
    profiles: Sequence[str] = (),
    problems: Problems | None = None,
) -> Stack:
    """What one commit says, resolved and checked.

    Args:
        tree: the commit's files.
        app: the application's name.
        commit: full SHA.
        path: folder of the Compose file.
        overlays: further Compose files in that folder, merged in this order, after compose.override.yaml.
        env: selects `.env.ENV` on top of `.env`, and compose.ENV.yaml as the last overlay where there is one.
        profiles: services with other profiles are left out.
        problems: takes what is found, where the caller wants to know the notices, too.

    Raises:
        InvalidInputError: everything that is wrong with the files, with places.
        PermanentError: the application's name, the folder or `env` is wrong.
    """
    if not SERVICE_NAME.fullmatch(app):
        raise PermanentError(
            f"{quoted(app)} is no application name", hint="lower-case letters, digits, `-`, `_` and `.`"
        )
    if env and not _ENV.fullmatch(env):
        raise PermanentError(f"{quoted(env)} is no name of an environment", hint="such as `prod`")
    problems = Problems() if problems is None else problems
    folder = "" if path in {"", "."} else path.strip("/")
    files = _files(tree, folder, overlays, env, problems)
    variables = _variables(tree, folder, app, env, problems)
    document: Node | None = None
    for file in files:
        content = _content(tree, file, problems)
        layer = None if content is None else read(content, file, problems)
        if layer is None:
            continue
        layer = interpolate(layer, variables, problems)
        document = clean(layer) if document is None else merge(document, layer, problems)
    if document is None:
        problems.raise_if_any()
        raise PermanentError("no Compose file")
    environment = Environment(tree, folder, variables, problems)
    stack = _stack(document, app, commit, environment, frozenset(profiles), problems)
    problems.raise_if_any()
    return stack


def _files(tree: Tree, folder: str, overlays: Sequence[str], env: str, problems: Problems) -> list[str]:
    """The Compose files in the order of their merge."""
    try:
        present = set(tree.names(folder))
    except PermanentError as error:
        problems.report(error.message, error.where, error.hint)
        return []
    bases = [name for name in NAMES if name in present]
    if not bases:
        where = Where(posixpath.join(folder, NAMES[0]))
        problems.report("no Compose file", where, f"expected {NAMES[0]} in {quoted(folder or '.')}")
        return []
    if len(bases) > 1:
        hint = f"keep one of {' and '.join(bases)}"
        problems.report("more than one Compose file", Where(posixpath.join(folder, bases[1])), hint)
    stem = bases[0].rsplit(".", 1)[0]
    chosen = [bases[0], *_first(present, f"{stem}.override"), *overlays]
    if env:
        selected = _first(present, f"{stem}.{env}")
        chosen += [name for name in selected if name not in overlays]
        if not selected and f".env.{env}" not in present:
            hint = f"add .env.{env} or {stem}.{env}.yaml"
            problems.report(
                f"nothing is there for the environment {env}", Where(posixpath.join(folder, bases[0])), hint
            )
    return [posixpath.join(folder, name) for name in dict.fromkeys(chosen)]


def _first(present: set[str], stem: str) -> list[str]:
    return [name for name in (f"{stem}.yaml", f"{stem}.yml") if name in present][:1]


def _content(tree: Tree, file: str, problems: Problems) -> bytes | None:
    """A file's bytes; reports and returns None where it is refused."""
    try:
        return tree.read(file)
    except PermanentError as error:
        problems.report(error.message, error.where or Where(file), error.hint)
        return None


def _variables(tree: Tree, folder: str, app: str, env: str, problems: Problems) -> dict[str, str]:
    """What Compose files may refer to: the repo's `.env` files, and the project's name as in Compose."""
    project = {"COMPOSE_PROJECT_NAME": app}
    found: dict[str, str] = {}
    for name in (".env", f".env.{env}" if env else ""):
        file = posixpath.join(folder, name)
        if name and _exists(tree, file, problems):
            content = _content(tree, file, problems)
            if content is not None:
                found |= dotenv.parse(content, file, project, problems, earlier=found)
    return found | project


def _exists(tree: Tree, file: str, problems: Problems) -> bool:
    try:
        return tree.exists(file)
    except PermanentError as error:
        problems.report(error.message, error.where or Where(file), error.hint)
        return False


def _stack(
    document: Node,
    app: str,
    commit: str,
    environment: Environment,
    profiles: frozenset[str],
    problems: Problems,
) -> Stack:
    fields = Fields(document, "file", "", problems)
    fields.string("name")  # the application's name is the one in gitops.yaml; Compose's must only be a string
    volumes = _volumes(fields)
    networks = _networks(fields)
    parsed: dict[str, Parsed] = {}
    left_out: set[str] = set()
    for name, node in _services(fields).items():
        service = parse_service(name, node, environment, frozenset(name for name, _ in volumes), problems)
        for network, where in service.networks:
            if network not in networks:
                hint = f"declare it: `networks: {{{network}: }}`"
                problems.report(f"services.{name}.networks: no network {quoted(network)}", where, hint)
        if service.profiles and not profiles & set(service.profiles):
            left_out.add(name)
        else:
            parsed[name] = service
    return Stack(app, commit, check(parsed, frozenset(left_out), problems), volumes)


def _services(fields: Fields) -> dict[str, Node]:
    node = fields.get("services")
    if node is None:
        if isinstance(fields.node.value, dict):
            fields.problems.report(
                "no services", fields.place("services"), "write `services: {}` to mean none"
            )
        return {}
    if not isinstance(node.value, dict):
        fields.wrong("services", f"expected a mapping, found {node.kind}")
    if len(node.entries) > _MOST_SERVICES:
        fields.wrong("services", f"more than {_MOST_SERVICES} services")
        return {}
    return node.entries


def _volumes(fields: Fields) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    node = fields.get("volumes")
    if node is not None and not isinstance(node.value, dict):
        fields.wrong("volumes", f"expected a mapping, found {node.kind}")
    found: list[tuple[str, tuple[tuple[str, str], ...]]] = []
    for name, value in sorted(node.entries.items() if node else ()):
        if not VOLUME_NAME.fullmatch(name):
            hint = "letters, digits, `_`, `.` and `-`"
            fields.problems.report(f"{quoted(name)} is no volume name", value.place, hint)
        options: tuple[tuple[str, str], ...] = ()
        if value.value is not None:
            volume = Fields(value, "volume", f"volumes.{name}", fields.problems)
            if volume.string("driver") not in {"", "local"}:
                volume.wrong("driver", "only the driver `local` is supported")
            options = tuple(sorted((key, option.text) for key, option in volume.pairs("driver_opts").items()))
        found.append((name, options))
    return tuple(found)


def _networks(fields: Fields) -> frozenset[str]:
    node = fields.get("networks")
    if node is not None and not isinstance(node.value, dict):
        fields.wrong("networks", f"expected a mapping, found {node.kind}")
    for name, value in node.entries.items() if node else ():
        if value.value is not None:
            Fields(value, "network", f"networks.{name}", fields.problems)
    return frozenset(node.entries if node else ()) | {_DEFAULT_NETWORK}

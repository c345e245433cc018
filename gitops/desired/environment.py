"""`environment` and `env_file` of a service."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

from gitops.desired import dotenv
from gitops.desired.fields import Fields, string
from gitops.desired.problems import Problems, quoted
from gitops.desired.yaml import Node
from gitops.errors import PermanentError
from gitops.model.tree import Tree

_VARIABLE = re.compile(r"[^=\0\s]+")
_MOST_VARIABLES = 100_000  # of all services: one large env_file for many services adds up


class Environment:
    """Resolves the environment of services from the repo alone."""

    def __init__(self, tree: Tree, folder: str, variables: Mapping[str, str], problems: Problems) -> None:
        self._tree = tree
        self._folder = folder
        self._variables = variables
        self._problems = problems
        self._contents: dict[str, bytes] = {}
        # By what the files before it have set, too: its values may refer to them.
        self._parsed: dict[tuple[str, tuple[tuple[str, str], ...]], dict[str, str]] = {}
        self._left = _MOST_VARIABLES

    def of(self, service: Fields) -> tuple[tuple[str, str], ...]:
        """The environment of one service, sorted: its files in their order, then `environment` on top."""
        if self._left < 0:
            return ()  # reported already
        found: dict[str, str] = {}
        node = service.get("env_file")
        for item in (node.items if isinstance(node.value, tuple) else (node,)) if node else ():
            found |= self._file(item, service.at("env_file"), found)
        for name, value in service.pairs("environment").items():
            if not _VARIABLE.fullmatch(name):
                message = f"{service.at('environment')}: {quoted(name)} is no variable name"
                self._problems.report(message, value.place)
            elif value.value is not None:
                found[name] = value.text
            elif name in self._variables:
                found[name] = self._variables[name]
            else:
                message = f"{service.at('environment')}: {name} has no value"
                hint = f'set it in .env, or write `{name}: ""` for an empty one'
                self._problems.report(message, value.place, hint)
        for name, text in found.items():
            if "\0" in text:
                self._problems.report(
                    f"{service.at('environment')}: {name} holds a null character", service.node.place
                )
        self._left -= len(found)
        if self._left < 0:
            message = f"more than {_MOST_VARIABLES:,} variables of all services"
            self._problems.report(f"{service.at('environment')}: {message}", service.node.place)
            return ()
        return tuple(sorted(found.items()))

    def _file(self, item: Node, path: str, earlier: Mapping[str, str]) -> dict[str, str]:
        required = True
        name: str | None
        if isinstance(item.value, dict):
            fields = Fields(item, "env_file", path, self._problems)
            name = fields.string("path")
            required = fields.boolean("required") is not False
        else:
            name = string(item, path, self._problems, expected="a file name")
        if not name:
            return {}
        if name.startswith("/") or ".." in name.split("/"):
            message = f"{path}: {quoted(name)} leaves the application's folder"
            self._problems.report(message, item.where, "name a file beside the Compose file, or below it")
            return {}
        file = posixpath.normpath(posixpath.join(self._folder, name))
        content = self._read(file, item, path, required=required)
        if content is None:
            return {}
        known = (file, tuple(earlier.items()))
        if known not in self._parsed:
            self._parsed[known] = dotenv.parse(
                content, file, self._variables, self._problems, earlier=earlier
            )
        return self._parsed[known]

    def _read(self, file: str, item: Node, path: str, *, required: bool) -> bytes | None:
        """A file's bytes; None where there is none, which is reported where it must be there."""
        if file not in self._contents:
            try:
                # What is refused (a symlink, a folder) is refused whether or not the file is required.
                if not self._tree.exists(file):
                    if required:
                        self._problems.report(f"{path}: no file {quoted(file)} in the repo", item.where)
                    return None
                self._contents[file] = self._tree.read(file)
            except PermanentError as error:
                self._problems.report(f"{path}: {error.message}", item.where, error.hint)
                return None
        return self._contents[file]

"""Interpolation by the Compose rules.

`$VAR`, `${VAR}`, `${VAR:-default}`, `${VAR-default}`, `${VAR:?message}`,
`${VAR?message}`, `${VAR:+replacement}`, `${VAR+replacement}`, nested, and `$$`
for a dollar sign. Values come from the repo's `.env` files alone, never from the
controller's own environment. A variable that is set nowhere and has no default
is an error here, where Compose warns and goes on with an empty string: a fleet
should not serve a commit that forgot its database host.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from gitops.desired.problems import Problems, quoted
from gitops.desired.yaml import Node
from gitops.errors import PermanentError, Where

_MAX_DEPTH = 16  # defaults within defaults
_MAX_TEXT = 131_072  # characters of one interpolated value; Linux takes no longer argument or variable
_MAX_TOTAL = 10_000_000  # characters of all of a file's
_DOLLAR = re.compile(r"\$(?:(?P<dollar>\$)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<brace>\{)|)")
_BRACE = re.compile(r"\$\$|\$\{|\}")
_BRACED = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<operator>:?[-?+])(?P<word>.*))?", re.DOTALL)


def substitute(text: str, variables: Mapping[str, str]) -> str:
    """The text with its variables replaced.

    Raises:
        PermanentError: for a variable that is required or not set, and for a malformed expression.
    """
    return _substitute(text, variables, 1)


def interpolate(node: Node, variables: Mapping[str, str], problems: Problems) -> Node:
    """The node with every string value interpolated; keys are left as they are, as Compose does."""
    return _Interpolation(variables, problems).of(node)


class _Interpolation:
    """One file's interpolation, bounded as a whole."""

    def __init__(self, variables: Mapping[str, str], problems: Problems) -> None:
        self._variables = variables
        self._problems = problems
        self._left = _MAX_TOTAL

    def of(self, node: Node) -> Node:
        match node.value:
            case str() as text if "$" in text:
                return replace(node, value=self._text(text, node.where))
            case tuple() as items:
                return replace(node, value=tuple(self.of(item) for item in items))
            case dict() as entries:
                return replace(node, value={key: self.of(entry) for key, entry in entries.items()})
            case _:
                return node

    def _text(self, text: str, where: Where) -> str:
        if self._left <= 0:
            return ""  # reported already
        try:
            done = substitute(text, self._variables)
        except PermanentError as error:
            self._problems.report(error.message, where, error.hint, last=True)
            return ""
        self._left -= len(done)
        if self._left <= 0:
            self._problems.report(f"more than {_MAX_TOTAL:,} characters once interpolated", where, last=True)
        return done


def _substitute(text: str, variables: Mapping[str, str], depth: int) -> str:
    if depth > _MAX_DEPTH:
        raise PermanentError(f"defaults nested deeper than {_MAX_DEPTH}")
    done: list[str] = []
    position = size = 0
    while match := _DOLLAR.search(text, position):
        done.append(text[position : match.start()])
        position = match.end()
        if match["dollar"]:
            done.append("$")
        elif match["name"]:
            done.append(_required(match["name"], variables))
        elif match["brace"]:
            end = _closing(text, position)
            done.append(_braced(text[position:end], variables, depth))
            position = end + 1
        else:
            raise PermanentError(
                "a `$` that begins no variable", hint="write `$$` for a dollar sign, `${NAME}` for a variable"
            )
        size += len(done[-1]) + len(done[-2])
        if size > _MAX_TEXT:
            raise PermanentError(f"longer than {_MAX_TEXT:,} characters once interpolated")
    return "".join((*done, text[position:]))


def _closing(text: str, start: int) -> int:
    """Where the brace that opened before `start` closes; only `${` opens another."""
    opened = 1
    for found in _BRACE.finditer(text, start):
        if found[0] == "$$":
            continue
        opened += 1 if found[0] == "${" else -1
        if opened == 0:
            return found.start()
    raise PermanentError("`${` without its `}`", hint="write `$$` for a dollar sign")


def _braced(expression: str, variables: Mapping[str, str], depth: int) -> str:
    match = _BRACED.fullmatch(expression)
    if match is None:
        raise PermanentError(
            f"{quoted('${' + expression + '}')} is no variable",
            hint="`${NAME}`, `${NAME:-default}`, `${NAME:?message}` or `${NAME:+replacement}`",
        )
    name, operator, word = match["name"], match["operator"], match["word"]
    if operator is None:
        return _required(name, variables)
    # With a colon an empty value counts as none.
    value = variables.get(name)
    given = bool(value) if operator.startswith(":") else value is not None
    match operator[-1]:
        case "-":
            return value or "" if given else _substitute(word, variables, depth + 1)
        case "+":
            return _substitute(word, variables, depth + 1) if given else ""
        case _:
            if given:
                return value or ""
            message = _substitute(word, variables, depth + 1)
            reason = f": {message}" if message else ""
            raise PermanentError(
                f"required variable {name} is missing a value{reason}", hint="set it in .env"
            )


def _required(name: str, variables: Mapping[str, str]) -> str:
    try:
        return variables[name]
    except KeyError:
        hint = f"set it in .env, or give a default: `${{{name}:-}}`"
        raise PermanentError(f"variable {name} is not set", hint=hint) from None

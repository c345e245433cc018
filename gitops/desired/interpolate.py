"""Interpolation by the Compose rules.

`$VAR`, `${VAR}`, `${VAR:-default}`, `${VAR-default}`, `${VAR:?message}`,
`${VAR?message}`, `${VAR:+replacement}`, `${VAR+replacement}`, nested, and `$$`
for a dollar sign; a `$` that begins neither stays as it is. Values come from the
repo's `.env` files alone, never from the controller's own environment. A variable
that is set nowhere and has no default is an error here, where Compose warns and
goes on with an empty string: a fleet should not serve a commit that forgot its
database host.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from gitops.desired.problems import Problems, quoted
from gitops.desired.yaml import Node
from gitops.errors import PermanentError, Where

_MAX_DEPTH = 16  # defaults within defaults
_MAX_TEXT = 131_072  # characters of one interpolated value; Linux takes no longer argument or variable
_MAX_TOTAL = 10_000_000  # characters of all of a file's
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_DOLLAR = re.compile(rf"\$(?:(?P<dollar>\$)|(?P<name>{_NAME})|(?P<brace>\{{))")
_BEGINNING = re.compile(rf"\$\{{(?P<name>{_NAME})(?P<then>\}}|:?[-?+])")
_BRACE = re.compile(r"\{[^\n]?|\}|\n")


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
        else:
            expression = _expression(text, match.start())
            done.append(_replacement(expression, variables, depth))
            position = expression.end
        size += len(done[-1]) + len(done[-2])
        if size > _MAX_TEXT:
            raise PermanentError(f"longer than {_MAX_TEXT:,} characters once interpolated")
    return "".join((*done, text[position:]))


@dataclass(frozen=True)
class _Expression:
    """One `${...}`."""

    name: str
    operator: str  # empty for the plain variable
    word: str  # the default, replacement or message
    end: int  # where the text after it begins


def _expression(text: str, start: int) -> _Expression:
    """The expression whose `${` stands at `start`."""
    match = _BEGINNING.match(text, start)
    if match and match["then"] == "}":
        return _Expression(match["name"], "", "", match.end())
    end = _closing(text, start)
    if match is None:
        raise PermanentError(
            f"{quoted(text[start:end])} is no variable",
            hint="`${NAME}`, `${NAME:-default}`, `${NAME:?message}` or `${NAME:+replacement}`",
        )
    return _Expression(match["name"], match["then"], text[match.end() : end - 1], end)


def _closing(text: str, start: int) -> int:
    """Behind the brace that closes the one at `start`, as Compose counts them.

    Each `{` opens one, with or without its `$`, so that a default may be JSON; what
    follows a `{` is not looked at, so that `{}` opens without closing. Where the count
    never ends, the last `}` of the line closes.
    """
    opened = last = 0
    for found in _BRACE.finditer(text, start):
        if found[0].endswith("}"):
            last = found.end()
        if found[0] == "\n":
            if last:
                return last
            continue
        opened += -1 if found[0] == "}" else 1
        if opened == 0:
            return last
    if not last:
        raise PermanentError("`${` without its `}`", hint="write `$$` for a dollar sign")
    return last


def _replacement(expression: _Expression, variables: Mapping[str, str], depth: int) -> str:
    name, operator, word = expression.name, expression.operator, expression.word
    if not operator:
        return _required(name, variables)
    # With a colon an empty value counts as none.
    value = variables.get(name)
    given = bool(value) if operator.startswith(":") else value is not None
    if given is not operator.endswith("+"):
        _substitute(
            word, _ANYTHING, depth + 1
        )  # what is malformed is told, whether or not it is needed today
        return "" if operator.endswith("+") else value or ""
    match operator[-1]:
        case "-" | "+":
            return _substitute(word, variables, depth + 1)
        case _:
            message = _substitute(word, variables, depth + 1)
            reason = f": {message}" if message else ""
            raise PermanentError(
                f"required variable {name} is missing a value{reason}", hint="set it in .env"
            )


class _Anything(dict[str, str]):
    """Every variable is set."""

    def __missing__(self, key: str) -> str:
        return key

    def get(self, key: str, default: object = None) -> str:
        del default
        return key


_ANYTHING = _Anything()


def _required(name: str, variables: Mapping[str, str]) -> str:
    try:
        return variables[name]
    except KeyError:
        hint = f"set it in .env, or give a default: `${{{name}:-}}`"
        raise PermanentError(f"variable {name} is not set", hint=hint) from None

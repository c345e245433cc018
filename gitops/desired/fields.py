"""Reading one mapping of a Compose file: every key known, every type checked, every problem at its place."""

from __future__ import annotations

import re
from difflib import get_close_matches

from gitops.desired import units
from gitops.desired.keys import EXTENSIONS, SUPPORTED, UNSUPPORTED, Schema
from gitops.desired.problems import Problems, quoted
from gitops.desired.yaml import Node
from gitops.errors import Where

_TRUE = frozenset({"true", "t", "yes", "y", "on", "1"})  # as Compose casts them
_FALSE = frozenset({"false", "f", "no", "n", "off", "0"})
_NUMBER = re.compile(r"(?:[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:[eE][-+]?[0-9]{1,3})?")
_LONGEST_INTEGER = 20  # digits
_FEW = 8  # keys that a message lists
_CLOSE = 0.85  # how alike an `x-` key must be to one of ours to be taken for a slip


class Fields:
    """The keys of one mapping, read by name and type.

    Unknown and unsupported keys are reported when it is made. A key that is
    absent or null gives the default.
    """

    def __init__(self, node: Node, schema: Schema, path: str, problems: Problems) -> None:
        self.node = node
        self.path = path
        self.problems = problems
        self._schema: Schema = schema
        if not isinstance(node.value, dict):
            problems.report(f"{path or 'the file'}: expected a mapping, found {node.kind}", node.place)
        for key, value in node.entries.items():
            self._check(key, value.place)

    def _check(self, key: str, where: Where) -> None:
        supported, unsupported = SUPPORTED[self._schema], UNSUPPORTED[self._schema]
        if key in supported or self.problems.full:
            return
        if key in unsupported:
            self.problems.report(f"{self.at(key)} is not supported", where, unsupported[key])
            return
        if key.startswith("x-"):
            self._check_extension(key, where)
            return
        close = get_close_matches(key, [*supported, *unsupported], n=1)
        hint = f"did you mean `{close[0]}`? {unsupported.get(close[0], '')}".rstrip() if close else ""
        known = "expected one of " + ", ".join(supported) if 0 < len(supported) <= _FEW else ""
        self.problems.report(f"unknown key {quoted(key)} in {self.path or 'the file'}", where, hint or known)

    def _check_extension(self, key: str, where: Where) -> None:
        """Any `x-` key is the user's own, but one that is nearly ours may be a slip."""
        cutoff = min(_CLOSE, 1 - 1 / len(key))  # one wrong letter of a short name is a slip too
        ours = EXTENSIONS if self._schema == "service" else ()
        for close in get_close_matches(key, ours, n=1, cutoff=cutoff):
            self.problems.notice(f"{self.at(key)} means nothing here", where, f"did you mean `{close}`?")

    def at(self, key: str) -> str:
        """The path of a key, for messages: `services.web.image`."""
        return f"{self.path}.{key}" if self.path else key

    def get(self, key: str) -> Node | None:
        """The value of a key; None where it is absent or null."""
        if key not in SUPPORTED[self._schema]:
            raise KeyError(key)
        node = self.node.entries.get(key)
        return None if node is None or node.value is None else node

    def place(self, key: str) -> Where:
        """Where a key stands, or the mapping where it is absent."""
        node = self.node.entries.get(key)
        return node.place if node else self.node.place

    def wrong(self, key: str, message: str, hint: str = "") -> None:
        """Reports what is wrong with the value of a key."""
        node = self.node.entries.get(key)
        self.problems.report(f"{self.at(key)}: {message}", node.where if node else self.node.place, hint)

    def child(self, key: str, schema: Schema) -> Fields | None:
        """The mapping under a key."""
        node = self.get(key)
        return Fields(node, schema, self.at(key), self.problems) if node else None

    def string(self, key: str, pattern: re.Pattern[str] | None = None, expected: str = "") -> str:
        """A string, or an empty one. `expected` says in words what the pattern wants."""
        node = self.get(key)
        return "" if node is None else string(node, self.at(key), self.problems, pattern, expected) or ""

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """One of the choices, or an empty string."""
        found = self.string(key)
        if found and found not in choices:
            close = get_close_matches(found, choices, n=1)
            hint = f"did you mean `{close[0]}`?" if close else ""
            self.wrong(key, f"expected one of {', '.join(choices)}, found {quoted(found)}", hint)
            return ""
        return found

    def integer(self, key: str, *, minimum: int = 0, maximum: int = 2**31 - 1) -> int | None:
        """A whole number within bounds, or None."""
        node = self.get(key)
        return None if node is None else integer(node, self.at(key), self.problems, minimum, maximum)

    def boolean(self, key: str) -> bool | None:
        """A boolean, or None."""
        node = self.get(key)
        if node is None or isinstance(node.value, bool):
            return None if node is None else node.value is True
        word = node.text.lower()
        if isinstance(node.value, str) and word in _TRUE | _FALSE:
            return word in _TRUE
        self.wrong(key, f"expected true or false, found {node.kind}")
        return None

    def seconds(self, key: str) -> float | None:
        """Seconds of a duration, or None."""
        node = self.get(key)
        if node is None:
            return None
        found = units.seconds(node.text)
        if found is None:
            what = quoted(node.text) if node.text else node.kind
            self.wrong(key, f"expected a duration such as `30s` or `1m30s`, found {what}")
        return found

    def ratio(self, key: str) -> float:
        """A number from 0 to 1, or 0."""
        node = self.get(key)
        if node is None:
            return 0.0
        plain = not isinstance(node.value, bool) and _NUMBER.fullmatch(node.text)
        if not plain or float(node.text) > 1:
            found = quoted(node.text) if node.text else node.kind
            self.wrong(key, f"expected 0 to 1, found {found}", "`0.1` is one in ten")
            return 0.0
        return float(node.text)

    def size(self, key: str) -> int:
        """Bytes of a size, or 0."""
        node = self.get(key)
        if node is None:
            return 0
        found = units.size(node.text)
        if found is None:
            what = quoted(node.text) if node.text else node.kind
            self.wrong(key, f"expected a size such as `64m` or `1g`, found {what}")
        return found or 0

    def items(self, key: str) -> tuple[Node, ...]:
        """The items of a list."""
        node = self.get(key)
        if node is not None and not isinstance(node.value, tuple):
            hint = f"write `- {quoted(node.text).strip('`')}` below it" if node.text else ""
            self.wrong(key, f"expected a list, found {node.kind}", hint)
        return node.items if node else ()

    def strings(
        self, key: str, pattern: re.Pattern[str] | None = None, expected: str = ""
    ) -> tuple[str, ...]:
        """A list of strings, each once."""
        found = (
            string(item, f"{self.at(key)}[{index}]", self.problems, pattern, expected)
            for index, item in enumerate(self.items(key))
        )
        return tuple(dict.fromkeys(text for text in found if text is not None))

    def string_or_strings(
        self, key: str, pattern: re.Pattern[str] | None = None, expected: str = ""
    ) -> tuple[str, ...]:
        """One string or a list of them."""
        node = self.get(key)
        if node is not None and isinstance(node.value, str):
            found = string(node, self.at(key), self.problems, pattern, expected)
            return () if found is None else (found,)
        return self.strings(key, pattern, expected)

    def pairs(self, key: str) -> dict[str, Node]:
        """A mapping, or a list of `KEY=value`; a `KEY` without a value gives a null node."""
        node = self.get(key)
        return {} if node is None else pairs(node, self.at(key), self.problems)


def string(
    node: Node, path: str, problems: Problems, pattern: re.Pattern[str] | None = None, expected: str = ""
) -> str | None:
    """The string of a node; reports and returns None for anything else."""
    if not isinstance(node.value, str):
        hint = "put it in quotes" if node.text else ""
        problems.report(f"{path}: expected {expected or 'a string'}, found {node.kind}", node.where, hint)
        return None
    if "\0" in node.value:
        problems.report(f"{path}: a string cannot hold a null character", node.where)
        return None
    if pattern and not pattern.fullmatch(node.value):
        problems.report(f"{path}: expected {expected}, found {quoted(node.value)}", node.where)
        return None
    return node.value


def integer(node: Node, path: str, problems: Problems, minimum: int, maximum: int) -> int | None:
    """The whole number of a node, also from a string as interpolation gives it; reports anything else."""
    number: int | None = None
    if isinstance(node.value, int) and not isinstance(node.value, bool):
        number = node.value
    elif isinstance(node.value, float) and node.value.is_integer():  # such as `1e3`
        number = int(node.value)
    elif isinstance(node.value, str) and re.fullmatch(r"[-+]?[0-9]+", node.value, re.ASCII):
        number = int(node.value) if len(node.value) <= _LONGEST_INTEGER else None
    if number is None:
        what = quoted(node.text) if node.text else node.kind
        problems.report(f"{path}: expected a whole number, found {what}", node.where)
    elif not minimum <= number <= maximum:
        problems.report(f"{path}: expected {minimum} to {maximum}, found {number}", node.where)
        return None
    return number


def pairs(node: Node, path: str, problems: Problems) -> dict[str, Node]:
    """A mapping of scalars, or a list of `KEY=value`, as a mapping; of a list the last of a key wins."""
    if isinstance(node.value, dict):
        for key, value in node.value.items():
            if isinstance(value.value, dict | tuple):
                problems.report(f"{path}.{key}: expected a string, found {value.kind}", value.where)
        return {key: value for key, value in node.value.items() if not isinstance(value.value, dict | tuple)}
    if not isinstance(node.value, tuple):
        problems.report(f"{path}: expected a mapping or a list of `KEY=value`, found {node.kind}", node.where)
    found: dict[str, Node] = {}
    for index, item in enumerate(node.items):
        text = string(item, f"{path}[{index}]", problems, expected="`KEY=value`")
        if text is not None:
            key, sign, given = text.partition("=")
            found[key] = Node(given if sign else None, item.where)
    return found

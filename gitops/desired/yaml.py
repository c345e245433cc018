"""YAML with positions and limits.

Events are read one by one, and depth, aliases and expanded size are bounded
while reading: a hostile file costs a clean error, never the process. Every node
keeps its line and column, so that every later problem can name its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import yaml

from gitops.desired.problems import Problems, quoted
from gitops.desired.scalars import Scalar, resolve, text_of
from gitops.errors import GitopsError, PermanentError, Where

MAX_BYTES = 1_000_000
MAX_DEPTH = 64
MAX_ALIASES = 1_000
MAX_NODES = 100_000  # aliases expanded

_LOADER = getattr(
    yaml, "CSafeLoader", yaml.SafeLoader
)  # libyaml where PyYAML was built with it: ten times faster
_NOT_TEXT = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_CORE = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Node:
    """One value of a YAML file and its place."""

    value: Scalar | tuple[Node, ...] | dict[str, Node]
    where: Where
    key: Where | None = None  # where its key stands, for the values of a mapping
    tag: Literal["", "reset", "override"] = ""  # Compose's own tags, which steer the merge of overlays

    @property
    def place(self) -> Where:
        """Where its key stands, else where it stands itself."""
        return self.key or self.where

    @property
    def kind(self) -> str:
        """What it is, for messages."""
        match self.value:
            case None:
                return "nothing"
            case bool():
                return "a boolean"
            case int() | float():
                return "a number"
            case str():
                return "a string"
            case tuple():
                return "a list"
            case _:
                return "a mapping"

    @property
    def entries(self) -> dict[str, Node]:
        """The entries of a mapping; empty for anything else."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def items(self) -> tuple[Node, ...]:
        """The items of a list; empty for anything else."""
        return self.value if isinstance(self.value, tuple) else ()

    @property
    def text(self) -> str:
        """A scalar as Compose writes it where a string is needed; empty for lists and mappings."""
        return "" if isinstance(self.value, tuple | dict) else text_of(self.value)


def decode(content: bytes, file: str, problems: Problems, *, max_bytes: int = MAX_BYTES) -> str | None:
    """The text of a file; reports and returns None where it is too large or is no plain UTF-8 text."""
    if len(content) > max_bytes:
        size = f"{len(content):,} bytes, more than {max_bytes:,}"
        problems.report(f"the file is too large: {size}", Where(file, 1))
        return None
    if content.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        hint = "save it as UTF-8 without a byte-order mark"
        problems.report("the file begins with a byte-order mark", Where(file, 1, 1), hint)
        return None
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        column = len(before) - (before.rfind(b"\n") + 1) + 1
        problems.report("not UTF-8 text", Where(file, before.count(b"\n") + 1, column), "save it as UTF-8")
        return None
    if found := _NOT_TEXT.search(text):
        line = text.count("\n", 0, found.start()) + 1
        column = found.start() - text.rfind("\n", 0, found.start())
        problems.report(f"not text: character U+{ord(found[0]):04X}", Where(file, line, column))
        return None
    return text


def read(content: bytes, file: str, problems: Problems) -> Node | None:
    """The one document of a YAML file.

    Args:
        content: the file's bytes.
        file: its name, for positions.
        problems: what is wrong goes there.

    Returns:
        The document, or None where it cannot be read at all (that is reported).
    """
    text = decode(content, file, problems)
    if text is None:
        return None
    try:
        document = _Composer(text, file, problems).document()
    except GitopsError as error:
        problems.report(error.message, error.where, error.hint)
        return None
    except yaml.MarkedYAMLError as error:
        where = _where(error, file)
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        hint = "indent with spaces, not with tabs" if _tab_near(text, where) else ""
        problems.report(f"not valid YAML: {reason}", where, hint)
        return None
    except yaml.YAMLError as error:
        problems.report(f"not valid YAML: {type(error).__name__}", Where(file))
        return None
    if document is None or document.value is None:
        problems.report(
            "the file is empty", Where(file, 1, 1), "an empty file never means: remove everything"
        )
        return None
    return document


def check_limits(content: bytes, file: str, problems: Problems) -> None:
    """Reports what makes a file dangerous to any YAML reader: size, depth, aliases, what is no text.

    What is wrong with its syntax is left to the reader that follows: the file may be INI.
    """
    text = decode(content, file, problems)
    if text is None:
        return
    try:
        _Composer(text, file, Problems()).document()
    except GitopsError as error:
        problems.report(error.message, error.where, error.hint)
    except yaml.YAMLError:
        return


def syntax_error(content: bytes, file: str) -> Where | None:
    """Where a file stops being YAML, or None."""
    try:
        for _ in yaml.parse(content, Loader=_LOADER):
            pass
    except yaml.MarkedYAMLError as error:
        return _where(error, file)
    except yaml.YAMLError:
        return Where(file, 1)
    return None


def _where(error: yaml.MarkedYAMLError, file: str) -> Where:
    mark = error.problem_mark or error.context_mark
    return Where(file, mark.line + 1, mark.column + 1) if mark else Where(file)


def _tab_near(text: str, where: Where) -> bool:
    lines = text.splitlines()
    line = lines[where.line - 1] if 0 < where.line <= len(lines) else ""
    return "\t" in line[: max(where.column, len(line) - len(line.lstrip()))]


@dataclass(frozen=True, slots=True)
class _Built:
    """A node with what its expansion costs."""

    node: Node
    size: int  # nodes, aliases expanded
    height: int  # levels, aliases expanded
    merge: bool = False  # a plain `<<`


class _Composer:
    """Makes nodes of one file's events."""

    def __init__(self, text: str, file: str, problems: Problems) -> None:
        self._events: Iterator[yaml.Event] = iter(yaml.parse(text, Loader=_LOADER))
        self._file = file
        self._problems = problems
        self._anchors: dict[str, _Built | None] = {}  # None while its node is still open
        self._aliases = 0
        self._nodes = 0

    def document(self) -> Node | None:
        """The file's only document, or None for a file without one."""
        next(self._events)  # the stream's start
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            return None
        root = self._build(next(self._events), 1).node
        next(self._events)  # the document's end
        following = next(self._events)
        if not isinstance(following, yaml.StreamEndEvent):
            raise PermanentError(
                "a second document in one file", hint="remove the `---`", where=self._at(following)
            )
        return root

    def _at(self, event: yaml.Event) -> Where:
        mark = event.start_mark
        return Where(self._file, mark.line + 1, mark.column + 1) if mark else Where(self._file)

    def _count(self, size: int, event: yaml.Event) -> None:
        self._nodes += size
        if self._nodes > MAX_NODES:
            raise PermanentError(f"more than {MAX_NODES:,} nodes, aliases expanded", where=self._at(event))

    def _build(self, event: yaml.Event, depth: int) -> _Built:
        if depth > MAX_DEPTH:
            raise PermanentError(f"nested deeper than {MAX_DEPTH} levels", where=self._at(event))
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth)
        self._count(1, event)
        anchor = event.anchor if isinstance(event, yaml.NodeEvent) else None
        if anchor is not None:
            self._anchors[anchor] = None
        match event:
            case yaml.ScalarEvent():
                built = self._scalar(event)
            case yaml.SequenceStartEvent():
                built = self._sequence(event, depth)
            case yaml.MappingStartEvent():
                built = self._mapping(event, depth)
            case _:
                raise PermanentError("not valid YAML: a value is missing", where=self._at(event))
        if anchor is not None:
            self._anchors[anchor] = built
        return built

    def _alias(self, event: yaml.AliasEvent, depth: int) -> _Built:
        where = self._at(event)
        self._aliases += 1
        if self._aliases > MAX_ALIASES:
            raise PermanentError(f"more than {MAX_ALIASES:,} aliases", where=where)
        anchor = event.anchor or ""
        if anchor not in self._anchors:
            raise PermanentError(f"no anchor {quoted('&' + anchor)} before this alias", where=where)
        built = self._anchors[anchor]
        if built is None:
            raise PermanentError(f"alias {quoted('*' + anchor)} contains itself", where=where)
        self._count(built.size, event)
        if depth + built.height - 1 > MAX_DEPTH:
            raise PermanentError(f"nested deeper than {MAX_DEPTH} levels, aliases expanded", where=where)
        return replace(built, merge=False)

    def _scalar(self, event: yaml.ScalarEvent) -> _Built:
        tag, plain = event.tag, event.implicit[0]
        value: Scalar = event.value
        if tag is None or tag == "!":
            value = resolve(event.value) if plain and tag is None else event.value
        elif tag.startswith(_CORE):
            value = self._cast(event, tag.removeprefix(_CORE))
        steer = self._steer(event)
        if steer:
            value = resolve(event.value) if event.style in {None, ""} else event.value
        merge = plain and event.value == "<<"
        return _Built(Node(value, self._at(event), tag=steer), 1, 1, merge=merge)

    def _cast(self, event: yaml.ScalarEvent, kind: str) -> Scalar:
        """The value of a scalar with one of YAML's own tags, such as `!!str`."""
        value = resolve(event.value)
        match kind, value:
            case "str", _:
                return str(event.value)
            case ("null", None) | ("bool", bool()) | ("float", float()):
                return value
            case "int", int() if not isinstance(value, bool):
                return value
            case "float", int() if not isinstance(value, bool):
                return float(value)
            case _:
                self._problems.report(f"{quoted(event.value)} is no {kind}", self._at(event))
                return None

    def _steer(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> Literal["", "reset", "override"]:
        match event.tag:
            case "!reset":
                return "reset"
            case "!override":
                return "override"
            case None | "!":
                return ""
            case str() as tag if tag.startswith(_CORE):
                return ""
            case tag:
                self._problems.report(
                    f"unknown tag {quoted(str(tag))}", self._at(event), "Compose has `!reset` and `!override`"
                )
                return ""

    def _sequence(self, event: yaml.SequenceStartEvent, depth: int) -> _Built:
        items: list[Node] = []
        size = height = 1
        while not isinstance(following := next(self._events), yaml.SequenceEndEvent):
            built = self._build(following, depth + 1)
            items.append(built.node)
            size += built.size
            height = max(height, built.height + 1)
        return _Built(Node(tuple(items), self._at(event), tag=self._steer(event)), size, height)

    def _mapping(self, event: yaml.MappingStartEvent, depth: int) -> _Built:
        entries: dict[str, Node] = {}
        merged: list[Node] = []
        size = height = 1
        while not isinstance(following := next(self._events), yaml.MappingEndEvent):
            key = self._build(following, depth + 1)
            value = self._build(next(self._events), depth + 1)
            size += key.size + value.size
            height = max(height, value.height + 1)
            name, place = key.node.value, self._at(following)
            if key.merge and not merged:
                merged = self._merged(value.node, place)
            elif not isinstance(name, str):
                self._problems.report(
                    f"a key must be a string, found {key.node.kind}", place, "put it in quotes"
                )
            elif name in entries or key.merge:
                first = f"the first is at line {entries[name].place.line}" if name in entries else ""
                self._problems.report(f"duplicate key {quoted(name)}", place, first)
            else:
                entries[name] = replace(value.node, key=place)
        for source in merged:
            for name, node in source.entries.items():
                entries.setdefault(name, node)
        self._count(sum(len(source.entries) for source in merged), event)
        return _Built(Node(entries, self._at(event), tag=self._steer(event)), size, height)

    def _merged(self, value: Node, place: Where) -> list[Node]:
        """The mappings that `<<` brings in, the first of a key wins."""
        sources = [value] if isinstance(value.value, dict) else list(value.items)
        if not sources or any(not isinstance(source.value, dict) for source in sources):
            self._problems.report(f"`<<` needs a mapping or a list of mappings, found {value.kind}", place)
            return []
        return sources

"""`.env` and `env_file` by the Compose rules.

`KEY=value` lines with comments, an optional `export`, single quotes (literal),
double quotes (escapes, variables, several lines) and bare values (variables, up
to ` #`). No message ever shows a value: these files hold secrets.
"""

from __future__ import annotations

import codecs
import re
from collections import ChainMap
from collections.abc import Mapping

from gitops.desired.interpolate import substitute
from gitops.desired.problems import Problems
from gitops.desired.yaml import decode
from gitops.errors import PermanentError, Where

_BLANK = re.compile(r"\s*")
_KEY = re.compile(r"(?:export[ \t]+)?(?P<key>[\w.\-\[\]]+)[ \t]*(?P<sign>[=:]|(?=\r?\n|$|#))[^\S\n]*")
_SINGLE = re.compile(r"'(?P<value>(?:[^'\\]|\\.)*)'", re.DOTALL)
_DOUBLE = re.compile(r'"(?P<value>(?:[^"\\]|\\.)*)"', re.DOTALL)
_COMMENT = re.compile(r" #.*")  # a `#` after anything else is part of the value, also at its beginning
_REST = re.compile(r"[ \t\r]*(?:#[^\n]*)?(?:\n|$)")
# What else follows a backslash keeps it: a pattern (`\d`) or a path of Windows is what it looks like.
_ESCAPE = re.compile(r"\\(?:[abfnrtv$\"\\]|0[0-9]{0,3})")
_ESCAPES = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "$": "$$",  # a dollar sign for what replaces the variables next
    '"': '"',
    "\\": "\\",
}
_OCTAL = re.compile(r"[0-3][0-7]{2}")  # after `\0`; Compose drops the 0 also where nothing else is octal
_MOST_TEXT = 4_000_000  # characters of all values of a file, variables replaced


def parse(
    content: bytes,
    file: str,
    variables: Mapping[str, str],
    problems: Problems,
    *,
    earlier: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The variables that a file sets.

    A name in a value is looked up in `variables`, then in the lines above, then in `earlier`; a bare
    `KEY` takes its value from there, too.

    Args:
        content: the file's bytes.
        file: its name, for positions.
        variables: the project's, which no line of the file changes.
        problems: what is wrong goes there; the line is left out of the result.
        earlier: what files before this one have set.
    """
    text = decode(content.removeprefix(codecs.BOM_UTF8), file, problems)
    return {} if text is None else _Reader(text, file, (variables, earlier or {}), problems).read()


def _unescaped(found: re.Match[str]) -> str:
    letter, digits = found[0][1], found[0][2:]
    if letter != "0":
        return _ESCAPES[letter]
    return chr(int(digits, 8)) if _OCTAL.fullmatch(digits) else f"\\{digits}"


class _Reader:
    """Goes through one file, line by line; a quoted value may take several."""

    def __init__(
        self, text: str, file: str, known: tuple[Mapping[str, str], Mapping[str, str]], problems: Problems
    ) -> None:
        self._text = text
        self._file = file
        self._problems = problems
        self._found: dict[str, str] = {}
        self._known = ChainMap(dict(known[0]), self._found, dict(known[1]))
        self._position = 0
        self._line = 1

    def read(self) -> dict[str, str]:
        """The variables, the last of a name wins."""
        size = 0
        while True:
            self._advance(_BLANK)
            if self._position >= len(self._text):
                return self._found
            if self._text[self._position] != "#":
                size += self._statement(Where(self._file, self._line))
            if size > _MOST_TEXT:
                message = f"more than {_MOST_TEXT:,} characters, variables replaced"
                self._problems.report(message, Where(self._file, self._line))
                return self._found
            self._go_to(self._end_of_line(self._position))

    def _go_to(self, position: int) -> None:
        self._line += self._text.count("\n", self._position, position)
        self._position = position

    def _advance(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Goes behind the pattern where it matches here."""
        match = pattern.match(self._text, self._position)
        if match:
            self._go_to(match.end())
        return match

    def _end_of_line(self, position: int) -> int:
        end = self._text.find("\n", position)
        return len(self._text) if end < 0 else end

    def _statement(self, where: Where) -> int:
        """Reads one variable; returns the length of its value."""
        key = self._advance(_KEY)
        if key is None:
            self._problems.report("not a `KEY=value` line", where, "a name has letters, digits and `_`")
            return 0
        name = key["key"]
        try:
            value = self._value() if key["sign"] else self._inherited(name)
        except PermanentError as error:
            self._problems.report(f"{name}: {error.message}", where, error.hint)
            return 0
        if not _REST.match(self._text, self._position):
            self._problems.report(f"{name}: text after the closing quote", where, "quote the whole value")
            return 0
        self._found[name] = value
        return len(value)

    def _inherited(self, name: str) -> str:
        if name not in self._known:
            raise PermanentError("has no value", hint="write `KEY=value`")
        return self._known[name]

    def _value(self) -> str:
        """The value that begins here; goes behind it."""
        opening = self._text[self._position : self._position + 1]
        if opening == "'":
            if match := self._advance(_SINGLE):
                return match["value"].replace("\\'", "'")
            raise PermanentError("a quote without its end", hint="close it with `'`")
        if opening == '"':
            if match := self._advance(_DOUBLE):
                return self._substitute(_ESCAPE.sub(_unescaped, match["value"]))
            raise PermanentError("a quote without its end", hint='close it with `"`')
        end = self._end_of_line(self._position)
        bare = self._text[self._position : end]
        self._go_to(end)
        return self._substitute(_COMMENT.sub("", bare).strip())

    def _substitute(self, text: str) -> str:
        try:
            return substitute(text, self._known)
        except PermanentError as error:
            hint = f"{error.hint}; single quotes keep a `$` as it is"
            raise PermanentError(error.message, hint=hint) from None

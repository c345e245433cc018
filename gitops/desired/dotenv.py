"""`.env` and `env_file` by the Compose rules.

`KEY=value` lines with comments, an optional `export`, single quotes (literal),
double quotes (escapes, variables, several lines) and bare values (variables, up
to a comment). No message ever shows a value: these files hold secrets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from gitops.desired.interpolate import substitute
from gitops.desired.problems import Problems, quoted
from gitops.desired.yaml import decode
from gitops.errors import PermanentError, Where

_KEY = re.compile(
    r"(?:export[ \t]+)?(?P<key>[A-Za-z_][A-Za-z0-9_.\-]*)[ \t]*(?P<sign>[=:]|(?=\r?\n|$|#))[ \t]*"
)
_SINGLE = re.compile(r"'(?P<value>(?:[^'\\]|\\.)*)'", re.DOTALL)
_DOUBLE = re.compile(r'"(?P<value>(?:[^"\\]|\\.)*)"', re.DOTALL)
_BARE = re.compile(r"[^\n]*")
_COMMENT = re.compile(r"(?:^|[ \t])#.*")
_REST = re.compile(r"[ \t\r]*(?:#[^\n]*)?(?:\n|$)")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "v": "\v", "$": "$$"}


def parse(content: bytes, file: str, variables: Mapping[str, str], problems: Problems) -> dict[str, str]:
    """The variables that a file sets.

    Args:
        content: the file's bytes.
        file: its name, for positions.
        variables: what its values may refer to besides its own earlier lines; a bare `KEY` takes its value
            from there.
        problems: what is wrong goes there; the line is left out of the result.
    """
    text = decode(content, file, problems)
    found: dict[str, str] = {}
    position = 0
    while text is not None and position < len(text):
        position = _statement(text, position, file, variables, found, problems)
    return found


def _statement(
    text: str,
    start: int,
    file: str,
    variables: Mapping[str, str],
    found: dict[str, str],
    problems: Problems,
) -> int:
    """Reads one line (or one quoted value of several); returns where the next begins."""
    start += len(text[start:]) - len(text[start:].lstrip()) if text[start].isspace() else 0
    next_line = text.find("\n", start) + 1 or len(text)
    if start >= len(text) or text[start] == "#":
        return next_line
    where = Where(file, text.count("\n", 0, start) + 1)
    key = _KEY.match(text, start)
    if key is None:
        problems.report("not a `KEY=value` line", where, "a name has letters, digits and `_`")
        return next_line
    name = key["key"]
    if not key["sign"]:
        if name in variables:
            found[name] = variables[name]
        else:
            problems.report(f"{quoted(name)} has no value", where, "write `KEY=value`")
        return next_line
    known = {**variables, **found}
    try:
        value, end = _value(text, key.end(), known)
    except PermanentError as error:
        problems.report(f"{name}: {error.message}", where, error.hint or "single quotes keep a `$` as it is")
        return next_line
    rest = _REST.match(text, end)
    if rest is None:
        problems.report(f"{name}: text after the closing quote", where, "quote the whole value")
        return text.find("\n", end) + 1 or len(text)
    found[name] = value
    return rest.end()


def _value(text: str, start: int, known: Mapping[str, str]) -> tuple[str, int]:
    """The value that begins at `start`, and where it ends."""
    opening = text[start : start + 1]
    if opening == "'":
        if match := _SINGLE.match(text, start):
            return match["value"].replace("\\'", "'"), match.end()
        raise PermanentError("a quote without its end", hint="close it with `'`")
    if opening == '"':
        if match := _DOUBLE.match(text, start):
            unescaped = re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), match["value"], flags=re.DOTALL)
            return substitute(unescaped, known), match.end()
        raise PermanentError("a quote without its end", hint='close it with `"`')
    match = _BARE.match(text, start)
    end = match.end() if match else start
    return substitute(_COMMENT.sub("", text[start:end]).strip(), known), end

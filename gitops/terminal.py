"""Text of others (logs, commit messages, reasons) made safe for a terminal."""

from __future__ import annotations

import re

_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"  # everything but tab and newline
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # makes a line read in another order than it is written
    r"\ud800-\udfff]",  # halves of characters, which no stream can encode
)


_DIGEST = re.compile(r"(sha256:[0-9a-f]{12})[0-9a-f]{52}\b")


def short_digests(text: str) -> str:
    """The text with digests of images by their first twelve digits, as engines show them."""
    return _DIGEST.sub(r"\1", text)


def printable(text: str) -> str:
    r"""The text without colours, and every other control character as its escape, such as `\x1b`.

    Tabs and newlines stay. A terminal would obey the rest: clear the screen,
    change its title, write into its own input.
    """
    return _CONTROL.sub(_escaped, _COLOUR.sub("", text))


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")

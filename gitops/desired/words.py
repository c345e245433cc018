"""A command line as Compose splits it into words: by a shell's rules, without one."""

from __future__ import annotations

from gitops.errors import PermanentError

_SPACE = " \t\r\n"
_OPERATORS = ";&|<>"
_LIST = "write it as a list"


def split(text: str) -> tuple[str, ...]:
    """The words of a command line.

    Single quotes keep everything; a backslash elsewhere stands for the character after it,
    also between double quotes. Nothing is replaced: backquotes and `$(...)` stay in one word
    as they are. An operator of a shell is refused: Compose drops it with all that follows.

    Raises:
        PermanentError: a quote or parenthesis without its end, or an operator.
    """
    return _Splitter(text).words()


class _Splitter:
    """Goes through one command line, character by character."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._words: list[str] = []
        self._word: str | None = None  # None between words
        self._inside = ""  # the quote that is open, or `(` of a `$(`

    def words(self) -> tuple[str, ...]:
        """All words."""
        characters = iter(self._text)
        for character in characters:
            if character == "\\" and self._inside != "'":
                escaped = next(characters, None)
                if escaped is None:
                    raise PermanentError("cannot be split into words: no escaped character", hint=_LIST)
                self._add(escaped)
            elif self._inside:
                self._within(character)
            else:
                self._plain(character)
        if self._inside:
            raise PermanentError("cannot be split into words: no closing quotation", hint=_LIST)
        self._end()
        return tuple(self._words)

    def _add(self, characters: str) -> None:
        self._word = (self._word or "") + characters

    def _end(self) -> None:
        if self._word is not None:
            self._words.append(self._word)
        self._word = None

    def _within(self, character: str) -> None:
        closing = ")" if self._inside == "(" else self._inside
        if self._inside not in {"'", '"'} or character != closing:
            self._add(character)
        if character == closing:
            self._inside = ""

    def _plain(self, character: str) -> None:
        if character in _SPACE:
            self._end()
        elif character in "'\"":
            self._add("")
            self._inside = character
        elif character == "`" or (character == "(" and (self._word or "").endswith("$")):
            self._add(character)
            self._inside = character
        elif character in "()":
            raise PermanentError(f"cannot be split into words: `{character}` without quotes", hint=_LIST)
        elif character in _OPERATORS:
            hint = "write it in quotes, or run a shell: `sh -c '...'`"
            raise PermanentError(f"no shell runs it, so `{character}` has no meaning", hint=hint)
        else:
            self._add(character)

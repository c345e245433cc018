"""Values that must not be seen."""

from __future__ import annotations


class Secret:
    """A text that prints as `***` however it is formatted; only `reveal` gives it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one call that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> str:
        """Nor is it written anywhere by pickling."""
        raise TypeError("a secret is not to be pickled")

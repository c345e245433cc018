"""Everything that is wrong with a user's files, collected so that it is told all at once."""

from __future__ import annotations

from gitops.errors import GitopsError, InvalidInputError, PermanentError, Where

_MOST = 1_000  # nobody reads more, and a hostile file should not fill the memory with them
_SHOWN = 60  # characters of a user's text that a message quotes


class Problems:
    """Collects problems; reading goes on after each, so that a user mends them in one go."""

    def __init__(self) -> None:
        self._found: dict[str, GitopsError] = {}
        self._closed: set[Where] = set()
        self._notices: dict[str, GitopsError] = {}

    def report(self, message: str, where: Where | None, hint: str = "", *, last: bool = False) -> None:
        """Adds one problem; the same one at the same place is told once, however many aliases lead to it.

        With `last` nothing further is told of that place: it would only be a consequence.
        """
        if where in self._closed:
            return
        if last and where:
            self._closed.add(where)
        problem = PermanentError(message, hint=hint, where=where)
        if not self.full:
            self._found.setdefault(str(problem), problem)

    def notice(self, message: str, where: Where | None, hint: str = "") -> None:
        """Adds what is no error, and may still not be what was meant."""
        notice = PermanentError(message, hint=hint, where=where)
        if len(self._notices) < _MOST:
            self._notices.setdefault(str(notice), notice)

    @property
    def notices(self) -> list[GitopsError]:
        """What is no error, in the order in which it was found."""
        return list(self._notices.values())

    def __bool__(self) -> bool:
        return bool(self._found)

    @property
    def full(self) -> bool:
        """Whether nothing more is taken: spare the work of a good message."""
        return len(self._found) >= _MOST

    def raise_if_any(self) -> None:
        """Raises InvalidInputError with all that was reported, or returns where nothing was."""
        if self._found:
            raise InvalidInputError(list(self._found.values()))


def quoted(text: str) -> str:
    """A user's text as a message shows it: one line, bounded, control characters escaped."""
    escaped = text.encode("unicode_escape").decode("ascii") if not text.isprintable() else text
    return f"`{escaped}`" if len(escaped) <= _SHOWN else f"`{escaped[:_SHOWN]}...`"

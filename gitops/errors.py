"""Errors that tell an operator what happened, where, and what to do.

Whether trying again can help is a type, never a pattern over a message:
`TransientError` may pass by itself (a host that does not answer, a Git server
that is down); `PermanentError` needs a person or a new commit.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Where:
    """The place of an error: a file position, or a host and container."""

    file: str = ""
    line: int = 0  # from 1; 0 means unknown
    column: int = 0  # from 1; 0 means unknown
    host: str = ""
    container: str = ""

    def __str__(self) -> str:
        """`file:line:column` or `host/container`, whatever is known of them."""
        numbers = [str(number) for number in (self.line, self.column) if number]
        position = ":".join([self.file, *numbers]) if self.file else ""
        machine = "/".join(part for part in (self.host, self.container) if part)
        return " ".join(part for part in (position, machine) if part)


class GitopsError(Exception):
    """Anything that an operator is told: `where: message (hint)`.

    Attributes:
        message: what happened, one sentence without a full stop.
        hint: what to do about it, or an empty string.
        where: the place, or None.
    """

    def __init__(self, message: str, *, hint: str = "", where: Where | None = None) -> None:
        self.message = message
        self.hint = hint
        self.where = where
        super().__init__(message)

    def __str__(self) -> str:
        """The error as an operator reads it: `where: message (hint)`."""
        place = f"{self.where}: " if self.where and str(self.where) else ""
        return f"{place}{self.message}" + (f" ({self.hint})" if self.hint else "")


class TransientError(GitopsError):
    """May pass by itself: try again later, with backoff."""


class ContendedError(TransientError):
    """Another controller is at work there: it passes when that one is done."""


class PermanentError(GitopsError):
    """Does not pass by itself: needs a person, a setting or a new commit."""


class InvalidInputError(PermanentError):
    """Everything that is wrong with a user's files, all of it at once.

    Attributes:
        problems: the single errors, sorted by place.
    """

    def __init__(self, problems: list[GitopsError]) -> None:
        self.problems = sorted(problems, key=lambda p: (p.where or Where(), p.message))
        super().__init__("\n".join(str(problem) for problem in self.problems))

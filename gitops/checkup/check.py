"""One check of `gitops doctor`."""

from __future__ import annotations

from dataclasses import dataclass

CONTROLLER = "controller"


@dataclass(frozen=True)
class Check:
    """What was looked at, what was found, and what mends it."""

    host: str  # inventory name, or `controller`
    check: str
    ok: bool
    message: str  # what was found
    fix: str = ""  # the command that mends it; empty where it is ok and no warning
    fix_on: str = ""  # where to run that: a host's name, or `controller`
    warning: bool = False  # ok for now, but not for long


def good(host: str, check: str, message: str) -> Check:
    """A check that found what it should."""
    return Check(host, check, ok=True, message=message)


def low(host: str, check: str, message: str, fix: str) -> Check:
    """A check that found what it should, but not for long."""
    return Check(host, check, ok=True, message=message, fix=fix, fix_on=host, warning=True)


def bad(host: str, check: str, message: str, fix: str, *, on: str = "") -> Check:
    """A check that did not; `on` is where to run the fix, the host itself unless said."""
    return Check(host, check, ok=False, message=message, fix=fix, fix_on=on or host)


def number(text: str) -> tuple[int, ...]:
    """A version's leading numbers: `20.10.24+dfsg1` is (20, 10, 24)."""
    found: list[int] = []
    for part in text.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        found.append(int(digits))
        if digits != part:
            break
    return tuple(found)

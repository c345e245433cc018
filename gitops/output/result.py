"""Prints a command's result: JSON for programs, text for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, Literal

from rich.console import Console
from rich.highlighter import RegexHighlighter
from rich.theme import Theme

from gitops.terminal import printable

Output = Literal["text", "json"]
View = dict[str, Any]

THEME = Theme(
    {
        "gitops.good": "green",
        "gitops.bad": "bold red",
        "gitops.wait": "yellow",
        "gitops.head": "bold",
        "gitops.quiet": "dim",
    }
)


class Words(RegexHighlighter):
    """Colours the words of the project and the lines of a diff, on a terminal; the text stays the same."""

    base_style = "gitops."
    highlights = (
        r"(?<![\w-])(?P<good>synced|healthy|succeeded|ready|running|ok|UP)(?![\w-])",
        r"(?<![\w-])(?P<bad>degraded|failed|rolled-back|unhealthy|unreachable|exited|dead|FAIL)(?![\w-])",
        r"(?<![\w-])(?P<wait>out-of-sync|progressing|starting|rolling-back|suspended|superseded|cancelled|unknown)(?![\w-])",
        r"(?m)^(?P<head>[A-Z]{2,}(?: +\(?[A-Z]+\)?)*) *$",
        r"(?m)^(?P<good>\+.*)$",
        r"(?m)^(?P<bad>-(?!>).*)$",
    )


def console(*, stderr: bool = False) -> Console:
    """A console that colours on a terminal and never reads text as markup, emoji or links."""
    return Console(stderr=stderr, theme=THEME, markup=False, emoji=False, highlight=False, soft_wrap=True)


def print_result(view: View, output: Output, text: Callable[[View], str]) -> None:
    """Prints what a command reports on standard output, and nothing else there.

    Args:
        view: the result, with stable field names.
        output: `json` prints the view itself, indented; `text` what `text` makes of it.
        text: makes text for people of the view; control characters in it are escaped.
    """
    if output == "json":
        sys.stdout.write(json.dumps(view, indent=2) + "\n")
        return
    console().print(Words()(printable(text(view))))

"""How a terminal shows what is printed."""

from __future__ import annotations

from rich.console import Console
from rich.highlighter import RegexHighlighter
from rich.theme import Theme

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

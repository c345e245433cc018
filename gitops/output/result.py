"""Prints a command's result: JSON for programs, text for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, Literal

from gitops.terminal import printable

Output = Literal["text", "json"]
View = dict[str, Any]


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
    from gitops.output.console import Words, console  # noqa: PLC0415 - 0.05 s that JSON need not wait for

    console().print(Words()(printable(text(view))))

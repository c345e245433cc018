"""What a bench of its own leaves in docs/: its figures, its section of the page, perhaps a chart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bench import ROOT, machine, report

DOCS = ROOT / "docs"


def write(name: str, facts: Mapping[str, Any], text: str, *, chart: str = "") -> None:
    """Writes `performance-NAME.json`, the chart of that name (SVG), and what the page says.

    Raises:
        ValueError: the page has no such section.
    """
    figures = json.dumps({"commit": machine.commit(), **facts}, indent=2)
    (DOCS / f"performance-{name}.json").write_text(f"{figures}\n")
    if chart:
        (DOCS / f"performance-{name}.svg").write_text(chart)
    page = DOCS / "performance.md"
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    page.write_text(report.put(page.read_text(), begin, end, text))

"""The figures as text: Markdown that reads well on a terminal too (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from bench.cases import CASES
from bench.figures import Figures

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
# Before the first run: no page links to files that are not there.
UNMEASURED = "No figures yet: a whole run of `make bench` writes them.\n"
_CHART = "![A bar for each way to deploy in each case](performance.svg)"
_JSON = "All figures: [performance.json](performance.json)."


def markdown(figures: Figures) -> str:
    """Medians, targets, the client's findings and the machine."""
    return "\n".join([
        f"Measured {figures.at[:10]} at commit `{figures.commit}`, {figures.rounds} rounds.",
        "",
        *_medians(figures),
        "",
        *_targets(figures),
        "",
        *_clients(figures),
        "",
        *_table(("Machine", ""), figures.machine.items()),
        "",
    ])  # fmt: skip


def refresh(page: str, figures: Figures) -> str:
    """The page with these figures between its marks, and the files that hold them.

    Raises:
        ValueError: it has no such marks.
    """
    return put(page, BEGIN, END, f"{_CHART}\n\n{markdown(figures)}\n{_JSON}")


def put(page: str, begin: str, end: str, text: str) -> str:
    """The page with another text between two marks.

    Raises:
        ValueError: it has no such marks.
    """
    head, found, rest = page.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"the page has no {begin} ... {end}")
    return f"{head}{begin}\n{text}\n{end}{tail}"


def seconds(value: float | None) -> str:
    """Three significant digits; nothing for nothing."""
    return "" if value is None else f"{value:#.3g}"


def _medians(figures: Figures) -> Iterator[str]:
    rows = [
        (f"({key}) {case.title}", *(seconds(figures.median(key, each)) for each in figures.titles))
        for key, case in CASES.items()
        if key in figures.seconds
    ]
    yield from _table(("Seconds, median", *figures.titles.values()), rows)


def _targets(figures: Figures) -> Iterator[str]:
    rows = [
        (
            f"({verdict.case}) {CASES[verdict.case].title}",
            figures.titles[verdict.peer],
            f"{verdict.target:g}",
            f"{verdict.reached:.3f}",
            "yes" if verdict.met else "**no**",
        )
        for verdict in figures.verdicts()
    ]
    yield from _table(("Case", "as a share of", "target", "reached", "met"), rows)


def _clients(figures: Figures) -> Iterator[str]:
    rows = [
        (
            f"({case})",
            figures.titles[contender],
            str(seen.requests),
            str(seen.failed),
            f"{seen.p99_ms:.0f} ms",
        )
        for case, all_seen in figures.clients.items()
        for contender, seen in all_seen.items()
    ]
    yield from _table(("Client in case", "of", "requests", "failed", "p99"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"

"""The figures as a picture: bars in SVG that follow the reader's light or dark scheme (pure)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from xml.sax.saxutils import escape

from bench.cases import CASES, OURS
from bench.figures import Figures
from bench.report import seconds

_WIDTH, _LEFT, _RIGHT, _TOP = 760, 150, 60, 60
_BAR, _ROW, _HEADING = 16, 20, 30
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)  # between two lines of the grid
_LINES = 8  # at most

_STYLE = """\
text { font: 12px system-ui, sans-serif; fill: #1f2328; }
.title { font-size: 16px; font-weight: 600; }
.case { font-weight: 600; }
.axis { fill: #59636e; }
.grid { stroke: #d1d9e0; }
.bar { fill: #9aa4af; }
.ours { fill: #0969da; }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc; }
  .axis { fill: #9198a1; }
  .grid { stroke: #3d444d; }
  .bar { fill: #656c76; }
  .ours { fill: #4493f8; }
}"""


def svg(figures: Figures) -> str:
    """Each case's medians, a bar for each contender."""
    longest = max((value for _, bars in _groups(figures) for *_, value in bars), default=1.0)
    step = next((each for each in _STEPS if longest / each <= _LINES), longest)
    end = step * math.ceil(longest / step)
    scale = (_WIDTH - _LEFT - _RIGHT) / end
    bottom = _TOP + sum(_HEADING + _ROW * len(bars) for _, bars in _groups(figures))
    title = f"Seconds to deploy, median of {figures.rounds} rounds; shorter is better"
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {bottom + 50}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{_STYLE}\n</style>",
        f'<text class="title" x="10" y="28">{escape(title)}</text>',
        *_grid(step, end, scale, bottom),
        *_bars(figures, scale),
        "</svg>\n",
    ])  # fmt: skip


def _groups(figures: Figures) -> list[tuple[str, list[tuple[str, str, float]]]]:
    """By title of a case: key, title and median of each contender that did it."""
    return [
        (
            f"({key}) {case.title}",
            [
                (contender, title, median)
                for contender, title in figures.titles.items()
                if (median := figures.median(key, contender)) is not None
            ],
        )
        for key, case in CASES.items()
        if key in figures.seconds
    ]


def _grid(step: float, end: float, scale: float, bottom: int) -> Iterator[str]:
    for number in range(round(end / step) + 1):
        x = f"{_LEFT + number * step * scale:.1f}"
        yield f'<line class="grid" x1="{x}" y1="{_TOP - 10}" x2="{x}" y2="{bottom + 6}"/>'
        yield f'<text class="axis" x="{x}" y="{bottom + 22}" text-anchor="middle">{number * step:g}</text>'
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    yield f'<text class="axis" x="{middle:g}" y="{bottom + 42}" text-anchor="middle">seconds</text>'


def _bars(figures: Figures, scale: float) -> Iterator[str]:
    y = _TOP
    for heading, bars in _groups(figures):
        yield f'<text class="case" x="10" y="{y + 18}">{escape(heading)}</text>'
        y += _HEADING
        for contender, title, value in bars:
            text, width = y + 12, value * scale
            kind = "ours" if contender in OURS else "bar"
            yield f'<text x="{_LEFT - 8}" y="{text}" text-anchor="end">{escape(title)}</text>'
            yield f'<rect class="{kind}" x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="2"/>'
            yield f'<text x="{_LEFT + width + 6:.1f}" y="{text}">{seconds(value)}</text>'
            y += _ROW

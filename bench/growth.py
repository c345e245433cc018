"""How something grows, as a picture: lines in SVG with both axes logarithmic (pure)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 760, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 150, 50, 40
_CLASSES = ("ours", "other")

_STYLE = """\
text { font: 12px system-ui, sans-serif; fill: #1f2328; }
.title { font-size: 16px; font-weight: 600; }
.axis { fill: #59636e; }
.grid { stroke: #d1d9e0; }
polyline { fill: none; stroke-width: 2; }
.ours { stroke: #0969da; }
.other { stroke: #9aa4af; }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc; }
  .axis { fill: #9198a1; }
  .grid { stroke: #3d444d; }
  .ours { stroke: #4493f8; }
  .other { stroke: #656c76; }
}"""

Line = Sequence[tuple[float, float]]


def svg(title: str, lines: Mapping[str, Line]) -> str:
    """Up to two lines over the same range.

    Args:
        title: says what the two axes are.
        lines: name -> (x, y) in order; all above 0.
    """
    xs = [x for line in lines.values() for x, _ in line]
    ys = [y for line in lines.values() for _, y in line]
    across, up = _Scale(xs, _LEFT, _WIDTH - _RIGHT), _Scale(ys, _HEIGHT - _BOTTOM, _TOP)
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{_STYLE}\n</style>",
        f'<text class="title" x="10" y="28">{escape(title)}</text>',
        *_grid(across, up),
        *_lines(lines, across, up),
        "</svg>\n",
    ])  # fmt: skip


class _Scale:
    """One logarithmic axis, from one power of ten to another."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self.low = math.floor(math.log10(min(values)))
        self.high = max(math.ceil(math.log10(max(values))), self.low + 1)
        self._start, self._end = start, end

    def place(self, value: float) -> float:
        """Where a value is, in pixels."""
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return self._start + share * (self._end - self._start)

    def marks(self) -> list[float]:
        """The powers of ten."""
        return [10.0**power for power in range(self.low, self.high + 1)]


def _grid(across: _Scale, up: _Scale) -> Iterator[str]:
    for mark in across.marks():
        x = across.place(mark)
        yield f'<line class="grid" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{_HEIGHT - _BOTTOM}"/>'
        yield f'<text class="axis" x="{x:.1f}" y="{_HEIGHT - 20}" text-anchor="middle">{mark:g}</text>'
    for mark in up.marks():
        y = up.place(mark)
        yield f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}"/>'
        yield f'<text class="axis" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{mark:g}</text>'


def _lines(lines: Mapping[str, Line], across: _Scale, up: _Scale) -> Iterator[str]:
    for kind, (name, line) in zip(_CLASSES, lines.items(), strict=False):
        places = [(across.place(x), up.place(y)) for x, y in line]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        yield f'<polyline class="{kind}" points="{points}"/>'
        x, y = places[-1]
        yield f'<text x="{x + 8:.1f}" y="{y + 4:.1f}">{escape(name)}</text>'

"""Block diagrams as SVG: boxes on a grid, arrows between them. No library, readable on light and dark pages.

A box stands at (column, row), both may be fractions. An arrow goes down from box to box, with a bend where the
columns differ; `around` takes it past the boxes between, on the left (negative) or right, and into the side of
its target. Not here: layout. Every position is given by hand, which is quick for ten boxes and looks right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

__all__ = ["Arrow", "Box", "Diagram", "svg"]

_COLUMN, _ROW = 176, 72  # pixels from box to box
_WIDTH, _HEIGHT = 152, 44
_DOT = 15  # radius of a sum
_MARGIN, _TITLE = 24, 34

_STYLE = """
.page { fill: #ffffff; } .text { fill: #1b2430; } .small { fill: #53606f; }
.line { stroke: #53606f; fill: none; stroke-width: 1.6; } .head { fill: #53606f; }
.conv { fill: #dbe9ff; stroke: #2f6fd6; } .pool { fill: #d9f2e1; stroke: #2c9255; }
.norm { fill: #eceff3; stroke: #7a8795; } .join { fill: #ffe6cf; stroke: #d57a1f; }
.data { fill: #ffffff; stroke: #7a8795; stroke-dasharray: 4 3; }
@media (prefers-color-scheme: dark) {
.page { fill: #12171e; } .text { fill: #e7edf4; } .small { fill: #a3b0bf; }
.line { stroke: #a3b0bf; } .head { fill: #a3b0bf; }
.conv { fill: #17325f; stroke: #6ea2f5; } .pool { fill: #143d26; stroke: #5cc487; }
.norm { fill: #28303a; stroke: #8f9dac; } .join { fill: #4d3013; stroke: #eba257; }
.data { fill: #12171e; stroke: #8f9dac; }
}
"""


@dataclass(frozen=True)
class Box:
    """`text` on the first line, `detail` small on the second; kind: conv, pool, norm, join or data."""

    key: str
    text: str
    column: float
    row: float
    kind: str = "conv"
    detail: str = ""

    @property
    def is_dot(self) -> bool:
        """A sum or product is a circle."""
        return self.kind == "join" and len(self.text) == 1


@dataclass(frozen=True)
class Arrow:
    """From box `start` to box `end`; `around` in columns from the start's column, 0 for straight down."""

    start: str
    end: str
    around: float = 0.0
    label: str = ""


@dataclass(frozen=True)
class Diagram:
    """Boxes, arrows, and headings as (text, column, row)."""

    name: str
    boxes: Sequence[Box]
    arrows: Sequence[Arrow]
    headings: Sequence[tuple[str, float]] = field(default_factory=tuple)


def svg(diagram: Diagram) -> str:
    """The drawing as the text of an SVG file."""
    sides = [_x(diagram, box.column) + side * _WIDTH / 2 for box in diagram.boxes for side in (-1, 1)]
    sides += [
        _x(diagram, _box(diagram, item.start).column + item.around) for item in diagram.arrows if item.around
    ]
    left, right = min(sides) - _MARGIN, max(sides) + _MARGIN
    bottom = max(_y(diagram, box.row) for box in diagram.boxes) + _HEIGHT / 2 + _MARGIN
    size = f"{right - left:.0f} {bottom:.0f}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{left:.0f} 0 {size}" width="{right - left:.0f}" '
        f'height="{bottom:.0f}" font-family="system-ui, sans-serif" font-size="14" role="img" '
        f'aria-label="{escape(diagram.name)}">',
        f"<style>{_STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto-start-reverse"><path class="head" d="M0,0 L8,4 L0,8 z"/></marker></defs>',
        f'<rect class="page" x="{left:.0f}" y="0" width="{right - left:.0f}" height="{bottom:.0f}" rx="10"/>',
    ]
    for text, column in diagram.headings:
        parts.append(_text(text, _x(diagram, column), _MARGIN + 4, bold=True))
    parts += [_arrow(diagram, item) for item in diagram.arrows]
    parts += [_draw_box(diagram, box) for box in diagram.boxes]
    return "\n".join([*parts, "</svg>", ""])


def _x(diagram: Diagram, column: float) -> float:
    return _COLUMN * column


def _y(diagram: Diagram, row: float) -> float:
    return _MARGIN + (_TITLE if diagram.headings else 0) + _HEIGHT / 2 + _ROW * row


def _box(diagram: Diagram, key: str) -> Box:
    return next(box for box in diagram.boxes if box.key == key)


def _half(box: Box) -> float:
    return _DOT if box.is_dot else _HEIGHT / 2


def _draw_box(diagram: Diagram, box: Box) -> str:
    x, y = _x(diagram, box.column), _y(diagram, box.row)
    if box.is_dot:
        return f'<circle class="{box.kind}" cx="{x:.0f}" cy="{y:.0f}" r="{_DOT}"/>' + _text(
            box.text, x, y + 5
        )
    place = f'x="{x - _WIDTH / 2:.0f}" y="{y - _HEIGHT / 2:.0f}" width="{_WIDTH}" height="{_HEIGHT}"'
    parts = [f'<rect class="{box.kind}" {place} rx="7"/>']
    if box.detail:
        parts += [_text(box.text, x, y - 3), _text(box.detail, x, y + 14, small=True)]
    else:
        parts.append(_text(box.text, x, y + 5))
    return "".join(parts)


def _text(text: str, x: float, y: float, *, bold: bool = False, small: bool = False) -> str:
    look = ' font-weight="600"' if bold else ""
    look += ' font-size="12"' if small else ""
    kind = "small" if small else "text"
    return f'<text class="{kind}" x="{x:.0f}" y="{y:.0f}" text-anchor="middle"{look}>{escape(text)}</text>'


def _arrow(diagram: Diagram, item: Arrow) -> str:
    start, end = _box(diagram, item.start), _box(diagram, item.end)
    x1, y1 = _x(diagram, start.column), _y(diagram, start.row) + _half(start)
    x2, y2 = _x(diagram, end.column), _y(diagram, end.row) - _half(end)
    if item.around:
        side = _x(diagram, start.column + item.around)
        reach = _DOT if end.is_dot else _WIDTH / 2
        target = x2 + (reach if side > x2 else -reach)
        path = f"M{x1:.0f},{y1:.0f} V{y1 + 9:.0f} H{side:.0f} V{_y(diagram, end.row):.0f} H{target:.0f}"
        at = (side, _y(diagram, (start.row + end.row) / 2))
    elif start.column == end.column:
        path = f"M{x1:.0f},{y1:.0f} V{y2:.0f}"
        at = (x1, (y1 + y2) / 2)
    elif end.row - start.row > 1 and not end.is_dot:  # bend right below, then down beside the other boxes
        path = f"M{x1:.0f},{y1:.0f} V{y2 - 14:.0f} H{x2:.0f} V{y2:.0f}"
        at = ((x1 + x2) / 2, y2 - 14)
    else:
        middle = (y1 + y2) / 2
        path = f"M{x1:.0f},{y1:.0f} V{middle:.0f} H{x2:.0f} V{y2:.0f}"
        at = ((x1 + x2) / 2, middle)
    label = ""
    if item.label:
        width = 7 * len(item.label) + 8
        label = (
            f'<rect class="page" x="{at[0] - width / 2:.0f}" y="{at[1] - 9:.0f}" width="{width}" height="18"/>'
            + _text(item.label, at[0], at[1] + 4, small=True)
        )
    return f'<path class="line" d="{path}" marker-end="url(#head)"/>{label}'

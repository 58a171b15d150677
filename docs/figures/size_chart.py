"""Write sizes.svg, the chart of the README: bytes of the file against top-1, a panel for each network of sizes.csv.

    python docs/figures/size_chart.py

All figures come from sizes.csv, which holds the command of each. Points of one method with several settings are joined.
Accuracy is measured on the same images within a panel; the bar at the original is its 95 % interval (Wilson). Bytes
are on a logarithmic axis. The drawing is plain SVG with its own paper, light or dark as the reader's system is.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from xml.sax.saxutils import escape

from enxuto.files import atomic_write
from enxuto.metrics import wilson_interval

FOLDER = Path(__file__).parent

_METHODS = {  # name in the table → class, marker: colour-blind safe (Okabe and Ito), and told apart by shape
    "original ONNX": ("original", "square"),
    "int8 per channel + zstd": ("int8", "diamond"),
    "source's grid": ("grid", "triangle"),
    "enxuto": ("enxuto", "circle"),
    "enxuto, calibrated": ("calibrated", "circle"),
}
_STYLE = """
.paper{fill:#fff}.text{fill:#1b2430}.small{fill:#53606f}.axis{stroke:#c9d1da}.edge{stroke:#fff}
.original{fill:#53606f;stroke:#53606f}.int8{fill:#b85c00;stroke:#b85c00}.grid{fill:#a3457f;stroke:#a3457f}
.enxuto{fill:#4a9bd4;stroke:#4a9bd4}.calibrated{fill:#00629b;stroke:#00629b}.line{fill:none;stroke-width:2}
@media (prefers-color-scheme:dark){
.paper{fill:#12171e}.text{fill:#e7edf4}.small{fill:#a3b0bf}.axis{stroke:#3a4552}.edge{stroke:#12171e}
.original{fill:#a3b0bf;stroke:#a3b0bf}.int8{fill:#f0a040;stroke:#f0a040}.grid{fill:#e08fc0;stroke:#e08fc0}
.enxuto{fill:#2f7fb8;stroke:#2f7fb8}.calibrated{fill:#6cc4f5;stroke:#6cc4f5}.line{fill:none}}
"""
_PANEL, _HEIGHT, _LEFT, _TOP, _BOTTOM, _LEGEND = 290, 300, 46, 52, 46, 40
_INNER = _PANEL - _LEFT - 22


@dataclass(frozen=True)
class Point:
    """A row of the table; top1 in percent of `images`."""

    network: str
    method: str
    bytes: int
    top1: float
    images: int


@dataclass(frozen=True)
class Scale:
    """Where values of a panel stand: bytes on a logarithmic axis, points of top-1 on an even one."""

    left: float
    least: float
    most: float
    low: float
    high: float

    def x(self, size: float) -> float:
        """Pixels from the left of the drawing."""
        share = math.log(size / self.least) / math.log(self.most / self.least)
        return self.left + _LEFT + share * _INNER

    def y(self, top1: float) -> float:
        """Pixels from the top."""
        share = (top1 - self.low) / (self.high - self.low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _TOP)


def read_points(path: Path) -> list[Point]:
    """The rows of the table; raises `ValueError` for a method that the chart has no sign for."""
    with path.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    unknown = {row["method"] for row in rows} - set(_METHODS)
    if unknown:
        raise ValueError(f"{path}: no sign for {', '.join(sorted(unknown))}")
    return [
        Point(row["network"], row["method"], int(row["bytes"]), float(row["top1"]), int(row["images"]))
        for row in rows
    ]


def chart(points: list[Point]) -> str:
    """The whole drawing as SVG."""
    panels = [list(rows) for _, rows in groupby(points, key=lambda point: point.network)]
    width, height = _PANEL * len(panels) + 10, _HEIGHT + _LEGEND
    title = "Bytes of the file against top-1 accuracy: " + ", ".join(panel[0].network for panel in panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="system-ui, sans-serif" font-size="12" role="img" aria-label="{escape(title)}">',
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" width="{width}" height="{height}" rx="8"/>',
    ]
    for i, panel in enumerate(panels):
        parts += _panel(panel, _PANEL * i)
    parts += _legend([name for name in _METHODS if any(point.method == name for point in points)])
    return "\n".join([*parts, "</svg>", ""])


def _panel(points: list[Point], left: float) -> Iterable[str]:
    sizes = [point.bytes for point in points]
    original = next(point for point in points if point.method == "original ONNX")
    low, high = wilson_interval(round(original.top1 * original.images / 100), original.images)
    values = [point.top1 for point in points] + [100 * low, 100 * high]
    scale = Scale(left, min(sizes) / 1.3, max(sizes) * 1.3, math.floor(min(values)), math.ceil(max(values)))
    yield _text(left + _LEFT, 22, original.network, "text", weight="600")
    yield _text(left + _LEFT, 38, f"top-1, % of {original.images:,} images", "small")
    yield from _axes(scale)
    x = scale.x(original.bytes)
    yield (
        f'<path class="original line" d="M{x:.1f} {scale.y(100 * low):.1f}V{scale.y(100 * high):.1f}" opacity=".5"/>'
    )
    for method, (kind, marker) in _METHODS.items():
        own = sorted((point for point in points if point.method == method), key=lambda point: point.bytes)
        places = [(scale.x(point.bytes), scale.y(point.top1)) for point in own]
        if len(places) > 1:
            path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
            yield f'<path class="{kind} line" d="M{path}"/>'
        for point, (x, y) in zip(own, places, strict=True):
            yield _marker(kind, marker, x, y, f"{method}: {point.bytes:,} B, {point.top1:.2f} %")


def _axes(scale: Scale) -> Iterable[str]:
    bottom, right = _HEIGHT - _BOTTOM, scale.left + _LEFT + _INNER
    spread = scale.high - scale.low
    step = next(step for step in (1, 2, 5, 10, 20) if spread / step <= 6)
    for value in range(math.ceil(scale.low / step) * step, int(scale.high) + 1, step):
        y = scale.y(value)
        yield f'<path class="axis" d="M{scale.left + _LEFT} {y:.1f}H{right:.1f}"/>'
        yield _text(scale.left + _LEFT - 6, y + 4, str(value), "small", anchor="end")
    for size in (part * 10**power for power in range(3, 11) for part in (1, 2, 5)):
        if scale.least <= size <= scale.most:
            x = scale.x(size)
            yield f'<path class="axis" d="M{x:.1f} {bottom}v5"/>'
            yield _text(x, bottom + 19, _short(size), "small", anchor="middle")
    yield _text(right, bottom + 36, "bytes of the file, logarithmic", "small", anchor="end")


def _legend(methods: list[str]) -> Iterable[str]:
    x = float(_LEFT)
    for method in methods:
        kind, marker = _METHODS[method]
        yield _marker(kind, marker, x, _HEIGHT + 16, method)
        yield _text(x + 12, _HEIGHT + 20, method, "text")
        x += 34 + 6.6 * len(method)


def _marker(kind: str, marker: str, x: float, y: float, title: str) -> str:
    shapes = {
        "circle": f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5.5"',
        "square": f'<rect x="{x - 5:.1f}" y="{y - 5:.1f}" width="10" height="10"',
        "diamond": f'<path d="M{x:.1f} {y - 7:.1f}l7 7l-7 7l-7 -7z"',
        "triangle": f'<path d="M{x:.1f} {y - 7:.1f}l7 12h-14z"',
    }
    return f'{shapes[marker]} class="{kind} edge" stroke-width="1"><title>{escape(title)}</title>' + (
        "</circle>" if marker == "circle" else "</rect>" if marker == "square" else "</path>"
    )


def _text(x: float, y: float, text: str, kind: str, *, anchor: str = "start", weight: str = "400") -> str:
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}"'
    return f'<text class="{kind}" {where}>{escape(text)}</text>'


def _short(size: int) -> str:
    return f"{size // 10**6} MB" if size >= 10**6 else f"{size // 1000} KB"


if __name__ == "__main__":
    with atomic_write(FOLDER / "sizes.svg") as file:
        file.write(chart(read_points(FOLDER / "sizes.csv")).encode())

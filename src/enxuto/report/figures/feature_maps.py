"""Filters and feature maps as pictures: a mosaic for each layer, in one PNG or SVG, or on one HTML page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from enxuto.escaping import legend_label
from enxuto.files import atomic_write
from enxuto.report.drawing import new_figure, save
from enxuto.report.page import escape

__all__ = ["MOST_TILES", "Mosaic", "filters_mosaic", "image_mosaic", "maps_mosaic", "write_mosaics"]

MOST_TILES = 64
"""Filters or channels of a layer that are shown, the first ones."""

_HIGHEST = 3.0  # inches of a mosaic
_GAP = 255  # white between tiles


@dataclass(frozen=True)
class Mosaic:
    """Tiles of a layer. pixels: uint8 (height, width, 3); title: what they are, with how many are left out."""

    title: str
    pixels: np.ndarray


def image_mosaic(title: str, image: np.ndarray) -> Mosaic:
    """Return an image as it is: uint8 (height, width, 3), or (height, width, 1) in grey."""
    return Mosaic(title, np.broadcast_to(image, (*image.shape[:2], 3)).astype(np.uint8))


def filters_mosaic(name: str, filters: np.ndarray, *, is_bgr: bool = False) -> Mosaic:
    """Return filters (N, C, height, width) as tiles: in colour for three channels, else the mean over channels in grey.

    Zero is middle grey, and the largest weight of a filter either way is at the end of the scale.
    """
    shown = filters[:MOST_TILES]
    if shown.shape[1] != 3:
        shown = shown.mean(axis=1, keepdims=True)
    elif is_bgr:
        shown = shown[:, ::-1]
    largest = np.abs(shown).max(axis=(1, 2, 3), keepdims=True)
    tiles = 0.5 + shown / np.where(largest > 0, 2 * largest, 1)
    what = f"{name}: {_count(len(filters), 'filters')} of {filters.shape[2]}×{filters.shape[3]}, zero is grey"
    if filters.shape[1] not in (1, 3):
        what += f", mean over {filters.shape[1]} channels"
    return Mosaic(what, _lay_out(tiles.transpose(0, 2, 3, 1)))


def maps_mosaic(name: str, maps: np.ndarray) -> Mosaic:
    """Return feature maps (C, height, width) as grey tiles, each from its own least value (black) to its largest."""
    shown = maps[:MOST_TILES].astype(np.float64)
    low, high = shown.min(axis=(1, 2), keepdims=True), shown.max(axis=(1, 2), keepdims=True)
    tiles = (shown - low) / np.where(high > low, high - low, 1)
    dead = int((np.ptp(maps, axis=(1, 2)) == 0).sum())
    what = f"{name}: {_count(len(maps), 'maps')} of {maps.shape[1]}×{maps.shape[2]}, each on its own scale"
    if dead:
        what += f"; {dead} constant"
    return Mosaic(what, _lay_out(tiles[..., None]))


def write_mosaics(mosaics: Sequence[Mosaic], path: str | Path, *, title: str) -> Path:
    """Write mosaics below each other: `.png` or `.svg` by matplotlib, `.html` as one page that loads nothing.

    Raises `UsageError` for another ending, or where the file cannot be written.
    """
    target = Path(path)
    if target.suffix != ".html":
        return _draw(mosaics, target, title)
    parts = "\n".join(
        f'<figure><figcaption>{escape(one.title)}</figcaption><img alt="{escape(one.title)}" src="{_data_url(one)}" '
        f'width="{_scale(one) * one.pixels.shape[1]}"></figure>'
        for one in mosaics
    )
    text = (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        "<style>body{font:16px/1.4 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;"
        "color:#222;background:#fff}figure{margin:0 0 2rem}img{image-rendering:pixelated;max-width:100%}"
        f"</style></head>\n<body><h1>{escape(title)}</h1>\n{parts}\n</body></html>\n"
    )
    with atomic_write(target) as file:
        file.write(text.encode())
    return target


def _draw(mosaics: Sequence[Mosaic], target: Path, title: str) -> Path:
    heights = [max(0.8, 7.4 * one.pixels.shape[0] / one.pixels.shape[1]) for one in mosaics]
    heights = [min(height, _HIGHEST) for height in heights]
    figure, axes = new_figure(8, sum(heights) + 0.35 * len(mosaics) + 0.4, rows=len(mosaics))
    axes[0].get_gridspec().set_height_ratios(heights)  # type: ignore[union-attr]
    figure.suptitle(legend_label(title), fontsize=11)
    for one, place in zip(mosaics, axes, strict=True):
        place.imshow(one.pixels, interpolation="nearest")
        place.set_title(legend_label(one.title), fontsize=9)
        place.set_axis_off()
    return save(figure, target)


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count <= MOST_TILES else f"the first {MOST_TILES} of {count} {what}"


def _lay_out(tiles: np.ndarray) -> np.ndarray:
    """Tiles (N, height, width, 1 or 3) in 0…1 side by side, twice as many across as down: uint8 (…, …, 3)."""
    count, height, width, _ = tiles.shape
    columns = min(count, max(1, round(float(np.sqrt(2 * count * height / width)))))
    rows = -(-count // columns)
    gap = max(1, width // 16)
    board = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), _GAP, np.uint8)
    for place, tile in enumerate((255 * np.nan_to_num(tiles).clip(0, 1)).round().astype(np.uint8)):
        top, left = gap + place // columns * (height + gap), gap + place % columns * (width + gap)
        board[top : top + height, left : left + width] = tile
    return board


def _scale(mosaic: Mosaic) -> int:
    """How many pixels of the page a pixel takes: as many as fit, and sixteen at most."""
    return max(1, min(16, 900 // int(mosaic.pixels.shape[1])))


def _data_url(mosaic: Mosaic) -> str:
    stream = io.BytesIO()
    Image.fromarray(mosaic.pixels).save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"

"""A contact sheet: the images whose answer changed, each with the expected class and both models' answers.

Answers are marked ✓ and ✗ as well as coloured. Pillow draws it, with its own font.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from enxuto.compare.answers import AnswerComparison
from enxuto.data import Dataset
from enxuto.errors import UsageError
from enxuto.escaping import escape_invisible
from enxuto.files import atomic_write

__all__ = ["contact_sheet"]

_SIDE = 128  # pixels of a picture's place
_GAP = 12
_LINE = 17
_TITLE = 64
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_RIGHT, _WRONG, _INK, _PALE = "#005A8C", "#B33A00", "#202020", "#666666"


def contact_sheet(
    dataset: Dataset,
    answers: AnswerComparison,
    path: str | Path,
    *,
    names: Sequence[str] = ("first", "second"),
    max_images: int = 60,
    columns: int = 6,
) -> int:
    """Draw up to `max_images` images with changed answers as PNG, lost ones first; returns how many are on it.

    names: of the two models. Raises `UsageError` for another ending than .png, or numbers below 1.
    """
    target = Path(path)
    if target.suffix != ".png" or max_images < 1 or columns < 1:
        raise UsageError(f"{target}: a contact sheet is a .png of at least 1 image and 1 column")
    changed = answers.changed_images()
    shown = changed[:max_images]
    rows = max(1, -(-len(shown) // columns))
    width = columns * (_SIDE + _GAP) + _GAP
    cell = _SIDE + 3 * _LINE + _GAP
    sheet = Image.new("RGB", (width, _TITLE + rows * cell + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    font, title = ImageFont.load_default(12), ImageFont.load_default(15)
    counts = answers.counts
    draw.text(
        (_GAP, 10), _shorten(draw, f"1: {names[0]}   2: {names[1]}", title, width - 2 * _GAP), _INK, title
    )
    about = (
        f"{len(changed):,} of {len(answers.expected):,} answers changed: {counts['only first']:,} lost, "
        f"{counts['only second']:,} won, others wrong in both; seed {answers.seed}, data {answers.data_hash}"
    )
    draw.text((_GAP, 34), _shorten(draw, about, font, width - 2 * _GAP), _PALE, font)
    for number, index in enumerate(shown.tolist()):
        left = _GAP + number % columns * (_SIDE + _GAP)
        top = _TITLE + number // columns * cell
        picture = _thumbnail(dataset.image(index))
        sheet.paste(picture, (left + (_SIDE - picture.width) // 2, top + (_SIDE - picture.height) // 2))
        expected = int(answers.expected[index])
        _draw_text(draw, (left, top + _SIDE + 3), f"is {answers.name(expected)}", font, _INK)
        for model, answer in enumerate((int(answers.first[index]), int(answers.second[index]))):
            _draw_answer(
                draw,
                (left, top + _SIDE + 3 + (model + 1) * _LINE),
                model,
                answers.name(answer),
                answer == expected,
                font,
            )
    with atomic_write(target) as file:
        sheet.save(file, format="PNG")
    return len(shown)


def _thumbnail(pixels: NDArray[np.uint8]) -> Image.Image:
    """An image within its place: small ones enlarged by whole factors without smoothing, large ones reduced."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
    longest = max(image.size)
    if longest <= _SIDE:
        factor = max(1, _SIDE // longest)
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return image


def _draw_answer(
    draw: ImageDraw.ImageDraw,
    position: tuple[int, int],
    model: int,
    name: str,
    right: bool,
    font: _Font,
) -> None:
    """Draw a mark, as not every font has one, and a model's answer."""
    colour = _RIGHT if right else _WRONG
    x, y = position[0], position[1] + 3
    if right:
        draw.line([(x, y + 5), (x + 3, y + 8), (x + 9, y)], fill=colour, width=2)
    else:
        draw.line([(x + 1, y), (x + 8, y + 8)], fill=colour, width=2)
        draw.line([(x + 8, y), (x + 1, y + 8)], fill=colour, width=2)
    _draw_text(
        draw, (position[0] + 14, position[1]), f"{model + 1}: {name}", font, colour, max_width=_SIDE - 14
    )


def _draw_text(
    draw: ImageDraw.ImageDraw,
    position: tuple[int, int],
    text: str,
    font: _Font,
    colour: str,
    max_width: int = _SIDE,
) -> None:
    draw.text(position, _shorten(draw, text, font, max_width), colour, font)


def _shorten(draw: ImageDraw.ImageDraw, text: str, font: _Font, max_width: int) -> str:
    """Text cut so that it fits, in one line: Pillow does not measure several."""
    text = escape_invisible(text)
    if draw.textlength(text, font) <= max_width:
        return text
    while text and draw.textlength(text + "…", font) > max_width:
        text = text[:-1]
    return text + "…"

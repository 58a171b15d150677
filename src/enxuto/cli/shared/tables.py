"""Tables as lines of text that fit a width: numbers stay whole, names are shortened, lesser columns give way.

A column on the right holds numbers: none of its cells is ever broken. On the left stand names, which are shortened in
the middle, as their ends tell most, and sentences, which go on in the next line at blanks. Where even that is too
wide, columns are left out, and which they are is returned.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from rich.cells import cell_len

__all__ = ["Layout", "lay_out", "shorten", "wrap"]

_WIDE, _TIGHT = (2, 3), (1, 2)  # blanks before a line and between columns, with room and without
_NAME, _LEAST_NAME = 16, 8  # characters of a name that say enough, and that say something
# What is read as one number, with its sign, brackets and unit: 13,888  1.6e-05  +0.50)  3×32×32  12/4  28-fold
_NUMBER = re.compile(r"[^\w]*\d[\d,.×x:/%eE+\-–−±]*[^\w]*[A-Za-zµ]{0,3}[^\w]*")
_BARS = re.compile("[█▏▎▍▌▋▊▉]|##")


@dataclass(frozen=True)
class Layout:
    """Lines of a table: the headings', the rows'; its width; headings of the columns that had to give way."""

    head: tuple[str, ...]
    body: tuple[str, ...]
    width: int
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class _Column:
    heading: str
    right: bool
    cells: tuple[str, ...]

    @cached_property
    def natural(self) -> int:
        """The width that nothing of it is shortened or broken in."""
        return max([cell_len(self.heading), *map(cell_len, self.cells)])

    def least(self, name: int) -> int:
        """The narrowest it may be when names keep `name` characters."""
        words = [cell_len(word) for word in self.heading.split(" ")]
        if self.right:
            return max([*words, *map(cell_len, self.cells)])
        # A long word of a heading may go on below, an atom may not.
        atoms = [cell_len(atom) for cell in self.cells for atom in _atoms(cell)]
        return min(self.natural, max([min(max(words), name), *atoms, name]))

    def lines(self, cell: str, width: int) -> list[str]:
        whole = self.right or cell_len(cell) <= width or _BARS.search(cell)
        return [cell] if whole else wrap(cell, width)


def lay_out(
    columns: Mapping[str, str],
    rows: Sequence[Sequence[str]],
    width: int | None,
    give_way: Sequence[str] = (),
) -> Layout:
    """Lay a table out in `width` characters (None: as wide as it likes).

    columns: headings → `left` or `right`. give_way: headings of columns that matter least, the least first; after
    them columns give way from the right on. The first column and one more always stay.
    """
    parts = [
        _Column(heading, side == "right", tuple(row[place] for row in rows))
        for place, (heading, side) in enumerate(columns.items())
    ]
    shown = list(range(len(parts)))
    widths = [part.natural for part in parts]
    blanks = _WIDE
    if width is not None and _sum(widths, _WIDE) > width:
        blanks = _TIGHT
        shown = _fitting_columns(parts, width, give_way)
        name = _NAME if _sum([parts[place].least(_NAME) for place in shown]) <= width else _LEAST_NAME
        widths = _share_room([parts[place] for place in shown], width, name)
    kept = [parts[place] for place in shown]
    headings = [_heading(part, size) for part, size in zip(kept, widths, strict=True)]
    head = _lines(kept, headings, widths, blanks)
    body: list[str] = []
    for row in range(len(rows)):
        cells = [part.lines(part.cells[row], size) for part, size in zip(kept, widths, strict=True)]
        body += _lines(kept, cells, widths, blanks)
    left_out = tuple(
        part.heading for place, part in enumerate(parts) if place not in shown and part.heading.strip()
    )
    return Layout(tuple(head), tuple(body), _sum(widths, blanks), left_out)


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width` characters, broken at blanks; a longer word is shortened, a longer number is not."""
    lines: list[str] = []
    line = ""
    for word in text.split(" "):
        word = word if _is_number(word) else shorten(word, width)
        if line and cell_len(line) + 1 + cell_len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line]


def shorten(text: str, width: int, mark: str = "…") -> str:
    """The text, or its ends with `mark` in place of the middle."""
    if cell_len(text) <= width:
        return text
    room = max(0, width - cell_len(mark))
    first, last = _longest_within(text, room - room // 2), _longest_within(text[::-1], room // 2)[::-1]
    return (first + mark + last) if width >= cell_len(mark) else _longest_within(text, width)


def _longest_within(text: str, width: int) -> str:
    """The longest beginning that is no wider."""
    if len(text) > 2 * width:
        text = text[: 2 * width + 8]
    while text and cell_len(text) > width:
        text = text[:-1]
    return text


def _is_number(word: str) -> bool:
    return _NUMBER.fullmatch(word) is not None


def _atoms(cell: str) -> list[str]:
    """What in a cell must stay whole: numbers, and bars with theirs."""
    if _BARS.search(cell):
        return [cell]
    return [word for word in cell.split(" ") if _is_number(word)]


def _sum(widths: Sequence[int], blanks: tuple[int, int] = _TIGHT) -> int:
    return blanks[0] + sum(widths) + blanks[1] * max(0, len(widths) - 1)


def _fitting_columns(parts: Sequence[_Column], width: int, give_way: Sequence[str]) -> list[int]:
    """Places of the columns that fit, in their order."""
    least = [part.least(_NAME) for part in parts]
    shown = list(range(len(parts)))
    named = [place for heading in give_way for place, part in enumerate(parts) if part.heading == heading]
    bars = [place for place, part in enumerate(parts) if not part.heading.strip() and any(part.cells)]
    bars = [place for place in bars if any(_BARS.search(cell) for cell in parts[place].cells)]
    order = list(dict.fromkeys([*named, *bars, *range(len(parts) - 1, 0, -1)]))
    # A column without a heading that holds no bars says what is wrong; it goes last.
    order.sort(key=lambda place: not parts[place].heading.strip() and place not in bars)
    gone: list[int] = []
    for place in order:
        if _sum([least[one] for one in shown]) <= width or len(shown) <= 2:
            break
        if place:
            shown.remove(place)
            gone.append(place)
    for place in reversed(gone):  # a narrow one that gave way before a wide one may have room again
        if _sum([least[one] for one in [*shown, place]]) <= width:
            shown.append(place)
    # Bars belong to the column on their left: beside another they would tell its shares.
    return sorted(place for place in shown if place not in bars or place - 1 in shown)


def _share_room(parts: Sequence[_Column], width: int, name: int) -> list[int]:
    """The room of each column: the least, and of what is left as much as it wants, shared evenly."""
    widths = [part.least(name) for part in parts]
    room = width - _sum(widths)
    while room > 0:
        wanting = [place for place, part in enumerate(parts) if widths[place] < part.natural]
        if not wanting:
            break
        for place in wanting[:room]:
            widths[place] += 1
        room -= len(wanting[:room])
    return widths


def _heading(part: _Column, width: int) -> list[str]:
    return [part.heading] if cell_len(part.heading) <= width else wrap(part.heading, width)


def _lines(
    parts: Sequence[_Column], cells: Sequence[Sequence[str]], widths: Sequence[int], blanks: tuple[int, int]
) -> list[str]:
    edge, gap = blanks
    lines = []
    for number in range(max(map(len, cells), default=0)):
        line = " " * edge
        for place, (part, texts, width) in enumerate(zip(parts, cells, widths, strict=True)):
            text = texts[number] if number < len(texts) else ""
            room = " " * (width - cell_len(text))
            line += (" " * gap if place else "") + (room + text if part.right else text + room)
        lines.append(line.rstrip())
    return lines

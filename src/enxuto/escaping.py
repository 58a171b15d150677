"""Make texts from files safe to show or keep: one function for each kind of output.

Whoever makes a file writes its names, labels, metadata and error messages. Characters that control a terminal, turn
the direction of writing, or are invisible are shown as escapes such as `\\x1b`. What a spreadsheet would compute, or
Markdown take for a mark, stays text. Words of a command are quoted so that a
shell takes them as they are. Not here: HTML's own marks (`html.escape`).
"""

from __future__ import annotations

import csv
import io
import os
import re
import shlex
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "anonymise",
    "csv_cell",
    "csv_text",
    "escape_invisible",
    "escape_invisible_values",
    "json_text",
    "legend_label",
    "markdown_text",
    "one_line",
    "prepare_to_save",
    "shell_words",
]

# Control, format (bidirectional marks, zero width, tags), surrogates, line and paragraph separators.
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# Letters and marks by category, but without any look of their own: joiners, fillers, selectors beyond the first 16.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")
_NUMBER = re.compile(r"[+-]?(\d[\d,]*\.?\d*|\.\d+)([eE][+-]?\d+)?\s*%?")
_MARKS = re.compile(r"([|\\`<*\[\]])")


def escape_invisible(text: str, keep: str = "") -> str:
    r"""Return the text with invisible characters as escapes (`\x1b`, `\u202e`); the characters in `keep` stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character if character in keep or not _is_invisible(character) else _escape(character)
        for character in text
    )


def one_line(text: str) -> str:
    """`escape_invisible`, with line breaks and runs of blanks as one blank, as other libraries write many lines."""
    return escape_invisible(" ".join(re.split(r"[ \t\r\n]+", text.strip(" \t\r\n"))))


def escape_invisible_values(values: Any, keep: str = "") -> Any:
    """`escape_invisible` for all texts in lists and mappings, keys too."""
    if isinstance(values, str):
        return escape_invisible(values, keep)
    if isinstance(values, dict):
        return {
            escape_invisible_values(key, keep): escape_invisible_values(value, keep)
            for key, value in values.items()
        }
    if isinstance(values, (list, tuple)):
        return [escape_invisible_values(value, keep) for value in values]
    return values


def anonymise(argument: str) -> str:
    """Return a word of a command without what names the machine or people; of `--option=value`, without that value's.

    An absolute path is cut to its last name, an address to its scheme.
    """
    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    scheme, colon, _ = value.partition("://")
    if colon:
        return f"{option}{equals}{scheme}://…"
    for kind in (PurePosixPath, PureWindowsPath):
        path: PurePath = kind(value)
        if path.is_absolute():
            return f"{option}{equals}{path.name or value}"
    return argument


def shell_words(words: Iterable[str]) -> str:
    r"""Return words as a shell takes them: quoted where need be, invisible characters as bytes in `$'\341'`."""
    return " ".join(
        shlex.quote(word) if escape_invisible(word) == word else f"$'{_as_bytes(word)}'" for word in words
    )


def _as_bytes(word: str) -> str:
    return "".join(
        "".join(f"\\{byte:03o}" for byte in os.fsencode(character))
        if _is_invisible(character) or character in "\\'"
        else character
        for character in word
    )


def csv_cell(value: Any) -> Any:
    """Return a cell for a spreadsheet: a leading apostrophe keeps a text from being a formula; numbers stay numbers."""
    if not isinstance(value, str):
        return value
    risky = value.startswith(_FORMULA) and not _NUMBER.fullmatch(value)
    return ("'" if risky else "") + escape_invisible(value)


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as CSV with a header, each cell through `csv_cell`; None is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([csv_cell(name) for name in columns])
    writer.writerows([csv_cell(value) for value in row] for row in rows)
    return text.getvalue()


def markdown_text(text: str) -> str:
    """Return a cell or a line of Markdown, in which nothing is taken for a mark, a link or a tag."""
    return _MARKS.sub(r"\\\1", one_line(text))


def json_text(text: str) -> str:
    """Return JSON of the same values with invisible characters as escapes; line breaks between values stay."""
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(
        character if character == "\n" or not _is_invisible(character) else _json_escape(character)
        for character in text
    )


@contextmanager
def prepare_to_save(figure: Figure) -> Iterator[None]:
    """Inside, a figure can be written: its texts are plain, and every logarithmic axis has ticks with numbers.

    matplotlib takes what stands between two dollars for a formula, and an axis of logarithms has no tick where no power
    of its base is in sight.
    """
    import matplotlib
    from matplotlib.text import Text
    from matplotlib.ticker import FuncFormatter

    settings: Any = {"text.parse_math": False}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # a box is drawn for it
        for axes in figure.axes:
            for axis in (axes.xaxis, axes.yaxis):
                _ensure_ticks(axis)
                axis.set_major_formatter(FuncFormatter(_visible_formatter(axis.get_major_formatter())))
                axis.set_minor_formatter(FuncFormatter(_visible_formatter(axis.get_minor_formatter())))
        for text in figure.findobj(Text):
            assert isinstance(text, Text)
            text.set_parse_math(False)
            text.set_text(escape_invisible(text.get_text(), keep="\n"))
        yield


def legend_label(text: str) -> str:
    """Return a name for a legend: matplotlib leaves out names that begin with an underscore."""
    return f" {text}" if text.startswith("_") else text


def _ensure_ticks(axis: Any) -> None:
    """Give an axis of logarithms numbers where fewer than two of its ticks are in sight."""
    from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

    if axis.get_scale() != "log":
        return
    low, high = sorted(axis.get_view_interval())
    if sum(low <= tick <= high for tick in axis.get_majorticklocs()) >= 2:
        return
    ticks = [
        tick
        for tick in MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        if low <= tick <= high
    ]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:.6g}")


def _visible_formatter(formatter: Any) -> Callable[[float, int | None], str]:
    """What a formatter writes, made visible; powers that matplotlib writes as formulas become plain numbers."""

    def write(value: float, place: int | None = None) -> str:
        text = str(formatter(value, place))
        return f"{value:g}" if "\\mathdefault" in text else escape_invisible(text, keep="\n")

    return write


def _is_invisible(character: str) -> bool:
    code = ord(character)
    if code < 0x7F:
        return code < 0x20
    return unicodedata.category(character) in _UNSEEN or character in _BLANK or 0xE0000 <= code <= 0xE0FFF


def _escape(character: str) -> str:
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(character: str) -> str:
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"

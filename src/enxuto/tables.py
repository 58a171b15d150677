"""A table of text, as results are shown: in a terminal, on a page, or as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from enxuto.escaping import markdown_text, one_line

__all__ = ["Table", "as_markdown", "as_percent", "interval_in_percent"]


@dataclass(frozen=True)
class Table:
    """A title, headings, rows of text, and a caption; the first `texts` columns are text, the others numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str
    texts: int = 1


def as_markdown(tables: Sequence[Table]) -> str:
    """The tables as Markdown."""
    parts = []
    for table in tables:
        sides = " | ".join("---" if place < table.texts else "---:" for place in range(len(table.columns)))
        rows = [f"| {' | '.join(map(markdown_text, row))} |" for row in (table.columns, *table.rows)]
        lines = [f"## {markdown_text(table.title)}", "", rows[0], f"| {sides} |", *rows[1:]]
        parts.append("\n".join([*lines, "", one_line(table.caption) + ".", ""]))
    return "\n".join(parts)


def as_percent(share: float, digits: int = 2) -> str:
    """A share, 0…1, in the form in which all verbs show one to people: `97.65 %`."""
    return f"{100 * share:.{digits}f} %"


def interval_in_percent(low: float, high: float) -> str:
    """The 95 % interval of a share, in the form in which all verbs show one: `(95 % interval 96.10 to 98.60)`."""
    return f"(95 % interval {100 * low:.2f} to {100 * high:.2f})"

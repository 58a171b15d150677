"""The tables of a report as files: one CSV each, and all of them with their origins in one Markdown file."""

from __future__ import annotations

import re
from pathlib import Path

from enxuto.errors import UsageError
from enxuto.escaping import csv_text, markdown_text, one_line
from enxuto.files import atomic_write
from enxuto.report.exhibit import KINDS, Exhibit
from enxuto.report.results import Results
from enxuto.tables import Table, as_markdown

__all__ = ["file_names", "make_folder", "write_texts"]


def write_texts(results: Results, folder: str | Path) -> list[Path]:
    """Write `report.md` and a CSV for each table; their paths. Raises `UsageError` where they cannot be written."""
    place = make_folder(folder)
    tables = [table for one in results.exhibits for table in one.tables]
    written = {place / "report.md": _markdown(results)}
    for table, name in zip(tables, file_names([table.title for table in tables]), strict=True):
        written[place / f"{name}.csv"] = _csv(table)
    for path, text in written.items():
        with atomic_write(path) as file:
            file.write(text.encode())
    return list(written)


def make_folder(folder: str | Path) -> Path:
    """The folder, made where it is missing. Raises `UsageError` where it cannot be."""
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {place}: {error.strerror or error}", code="E013") from error
    return place


def file_names(titles: list[str]) -> list[str]:
    """Names for files from titles: plain letters, digits and dashes, no two alike even where case does not count."""
    found: list[str] = []
    for title in titles:
        slug = re.sub(r"[^a-z0-9.]+", "-", title.lower()).strip("-.")[:80] or "table"
        name, number = slug, 2
        while name in found:
            name, number = f"{slug}-{number}", number + 1
        found.append(name)
    return found


def _csv(table: Table) -> str:
    return csv_text(table.columns, table.rows)


def _markdown(results: Results) -> str:
    parts = ["# Results\n"]
    parts += [f"- {markdown_text(problem)}\n" for problem in results.problems]
    for one in results.exhibits:
        parts.append(f"# {KINDS[one.kind]}: {markdown_text(one.title)}\n")
        parts.append(as_markdown(one.tables))
        parts.append(_origin(one))
    return "\n".join(parts)


def _origin(exhibit: Exhibit) -> str:
    origin = [(markdown_text(name), one_line(value).replace("`", "'")) for name, value in exhibit.origin]
    return "".join(f"- {name}: `{value}`\n" for name, value in origin)

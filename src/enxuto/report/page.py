"""One HTML page of all exhibits: works from disk, asks no network for anything, stays under two megabytes.

Tables and how to repeat each result are plain HTML; the scripts in `page/` draw the charts from JSON in the page, and
make tables sort and copy. A content security policy forbids everything else. Texts of results reach the page only
escaped, and the scripts never make markup of them. Where the page would grow too large, its largest charts and tables
are left out and named on it.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from itertools import groupby
from pathlib import Path

from enxuto._version import __version__
from enxuto.escaping import anonymise, escape_invisible, escape_invisible_values
from enxuto.files import atomic_write
from enxuto.report.exhibit import KINDS, Chart, Exhibit
from enxuto.report.results import Results
from enxuto.report.values import shell_command
from enxuto.tables import Table

__all__ = ["MOST_BYTES", "page_text", "write_page"]

MOST_BYTES = 2_000_000
_BLANKS = "\n\t\u2028\u2029"  # which browsers show as blanks
_SCRIPTS = ("axes.js", "figure.js", "plots.js", "page.js")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri 'none'"


def write_page(
    results: Results, path: str | Path, *, title: str = "enxuto report", max_bytes: int = MOST_BYTES
) -> tuple[str, ...]:
    """Write the page, whole or not at all; what was left out of it for its size is returned by name.

    The same results give the same bytes. Raises `UsageError` where the file cannot be written.
    """
    text, left_out = page_text(results, title=title, max_bytes=max_bytes)
    with atomic_write(path) as file:
        file.write(text.encode())
    return left_out


def page_text(
    results: Results, *, title: str = "enxuto report", max_bytes: int = MOST_BYTES
) -> tuple[str, tuple[str, ...]]:
    """The page, and the titles of charts and tables that were left out of it for its size."""
    left_out: list[str] = []
    exhibits = list(results.exhibits)
    text = _page(exhibits, results, title, left_out)
    while len(text.encode()) > max_bytes and (largest := _largest(exhibits)) is not None:
        place, part = largest
        one = exhibits[place]
        exhibits[place] = replace(
            one,
            charts=tuple(chart for chart in one.charts if chart is not part),
            tables=tuple(table for table in one.tables if table is not part),
        )
        left_out.append(part.title)
        text = _page(exhibits, results, title, left_out)
    return text, tuple(left_out)


def _largest(exhibits: Sequence[Exhibit]) -> tuple[int, Chart | Table] | None:
    """The chart or table that takes the most room, and the exhibit it is in."""
    parts: list[tuple[int, int, Chart | Table]] = []
    for place, one in enumerate(exhibits):
        parts += [(len(_json(chart.to_dict())), place, chart) for chart in one.charts]
        parts += [(len(_table(table)), place, table) for table in one.tables]
    if not parts:
        return None
    _, place, part = max(parts, key=lambda found: found[0])
    return place, part


@dataclass(frozen=True)
class _Section:
    kind: str
    heading: str
    body: str


def _page(exhibits: Sequence[Exhibit], results: Results, title: str, left_out: Sequence[str]) -> str:
    charts: list[Chart] = []
    sections = [
        _Section(kind, KINDS[kind], "".join(_exhibit(one, charts) for one in group))
        for kind, group in groupby(exhibits, key=lambda one: one.kind)
    ]
    menu = "".join(f'<a href="#{one.kind}">{escape(one.heading)}</a>' for one in sections)
    bodies = "".join(
        f'<section id="{one.kind}"><h2>{escape(one.heading)}</h2>{one.body}</section>\n' for one in sections
    )
    command = shell_command("enxuto report", *results.sources, "-o", "report.html")
    problems = [_without_folders(line, results.sources) for line in results.problems]
    return f"""<!DOCTYPE html>
<html lang="en" data-theme="auto">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="generator" content="enxuto {escape(__version__)}">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{_asset("page.css")}</style>
</head>
<body>
<header><h1>{escape(title)}</h1><button id="theme" type="button" hidden>Theme</button></header>
<nav aria-label="parts of the page">{menu}</nav>
<main>
{_problems(problems, left_out)}{bodies}</main>
<noscript><p class="problems">Charts and sorting need JavaScript; all numbers are in the tables.</p></noscript>
<footer><p>Made by enxuto {escape(__version__)}: <code>{escape(command)}</code></p></footer>
<script type="application/json" id="charts">{_json([chart.to_dict() for chart in charts])}</script>
<script>
{"".join(map(_asset, _SCRIPTS))}</script>
</body>
</html>
"""


def _without_folders(line: str, sources: Sequence[str]) -> str:
    """A line in which sources are called as in the command: a page that is passed on names no one's folders."""
    for source in sorted(sources, key=len, reverse=True):
        line = line.replace(source, anonymise(source))
    return line


def escape(text: str) -> str:
    """A text of a result as HTML: no markup, and nothing that is not seen."""
    return html.escape(escape_invisible(text, _BLANKS))


def _asset(name: str) -> str:
    return (files("enxuto.report") / "page" / name).read_text(encoding="utf-8")


def _json(values: object) -> str:
    """JSON that neither ends a script element nor a line of one: no <, >, & or separators of Unicode in it."""
    text = json.dumps(
        escape_invisible_values(values, _BLANKS), ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _problems(problems: Sequence[str], left_out: Sequence[str]) -> str:
    lines = [*problems, *(f"{name}: left out, as the page would be too large (--tables and --charts have it)"
                          for name in left_out)]  # fmt: skip
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<div class="problems" id="problems"><strong>Left out</strong><ul>{items}</ul></div>\n'


def _exhibit(exhibit: Exhibit, charts: list[Chart]) -> str:
    """An article; its charts are numbered on in `charts`."""
    figures = []
    for chart in exhibit.charts:
        note = f'<p class="note">{escape(chart.note)}</p>' if chart.note else ""
        figures.append(
            f'<figure data-chart="{len(charts)}"><figcaption>{escape(chart.title)}</figcaption>'
            f'<div class="plot"></div>{note}</figure>\n'
        )
        charts.append(chart)
    about = f'<p class="about">{escape(exhibit.about)}</p>' if exhibit.about else ""
    tables = "".join(map(_table, exhibit.tables))
    body = f"{about}\n{''.join(figures)}{tables}{_origin(exhibit.origin)}"
    return f"<article><h3>{escape(exhibit.title)}</h3>{body}</article>\n"


def _origin(origin: Sequence[tuple[str, str]]) -> str:
    rows = []
    for name, value in origin:
        shown = (
            f"<code>{escape(value)}</code>"
            if name in ("command", "command, rebuilt", "file", "data")
            else escape(value)
        )
        rows.append(f"<dt>{escape(name)}</dt><dd>{shown}</dd>")
    return f"<details><summary>How to repeat this</summary><dl>{''.join(rows)}</dl></details>"


def _table(table: Table) -> str:
    def cells(tag: str, row: Sequence[str]) -> str:
        kinds = [' class="text"' if place < table.texts else "" for place in range(len(row))]
        scope = ' scope="col"' if tag == "th" else ""
        return "".join(
            f"<{tag}{scope}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, row, strict=True)
        )

    rows = "".join(f"<tr>{cells('td', row)}</tr>\n" for row in table.rows)
    caption = f'<p class="caption">{escape(table.caption)}.</p>' if table.caption else ""
    name = escape(table.title)
    return (
        f'<div class="table"><div class="table-head"><h4>{name}</h4></div>'
        f'<div class="table-box" role="region" aria-label="{name}" tabindex="0"><table><thead><tr>'
        f"{cells('th', table.columns)}</tr></thead><tbody>{rows}</tbody></table></div>{caption}</div>\n"
    )

"""`enxuto report`: what other verbs have measured, as one page, as tables and as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from enxuto.cli.shared.common_options import Force, Json
from enxuto.cli.shared.outputs import default_file
from enxuto.cli.shared.study_options import Svg
from enxuto.cli.shared.terminal import note, print_json, warn
from enxuto.cli.shared.values import counted

HELP = """Make one HTML page of results: charts, tables, published numbers beside measured ones, how to repeat each.

RESULTS are files that `compress`, `inspect`, `evaluate`, `bench`, `weights`, `curve`, `compare` and `train` print with
`--json`, and folders of studies (`curve`, `study`, `lottery`) and of `train`. The page is one file below 2 MB. It
works from disk and loads nothing from a network. What is missing or damaged is named and left out.

    enxuto report ledger.json studies/curve-resnet20-test -o report.html
    enxuto report *.json -o report.html --tables tables/ --charts charts/ --svg
"""


def run(
    results: Annotated[
        list[Path], typer.Argument(metavar="RESULTS...", help="Files of results and folders of studies.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="The page; by default report.html."),
    ] = None,
    force: Force = False,
    title: Annotated[str, typer.Option(metavar="TEXT", help="The heading of the page.")] = "enxuto report",
    tables: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the tables as CSV and Markdown too.")
    ] = None,
    charts: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write the charts as pictures too; needs matplotlib (extra report)."
        ),
    ] = None,
    svg: Svg = False,
    json: Json = False,
) -> None:
    """Read the results, write the page, say what was left out."""
    from enxuto.report import read_results, write_page, write_pictures, write_texts

    target = output or default_file(Path("report.html"), force=force)
    page = read_results(results)
    for problem in page.problems:
        warn(problem)
    left_out = write_page(page, target, title=title)
    for name in left_out:
        warn(f"{name}: left out of the page for its size; --tables and --charts have it")
    written = [target]
    if tables is not None:
        written += write_texts(page, tables)
    if charts is not None:
        kind: Literal["png", "svg"] = "svg" if svg else "png"
        written += write_pictures(page, charts, kind)
    if json:
        print_json(
            {
                "output": str(target),
                "bytes": target.stat().st_size,
                "exhibits": [
                    {
                        "kind": exhibit.kind,
                        "title": exhibit.title,
                        "charts": len(exhibit.charts),
                        "tables": len(exhibit.tables),
                    }
                    for exhibit in page.exhibits
                ],
                "problems": list(page.problems),
                "left_out": list(left_out),
                "files": [str(path) for path in written],
            }
        )
        return
    count = sum(len(exhibit.charts) for exhibit in page.exhibits)
    note(
        f"{target}: {counted(len(page.exhibits), 'result')}, {counted(count, 'chart')}, {target.stat().st_size:,} B"
    )
    if len(written) > 1:
        note(f"{len(written) - 1} files of tables and pictures beside it")

"""Tables as CSV and Markdown, charts as pictures."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
import report_samples as samples
from PIL import Image

from enxuto.errors import UsageError
from enxuto.report import read_results, write_pictures, write_texts
from enxuto.report.texts import file_names


def test_tables_are_read_back_from_csv(tmp_path: Path) -> None:
    results = read_results([samples.write(tmp_path / "a.json", samples.LEDGER)])
    written = write_texts(results, tmp_path / "tables")
    (path,) = [path for path in written if path.suffix == ".csv"]
    rows = [tuple(row) for row in csv.reader(io.StringIO(path.read_text(encoding="utf-8")))]
    (table,) = results.exhibits[0].tables
    assert rows == [table.columns, *table.rows]


def test_markdown_has_every_table_and_cells_stay_cells(tmp_path: Path) -> None:
    own = {**samples.OWN, "tables": [{"title": "t", "columns": ["a|b", "c"], "rows": [["x|y\nz", "`"]]}]}
    results = read_results([samples.write(tmp_path / "a.json", own)])
    text = (write_texts(results, tmp_path)[0]).read_text(encoding="utf-8")
    assert "| a\\|b | c |" in text
    assert "| x\\|y z | \\` |" in text


def test_names_of_files_are_plain_and_differ() -> None:
    assert file_names(["A/b: ü 1", "a b 1", "…", "../x", ".hidden"]) == [
        "a-b-1",
        "a-b-1-2",
        "table",
        "x",
        "hidden",
    ]


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_every_chart_is_drawn(tmp_path: Path, kind: str) -> None:
    paths = samples.all_of_them(tmp_path)
    results = read_results(paths if kind == "png" else paths[:4])
    written = write_pictures(results, tmp_path / "charts", kind)  # type: ignore[arg-type]
    assert len(written) == sum(len(chart.frames) for one in results.exhibits for chart in one.charts)
    assert len(set(written)) == len(written)
    for path in written:
        if kind == "png":
            with Image.open(path) as image:
                assert len(image.convert("L").getcolors(1 << 24) or []) > 10, path
        else:
            assert "<svg" in path.read_text(encoding="utf-8")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    results = read_results([samples.write(tmp_path / "a.json", samples.LEDGER)])
    with pytest.raises(UsageError, match=r"cannot make the folder .*a\.json"):
        write_texts(results, tmp_path / "a.json" / "tables")

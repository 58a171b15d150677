"""`enxuto report` reads what the other verbs really print."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from typer.testing import Result

Invoke = Callable[..., Result]


def test_what_verbs_print_is_on_the_page(invoke: Invoke, digits: Path, images: Path, tmp_path: Path) -> None:
    small, study = tmp_path / "digits.enx", tmp_path / "study"
    data = ("--data", images, "--limit", 40)
    verbs = {
        "compress": ("compress", digits, "-o", small),
        "inspect": ("inspect", small),
        "evaluate": ("evaluate", small, *data, "--reference", digits),
        "bench": ("bench", digits, small, "--repeats", 2, "--warmup", 0),
        "weights": ("weights", digits, "--layers"),
        "compare": ("compare", digits, small, *data, "--layer-images", 8),
        "curve": ("curve", digits, *data, "--levels", "5:6", "--methods", "midtread", "--workers", 0, "-o", study),
    }  # fmt: skip
    files = []
    for name, words in verbs.items():
        printed = invoke(*words, "--json")
        assert printed.exit_code == 0, printed.output
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(printed.stdout, encoding="utf-8")
    page, tables = tmp_path / "report.html", tmp_path / "tables"
    result = invoke(
        "report", *files, study, tmp_path / "missing.json", "-o", page, "--tables", tables, "--json"
    )
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert [one["kind"] for one in said["exhibits"]] == [
        "ledger", "ledger", "rate-curve", "rate-curve", "layers", "histograms", "speed-up", "evaluation", "comparison",
    ]  # fmt: skip
    assert all(one["charts"] and one["tables"] for one in said["exhibits"])
    assert len(said["problems"]) == 1
    assert "missing.json" in said["problems"][0]
    assert "missing.json" in result.stderr
    assert said["bytes"] == page.stat().st_size < 2_000_000
    assert (tables / "report.md").is_file()


def test_nothing_to_show_ends_with_one_line(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("report", tmp_path / "missing.json", "-o", tmp_path / "report.html")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: no result to show")
    assert not (tmp_path / "report.html").exists()

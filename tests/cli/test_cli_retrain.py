"""`enxuto compress --retrain` on the command line: the table, JSON, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from enxuto.cli import app
from enxuto.demo import MODEL, TEST_IMAGES

pytestmark = pytest.mark.torch


def run(*options: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["compress", str(MODEL), *options])
    return result.exit_code, result.output + result.stderr


def test_files_before_and_after_stand_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enxuto.compression.search._TRIALS", 2)
    code, shown = run(
        "--data", str(TEST_IMAGES), "--max-kl", "0.5", "--retrain", "--epochs", "3", "--images", "32",
        "--threads", "1", "-o", str(tmp_path / "a.enx"),
    )  # fmt: skip
    assert code == 0, shown
    assert "calibrated" in shown
    assert "--epochs 3" in shown
    assert (tmp_path / "a.enx").is_file()
    code, shown = run(
        "--data", str(TEST_IMAGES), "--max-kl", "0.5", "--retrain", "--epochs", "3", "--images", "32",
        "--threads", "1", "-o", str(tmp_path / "b.enx"), "--json",
    )  # fmt: skip
    found = json.loads(shown[shown.index("{") : shown.rindex("}") + 1])
    assert found["retrained"]["best"]["bytes"] <= found["retrained"]["calibrated"]["bytes"]
    assert (tmp_path / "a.enx").read_bytes() == (tmp_path / "b.enx").read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--minutes", "5"], "give --retrain"),
        (["--label-weight", "0.5"], "give --retrain"),
        (
            ["--retrain", "--data", str(TEST_IMAGES), "--bits", "2", "--label-weight", "1.5"],
            "--label-weight is a share from 0 to 1",
        ),
        (["--epochs", "5"], "give --retrain"),
        (["--control"], "give --retrain"),
        (["--retrain"], "give --data"),
        (["--retrain", "--calibration", str(TEST_IMAGES), "--bits", "2"], "give --data"),
        (
            ["--retrain", "--data", str(TEST_IMAGES), "--bits", "2", "--minutes", "1", "--epochs", "1"],
            "how long",
        ),
        (["--retrain", "--data", str(TEST_IMAGES), "--bits", "2", "--minutes", "0"], "positive"),
    ],
)
def test_options_that_do_not_fit_are_refused_in_one_line(options: list[str], message: str) -> None:
    code, shown = run(*options)
    assert code == 2
    assert message in " ".join(shown.split())

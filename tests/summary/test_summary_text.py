"""The layer table as text: cells, bars, Markdown."""

from __future__ import annotations

from fractions import Fraction

import pytest

from enxuto.summary import Layer, Reach, Summary
from enxuto.summary.text import LAYER_COLUMNS, bar, layer_cells, markdown, totals

ROW = Layer(
    name="features.conv",
    operator="Conv",
    inputs=((64, 56, 56), (64, 56, 56)),
    output=(128, 28, 28),
    activations=100_352,
    kernel=(3, 3),
    stride=(2, 2),
    padding=(1, 1, 1, 1),
    dilation=(2, 2),
    groups=4,
    weights=18_432,
    biases=128,
    macs=14_450_688,
    flops=29_001_728,
    reach=Reach((11, 11), (Fraction(8), Fraction(8)), (28, 28)),
)


def _cells(row: Layer, *, exact: bool = False) -> dict[str, str]:
    return dict(zip(LAYER_COLUMNS, layer_cells(row, exact=exact), strict=True))


def test_cells_of_a_row() -> None:
    cells = _cells(ROW)
    assert cells["window"] == "3 s2 p1 d2 g4"
    assert cells["input"] == "64×56×56 +1"
    assert (cells["parameters"], cells["no bias"]) == ("18,560", "18,432")
    assert (cells["activ."], cells["memory"]) == ("100 K", "401 KB")
    assert (cells["MACs"], cells["FLOPs"]) == ("14.5 M", "29.0 M")
    assert cells["field"] == "11/8"
    exact = _cells(ROW, exact=True)
    assert (exact["activ."], exact["memory"], exact["MACs"]) == ("100,352", "401,408 B", "14,450,688")


def test_windows_that_are_not_square() -> None:
    row = Layer("a", "Conv", ((1, 4, 4),), (1, 4, 2), 8, (1, 3), (1, 2), (0, 1, 0, 2), (1, 1))
    assert _cells(row)["window"] == "1×3 s1×2 p0,1,0,2"
    assert _cells(row)["memory"] == "32 B"


@pytest.mark.parametrize(
    ("value", "written"),
    [(0, ""), (999, "999"), (1000, "1.00 K"), (99_949, "99.9 K"), (999_500, "1.00 M"), (10**10, "10.0 G")],
)
def test_large_numbers_have_three_digits(value: int, written: str) -> None:
    assert _cells(Layer("a", "Conv", ((1,),), (1,), 1, macs=value))["MACs"] == written


def test_bars_are_shares() -> None:
    assert bar(0, 8).split() == ["0.0", "%"]
    assert bar(1, 2).split() == ["█" * 6, "50.0", "%"]
    assert bar(8, 8).split() == ["█" * 12, "100.0", "%"]
    assert bar(0, 0).split() == ["0.0", "%"]


def test_markdown_escapes_and_sums() -> None:
    table = Summary(
        "a|b", (64, 56, 56), (Layer("x|y", "Relu", ((1, 2, 2),), (1, 2, 2), 4, flops=4), ROW), ("note",)
    )
    text = markdown(table)
    assert "| x\\|y |" in text
    assert "parameters 18,560 (18,432 without biases)" in text
    assert text.rstrip().endswith("- note")
    assert "activations 100,356, 401,424 B in float32" in "\n".join(totals(table))
    assert markdown(table, depth=1).count("\n| ") == 3 + 1

"""How many of the places that are yes stay: where nearly all are no, nearly all stay anyhow."""

from __future__ import annotations

import numpy as np
import pytest

from enxuto.compression.output_judge import output_results
from enxuto.metrics.losses import OutputLoss

BEFORE = np.array([[3.0, -1, -2, 2, -4, -5, 0.5, -1]], np.float32)
AFTER = np.array([[2.0, -1, 1, 3, -4, -5, -0.5, np.nan]], np.float32)


@pytest.mark.parametrize("holds", ["logits", "probabilities"])
def test_places_that_are_yes(holds: str) -> None:
    """By hand: both at 0 and 3, either at 0, 2, 3 and 6; what is no number is no yes."""
    pair = [BEFORE, AFTER]
    if holds == "probabilities":
        pair = [1 / (1 + np.exp(-value)) for value in pair]
    loss = OutputLoss("p", "binary", "p", scores_are=holds)  # type: ignore[arg-type]
    assert loss.yes(*pair) == (2, 4)
    (found,) = output_results([loss], [1, 1], [[pair[0]]] * 2, [[pair[1]], [pair[0]]])
    assert found.iou == pytest.approx(100 * 5 / 7)
    assert found.same == pytest.approx(100 * 13 / 16)
    assert found.describe().endswith("81.25 % same, IoU 71.4 %")


@pytest.mark.parametrize("kind", ["classes", "values"])
def test_others_have_none(kind: str) -> None:
    loss = OutputLoss("p", kind, "p")  # type: ignore[arg-type]
    (found,) = output_results([loss], [1], [[BEFORE]], [[BEFORE]])
    assert found.iou is None
    assert "IoU" not in found.describe()


def test_without_a_yes_nothing_is_said() -> None:
    loss = OutputLoss("p", "binary", "p")
    (found,) = output_results([loss], [1], [[-np.abs(BEFORE)]], [[-np.abs(BEFORE)]])
    assert found.iou is None
    assert "IoU" not in found.describe()

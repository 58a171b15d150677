"""What training goes down is what files are judged by, for every kind of output."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from enxuto.metrics.losses import OutputLoss
from enxuto.retraining.divergence import divergence_from

SHAPES = [(None, (5, 4)), (1, (5, 4)), (1, (5, 4, 3)), (2, (5, 3, 4))]
CASES = [
    *((axis, shape, kind, False) for axis, shape in SHAPES for kind in ("logits", "probabilities")),
    *((axis, shape, "logits", True) for axis, shape in SHAPES[1:]),  # distances, of which the least wins
]


@pytest.mark.parametrize(("axis", "shape", "scores_are", "least"), CASES)
def test_classes_are_trained_as_they_are_judged(
    axis: int | None, shape: tuple[int, ...], scores_are: str, least: bool
) -> None:
    generator = np.random.default_rng(0)
    before, after = generator.normal(size=(2, *shape))
    if scores_are == "probabilities":
        before, after = (np.exp(v) / np.exp(v).sum(axis=axis or 1, keepdims=True) for v in (before, after))
    loss = OutputLoss("y", "classes", "y", scores_are, axis, least=least)  # type: ignore[arg-type]
    judged = loss.each(before, after, len(before)).mean()
    trained = divergence_from((torch.from_numpy(before),), (torch.from_numpy(after),), (loss,))
    assert float(trained) == pytest.approx(float(judged), rel=1e-4)

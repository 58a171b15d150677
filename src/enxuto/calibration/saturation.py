"""Outputs of classes that say the same for all samples, so that any weights seem to keep their answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from enxuto.calibration.answers import check_scores_vary
from enxuto.calibration.outputs import JudgedOutputs
from enxuto.errors import UsageError
from enxuto.metrics.divergence import log_probabilities
from enxuto.metrics.losses import OutputLoss

__all__ = ["check_classes_vary"]


def check_classes_vary(
    judged_outputs: JudgedOutputs, references: Sequence[Sequence[np.ndarray]]
) -> JudgedOutputs:
    """Return how outputs are judged, with a remark on each that always gives the same class with certainty.

    Args:
        judged_outputs: of any model.
        references: of every group of samples what is measured.

    Raises:
        UsageError: all outputs of classes are such, and there are no others.
    """
    found: dict[str, UsageError] = {}
    for number, loss in enumerate(judged_outputs.losses):
        if loss.kind != "classes":
            continue
        try:
            check_scores_vary(_rows(loss, [outputs[number] for outputs in references]))
        except UsageError as error:
            found[loss.name] = error
    if found and len(found) == len(judged_outputs.losses):
        raise next(iter(found.values()))
    remarks = tuple(
        f"output {name!r} gives all samples the same answers, which any weights keep; "
        f"outputs={{{name!r}: 'ignore'}} leaves it out"
        for name in found
    )
    return replace(judged_outputs, remarks=(*judged_outputs.remarks, *remarks)) if remarks else judged_outputs


def _rows(loss: OutputLoss, pieces: Sequence[np.ndarray]) -> np.ndarray:
    """Return what is measured of classes as logarithms of probabilities or logits, (rows, classes)."""
    rows = []
    for piece in pieces:
        whole = np.moveaxis(piece, loss.axis, -1) if loss.axis is not None else piece
        rows.append(whole.reshape(-1, whole.shape[-1]))
    scores = np.concatenate(rows) * (-1 if loss.least else 1)
    return scores if loss.scores_are == "logits" else log_probabilities(scores, loss.scores_are)

"""The checks that scores and labels pass before anything is counted."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from enxuto.errors import DataError

__all__ = ["check_labels", "check_scores"]


def check_scores(scores: ArrayLike, classes: int, first_sample: int) -> NDArray[np.float64]:
    """Scores as float64 (N, classes). Raises `DataError` for another shape or NaN, naming the sample."""
    values = np.asarray(scores, np.float64)
    if values.ndim != 2 or values.shape[1] != classes:
        raise DataError(f"scores have shape {values.shape}; (samples, {classes}) is needed")
    nan = np.flatnonzero(np.isnan(values).any(axis=1))
    if nan.size:
        sample = first_sample + int(nan[0])
        raise DataError(
            f"the scores of sample {sample} hold NaN; the model or its input is broken there", code="E045"
        )
    return values


def check_labels(labels: ArrayLike, count: int, classes: int, first_sample: int) -> NDArray[np.int64]:
    """Labels as int64 (count,). Raises `DataError` when they are no whole numbers in 0…classes − 1."""
    values = np.asarray(labels)
    if values.dtype.kind not in "iu" or values.shape != (count,):
        raise DataError(
            f"labels are {values.dtype} {values.shape}; whole numbers of shape ({count},) are needed",
            code="E042",
        )
    wrong = np.flatnonzero((values < 0) | (values >= classes))
    if wrong.size:
        label, sample = values[wrong[0]], first_sample + int(wrong[0])
        raise DataError(
            f"label {label} at sample {sample}, but the model has {classes} outputs; "
            "use the data set and label column the model was trained for",
            code="E042",
        )
    return values.astype(np.int64)

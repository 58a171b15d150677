"""Labels among arrays by name: the array that holds the class of every sample."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from enxuto.data.readers.named import Columns
from enxuto.data.samples import InputLike
from enxuto.errors import DataError

__all__ = ["LABELS", "take_labels"]

LABELS = ("label", "labels")  # what an array of classes may be called


def take_labels(
    columns: Columns, known: Mapping[str, InputLike], asked: str | None, path: str
) -> tuple[Columns, NDArray[np.int64] | None]:
    """Return the arrays without labels, and the labels (N,); None where there are none."""
    name = asked or next((one for one in LABELS if one in columns and one not in known), None)
    if name is None:
        return columns, None
    if name not in columns or name in known:
        what = (
            "is an input of the model" if name in known else f"is not there; there are {', '.join(columns)}"
        )
        raise DataError(f"{path}: the array of labels {name!r} {what}", code="E042")
    rows = [np.asarray(one) for one in np.atleast_1d(columns[name])]
    if any(one.size != 1 or one.dtype.kind not in "iu" or int(one.reshape(())) < 0 for one in rows):
        raise DataError(
            f"{path}: labels in {name!r} are a whole number from 0 up for each sample", code="E042"
        )
    rest = {one: column for one, column in columns.items() if one != name}
    return rest, np.array([int(one.reshape(())) for one in rows], np.int64)

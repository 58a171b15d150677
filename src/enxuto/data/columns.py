"""Arrays that a caller gives in Python, by input name: a dict of them, or a dict a sample."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enxuto.data.dataset import Dataset
from enxuto.data.readers.named import Columns
from enxuto.errors import DataError

__all__ = ["columns_of"]

Array = NDArray[Any]


def columns_of(data: Any) -> tuple[Columns, bool] | None:
    """Return arrays that a caller gives in Python, and whether each is of one sample alone; None for other things.

    data: a dict of arrays by input name, samples first, or of lists with an array a sample; or an iterator or list of
    dicts, one a sample.
    """
    if isinstance(data, Mapping):
        columns = {str(name): _column_of(values, str(name)) for name, values in data.items()}
        return columns, any(isinstance(column, list) for column in columns.values())
    if isinstance(data, (str, bytes, np.ndarray, tuple, Dataset)) or not isinstance(data, Iterable):
        return None
    rows = list(data)
    if not rows or not all(isinstance(row, Mapping) for row in rows):
        return None
    if any(row.keys() != rows[0].keys() for row in rows):
        raise DataError("samples have arrays of different names; give all samples the same", code="E044")
    return {str(name): [np.asarray(row[name]) for row in rows] for name in rows[0]}, True


def _column_of(values: Any, name: str) -> Array | list[Array]:
    """Return an array (N, …), or a list of a sample's each where these differ in shape."""
    try:
        return np.asarray(values)
    except ValueError:
        try:
            return [np.asarray(row) for row in values]
        except ValueError:
            raise DataError(
                f"the samples of {name!r} are no arrays: rows of one differ in length", code="E044"
            ) from None

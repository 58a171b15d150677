"""A data set's images as samples of a model's one input of images."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enxuto.data.dataset import Dataset
from enxuto.data.feeding import check_feeds, describe_input
from enxuto.data.preprocess import Preprocess
from enxuto.data.samples import InputLike, Samples
from enxuto.errors import DataError

__all__ = ["image_samples"]

_BATCH = 32

Array = NDArray[Any]


def image_samples(dataset: Dataset, preprocess: Preprocess, item: InputLike) -> Samples:
    """Return a data set's images as samples of a model's one input of images.

    Images may differ in size where the input has sizes that are not fixed. Raises `DataError` for one that cannot be
    read or does not fit.
    """
    column: Array | list[Array]
    try:
        with closing(dataset.batches(_BATCH, preprocess)) as batches:
            column = np.concatenate([images for images, _ in batches])
    except (DataError, ValueError) as error:  # of sizes that differ
        if (isinstance(error, DataError) and error.code != "E044") or None not in item.shape[1:]:
            raise
        column = [
            preprocess.to_batch([preprocess.prepare_image(dataset.image(i))]) for i in range(len(dataset))
        ]
    rows = [column[:1]] if isinstance(column, np.ndarray) else column
    for number, row in enumerate(rows):
        check_feeds({item.name: row}, [item], f"{dataset.path}: {dataset.name(number)}", batch=True)
    if isinstance(column, np.ndarray):
        return Samples({item.name: _pixels(column, item, dataset)}, str(dataset.path))
    cast = [_pixels(row, item, dataset) for row in column]
    return Samples({item.name: cast}, str(dataset.path), stacked=item.shape[0] is None)


def _pixels(array: Array, item: InputLike, dataset: Dataset) -> Array:
    """Return preprocessed images in the input's type, of which whole numbers stay what they are."""
    found = array.astype(item.dtype, copy=False)
    if item.dtype.kind in "iu" and not np.array_equal(found, array):
        raise DataError(
            f"{dataset.path}: {describe_input(item)} takes whole numbers, and preprocessing makes fractions; feed "
            "pixels as they are (divide_by=1)",
            code="E046",
        )
    return found

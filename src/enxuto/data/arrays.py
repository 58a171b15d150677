"""NumPy arrays as a data set: pixels as other readers give them, or floats as the model takes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from enxuto.data.dataset import Dataset
from enxuto.data.source import Source, int64_labels, no_labels
from enxuto.errors import DataError

__all__ = ["dataset_of_arrays"]


def dataset_of_arrays(images: ArrayLike, labels: ArrayLike | None = None) -> Dataset:
    """Return a data set of images in memory.

    Args:
        images: uint8 pixels (N, H, W) or (N, H, W, C), C = 1 or 3, which are preprocessed as those of files are; or
            floats (N, …) in the form that the model takes, to which no preprocessing is applied.
        labels: whole numbers (N,), the outputs that are expected; None where there are none.

    Raises:
        DataError: shapes or types do not fit, or floats are not finite.
    """
    array = np.asarray(images)
    pixels = array.dtype == np.uint8
    if pixels and array.ndim == 3:
        array = array[..., np.newaxis]
    if array.ndim < 2 or 0 in array.shape or not (pixels or array.dtype.kind == "f"):
        raise DataError(
            f"an array of images is uint8 (N, H, W) or (N, H, W, C), or floats (N, C, H, W) as the model takes them, "
            f"not {array.dtype} {array.shape}"
        )
    if pixels and (array.ndim != 4 or array.shape[3] not in (1, 3)):
        raise DataError(
            f"uint8 images have the shape (N, H, W) or (N, H, W, C), C = 1 or 3, not {array.shape}"
        )
    if not pixels:
        array = array.astype(np.float32, copy=False)
        if not np.isfinite(array).all():
            raise DataError("the array of images holds NaN or infinity", code="E045")
    return Dataset(
        Source(
            path="array",
            format="array",
            part=None,
            labels=no_labels(len(array)) if labels is None else _checked(labels, len(array)),
            classes=None,
            fetch=lambda index: array[index],
            name=lambda index: f"sample {index}",
            labelled=labels is not None,
            prepared=not pixels,
        )
    )


def _checked(labels: ArrayLike, count: int) -> NDArray[np.int64]:
    array = np.asarray(labels)
    if array.dtype.kind not in "iu" or array.shape != (count,):
        raise DataError(
            f"labels are whole numbers of shape ({count},), one an image, not {array.dtype} {array.shape}",
            code="E042",
        )
    return int64_labels(array)

"""NumPy arrays as a data set: pixels as other readers give them, or floats as the model takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from enxuto.data.dataset import Dataset
from enxuto.data.source import Source, int64_labels, no_labels
from enxuto.errors import DataError

__all__ = ["dataset_of_arrays"]


def dataset_of_arrays(images: ArrayLike, labels: ArrayLike | None = None) -> Dataset:
    """Return a data set of images in memory.

    Args:
        images: uint8 pixels (N, H, W) or (N, H, W, C), C = 1 or 3, which are preprocessed as those of files are; a list
            of such images (H, W) or (H, W, C), whose sizes may differ; or floats (N, …) in the form that the model
            takes, to which no preprocessing is applied.
        labels: whole numbers (N,), the outputs that are expected; None where there are none.

    Raises:
        DataError: shapes or types do not fit, or floats are not finite.
    """
    if isinstance(images, (list, tuple)) and len({np.shape(one) for one in images}) > 1:
        return _dataset_of_sizes([np.asarray(one) for one in images], labels)
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
        if not np.isfinite(array).all():
            raise DataError("the array of images holds NaN or infinity", code="E045")
        with np.errstate(over="ignore"):
            array, given = array.astype(np.float32, copy=False), array
        if not np.isfinite(array).all():
            raise DataError(
                f"the array of images holds {np.abs(given).max():.4g}, too large for float32", code="E045"
            )
    return _dataset(array, labels, prepared=not pixels)


def _dataset_of_sizes(images: Sequence[NDArray[Any]], labels: ArrayLike | None) -> Dataset:
    """Return a data set of images of several sizes."""
    found = []
    for number, image in enumerate(images):
        channels = image if image.ndim == 3 else image[..., np.newaxis]
        if (
            image.dtype != np.uint8
            or channels.ndim != 3
            or 0 in image.shape
            or channels.shape[2] not in (1, 3)
        ):
            raise DataError(
                f"images of several sizes are uint8 (H, W) or (H, W, C), C = 1 or 3, and image {number} is "
                f"{image.dtype} {image.shape}"
            )
        found.append(channels)
    return _dataset(found, labels, prepared=False)


def _dataset(
    images: Sequence[NDArray[Any]] | NDArray[Any], labels: ArrayLike | None, *, prepared: bool
) -> Dataset:
    return Dataset(
        Source(
            path="array",
            format="array",
            part=None,
            labels=no_labels(len(images)) if labels is None else _checked(labels, len(images)),
            classes=None,
            fetch=lambda index: images[index],
            name=lambda index: f"sample {index}",
            labelled=labels is not None,
            prepared=prepared,
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

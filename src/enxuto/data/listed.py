"""Samples that a caller lists in Python: arrays, lists of arrays or of numbers, images → named arrays, or images.

`[array, array, …]` is a sample each, of a model's one input; `[[array, array], …]` has an array for each input in the
model's order. Bytes of images for an input of images are images, and so are preprocessed; arrays of floats of one
shape are what they are stacked. A single array of whole numbers is of the one input, samples first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enxuto.data.arrays import dataset_of_arrays
from enxuto.data.dataset import Dataset
from enxuto.data.samples import InputLike, Samples
from enxuto.errors import DataError, error_reason

__all__ = ["gather", "is_array", "is_pair", "listed_images", "name_arrays"]

Array = NDArray[Any]

_IMAGE_AXES = 4  # of an input of images


def gather(data: Any) -> Any:
    """Return an iterator as a list, and arrays of other libraries as arrays; all else as it is."""
    if isinstance(data, (str, bytes, Mapping, Dataset, Samples, np.ndarray, tuple, list)):
        return data
    if is_array(data):
        return _to_array(data)
    return list(data) if isinstance(data, Iterable) else data


def is_array(value: Any) -> bool:
    """Say whether a value is an array, of NumPy or of a library that gives one: a tensor, an image."""
    return (
        isinstance(value, np.ndarray) or hasattr(value, "__array__") or hasattr(value, "__array_interface__")
    )


def _to_array(value: Any) -> Array:
    """Return an array of NumPy; a tensor that does not become one is a `DataError`."""
    try:
        return np.asarray(value)
    except (RuntimeError, TypeError, ValueError) as error:
        raise DataError(
            f"{type(value).__name__} gives no NumPy array ({error_reason(error)}); give arrays", code="E044"
        ) from error


def is_pair(data: Any) -> bool:
    """Say whether a caller gives (samples, labels): a tuple of two, or a list of an array and its labels."""
    if not isinstance(data, (tuple, list)) or len(data) != 2 or not is_array(data[0]):
        return False
    if isinstance(data, tuple):
        return True
    first, second = _to_array(data[0]), _to_array(data[1]) if is_array(data[1]) else np.zeros(())
    return second.dtype.kind in "iu" and second.ndim == 1 and first.ndim > 1 and len(first) == len(second)


def listed_images(data: Any, inputs: Sequence[InputLike] | None = None) -> list[Array] | None:
    """Return bytes of images (H, W) or (H, W, C), a list of them, where a list holds nothing else; None where not.

    inputs: of the model, of which one has to take images; None: any may.
    """
    if not isinstance(data, (list, tuple)) or not data or not all(is_array(one) for one in data):
        return None
    if inputs is not None and (len(inputs) != 1 or len(inputs[0].shape) != _IMAGE_AXES):
        return None
    found = [_to_array(one) for one in data]
    found = [one[0] if one.ndim == _IMAGE_AXES and len(one) == 1 else one for one in found]
    if any(one.dtype != np.uint8 or one.ndim not in (2, 3) or not one.size for one in found):
        return None
    return None if any(one.ndim == 3 and one.shape[2] not in (1, 3) for one in found) else found


def name_arrays(data: Any, inputs: Sequence[InputLike], name: str) -> Any:
    """Return what a caller gives without names of inputs as a dict of arrays, dicts, an array or a data set of images.

    Args:
        data: as `gather` gives it; a path, a data set and dicts are returned as they are.
        inputs: that need arrays.
        name: of the argument, for messages.

    Raises:
        DataError: the list is empty, or what it holds is no sample of the model.
    """
    if is_pair(data) or isinstance(data, np.ndarray):
        if len(inputs) > 1:
            names = ", ".join(f"{item.name!r}: …" for item in inputs)
            raise DataError(
                f"{name} is {'a pair of arrays' if is_pair(data) else 'one array'}, and the model has {len(inputs)} "
                f"inputs; give {name}{{{names}}}, samples first",
                code="E044",
            )
        array, *labels = data if is_pair(data) else (data,)
        array = _to_array(array)
        if len(inputs) != 1 or array.dtype.kind == "f" or not array.ndim or _holds_pixels(array, inputs[0]):
            return data
        named = {inputs[0].name: array}
        return named if not labels else {**named, "label": _to_array(labels[0])}
    if not isinstance(data, (list, tuple)) or (data and all(isinstance(row, Mapping) for row in data)):
        return data
    if not data:
        raise DataError(f"{name} holds no samples; give at least one", code="E043")
    if (images := listed_images(data, inputs)) is not None:
        return dataset_of_arrays(images)
    rows = [_arrays_of(row, number, inputs, name) for number, row in enumerate(data)]
    column = [row[0] for row in rows]
    alike = len({array.shape for array in column}) == 1 and all(array.dtype.kind == "f" for array in column)
    if len(inputs) == 1 and alike and inputs[0].dtype.kind == "f" and column[0].ndim:
        whole = column[0].ndim == len(inputs[0].shape) and len(column[0]) == 1
        return np.concatenate(column) if whole else np.stack(column)
    return [{item.name: array for item, array in zip(inputs, row, strict=True)} for row in rows]


def _holds_pixels(array: Array, item: InputLike) -> bool:
    """Say whether an array of bytes is one of images: of grey or three channels, for an input of images."""
    return array.dtype == np.uint8 and len(item.shape) == _IMAGE_AXES and array.ndim in (3, _IMAGE_AXES)


def _arrays_of(row: Any, number: int, inputs: Sequence[InputLike], name: str) -> list[Array]:
    """Return the arrays of one entry, one for each input."""
    several = isinstance(row, (list, tuple)) and any(is_array(one) for one in row)
    found = [_to_array(one) for one in row] if several else [_array_of(row, number, name)]
    if len(found) != len(inputs):
        names = ", ".join(repr(item.name) for item in inputs)
        count = f"{len(inputs)} inputs" if len(inputs) > 1 else "one input"
        labels = ", and 'label' for its class" if len(found) > len(inputs) else ""
        raise DataError(
            f"{name}: entry {number} is {len(found)} array{'s' if len(found) > 1 else ''}, and the model has {count} "
            f"({names}); give each sample as a dict of arrays by input name{labels}",
            code="E044",
        )
    return found


def _array_of(value: Any, number: int, name: str) -> Array:
    """Return an array, or numbers in lists, as an array."""
    if is_array(value) or isinstance(value, (int, float, bool)):
        return _to_array(value)
    if isinstance(value, (list, tuple)):
        try:
            array = np.asarray(value)
        except ValueError:  # lists of different lengths
            array = np.asarray(None)
        if array.dtype.kind in "iufb":
            return array
    raise DataError(
        f"{name}: entry {number} is {_kind(value)}, and a sample is an array or a dict of arrays by input name; images "
        "in files are given as their folder",
        code="E044",
    )


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a dict beside entries that are none"
    if isinstance(value, (list, tuple)):
        return "a list that is no array of numbers"
    return f"of type {type(value).__name__}"

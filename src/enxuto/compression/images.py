"""Images as a model takes them: those of a data set, or synthetic ones where there are none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from enxuto.calibration.synthetic import synthetic_images
from enxuto.compression.split import ImageSplit, load_images
from enxuto.data import Dataset, Preprocess
from enxuto.data.image_feeding import image_samples
from enxuto.data.samples import Samples, feeds_text
from enxuto.errors import DataError, UsageError
from enxuto.onnx_model import Model
from enxuto.opening import preprocess_of
from enxuto.runtime import Runner

__all__ = ["calibrating_images", "images_of", "with_preparation"]


def calibrating_images(
    model: Model, data: Dataset | Samples | None, preprocess: Preprocess, images: int, seed: int
) -> tuple[npt.NDArray[np.float32] | Samples, str]:
    """Return what calibrates, as the model takes it, and what it is of; images of one size as an array (N, …)."""
    if data is None:
        return _synthetic(model, preprocess, images, seed), "synthetic"
    source = f"{data.hash} of {Path(data.path).name}"
    return (data if isinstance(data, Samples) else images_of(model, data, preprocess)), source


def images_of(model: Model, data: Dataset, preprocess: Preprocess) -> npt.NDArray[np.float32] | Samples:
    """Return a data set's images as a model of one input takes them: an array (N, …) where they are of one size."""
    inputs = Runner(model, threads=1).inputs
    if len(inputs) > 1:
        raise DataError(
            f"{data.path} holds images, and the model has {len(inputs)} inputs; give named arrays, made with: "
            f"{feeds_text(inputs)}",
            code="E044",
        )
    if inputs[0].dtype.kind == "f" and None not in inputs[0].shape[1:]:
        return load_images(data, preprocess)
    found = image_samples(data, preprocess, inputs[0])
    (column,) = found.columns.values()
    return column if isinstance(column, np.ndarray) else found


def with_preparation(
    metadata: Mapping[str, Any], parts: ImageSplit, preprocess: Preprocess
) -> dict[str, Any]:
    """Return what a file says of its model, with how images were prepared, also where that was only assumed.

    The file is fit to these inputs, so that who runs it needs the same.
    """
    known = dict(metadata)
    if not parts.prepares_images or preprocess_of(known) is not None:
        return known
    return known | {"preprocess": preprocess.to_dict()}


def _synthetic(model: Model, preprocess: Preprocess, count: int, seed: int) -> npt.NDArray[np.float32]:
    """Return synthetic images, preprocessed, of the size the model takes."""
    inputs = Runner(model, threads=1).inputs
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise UsageError(
            "synthetic images fit models with one input of images; give calibration=", code="E032"
        )
    known = preprocess.output_shape()
    sizes = [
        fixed if fixed is not None else made for fixed, made in zip(inputs[0].shape[1:], known, strict=True)
    ]
    if any(size is None for size in sizes):
        raise UsageError(
            "the size of the model's images is not known; set resize or crop in preprocess=, or give calibration=",
            code="E023",
        )
    channels, height, width = sizes if preprocess.layout == "NCHW" else (sizes[2], sizes[0], sizes[1])
    return preprocess.to_batch(
        list(synthetic_images(count, int(height or 1), int(width or 1), int(channels or 1), seed))
    )

"""Which images calibrate, which judge the search, and which are held out for the figures that are reported."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from enxuto.compression.judge import Bounds
from enxuto.data import Dataset, Preprocess
from enxuto.data.samples import Samples
from enxuto.errors import DataError, UsageError

__all__ = ["ImageSplit", "load_images", "split_images"]

_MOST_CALIBRATING = 1 / 3  # of a data set that has to judge and report too
_BATCH = 32


@dataclass(frozen=True)
class ImageSplit:
    """Images for calibration, for judging trials, and held out for the report; None where a part is not needed."""

    # Each a Dataset or Samples, as the parts are made of one or the other.
    calibration: Any
    judging: Any
    held_out: Any


def split_images(
    data: Dataset | Samples | None,
    calibration: Dataset | Samples | None,
    bounds: Bounds,
    images: int,
    seed: int,
    *,
    synthetic: bool = False,
) -> ImageSplit:
    """Split a data set, labelled or not, at random into the parts that a search needs.

    Args:
        data: images to judge by, to report on, and without `calibration` to calibrate by.
        calibration: images to calibrate by, of which `images` are drawn.
        bounds: what is searched; only bounds on answers need judging images.
        images: how many calibrate; of `data` a third at most.
        seed: of all draws.
        synthetic: no image of `data` calibrates, even where `calibration` is None.

    Raises:
        DataError: there are too few images, or no labels where top-1 is bounded.
        UsageError: there are no images to judge by.
    """
    if bounds.limits_answers and data is None:
        raise UsageError("a bound on the answers needs images to judge by; give data=", code="E023")
    if bounds.max_drop is not None and data is not None and not data.labelled:
        raise DataError(
            f"{data.path} has no labels, which a bound on top-1 needs; bound max_kl= or min_agreement=",
            code="E042",
        )
    if images < 2:
        raise UsageError(f"calibration needs at least 2 images, not {images}")
    if calibration is not None and len(calibration) > images:
        calibration = calibration.split([images / len(calibration)], seed, stratified=False)[0]
    if data is None:
        return ImageSplit(calibration, None, None)
    rest = data
    if calibration is None and not synthetic:
        share = min(images / len(data), _MOST_CALIBRATING)
        if share * len(data) < 2:
            raise DataError(
                f"{data.path}: {len(data)} images are too few to calibrate, judge and report", code="E043"
            )
        calibration, rest = data.split([share, 1 - share], seed, stratified=False)
    if not bounds.limits_answers:
        return ImageSplit(calibration, None, rest)
    judging, held_out = rest.split([0.5, 0.5], seed, stratified=False)
    return ImageSplit(calibration, judging, held_out)


def load_images(dataset: Dataset, preprocess: Preprocess) -> npt.NDArray[np.float32]:
    """Return all images (N, …) of a data set as a model takes them. Raises `DataError` for one that cannot be read."""
    with closing(dataset.batches(_BATCH, preprocess)) as batches:
        return np.concatenate([images for images, _ in batches])

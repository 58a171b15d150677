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

__all__ = ["ImageSplit", "load_images", "split_for_training", "split_images"]

_MOST_CALIBRATING = 1 / 3  # of a data set that has to judge and report too
_BATCH = 32
_MOST_JUDGING = 10_000  # images of a data set that also trains, which judge and report
_FEWEST_JUDGING = 1000  # of them, where these are no more than two thirds
_JUDGING_SHARE = 0.2


@dataclass(frozen=True)
class ImageSplit:
    """Images for calibration, for judging trials, held out for the report, and for training; None where not needed.

    Those that calibrate are some of those for training.
    """

    # Each a Dataset or Samples, as the parts are made of one or the other.
    calibration: Any
    judging: Any
    held_out: Any
    training: Any = None

    @property
    def prepares_images(self) -> bool:
        """Whether preprocessing makes inputs of what is here: of images, made up ones aside, that are no inputs yet."""
        given = (self.calibration, self.judging, self.held_out, self.training)
        return any(isinstance(one, Dataset) and not one.prepared for one in given)


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
                f"{data.path}: {len(data)} samples are too few to calibrate, judge and report", code="E043"
            )
        calibration, rest = data.split([share, 1 - share], seed, stratified=False)
    if not bounds.limits_answers:
        return ImageSplit(calibration, None, rest)
    judging, held_out = rest.split([0.5, 0.5], seed, stratified=False)
    return ImageSplit(calibration, judging, held_out)


def split_for_training(
    data: Dataset | Samples | None,
    calibration: Dataset | Samples | None,
    bounds: Bounds,
    images: int,
    seed: int,
) -> ImageSplit:
    """Split a data set for retraining: images that train (and calibrate), that choose among files, and that report.

    Where `calibration` is given, all of it trains; otherwise four fifths of `data` do, or more where it is large.

    Raises:
        DataError: there are too few images, or no labels where top-1 is bounded.
        UsageError: there are no images to judge by.
    """
    if data is None:
        raise UsageError("retraining needs images to judge by; give data=", code="E023")
    training, rest = _with_labels_of(calibration, data), data
    if training is None:
        wanted = min(max(_JUDGING_SHARE * len(data), _FEWEST_JUDGING), _MOST_JUDGING, 2 / 3 * len(data))
        share = 1 - wanted / len(data)
        if share * len(data) < 2:
            raise DataError(
                f"{data.path}: {len(data)} samples are too few to train, judge and report", code="E043"
            )
        training, rest = data.split([share, 1 - share], seed, stratified=False)
    split = split_images(rest, training, bounds, images, seed)
    judging, held_out = split.judging, split.held_out
    if judging is None:
        judging, held_out = held_out.split([0.5, 0.5], seed, stratified=False)
    return ImageSplit(split.calibration, judging, held_out, training)


def _with_labels_of(
    calibration: Dataset | Samples | None, data: Dataset | Samples
) -> Dataset | Samples | None:
    """Return images that train with the numbers of classes that those that judge have, or without labels."""
    if not (isinstance(calibration, Dataset) and isinstance(data, Dataset)):
        return calibration
    if not (calibration.labelled and data.labelled) or data.classes is None:
        return calibration
    try:
        return calibration.match_classes(data.classes, len(data.classes))[0]
    except DataError:  # classes that the model does not have: nothing can be learned from them
        return calibration.without_labels()


def load_images(dataset: Dataset, preprocess: Preprocess) -> npt.NDArray[np.float32]:
    """Return all images (N, …) of a data set as a model takes them. Raises `DataError` for one that cannot be read."""
    with closing(dataset.batches(_BATCH, preprocess)) as batches:
        return np.concatenate([images for images, _ in batches])

"""`compress_within`: the smallest file within a bound, from a model and images (or none) to the figures reported.

With `data`, some images calibrate, others judge during the search, the rest are reported on: no image has two parts.
Labels are looked at only where top-1 is told or bounded. With `calibration` besides, that data set calibrates. With
neither, synthetic images calibrate, and only a size can be bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from enxuto.calibration.answers import check_scores_vary, require_class_answers
from enxuto.calibration.cache import cached_calibration, calibration_folder, calibration_key
from enxuto.calibration.calibrate import Calibration, calibrate
from enxuto.calibration.synthetic import synthetic_images
from enxuto.compression.at_price import Outcome, compress_at
from enxuto.compression.plain import DEFAULT_ROLES, parameters
from enxuto.compression.search import Bounds, Found, Judge, Judgement, Trial, search
from enxuto.compression.trial_log import TrialLog
from enxuto.data import Dataset, Preprocess
from enxuto.errors import DataError, UsageError
from enxuto.machine.processors import processors
from enxuto.metrics import ChanceComparison
from enxuto.onnx_model import Model, Role
from enxuto.runtime import Runner, advised

__all__ = ["Parts", "Within", "compress_within", "deal", "pictures_of"]

Progress = Callable[[str, int, int], None]

_MOST_CALIBRATING = 1 / 3  # of a data set that has to judge and report too
_FIRST_BITS = 3.0
_MOST_BITS = 14.0  # a weight: nothing finer is tried first, however large the size allowed
_BATCH = 32


@dataclass(frozen=True)
class Parts:
    """Which images do what; None where a part is not needed or there are none."""

    calibrating: Dataset | None
    judging: Dataset | None
    reporting: Dataset | None


@dataclass(frozen=True)
class Within:
    """The outcome, how it was found, and how it does on images that nothing was chosen by (None without data).

    by_chance: how the original's top-1 on these images compares with chance. missed: what the bounds lack on these
    images, though those that judged the search kept them.
    """

    outcome: Outcome
    found: Found
    reported: Judgement | None
    calibration: Calibration
    by_chance: ChanceComparison | None = None
    missed: str | None = None


def deal(
    data: Dataset | None,
    calibration: Dataset | None,
    bounds: Bounds,
    images: int,
    seed: int,
    *,
    synthetic: bool = False,
) -> Parts:
    """Deal a data set, labelled or not, into the parts that a search needs, at random with `seed`.

    synthetic: no image of `data` calibrates, even where `calibration` is None.
    Raises `DataError` where there are too few images, `UsageError` where there are none to judge by.
    """
    if bounds.judged and data is None:
        raise UsageError("a bound on the answers needs images to judge by; give --data")
    if bounds.max_drop is not None and data is not None and not data.labelled:
        raise DataError(
            f"{data.path} has no labels, which a bound on top-1 needs; bound --max-kl or --min-agreement"
        )
    if images < 2:
        raise UsageError(f"calibration needs at least 2 images, not {images}")
    if calibration is not None and len(calibration) > images:
        calibration = calibration.split([images / len(calibration)], seed, stratified=False)[0]
    if data is None:
        return Parts(calibration, None, None)
    rest = data
    if calibration is None and not synthetic:
        share = min(images / len(data), _MOST_CALIBRATING)
        if share * len(data) < 2:
            raise DataError(f"{data.path}: {len(data)} images are too few to calibrate, judge and report")
        calibration, rest = data.split([share, 1 - share], seed, stratified=False)
    if not bounds.judged:
        return Parts(calibration, None, rest)
    judging, reporting = rest.split([0.5, 0.5], seed, stratified=False)
    return Parts(calibration, judging, reporting)


@advised("compress it without images")
def compress_within(
    model: Model,
    bounds: Bounds,
    parts: Parts,
    preprocess: Preprocess,
    *,
    images: int = 256,
    metadata: Mapping[str, Any] | None = None,
    roles: Collection[Role | str] = DEFAULT_ROLES,
    keep_exact: Sequence[str] = (),
    seed: int = 0,
    threads: int = 0,
    cache: Path | None = None,
    progress: Progress | None = None,
    tried: Callable[[Trial], None] | None = None,
) -> Within:
    """Calibrate, search, and report.

    images: synthetic ones made where `parts` has none to calibrate by. cache: the folder where calibrations and trials
    are kept (by default `calibration_folder()`), so that a search that was interrupted goes on after its last trial,
    and one with another bound tries no price again. tried: called after every trial, remembered ones too. Other
    arguments as for `calibrate` and `compress_at`. Raises `DataError` for images that do not fit the model, and where
    top-1 is bounded but the original's is no better than chance; `UsageError` for models that are no classifiers.
    """
    pictures, source = _calibrating(model, parts.calibrating, preprocess, images, seed)
    # What makes all that follows useless is told before it is done.
    require_class_answers(model, pictures, threads=threads)
    judge = _judge(model, parts.judging, preprocess, threads, bounds) if bounds.judged else None

    def measure() -> Calibration:
        return calibrate(model, pictures, source=source, seed=seed, threads=threads, progress=progress)

    calibration = cached_calibration(
        model, pictures, measure, source=source, seed=seed, threads=threads or processors(), folder=cache
    )

    check_scores_vary(calibration.scores)  # one that ignores its input too: a search would keep nothing of it

    def make(price: float) -> Outcome:
        outcome = compress_at(
            calibration, price, metadata=metadata, roles=roles, keep_exact=keep_exact, progress=progress
        )
        if progress is not None and judge is not None:
            progress("judging", 0, 1)
        return outcome

    bits = _FIRST_BITS if bounds.max_bytes is None else 8 * bounds.max_bytes / max(1, parameters(model))
    log = TrialLog(
        cache or calibration_folder(),
        calibration_key(model, pictures, seed),
        parts.judging.hash if judge is not None and parts.judging is not None else None,
        [repr(preprocess), metadata, sorted(str(role) for role in roles), list(keep_exact), source],
    )
    found = search(
        make,
        bounds,
        calibration.price_of_bits(min(bits, _MOST_BITS)),
        judge=judge,
        weights=parameters(calibration.model),
        memory=log,
        progress=tried,
    )
    if parts.reporting is None:
        return Within(found.outcome, found, None, calibration)
    reporter = Judge(model, parts.reporting, preprocess, threads=threads, batch=_BATCH)
    chance = reporter.by_chance if parts.reporting.labelled else None
    reported = reporter(found.outcome.model)
    missed = bounds.broken(reported) if found.fits else None
    return Within(found.outcome, found, reported, calibration, chance, missed)


def _calibrating(
    model: Model, given: Dataset | None, preprocess: Preprocess, images: int, seed: int
) -> tuple[npt.NDArray[np.float32], str]:
    """Return the images (N, …) that calibrate, as the model takes them, and what they are of."""
    if given is None:
        return _made_up(model, preprocess, images, seed), "synthetic"
    return pictures_of(given, preprocess), f"{given.hash} of {Path(given.path).name}"


def _judge(
    model: Model, judging: Dataset | None, preprocess: Preprocess, threads: int, bounds: Bounds
) -> Judge | None:
    """Return what judges trials, None without images.

    Raises `DataError` where points of top-1 are bounded while the original's answers have nothing to do with the
    labels: then none can be lost.
    """
    if judging is None:
        return None
    judge = Judge(model, judging, preprocess, threads=threads, batch=_BATCH)
    found = judge.by_chance
    if bounds.max_drop is not None and not found.better:
        raise DataError(
            f"{judging.path}: the original's top-1 is {found.right} of {found.samples} images that judge "
            f"({found.right / found.samples:.1%}), no better than chance ({found.expected:.1%}), so that no points of "
            "top-1 can be lost; are the labels those of the model, in its order, the preprocessing the model's, and "
            "are there enough images? --min-agreement and --max-kl need no labels"
        )
    return judge


def pictures_of(dataset: Dataset, preprocess: Preprocess) -> npt.NDArray[np.float32]:
    """Return all images (N, …) of a data set as a model takes them. Raises `DataError` for one that cannot be read."""
    with closing(dataset.batches(_BATCH, preprocess)) as batches:
        return np.concatenate([images for images, _ in batches])


def _made_up(model: Model, preprocess: Preprocess, count: int, seed: int) -> npt.NDArray[np.float32]:
    """Return synthetic images, preprocessed, of the size the model takes."""
    inputs = Runner(model, threads=1).inputs
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise UsageError("synthetic images fit models with one input of images; give --calibration")
    known = preprocess.output_shape()
    sizes = [
        size if size is not None else wanted for size, wanted in zip(inputs[0].shape[1:], known, strict=True)
    ]
    if any(size is None for size in sizes):
        raise UsageError(
            "the size of the model's images is not known; say --resize or --crop, or give --calibration"
        )
    channels, height, width = sizes if preprocess.layout == "NCHW" else (sizes[2], sizes[0], sizes[1])
    return preprocess.finish(
        list(synthetic_images(count, int(height or 1), int(width or 1), int(channels or 1), seed))
    )

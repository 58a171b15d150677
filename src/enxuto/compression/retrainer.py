"""What the search hands to a retrainer (`enxuto.retraining`), and what it gets back.

Retraining needs PyTorch, which this room does without: it calls whatever it is given.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from enxuto.calibration.calibration import Calibration
from enxuto.compression.at_price import PricedModel, code_levels
from enxuto.compression.judge import Bounds, Judgement
from enxuto.compression.search import SearchResult
from enxuto.compression.trial_log import read_judgement
from enxuto.data import Preprocess
from enxuto.data.samples import Samples
from enxuto.enx.file import CompressedModel
from enxuto.errors import UsageError
from enxuto.metrics.paired import is_lower
from enxuto.onnx_model import Model, Role
from enxuto.progress import Progress
from enxuto.quantize.tensor import QuantizedTensor

__all__ = [
    "Judging",
    "RemovedFilters",
    "Retrained",
    "Retrainer",
    "RetrainingCheck",
    "RetrainingControl",
    "RetrainingTask",
    "TaskSettings",
    "after_retraining",
    "array_of",
    "retraining_task",
]

_MOST_BYTES = 2 << 30  # of training images in memory


@dataclass(frozen=True)
class TaskSettings:
    """What a retrainer needs besides a file, images and a judge.

    metadata, roles, keep_exact: as for `compress_at`. record: the file that the search's trials are kept in;
    checkpoints lie beside it. progress: called with ("retraining", done, total). on_check: called with every file made.
    """

    metadata: Mapping[str, Any]
    roles: Collection[Role | str]
    keep_exact: tuple[str, ...]
    seed: int
    threads: int
    record: Path
    progress: Progress | None = None
    on_check: Callable[[RetrainingCheck], None] | None = None


class Judging(Protocol):
    """Judges files by the images that choose."""

    def __call__(self, compressed: CompressedModel) -> Judgement:
        """Return how a file does."""

    def losses(self, compressed: CompressedModel) -> npt.NDArray[np.float64]:
        """Return the loss (N,) of every image."""


@dataclass(frozen=True)
class RetrainingTask:
    """A calibrated file to start from, images to train on, and what judges.

    images: (N, …) float32, as the model takes them; none of them judges or is reported on. pictures: whether axes 2 and
    3 are height and width. labels: (N,) of the images, None where they have none.
    """

    calibration: Calibration
    start: PricedModel
    images: npt.NDArray[np.float32]
    pictures: bool
    bounds: Bounds
    judge: Judging
    settings: TaskSettings
    labels: npt.NDArray[np.int64] | None = None

    @property
    def read(self) -> list[str]:
        """The values that the model's layers read, by name."""
        return [layer.input for layer in self.calibration.layers]

    def check(self, outcome: PricedModel, images: int, seconds: float) -> RetrainingCheck:
        """Return how a file does, made after so many images and seconds."""
        judgement, size = self.judge(outcome.model), outcome.model.file_bytes
        return RetrainingCheck(
            images, seconds, outcome.price, size, judgement, self.violation(size, judgement)
        )

    def better(self, one: RetrainingCheck, other: RetrainingCheck) -> bool:
        """Say whether a file is better than another: smaller within a bound on a loss, or nearer within a size."""
        if one.fits != other.fits:
            return one.fits
        if self.bounds.max_bytes is not None and one.fits:
            return one.loss < other.loss
        return (one.fits or self.bounds.max_bytes is not None) and one.bytes < other.bytes

    def without_luck(self, found: Retrained) -> Retrained:
        """Return what was found, or the calibrated file where that is worse by no more than chance between images.

        The best of many files does a little better on the images that chose it. Where a loss is bounded the best is a
        smaller file, and that is no matter of chance.
        """
        if self.bounds.max_bytes is None or not found.improved or not found.start.fits:
            return found
        if is_lower(self.judge.losses(found.outcome.model), than=self.judge.losses(self.start.model)):
            return found
        return replace(found, outcome=self.start, best=found.start, not_taken=found.best)

    def violation(self, size: int, judgement: Judgement) -> str | None:
        """Say why a file of a size that is judged so does not keep the bounds; None where it does."""
        if self.bounds.max_bytes is None:
            return self.bounds.violation(judgement)
        if size <= self.bounds.max_bytes:
            return None
        return f"the file takes {size:,} bytes, more than {self.bounds.max_bytes:,}"

    def code(
        self,
        price: float,
        tensors: Mapping[str, QuantizedTensor],
        biases: Mapping[str, np.ndarray],
        step: float,
    ) -> PricedModel:
        """Return the file of trained levels and of biases that are multiples of `step`; the rest as at a price."""
        return code_levels(
            self.calibration, price, tensors, biases, bias_step=step, metadata=self.settings.metadata,
            roles=self.settings.roles, keep_exact=self.settings.keep_exact,
        )  # fmt: skip


@dataclass(frozen=True)
class RetrainingCheck:
    """A file made while training: after how many images, at which price in nats per bit, and how it was judged.

    coming_down: whether training is still on its way from a larger file, and this one not meant to fit.
    """

    images: int
    seconds: float
    price: float
    bytes: int
    judgement: Judgement
    violation: str | None
    coming_down: bool = False

    @property
    def fits(self) -> bool:
        """Whether all bounds hold."""
        return self.violation is None

    @property
    def loss(self) -> float:
        """The loss that files of one size are compared by: nats, and errors of values in units of their variance."""
        both = (self.judgement.kl, self.judgement.values_loss)
        known = [one for one in both if one is not None and not math.isnan(one)]
        return sum(known) if known else math.inf

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> RetrainingCheck:
        """Return what `to_dict` made a dict of; `ValueError`, `KeyError` or `TypeError` for any other."""
        judgement = read_judgement(row["judged"])
        if judgement is None:
            raise ValueError("a check has a judgement")
        return cls(
            row["images"], row["seconds"], row["price"], row["bytes"], judgement, row["violation"],
            row["coming_down"],
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe values."""
        return {
            "images": self.images, "seconds": self.seconds, "price": self.price, "bytes": self.bytes,
            "violation": self.violation, "coming_down": self.coming_down, "judged": self.judgement.to_dict(),
        }  # fmt: skip


@dataclass(frozen=True)
class RemovedFilters:
    """Filters that left the network because all their levels were zero.

    filters, of: how many, and how many there were. kept_for_constants: groups of filters of zeros that stay, as
    their biases make them a constant that others read. macs_before, macs_after: multiplications for one image, 0 where
    none went. reason: why none went, "" where nothing went wrong.
    """

    filters: int
    of: int
    kept_for_constants: int = 0
    macs_before: int = 0
    macs_after: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Retrained:
    """What retraining found. outcome: the best file, which may be the one it started from.

    best: how `outcome` was judged. start: how the calibrated file was, by the same images. images: that were seen.
    ended: why training ended early, "" where it did not. control: the same training without rounding and without a
    price, on the images that choose, where it was asked for. removed: the filters that left `outcome`, None where it is
    the file it started from. not_taken: how the best file was judged, where it was better by no more than
    chance and so not taken. halvings: how often training went on with half of its rate. strategy: how it got to the
    bound, as `retraining.strategy` calls it. label_weight: the share of the loss that was of the images' labels.
    """

    outcome: PricedModel
    best: RetrainingCheck
    start: RetrainingCheck
    checks: tuple[RetrainingCheck, ...]
    images: int
    epochs: float
    planned_epochs: float
    seconds: float
    ended: str = ""
    control: RetrainingControl | None = None
    removed: RemovedFilters | None = None
    not_taken: RetrainingCheck | None = None
    halvings: int = 0
    strategy: str = ""
    label_weight: float = 0.0

    @property
    def improved(self) -> bool:
        """Whether the outcome is not the calibrated file."""
        return self.best is not self.start

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe values."""
        return {
            "improved": self.improved, "images": self.images, "epochs": self.epochs,
            "planned_epochs": self.planned_epochs, "seconds": round(self.seconds, 1), "ended": self.ended,
            "calibrated": self.start.to_dict(), "best": self.best.to_dict(),
            "checks": [one.to_dict() for one in self.checks],
            "control": None if self.control is None else vars(self.control),
            "removed": None if self.removed is None else vars(self.removed),
            "not_taken": None if self.not_taken is None else self.not_taken.to_dict(),
            "halvings": self.halvings, "strategy": self.strategy, "label_weight": self.label_weight,
        }  # fmt: skip


@dataclass(frozen=True)
class RetrainingControl:
    """What the same training without rounding does: percent of answers that stay, nats, and percent of right ones."""

    agreement: float | None
    kl: float
    top1: float | None = None


class Retrainer(Protocol):
    """Anything that makes a better file of a calibrated one."""

    def check_packages(self) -> None:
        """Raise `UsageError` where a package is missing."""

    def check_model(self, model: Model, shape: Sequence[int]) -> None:
        """Raise `ModelError` where a model, of its measured outputs, cannot be trained on images of this shape."""

    def __call__(self, task: RetrainingTask) -> Retrained:
        """Return the best file found, at worst the one of the task."""
        ...


def array_of(images: npt.NDArray[Any] | Samples) -> npt.NDArray[Any]:
    """Return images or samples as the one array (N, …) that training takes. Raises `UsageError` for others."""
    if isinstance(images, np.ndarray):
        return images
    name, column = next(iter(images.columns.items()))
    if len(images.columns) > 1 or images.feedback:
        reason = (
            "a model of one input" if len(images.columns) > 1 else "samples apart, not steps of sequences"
        )
        raise UsageError(f"retraining takes {reason}; here are {', '.join(images.columns)}", code="E032")
    if not isinstance(column, np.ndarray):
        shapes = sorted({array.shape for array in column})
        if len(shapes) > 1:
            raise UsageError(
                f"retraining takes samples of one size; those of {name!r} have {shapes[0]} and {shapes[-1]}",
                code="E032",
            )
        if not shapes[0] or shapes[0][0] != 1:
            raise UsageError(
                f"retraining takes samples (1, …) or (N, …) as {name!r}, not {shapes[0]}: the model's first axis is "
                "not that of samples, or its batch size is fixed",
                code="E032",
            )
        column = np.concatenate(list(column))
    if column.dtype.kind != "f":
        raise UsageError(
            f"retraining takes inputs of floating-point numbers; {name!r} takes {column.dtype}", code="E032"
        )
    return column


def retraining_task(
    calibration: Calibration,
    start: PricedModel,
    images: npt.NDArray[np.float32] | Samples,
    preprocess: Preprocess,
    bounds: Bounds,
    judge: Judging,
    settings: TaskSettings,
    labels: npt.ArrayLike | None = None,
) -> RetrainingTask:
    """Return the task of a search's outcome.

    Args:
        images: an array of images, or samples of a model with one input.
        preprocess: how the images were made.
        labels: of the images, if there are any.

    Raises `UsageError` for samples that are no single array.
    """
    pictures = isinstance(images, np.ndarray)
    images = array_of(images)
    labels = None if labels is None else np.asarray(labels, np.int64)
    pictures = pictures and images.ndim == 4 and preprocess.layout == "NCHW"
    if images.nbytes > _MOST_BYTES:
        count = max(2, _MOST_BYTES * len(images) // images.nbytes)
        warnings.warn(f"{count:,} of {len(images):,} images train: more do not fit into 2 GB", stacklevel=3)
        chosen = np.sort(np.random.default_rng(settings.seed).choice(len(images), count, replace=False))
        images, labels = images[chosen], None if labels is None else labels[chosen]
    return RetrainingTask(
        calibration, start, np.asarray(images, np.float32), pictures, bounds, judge, settings, labels
    )


def after_retraining(search: SearchResult, retrained: Retrained) -> SearchResult:
    """Return a search's result with the best file that retraining found as its outcome."""
    best = retrained.best
    return replace(search, outcome=retrained.outcome, fits=best.fits, violation=best.violation)

"""The smallest file within a stated loss, or the nearest model within a stated size: a search over one price.

A calibration turns a price for bits into a file (`calibrated.compress_at`); files shrink and answers change as it
rises. Bounds on answers are judged on images that were not used for calibration; the figures reported come from a
third part of the data that the search has not seen, with intervals, so that luck in the search does not flatter them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from enxuto.calibration.answers import kind_of_scores
from enxuto.compression.at_price import Outcome
from enxuto.data import Dataset, Preprocess
from enxuto.enx.file import CompressedModel
from enxuto.errors import DataError, UsageError
from enxuto.metrics import (
    ChanceComparison,
    ScoreKind,
    compare_with_chance,
    divergences,
    log_probabilities,
    paired_interval,
    wilson_interval,
)
from enxuto.onnx_model import Model
from enxuto.runtime import Runner

__all__ = ["Bounds", "Found", "Judge", "Judgement", "Memory", "Trial", "search"]

_FINEST, _COARSEST = 1e-14, 1e-1  # nats per bit: some 14 bits a weight, and next to none
_FACTOR = 4.0  # between prices until a bound is passed: a bit a weight
_MUCH_COARSER = 64.0  # three bits a weight
_CLOSE = 1.10  # prices nearer than this are as good as equal: 0.07 bits a weight
_SIZE_TOLERANCE = 0.002
_TRIALS = 16


@dataclass(frozen=True)
class Bounds:
    """What must hold: points of top-1 lost at most, percent of equal answers at least, nats at most, bytes at most."""

    max_drop: float | None = None
    min_agreement: float | None = None
    max_kl: float | None = None
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.judged and self.max_bytes is not None:
            raise UsageError("a size and a bound on the answers cannot both be searched; give one of them")
        if not self.judged and self.max_bytes is None:
            raise UsageError(
                "a search needs a bound: --max-drop, --min-agreement, --max-kl, --target-size or --bits"
            )
        if self.max_drop is not None and not -100 < self.max_drop < 100:
            raise UsageError(f"--max-drop is in points of top-1, such as 0.5, not {self.max_drop}")
        if self.min_agreement is not None and not 0 < self.min_agreement <= 100:
            raise UsageError(f"--min-agreement is in percent, up to 100, not {self.min_agreement}")
        if self.max_kl is not None and not self.max_kl > 0:
            raise UsageError(f"--max-kl is a positive number of nats, not {self.max_kl}")
        if self.max_bytes is not None and self.max_bytes < 1:
            raise UsageError("the size aimed at is less than a byte")

    @property
    def judged(self) -> bool:
        """Whether answers are bounded, so that images are needed to judge by."""
        return any(bound is not None for bound in (self.max_drop, self.min_agreement, self.max_kl))

    def broken(self, judgement: Judgement) -> str | None:
        """Return what a judgement breaks, None where all bounds hold."""
        # Asked whether the bound holds: NaN holds none. Without labels nothing is known to be lost.
        if self.max_drop is not None and judgement.drop is not None and not judgement.drop <= self.max_drop:
            return f"{judgement.drop:.2f} points of top-1 are lost, more than {self.max_drop:g}"
        if self.min_agreement is not None and not judgement.agreement >= self.min_agreement:
            return f"{judgement.agreement:.2f} % of answers stay, fewer than {self.min_agreement:g}"
        if self.max_kl is not None and not judgement.kl <= self.max_kl:
            if math.isnan(judgement.kl):
                return f"scores are no numbers, so that no divergence is known to be at most {self.max_kl:g} nats"
            return f"the divergence is {judgement.kl:.3g} nats, more than {self.max_kl:g}"
        return None


@dataclass(frozen=True)
class Judgement:
    """A compressed model's answers beside the original's on the same images; shares in percent, KL in nats.

    drop: points of top-1 lost, with its paired 95 % interval (Tango's); agreement with Wilson's. kl: NaN where the
    compressed model gives scores that are no numbers; such answers are wrong and agree with none. original_top1, top1,
    drop and its interval are None where the images have no labels.
    """

    samples: int
    top1: float | None
    drop: float | None
    drop_interval: tuple[float, float] | None
    agreement: float
    agreement_interval: tuple[float, float]
    kl: float
    data_hash: str
    original_top1: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe values; a divergence that is not known is None."""
        values = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}
        return {**values, "kl": None if math.isnan(self.kl) else self.kl}


class Judge:
    """Compares models with a reference on one data set; the reference runs once.

    kind: what the scores of the reference are, and so of what it is compressed to. Raises `DataError` where the
    reference gives scores that are no numbers.
    """

    def __init__(
        self, reference: Model, dataset: Dataset, preprocess: Preprocess, *, threads: int = 0, batch: int = 32
    ) -> None:
        self._dataset = dataset
        self._preprocess = preprocess
        self._threads = threads
        self._batch = batch
        self._labels = np.asarray(dataset.labels)
        scores = self._scores(reference)
        if np.isnan(scores).any() or np.isposinf(scores).any():
            raise DataError(
                f"{dataset.path}: the original gives NaN or infinity for some images; look at it first"
            )
        self.kind: ScoreKind = kind_of_scores(reference, scores)
        self._classes = scores.shape[1]
        self._answers = scores.argmax(1)
        self._log_reference = log_probabilities(scores, self.kind)

    @property
    def by_chance(self) -> ChanceComparison:
        """How the original's top-1 compares with chance: whether its answers have to do with the labels at all."""
        return compare_with_chance(self._answers, self._labels, self._classes)

    def __call__(self, compressed: CompressedModel) -> Judgement:
        """Return how a compressed model compares."""
        scores = self._scores(compressed.to_model())
        # The first NaN would count as the largest score.
        answers = np.where(np.isnan(scores).any(axis=1), -1, scores.argmax(1))
        right, was_right = answers == self._labels, self._answers == self._labels
        same = answers == self._answers
        count = len(answers)
        lost, won = int(np.count_nonzero(was_right & ~right)), int(np.count_nonzero(right & ~was_right))
        least, most = paired_interval(lost, won, count)
        low, high = wilson_interval(int(same.sum()), count)
        each = divergences(self._log_reference, log_probabilities(scores, self.kind))
        judged = Judgement(
            samples=count,
            original_top1=100 * float(was_right.mean()),
            top1=100 * float(right.mean()),
            drop=100 * (lost - won) / count,
            drop_interval=(100 * least, 100 * most),
            agreement=100 * float(same.mean()),
            agreement_interval=(100 * low, 100 * high),
            kl=float(np.maximum(each, 0).mean()),
            data_hash=self._dataset.hash,
        )
        if self._dataset.labelled:
            return judged
        return replace(judged, original_top1=None, top1=None, drop=None, drop_interval=None)

    def _scores(self, model: Model) -> npt.NDArray[np.float32]:
        runner = Runner(model, threads=self._threads)
        parts = []
        with closing(self._dataset.batches(self._batch, self._preprocess)) as batches:
            for images, _ in batches:
                parts.append(runner.scores(images).reshape(len(images), -1))
        return np.concatenate(parts)


@dataclass(frozen=True)
class Trial:
    """A price that was tried, the bytes it gave, and how the answers were judged (None in a search for size)."""

    price: float
    bytes: int
    judgement: Judgement | None
    fits: bool


@dataclass(frozen=True)
class Found:
    """The best outcome, whether it keeps the bounds, what it breaks if not, and all trials in order."""

    outcome: Outcome
    fits: bool
    broken: str | None
    trials: tuple[Trial, ...]


Make = Callable[[float], Outcome]
Judging = Callable[[CompressedModel], Judgement]


class Memory(Protocol):
    """Trials of an earlier search with the same `make` and `judge`."""

    def get(self, price: float) -> tuple[int, Judgement | None] | None:
        """Return the bytes that a price gave, and how the answers were judged if they were."""

    def add(self, price: float, size: int, judgement: Judgement | None) -> None:
        """Keep what a price gave."""


def search(
    make: Make,
    bounds: Bounds,
    start: float,
    *,
    weights: int,
    judge: Judging | None = None,
    memory: Memory | None = None,
    progress: Callable[[Trial], None] | None = None,
) -> Found:
    """Return the highest price (smallest file) whose answers keep the bounds, or the lowest whose file fits the size.

    make: price in nats per bit → outcome. start: the first price tried. weights: how many the model has, which a
    search for a size steps by. judge: needed for bounds on answers. memory: prices it holds are not tried again, only
    the one that is best is made. Where nothing keeps the bounds, the finest tried (for a size: the smallest) is
    returned with `fits` False.
    """
    if bounds.judged and judge is None:
        raise UsageError("bounds on the answers need images to judge by; give --data")
    work = _Search(make, bounds, judge if bounds.judged else None, max(1, weights), memory, progress)
    # Of a network whose answers hardly move, bits cost next to nothing: nine bits more than at first are tried.
    work.finest = min(_FINEST, start / _FACTOR**9)
    return work.by_size(start) if bounds.max_bytes is not None else work.by_answers(start)


@dataclass
class _Search:
    make: Make
    bounds: Bounds
    judge: Judging | None
    weights: int
    memory: Memory | None
    progress: Callable[[Trial], None] | None
    trials: list[Trial] = field(default_factory=list)
    best: Trial | None = None
    held: Outcome | None = None
    finest: float = _FINEST

    def attempt(self, price: float) -> Trial:
        """Try a price, or remember it; keep the outcome if it is the best so far."""
        outcome, known = None, None if self.memory is None else self.memory.get(price)
        if known is None or (known[1] is None and self.judge is not None):
            outcome = self.make(price)
            known = (outcome.model.file_bytes, None if self.judge is None else self.judge(outcome.model))
            if self.memory is not None:
                self.memory.add(price, *known)
        size, judgement = known[0], known[1] if self.judge is not None else None
        trial = Trial(price, size, judgement, self._broken(size, judgement) is None)
        self.trials.append(trial)
        if self._better(trial):
            self.best, self.held = trial, outcome
        if self.progress is not None:
            self.progress(trial)
        return trial

    def _broken(self, size: int, judgement: Judgement | None) -> str | None:
        if judgement is not None:
            return self.bounds.broken(judgement)
        assert self.bounds.max_bytes is not None, "a search without answers has a size"
        return None if size <= self.bounds.max_bytes else f"the file takes {size:,} bytes"

    def _better(self, trial: Trial) -> bool:
        if self.best is None or trial.fits != self.best.fits:
            return self.best is None or trial.fits
        smaller = trial.bytes < self.best.bytes
        finer = trial.price < self.best.price
        # Bounds on answers: the smallest that fits, else the finest. A size: the finest that fits, else the smallest.
        return smaller == trial.fits if self.bounds.judged else finer == trial.fits

    def found(self) -> Found:
        """Return the best of all trials, made now if it was only remembered."""
        assert self.best is not None, "something was tried"
        outcome = self.held or self.make(self.best.price)
        broken = self._broken(self.best.bytes, self.best.judgement)
        return Found(outcome, self.best.fits, broken, tuple(self.trials))

    def by_answers(self, price: float) -> Found:
        """Step until a bound is passed, then halve the interval of log prices."""
        good = bad = None
        while len(self.trials) < _TRIALS:
            if self.attempt(price).fits:
                good = price
            else:
                bad = price
            if good is not None and bad is not None:
                if bad / good < _CLOSE:
                    break
                price = math.sqrt(good * bad)
            else:
                price = price * _FACTOR if good is not None else price / _FACTOR
                if not self.finest <= price <= _COARSEST:
                    break
        return self.found()

    def by_size(self, price: float) -> Found:
        """Follow the law that a halved step costs a bit, then interpolate between what is too large and what fits."""
        aim = self.bounds.max_bytes
        assert aim is not None, "only searches for a size come here"
        fits: tuple[float, int] | None = None
        large: tuple[float, int] | None = None
        slope = 2.2  # of log2 price per bit a weight: 2 at high rates, more at low ones
        while len(self.trials) < _TRIALS:
            before = self.trials[-1:]
            try:
                trial = self.attempt(price)
            except UsageError:  # levels of more than 31 bits: the size leaves room for more than there is
                self.finest = _FACTOR * price
                price = price * _MUCH_COARSER if self.best is None else math.sqrt(price * self.best.price)
                if price > _COARSEST:
                    raise
                if self.best is not None and price < self.finest:
                    break
                continue
            here = (math.log2(price), trial.bytes)
            if trial.fits:
                fits = here if fits is None or here[1] > fits[1] else fits
                if trial.bytes >= aim * (1 - _SIZE_TOLERANCE):
                    break
            else:
                large = here if large is None or here[1] < large[1] else large
            if fits and large:
                if abs(fits[0] - large[0]) < 1e-3:
                    break
                share = (large[1] - aim * (1 - _SIZE_TOLERANCE / 2)) / (large[1] - fits[1])
                power = large[0] + (fits[0] - large[0]) * min(0.95, max(0.05, share))
            else:
                if before and before[0].bytes != trial.bytes:
                    moved = here[0] - math.log2(before[0].price)
                    slope = min(12.0, max(2.0, moved * self.weights / 8 / (before[0].bytes - trial.bytes)))
                power = here[0] + slope * 8 * (trial.bytes - aim * (1 - _SIZE_TOLERANCE / 2)) / self.weights
            price = min(_COARSEST, max(self.finest, 2.0**power))
            if any(trial.price == price for trial in self.trials):
                break
        return self.found()

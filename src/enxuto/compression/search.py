"""The smallest file within a stated loss, or the nearest model within a stated size: a search over one price.

A calibration turns a price for bits into a file (`at_price.compress_at`); as the price rises, files shrink and answers
change. Bounds on answers are judged on images that were not used for calibration. The figures that are reported come
from held-out images, which the search has not seen, with intervals, so that luck in the search does not flatter them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from enxuto.compression.at_price import PricedModel
from enxuto.compression.excess import room_below
from enxuto.compression.judge import Bounds, Judgement, JudgeScore
from enxuto.compression.loss_search import LossSearch
from enxuto.compression.size_search import SizeSearch
from enxuto.enx.file import CompressedModel
from enxuto.errors import UsageError

__all__ = ["SearchResult", "Trial", "TrialStore", "search"]

_FINEST, _COARSEST = 1e-14, 1e-1  # nats per bit: some 14 bits a weight, and next to none
_FACTOR = 4.0  # between prices: a bit a weight
_MUCH_COARSER = 64.0  # three bits a weight
_CLOSE = 1.10  # prices nearer than this are as good as equal: 0.07 bits a weight
_TRIALS = 16


@dataclass(frozen=True, repr=False)
class Trial:
    """A price that was tried and the bytes it gave.

    judgement: how the answers were judged, None in a search for a size. score: what a caller's judge gave, None
    without one. fits: whether all bounds hold.
    """

    price: float
    bytes: int
    judgement: Judgement | None
    fits: bool
    score: JudgeScore | None = None

    def __repr__(self) -> str:
        facts = [f"{self.bytes:,} B at price {self.price:.3g}"]
        if self.judgement is not None:
            facts.append(self.judgement.describe())
        if self.score is not None:
            facts.append(f"judge {self.score.compressed:.6g}")
        return f"<Trial: {', '.join(facts)}, {'fits' if self.fits else 'violates a bound'}>"


@dataclass(frozen=True)
class SearchResult:
    """The best outcome and all trials in order. violation: which bound the best violates, None if it fits."""

    outcome: PricedModel
    fits: bool
    violation: str | None
    trials: tuple[Trial, ...]
    score: JudgeScore | None = None


MakeModel = Callable[[float], PricedModel]
JudgeModel = Callable[[CompressedModel], Judgement]
ScoreModel = Callable[[CompressedModel], JudgeScore]


class TrialStore(Protocol):
    """Trials of an earlier search with the same `make` and `judge`."""

    def get(self, price: float) -> tuple[int, Judgement | None] | None:
        """Return the bytes that a price gave, and how the answers were judged if they were."""

    def add(self, price: float, size: int, judgement: Judgement | None) -> None:
        """Keep what a price gave."""


def search(
    make: MakeModel,
    bounds: Bounds,
    start: float,
    *,
    weights: int,
    fine: float | None = None,
    judge: JudgeModel | None = None,
    score: ScoreModel | None = None,
    store: TrialStore | None = None,
    on_trial: Callable[[Trial], None] | None = None,
) -> SearchResult:
    """Return the highest price (smallest file) that keeps the bounds, or the lowest whose file fits the size.

    Where nothing keeps the bounds, the finest tried (for a size: the smallest) is returned with `fits` False.

    Args:
        make: price in nats per bit → outcome.
        bounds: what must hold.
        start: the first price tried.
        weights: how many the model has, which a search for a size steps by.
        fine: a price of some three bits a weight, far below which none is tried; by default `start`.
        judge: needed for bounds on answers.
        score: needed for `max_judge_drop`.
        store: prices it holds are not tried again; only the best of them is made.
        on_trial: called after each trial, remembered ones too.

    Raises:
        UsageError: nothing judges what is bounded, or nothing can be made at any price.
    """
    if bounds.limits_answers and judge is None:
        raise UsageError("a bound on the answers needs images to judge by; give data=", code="E023")
    if bounds.max_judge_drop is not None and score is None:
        raise UsageError("max_judge_drop= is a bound on what judge= gives; give that too", code="E023")
    work = _Search(
        make,
        bounds,
        judge if bounds.limits_answers else None,
        score if bounds.max_judge_drop is not None else None,
        max(1, weights),
        store,
        on_trial,
    )
    # Of a network whose answers hardly move, bits cost next to nothing: nine bits more than at `fine` are tried.
    work.finest = min(_FINEST, (start if fine is None else min(start, fine)) / _FACTOR**9)
    return work.by_size(start) if bounds.max_bytes is not None else work.by_loss(start)


@dataclass
class _Search:
    make: MakeModel
    bounds: Bounds
    judge: JudgeModel | None
    score: ScoreModel | None
    weights: int
    store: TrialStore | None
    on_trial: Callable[[Trial], None] | None
    trials: list[Trial] = field(default_factory=list)
    best: Trial | None = None
    best_outcome: PricedModel | None = None
    finest: float = _FINEST
    slope: float = 2.2  # of log2 price per bit a weight: 2 at high rates, more at low ones

    def attempt(self, price: float) -> Trial:
        """Try a price, or remember it; keep the outcome if it is the best so far."""
        outcome, known = None, None if self.store is None else self.store.get(price)
        if known is None or (known[1] is None and self.judge is not None):
            outcome = self.make(price)
            known = (outcome.model.file_bytes, None if self.judge is None else self.judge(outcome.model))
            if self.store is not None:
                self.store.add(price, *known)
        size, judgement = known[0], known[1] if self.judge is not None else None
        score = None
        if self.score is not None:
            outcome = outcome or self.make(price)
            score = self.score(outcome.model)
        trial = Trial(price, size, judgement, self._violation(size, judgement, score) is None, score)
        self.trials.append(trial)
        if self._better(trial):
            self.best, self.best_outcome = trial, outcome
        if self.on_trial is not None:
            self.on_trial(trial)
        return trial

    def _violation(self, size: int, judgement: Judgement | None, score: JudgeScore | None) -> str | None:
        if self.bounds.max_bytes is None:
            return self.bounds.violation(judgement, score)
        if size <= self.bounds.max_bytes:
            return None
        return f"the file takes {size:,} bytes, more than {self.bounds.max_bytes:,}"

    def _better(self, trial: Trial) -> bool:
        if self.best is None or trial.fits != self.best.fits:
            return self.best is None or trial.fits
        smaller = trial.bytes < self.best.bytes
        finer = trial.price < self.best.price
        # Bounds on answers: the smallest that fits, else the finest. A size: the finest that fits, else the smallest.
        return smaller == trial.fits if self.bounds.limits_loss else finer == trial.fits

    def result(self) -> SearchResult:
        """Return the best of all trials, made now if it was only remembered."""
        assert self.best is not None, "something was tried"
        outcome = self.best_outcome or self.make(self.best.price)
        violation = self._violation(self.best.bytes, self.best.judgement, self.best.score)
        return SearchResult(outcome, self.best.fits, violation, tuple(self.trials), self.best.score)

    def by_loss(self, price: float) -> SearchResult:
        """Follow the law that losses grow with the price until a bound is passed, then close in between both sides."""
        search = LossSearch(closest=math.log2(_CLOSE), smooth=self.bounds.min_agreement is None)
        lowest, highest = math.log2(self.finest), math.log2(_COARSEST)
        while len(self.trials) < _TRIALS:
            trial = self.attempt(price)
            room = None if trial.judgement is None else room_below(self.bounds, trial.judgement)
            power = search.next_power(math.log2(price), room, trial.fits)
            if power is None:
                break
            price = 2.0 ** min(highest, max(lowest, power))
            if any(trial.price == price for trial in self.trials):
                break
        return self.result()

    def by_size(self, price: float) -> SearchResult:
        """Follow the law that a halved step costs a bit, then interpolate between what is too large and what fits."""
        most = self.bounds.max_bytes
        assert most is not None, "only searches for a size come here"
        search = SizeSearch(most, self._next_outside, margin=0.05, closest=1e-3)
        while len(self.trials) < _TRIALS:
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
            known = [end[1] for end in (search.too_large, search.fits) if end is not None]
            power = search.next_power(math.log2(price), trial.bytes)
            if power is None:
                break
            if len(known) == 2 and abs(trial.bytes - most) >= abs(known[trial.fits] - most):
                break  # at this distance sizes no longer follow the price
            price = min(_COARSEST, max(self.finest, 2.0 ** min(power, 0.0)))  # few weights: far beyond any
            if any(trial.price == price for trial in self.trials):
                break
        return self.result()

    def _next_outside(self, power: float, excess: float, number: int) -> float:
        """Return log2 of the price after one with which the file has so many bytes more than are aimed at."""
        if len(self.trials) > 1 and self.trials[-2].bytes != self.trials[-1].bytes:
            last, trial = self.trials[-2:]
            moved = power - math.log2(last.price)
            self.slope = min(12.0, max(2.0, moved * self.weights / 8 / (last.bytes - trial.bytes)))
        return power + self.slope * 8 * excess / self.weights

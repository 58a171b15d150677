"""The split of a loss between pruning and rounding: few shares of the multiplications, each with its smallest file.

Each candidate is pruned, refitted, perhaps distilled (where that loses less of what is bounded, as training also moves
a network away from the original), and compressed at what is left of the bound: pruning and rounding are judged
together, beside the original. Of the candidates the smallest file that keeps the bound is taken. A share that breaks
the bound by pruning alone, or whose file is no smaller than the one before it, ends the search.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enxuto.compression.calibrated import CalibratedResult, compress_within
from enxuto.compression.data_free import compress
from enxuto.compression.excess import excess_of
from enxuto.compression.judge import Bounds, Judge, Judgement
from enxuto.compression.search import Trial
from enxuto.compression.split import ImageSplit
from enxuto.data import Preprocess
from enxuto.enx.file import CompressedModel
from enxuto.onnx_model import Model
from enxuto.progress import Progress
from enxuto.slimming.aims import Aim
from enxuto.slimming.measuring import latency_share
from enxuto.slimming.networks import PruningWork
from enxuto.slimming.result import Tried

__all__ = ["Found", "SlimSearch"]

_LEAST_SHARE = 0.05
_TIMINGS = 8
_NEAR = 0.04  # shares this near to each other are not told apart by their time
_AT_ONCE = 0.75  # of the last share that was too slow: the least that the next keeps
_INSIDE = 0.2  # of what two timings enclose, that the next keeps from both
_ROUNDING = 1e-9  # of a share, in float64
_CLEARANCE = 0.01  # of the share, as timings differ


@dataclass(frozen=True)
class Found:
    """A candidate: the pruned model and its file, or the file without a bound where none keeps it."""

    tried: Tried
    pruned: Model
    file: CompressedModel
    calibrated: CalibratedResult | None


@dataclass(frozen=True)
class SlimSearch:
    """Tries shares of the multiplications.

    bounds: of the answers, beside those of `work.model`. parts: which images calibrate, judge and report. metadata: of
    the file. on_candidate, on_trial: called after each.
    """

    work: PruningWork
    bounds: Bounds
    parts: ImageSplit
    preprocess: Preprocess
    metadata: Mapping[str, Any]
    seed: int = 0
    threads: int = 0
    cache: Path | None = None
    progress: Progress | None = None
    on_candidate: Callable[[Tried], None] | None = None
    on_trial: Callable[[Trial], None] | None = None

    def run(self, aim: Aim) -> tuple[Found, list[Tried], list[str]]:
        """The best candidate, all candidates, and remarks."""
        remarks: list[str] = []
        shares = aim.shares
        if aim.latency is not None:
            shares = (self._share_of_latency(aim.latency, remarks),)
        judge = Judge(self.work.model, self.parts.judging, self.preprocess, threads=self.threads)
        best: Found | None = None
        tried: list[Tried] = []
        for share in shares:
            price = None if best is None or best.calibrated is None else best.calibrated.outcome.price
            found = self._try(share, judge, price, remarks)
            tried.append(found.tried)
            if aim.latency is None and _is_more(found.tried.achieved, share):
                remarks.append(
                    f"{100 * share:.3g} % of the multiplications cannot be reached, {100 * found.tried.achieved:.3g} % "
                    f"are left: layers keep multiples of {self.work.multiple} filters, and some filters must stay"
                )
            if self.on_candidate is not None:
                self.on_candidate(found.tried)
            fits = found.tried.violation is None
            smaller = best is None or (found.file.file_bytes < best.file.file_bytes)
            if best is None or (fits and (best.tried.violation is not None or smaller)):
                best = found
            if not fits or not smaller:
                break
        assert best is not None, "there is at least one share"
        return best, tried, remarks

    def _try(self, share: float, judge: Judge, first_price: float | None, remarks: list[str]) -> Found:
        pruned, achieved, alone = (
            (self.work.model, 1.0, None) if share >= 1 else self._pruned(share, judge, remarks)
        )
        violation = None if alone is None else self.bounds.violation(alone)
        if violation is not None:
            # Rounding gives nothing back: the network is rounded finely, so that there is something to look at.
            file = compress(pruned, metadata=dict(self.metadata), threads=self.threads)
            tried = Tried(share, achieved, alone, file.file_bytes, None, f"by pruning alone {violation}")
            return Found(tried, pruned, file, None)
        result = compress_within(
            pruned, self.bounds, self.parts, self.preprocess, metadata=self.metadata, seed=self.seed,
            threads=self.threads, cache=self.cache, progress=self.progress, on_trial=self.on_trial,
            reference=self.work.model, first_price=first_price, outputs=self._classes,
        )  # fmt: skip
        fitting = [one for one in result.search.trials if one.fits]
        best = min(fitting, key=lambda one: one.bytes, default=None)
        judged = None if best is None else best.judgement
        tried = Tried(
            share, achieved, alone, result.outcome.model.file_bytes, judged, result.search.violation
        )
        return Found(tried, pruned, result.outcome.model, result)

    @property
    def _classes(self) -> dict[str, tuple[str, float]]:
        """The output is of classes, whatever its values look like."""
        return {self.work.model.proto.graph.output[0].name: ("classes", 1.0)}

    def _pruned(self, share: float, judge: Judge, remarks: list[str]) -> tuple[Model, float, Judgement]:
        """The pruned network at a share that loses the least of what is bounded, its share, and what it loses."""
        refitted, achieved = self.work.make(share, distilled=False)
        alone = judge.of_model(refitted)
        if not self.work.distils:
            return refitted, achieved, alone
        distilled, _ = self.work.make(share, distilled=True)
        trained = judge.of_model(distilled)
        if excess_of(self.bounds, trained) < excess_of(self.bounds, alone):
            return distilled, achieved, trained
        remarks.append(
            f"with {100 * share:.3g} % of the multiplications the refitted network is taken: trained, it lost no less"
        )
        return refitted, achieved, alone

    def _share_of_latency(self, wanted: float, remarks: list[str]) -> float:
        """The largest share of the multiplications, as far as a few timings tell, that runs within the latency."""
        fast: _Timed | None = None
        slow, smallest, share = _Timed(1.0, 1.0), 1.0, wanted
        for number in range(_TIMINGS):
            kept, achieved = self.work.plan(share)
            if self.progress is not None:
                self.progress("timing", number, _TIMINGS)
            took = latency_share(
                self.work.untrained(kept), self.work.model, threads=1
            )  # as the last table has it
            if took <= wanted:
                fast = _Timed(share, took)
            else:
                slow, smallest = _Timed(share, took), min(smallest, achieved)
                if _is_more(achieved, share):
                    break  # nothing more can go
            if slow.share - (fast.share if fast else _LEAST_SHARE) < _NEAR:
                break
            share = _next_share(fast, slow, wanted)
        if fast is None:
            remarks.append(
                f"no pruned network was timed at {100 * wanted:.3g} % of the latency; the smallest tried has "
                f"{100 * smallest:.3g} % of the multiplications, where layers keep multiples of {self.work.multiple} "
                "filters"
            )
        return slow.share if fast is None else fast.share


@dataclass(frozen=True)
class _Timed:
    """A share of the multiplications, and the share of the latency that its network takes."""

    share: float
    took: float


def _next_share(fast: _Timed | None, slow: _Timed, wanted: float) -> float:
    """Where a line through two timings meets what is wanted, not far from what is known.

    Time falls in stairs, and not always: widths that the runtime likes are faster than narrower ones. So a line through
    near shares may point far too low. Without a network that is fast enough, no more than a quarter goes at a time;
    between two timings the next keeps away from both.
    """
    if fast is None:
        slope = (1 - slow.took) / (1 - slow.share)  # a line through the original
        meets = 1 - (1 - wanted) / slope - _CLEARANCE if slope > 0 else 0.0
        return min(max(meets, _LEAST_SHARE, _AT_ONCE * slow.share), slow.share - _NEAR / 2)
    width = slow.share - fast.share
    meets = fast.share + width * (wanted - fast.took) / max(slow.took - fast.took, _ROUNDING) - _CLEARANCE
    return min(max(meets, fast.share + _INSIDE * width), slow.share - _INSIDE * width)


def _is_more(achieved: float, share: float) -> bool:
    """Whether more is left than asked for, which is so only where nothing more can go."""
    return achieved > share * (1 + _ROUNDING)

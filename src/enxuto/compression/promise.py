"""Whether the usual steps keep the default's promise, by a few runs on synthetic inputs, and one factor on them if not.

The promise is 40 dB for outputs of values, and 99 % of the answers. Weights are moved at random as far as the usual
steps move them. Where outputs keep the promise and not far more than it, steps stay. Else all of them are scaled by one
power of 2^¼. The file that is made is measured too, and made again with finer steps if it falls short. What decides is
far from the last digits of a processor's sums, so that others choose alike, and one thread runs the model.

Answers are counted too coarsely by a few samples, and synthetic images lie nearer to boundaries than real ones. So the
share of answers that change is estimated: noise of variance s² in the logits costs a divergence of s²/2 · u, where
u = 1 − Σp² tells how unsure answers are, and changes about 0.8 · u · s of them. Real inputs leave models half as unsure
as synthetic ones (docs/decisions/checked-steps.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from enxuto.compression.judge import Judgement
from enxuto.compression.response import NoiseMeter, Response
from enxuto.enx.file import CompressedModel
from enxuto.metrics.losses import decibels
from enxuto.quantize.schemes import BalancedSteps

__all__ = ["Promise", "StepsReport", "keep_promise"]

_CHANGED = 0.01  # of the answers
_ERROR = 1e-4  # of an output's variance: 40 dB
_DIVERGENCE = 1e-3  # nats, of outputs of yes or no: nearly all of these are sure, so that 99 % says little
_CHANGES = 0.8  # answers that change, for each unit of uncertainty and of noise
_REAL, _LEAST, _MOST = (
    0.5,
    0.05,
    0.25,
)  # how unsure real inputs leave models, of synthetic ones; at least; at most

_DRAWS = (
    (64, 6),
    (8, 3),
    (0, 2),
)  # of noise, for so many samples at least: the more there are, the faster each is
_SCATTER = 2.5  # the share that answers of one file lose, against the mean of many draws
_TRIALS = 2  # of other steps, by noise
_FILES = 3  # made at most
_AIM = 0.8  # of what may be lost, where steps become finer
_LITTLE, _MORE = 0.2, 0.4  # of what may be lost: where less is, steps become coarser until the second is
_FINEST, _COARSEST = -24, 4  # quarter octaves
_LEAP = 8  # quarter octaves, where a loss is not finite or none
_ESTIMATED = "an estimate that is low where true data give surer answers"


@dataclass(frozen=True)
class StepsReport:
    """How steps were chosen without images, and what the file's outputs keep on synthetic inputs.

    inputs: what was fed, in words; "" where the model was not run. reason: why it was not, "" where it was.
    octaves_finer: by how much all steps are finer than the usual ones; None where a size fixes them. kept: what the
    file's outputs keep, in words. fits: whether that is what the default promises; None where it is not known.
    untaken: which weights these inputs do not reach, in words, or "".
    """

    inputs: str = ""
    reason: str = ""
    octaves_finer: float | None = None
    kept: str = ""
    fits: bool | None = None
    untaken: str = ""

    def describe(self) -> str:
        """Return a sentence for a remark."""
        return f"{self._outcome()}; {self.untaken}" if self.untaken else self._outcome()

    def _outcome(self) -> str:
        if not self.inputs:
            return f"steps by the weights alone, since the model cannot be tried: {self.reason}"
        text = f"on synthetic inputs ({self.inputs}) the file's outputs keep {self.kept}"
        if self.octaves_finer is None:
            return text
        if self.fits is False:
            text += ", less than the default promises"
        factor = 2.0**-self.octaves_finer
        times = {0.5: "half ", 1.0: "", 2.0: "twice "}.get(factor, f"{factor:.3g} times ")
        return f"{text}; steps are {times}the usual"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-safe values."""
        return asdict(self)


class Promise:
    """What the default promises of a model, and how much of that a file uses up."""

    def __init__(self, response: Response) -> None:
        self._response = response
        unsure = response.uncertainties()
        self._unsure = [(max(u, 1e-9), min(max(_REAL * u, _LEAST), _MOST)) for u in unsure]

    def share_lost(self, judged: Judgement) -> float:
        """Return the loss of the worst output, in units of what it may lose; it grows with the square of the steps."""
        shares = [
            self._share(one.kind, one.loss, *unsure)
            for one, unsure in zip(judged.outputs, self._unsure, strict=True)
        ]
        return math.inf if any(math.isnan(share) for share in shares) else max(shares)

    def is_kept(self, judged: Judgement) -> bool:
        """Say whether a file is as good as promised; answers may scatter about what noise loses on average."""
        lost = [
            self._share(one.kind, one.loss, *unsure) / (1 if one.kind == "values" else _SCATTER)
            for one, unsure in zip(judged.outputs, self._unsure, strict=True)
        ]
        return all(share <= 1 for share in lost)

    def describe(self, judged: Judgement) -> str:
        """Return what outputs keep, in words: the worst of values, and an estimate of the answers."""
        values = [one.loss for one in judged.outputs if one.kind == "values"]
        facts = (
            [f"{decibels(max(values)):.1f} dB" if max(values) else "every value as it is"] if values else []
        )
        changed = [
            _CHANGED * math.sqrt(self._share(one.kind, one.loss, *unsure))
            for one, unsure in zip(judged.outputs, self._unsure, strict=True)
            if one.kind == "classes"
        ]
        if changed:
            share = 100 * (1 - min(1.0, max(changed)))
            facts.append(f"about {share:.1f} % of the answers, {_ESTIMATED}")
        binary = [one.loss for one in judged.outputs if one.kind == "binary"]
        facts += [f"a divergence of {max(binary):.2g} nats"] if binary else []
        shared = [one.iou for one in judged.outputs if one.iou is not None]
        facts += [f"an IoU of {min(shared):.1f} % of what is yes"] if shared else []
        return "; ".join(facts)

    def report(self, judged: Judgement, octaves_finer: float | None = None) -> StepsReport:
        """Return the report on a file."""
        return StepsReport(
            self._response.inputs,
            "",
            octaves_finer,
            self.describe(judged),
            self.is_kept(judged),
            self._response.untaken,
        )

    @staticmethod
    def _share(kind: str, loss: float, unsure: float, likely: float) -> float:
        """unsure: of the model's answers; likely: of those to real inputs."""
        if kind == "values":
            return loss / _ERROR
        if kind == "binary":
            return loss / _DIVERGENCE
        return (_CHANGES * likely / _CHANGED) ** 2 * 2 * max(0.0, loss) / unsure


def keep_promise(
    meter: NoiseMeter,
    base: BalancedSteps,
    make: Callable[[int], CompressedModel],
    progress: Callable[[int, int], None] | None = None,
) -> tuple[CompressedModel, Judgement, StepsReport]:
    """Return a file that keeps the promise on synthetic inputs as far as a few trials reach, what it keeps, and how.

    Args:
        meter: moves weights and measures what outputs make of it.
        base: the usual steps.
        make: returns the file whose steps are 2^(power/4) times the usual ones.
        progress: called with runs done and of how many at most.
    """
    promise = Promise(meter.response)
    power = _power_by_noise(meter, base, promise, progress or (lambda done, of: None))
    for trial in range(_FILES):
        file = make(power)
        judged = meter.response.judge(file.to_model())
        if promise.is_kept(judged) or power == _FINEST or trial == _FILES - 1:
            break
        power = max(_FINEST, power + _correction(promise.share_lost(judged)))
    return file, judged, promise.report(judged, -power / 4)


def _power_by_noise(
    meter: NoiseMeter, base: BalancedSteps, promise: Promise, tell: Callable[[int, int], None]
) -> int:
    """Return quarter octaves on all steps: 0 where the promise is kept, and not far more than it."""
    tried: dict[int, float] = {}
    draws = next(draws for samples, draws in _DRAWS if meter.response.samples >= samples)
    power, total = 0, draws * (1 + _TRIALS)
    for trial in range(1 + _TRIALS):
        tell(draws * trial, total)
        scheme = base.scale_steps(2.0 ** (power / 4))
        tried[power] = _typical([promise.share_lost(one) for one in meter.judgements(scheme, draws)])
        if _LITTLE <= tried[power] <= 1:
            break
        power = min(_COARSEST, max(_FINEST, power + _correction(tried[power])))
        if power in tried:
            break
    tell(total, total)
    fits = [power for power, lost in tried.items() if lost <= 1]
    return max(fits) if fits else min(tried)


def _typical(losses: Sequence[float]) -> float:
    """Return the geometric mean: losses of single draws are a few times above and below it."""
    return math.exp(sum(math.log(max(loss, 1e-12)) for loss in losses) / len(losses))


def _correction(lost: float) -> int:
    """Return the quarter octaves that bring a loss to its aim, if it grows with the square of the steps."""
    if not 1e-9 < lost < math.inf:
        return _LEAP if lost < 1 else -_LEAP
    wanted = round(2 * math.log2((_AIM if lost > 1 else _MORE) / lost))
    return min(-1, wanted) if lost > 1 else wanted

"""What a compressed model may lose (`Bounds`), and how it is judged: by images, or by a caller's function."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from enxuto.calibration.answers import kind_of_scores
from enxuto.compression.figures import figure_beyond
from enxuto.compression.output_result import OutputResult
from enxuto.data import Dataset, Preprocess
from enxuto.enx.file import CompressedModel
from enxuto.errors import DataError, UsageError
from enxuto.evaluation import predict_batches
from enxuto.metrics import (
    ChanceComparison,
    ScoreKind,
    compare_with_chance,
    divergences,
    log_probabilities,
    mean_divergence,
    paired_interval,
    wilson_interval,
)
from enxuto.metrics.losses import decibels
from enxuto.onnx_model import Model
from enxuto.runtime import Runner, session

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["Bounds", "Judge", "JudgeScore", "Judgement", "Measure", "ScoreJudge"]

Measure: TypeAlias = "Callable[[onnxruntime.InferenceSession, onnxruntime.InferenceSession], float]"
"""A caller's own judge: sessions of the original and of the compressed model → a number, higher is better."""

_POOR_SNR = 20.0  # dB
_POOR_AGREEMENT = 90.0  # percent


@dataclass(frozen=True)
class Bounds:
    """What must hold of a compressed model. Either its size is bounded or what it loses, not both.

    Args:
        max_drop: points of top-1 that may be lost.
        min_agreement: percent of the original's answers that must stay.
        max_kl: mean divergence from the original's answers, in nats.
        max_bytes: bytes the file may take.
        max_judge_drop: how much lower than the original's own a caller's score may be.
        min_snr: decibels that outputs of values must stay above their error.
    """

    max_drop: float | None = None
    min_agreement: float | None = None
    max_kl: float | None = None
    max_bytes: int | None = None
    max_judge_drop: float | None = None
    min_snr: float | None = None

    def __post_init__(self) -> None:
        if self.limits_loss and self.max_bytes is not None:
            raise UsageError(
                "a size and a bound on the answers cannot both be searched; give one of them", code="E022"
            )
        if not self.limits_loss and self.max_bytes is None:
            raise UsageError(
                "a search needs a bound: max_drop=, min_agreement=, max_kl=, min_snr=, target_size= or bits=",
                code="E023",
            )
        if self.max_drop is not None and not -100 < self.max_drop < 100:
            raise UsageError(f"max_drop= is in points of top-1, such as 0.5, not {self.max_drop}")
        if self.min_agreement is not None and not 0 < self.min_agreement <= 100:
            raise UsageError(f"min_agreement= is in percent, up to 100, not {self.min_agreement}")
        if self.max_kl is not None and not self.max_kl > 0:
            raise UsageError(f"max_kl= is a positive number of nats, not {self.max_kl}")
        if self.min_snr is not None and not math.isfinite(self.min_snr):
            raise UsageError(f"min_snr= is in decibels, such as 30, not {self.min_snr}")
        if self.max_bytes is not None and self.max_bytes < 1:
            raise UsageError("the size aimed at is less than a byte")
        if self.max_judge_drop is not None and not math.isfinite(self.max_judge_drop):
            raise UsageError(f"max_judge_drop= is a number of the judge's units, not {self.max_judge_drop}")

    @property
    def limits_answers(self) -> bool:
        """Whether answers are bounded, so that images are needed to judge by."""
        return any(
            bound is not None for bound in (self.max_drop, self.min_agreement, self.max_kl, self.min_snr)
        )

    @property
    def limits_loss(self) -> bool:
        """Whether answers or a caller's score are bounded, so that the smallest file is searched."""
        return self.limits_answers or self.max_judge_drop is not None

    def unbounded(self, judgement: Judgement) -> str | None:
        """Return what to say where outputs of a kind that no bound is of lose much; None where they do not."""
        if not self.limits_answers:
            return None
        bounds_answers = any(bound is not None for bound in (self.max_drop, self.min_agreement, self.max_kl))
        snr, same = judgement.snr_db, judgement.agreement
        if self.min_snr is None and snr is not None and not snr >= _POOR_SNR:
            names = [repr(one.name) for one in judgement.outputs if one.kind == "values"]
            values = (
                f"the values of {', '.join(names[:3])}{' …' if len(names) > 3 else ''}" if names else "values"
            )
            return f"no bound limits the error of {values}: they keep {snr:.1f} dB; min_snr= bounds it too"
        if not bounds_answers and same is not None and not same >= _POOR_AGREEMENT:
            return f"no bound is of the answers, of which {same:.1f} % stay; min_agreement= or max_kl= bounds them too"
        return None

    def changed_answers(self, judgement: Judgement) -> str | None:
        """Return what to say where bounds hold and yet many answers changed, as nearly flat ones do; else None."""
        same, is_bounded = judgement.agreement, self.max_kl is not None or self.max_drop is not None
        if not is_bounded or self.min_agreement is not None or same is None or same >= _POOR_AGREEMENT:
            return None
        known = (f"KL {judgement.kl:.3g} nats",) if self.max_kl is not None else ()
        if self.max_drop is not None and judgement.drop is not None:
            known = (*known, f"{judgement.drop:+.2f} points lost")
        return (
            f"the bound holds ({', '.join(known)}), and yet {100 - same:.1f} % of the answers changed; "
            "min_agreement= bounds them"
        )

    def violation(self, judgement: Judgement | None, score: JudgeScore | None = None) -> str | None:
        """Return which bound a judgement or score violates, None where all bounds hold."""
        found = None if judgement is None else self._answers_violation(judgement)
        if found is not None or score is None or self.max_judge_drop is None:
            return found
        if not score.drop <= self.max_judge_drop:  # asked so that NaN violates it
            return f"the judge gives {score.compressed:g}, more than {self.max_judge_drop:g} below {score.original:g}"
        return None

    def _answers_violation(self, judgement: Judgement) -> str | None:
        # Asked whether the bound holds: NaN holds none. Without labels nothing is known to be lost.
        if self.max_drop is not None and judgement.drop is not None and not judgement.drop <= self.max_drop:
            lost = figure_beyond(judgement.drop, self.max_drop, "f", 2)
            return f"{lost} points of top-1 are lost, more than {self.max_drop:g}"
        if self.min_snr is not None and not (
            judgement.snr_db is not None and judgement.snr_db >= self.min_snr
        ):
            known = figure_beyond(judgement.snr_db or 0.0, self.min_snr, "f", 2)
            return f"the signal is {known} dB above the error, less than {self.min_snr:g}"
        same = judgement.agreement
        if self.min_agreement is not None and not (same is not None and same >= self.min_agreement):
            stay = figure_beyond(same or 0.0, self.min_agreement, "f", 2)
            return f"{stay} % of answers stay, fewer than {self.min_agreement:g}"
        if self.max_kl is not None and not judgement.kl <= self.max_kl:
            if math.isnan(judgement.kl):
                return f"scores are no numbers, so that no divergence is known to be at most {self.max_kl:g} nats"
            lost = figure_beyond(judgement.kl, self.max_kl, "g", 3)
            return f"the divergence is {lost} nats, more than {self.max_kl:g}"
        return None


@dataclass(frozen=True, repr=False)
class Judgement:
    """A compressed model's answers beside the original's on the same images; shares in percent, KL in nats.

    drop: points of top-1 lost, with its paired 95 % interval (Tango's); agreement with Wilson's. kl: NaN where the
    compressed model gives scores that are no numbers; such answers are wrong and agree with none. original_top1, top1,
    drop and its interval are None where the images have no labels. agreement is None, and kl NaN, of a model without
    answers. values_loss: the mean squared error of outputs of values, in units of their variance. outputs: each apart.
    """

    samples: int
    top1: float | None
    drop: float | None
    drop_interval: tuple[float, float] | None
    agreement: float | None
    agreement_interval: tuple[float, float] | None
    kl: float
    data_hash: str
    original_top1: float | None = None
    values_loss: float | None = None
    outputs: tuple[OutputResult, ...] = ()

    @property
    def snr_db(self) -> float | None:
        """The signal-to-noise ratio of outputs of values, in dB; None without any."""
        return None if self.values_loss is None else decibels(self.values_loss)

    def __repr__(self) -> str:
        return f"<Judgement: {self.samples:,} samples, {self.describe()}>"

    def describe(self) -> str:
        """Return right answers where there are labels, equal answers and the signal in a few words."""
        of = "" if self.original_top1 is None else f" of {self.original_top1:.2f}"
        facts = [] if self.top1 is None else [f"top-1 {self.top1:.2f}{of} %"]
        if self.agreement is not None:
            facts.append(f"{self.agreement:.2f} % same answers, KL {self.kl:.3g} nats")
        if self.snr_db is not None:
            facts.append(f"SNR {self.snr_db:.2f} dB")
        return ", ".join(facts)

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe values; a divergence that is not known is None."""
        values = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}
        values["kl"] = None if math.isnan(self.kl) else self.kl
        for one, result in zip(values["outputs"], self.outputs, strict=True):
            one["signal"] = None if result.signal is None else result.signal.to_dict()
            one["loss"] = None if math.isnan(one["loss"]) else one["loss"]
        return values


class Judge:
    """Compares models with a reference on one data set; the reference runs once.

    kind: what the scores of the reference are, and so of what it is compressed to. Raises `DataError` where the
    reference gives scores that are no numbers.
    """

    def __init__(
        self, reference: Model, dataset: Dataset, preprocess: Preprocess, *, threads: int = 0, batch: int = 64
    ) -> None:
        self._dataset = dataset
        self._preprocess = preprocess
        self._threads = threads
        self._batch = batch
        self._labels = np.asarray(dataset.labels)
        scores = self._scores(reference)
        if np.isnan(scores).any() or np.isposinf(scores).any():
            raise DataError(
                f"{dataset.path}: the original gives NaN or infinity for some images; look at it first",
                code="E035",
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
        return self.of_model(compressed.to_model())

    def of_model(self, model: Model) -> Judgement:
        """Return how any model of the same images and classes compares."""
        scores = self._scores(model)
        # The first NaN would count as the largest score.
        answers = np.where(np.isnan(scores).any(axis=1), -1, scores.argmax(1))
        right, was_right = answers == self._labels, self._answers == self._labels
        same = answers == self._answers
        count = len(answers)
        lost, won = int(np.count_nonzero(was_right & ~right)), int(np.count_nonzero(right & ~was_right))
        least, most = paired_interval(lost, won, count)
        low, high = wilson_interval(int(same.sum()), count)
        each = divergences(self._log_reference, log_probabilities(scores, self.kind))
        judgement = Judgement(
            samples=count,
            original_top1=100 * float(was_right.mean()),
            top1=100 * float(right.mean()),
            drop=100 * (lost - won) / count,
            drop_interval=(100 * least, 100 * most),
            agreement=100 * float(same.mean()),
            agreement_interval=(100 * low, 100 * high),
            kl=mean_divergence(each),
            data_hash=self._dataset.hash,
        )
        if self._dataset.labelled:
            return judgement
        return replace(judgement, original_top1=None, top1=None, drop=None, drop_interval=None)

    def losses(self, compressed: CompressedModel) -> npt.NDArray[np.float64]:
        """Return the divergence (N,) of every image, in nats."""
        return divergences(
            self._log_reference, log_probabilities(self._scores(compressed.to_model()), self.kind)
        )

    def _scores(self, model: Model) -> npt.NDArray[np.float32]:
        runner = Runner(model, threads=self._threads)
        batches = predict_batches([runner.scores], self._dataset, self._preprocess, self._batch)
        return np.concatenate([scores.reshape(len(scores), -1) for (scores,), _ in batches])


@dataclass(frozen=True)
class JudgeScore:
    """What a caller's judge gives the original (beside itself) and the compressed model; higher is better."""

    original: float
    compressed: float

    @property
    def drop(self) -> float:
        """How much lower the compressed model's score is."""
        return self.original - self.compressed


class ScoreJudge:
    """Judges models by a caller's own function, which is called with ONNX Runtime sessions.

    The original is judged once, beside itself. Raises `UsageError` where the function gives no number.
    """

    def __init__(self, measure: Measure, original: Model, *, threads: int = 0) -> None:
        self._measure = measure
        self._threads = threads
        self._session = session(original, threads=threads)
        self.original = self._score(self._session)
        if not math.isfinite(self.original):
            raise UsageError(f"judge= gives the original {self.original}, which nothing can be compared with")

    def __call__(self, compressed: CompressedModel) -> JudgeScore:
        """Return how a compressed model scores, beside the original's score; `UsageError` for NaN."""
        found = self._score(session(compressed.to_model(), threads=self._threads))
        if math.isnan(found):
            raise UsageError(
                f"judge= gives NaN for a compressed model ({compressed.file_bytes:,} B); return a number for every "
                "model, such as the lowest there is for one that fails"
            )
        return JudgeScore(self.original, found)

    def _score(self, judged: onnxruntime.InferenceSession) -> float:
        value: Any = self._measure(self._session, judged)
        kind = getattr(getattr(value, "dtype", None), "kind", "")
        if isinstance(value, (str, bytes, bytearray)) or kind in ("U", "S", "T"):
            raise UsageError(f"judge= must give one number, not text, {value!r:.80}")
        try:
            return float(value)
        except (TypeError, ValueError) as error:
            raise UsageError(f"judge= must give one number, not {value!r:.80}") from error

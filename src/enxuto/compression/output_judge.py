"""Judges compressed models by all of their outputs, on samples of any kind, as `metrics.losses` measures them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from enxuto.calibration.outputs import JudgedOutputs, OutputChoices, find_losses, run_together
from enxuto.calibration.sensitivity import losses_of_groups, run_groups
from enxuto.calibration.sequences import single_steps
from enxuto.compression.judge import Bounds, Judgement
from enxuto.compression.output_result import OutputResult
from enxuto.data.samples import Samples
from enxuto.enx.file import CompressedModel
from enxuto.errors import DataError, ModelError, UsageError
from enxuto.metrics import (
    ChanceComparison,
    compare_with_chance,
    mean_divergence,
    paired_interval,
    wilson_interval,
)
from enxuto.metrics.losses import OutputLoss, output_variance
from enxuto.metrics.signal import measure_output
from enxuto.onnx_model import Model, is_called_state

__all__ = [
    "OutputJudge",
    "check_bounds_fit",
    "compare_outputs",
    "output_results",
    "rows_by_bounds",
    "with_kept_kinds",
]

_STEPS = 64  # of sequences, that tell what outputs are
_LOST = 1e300  # the loss of values that are no numbers


class OutputJudge:
    """Compares models with a reference on samples; the reference runs once.

    judged_outputs: what is lost of each output, values in units of their variance over these samples.
    """

    def __init__(
        self,
        reference: Model,
        samples: Samples,
        choices: OutputChoices | None = None,
        *,
        threads: int = 0,
        peel: bool = True,
        known: Mapping[str, str] | None = None,
    ) -> None:
        """known: by output the kind that other samples told."""
        self._samples = samples
        self._threads = threads
        self._groups = samples.groups()
        steps = single_steps(reference, samples, _STEPS, threads=threads)
        found = find_losses(
            reference, steps, choices, threads=threads, peel=peel, labelled=samples.labelled, known=known
        )
        self._references = run_groups(found.measured(reference), self._groups, threads=threads)
        self.judged_outputs = replace(
            found,
            losses=tuple(self._scaled(number, loss) for number, loss in enumerate(found.losses)),
        )
        self._answers = self._classes_of(self._references) if samples.labelled else None
        if (
            self._answers is not None
            and samples.labels is not None
            and samples.labels.max() >= self._class_count()
        ):
            raise DataError(
                f"{samples.path} has label {samples.labels.max()}, and the model {self._class_count()} outputs",
                code="E042",
            )

    @property
    def samples(self) -> Samples:
        """What models are compared on."""
        return self._samples

    @property
    def by_chance(self) -> ChanceComparison | None:
        """How the original's top-1 compares with chance; None without labels or a single list of classes."""
        if self._answers is None or self._samples.labels is None:
            return None
        return compare_with_chance(self._answers, self._samples.labels, self._class_count())

    def is_finite(self) -> bool:
        """Say whether what is measured of the reference is numbers: compared with itself it loses nothing else."""
        counts = [group.rows for group in self._groups]
        results = output_results(self.judged_outputs.losses, counts, self._references, self._references)
        return all(not math.isnan(one.loss) and one.loss < _LOST for one in results)

    def uncertainties(self) -> tuple[float, ...]:
        """Return for each output how unsure the reference's answers are on average (`OutputLoss.uncertainty`)."""
        found = []
        for number, loss in enumerate(self.judged_outputs.losses):
            unsure = [
                loss.uncertainty(outputs[number], group.rows)
                for outputs, group in zip(self._references, self._groups, strict=True)
            ]
            found.append(float(np.concatenate(unsure).mean()))
        return tuple(found)

    def __call__(self, compressed: CompressedModel) -> Judgement:
        """Return how a compressed model compares."""
        return self.compare(self.judged_outputs.measured(compressed.to_model()))

    def losses(self, compressed: CompressedModel) -> np.ndarray:
        """Return the loss (N,) of every sample, the weighted mean over outputs."""
        found = run_groups(
            self.judged_outputs.measured(compressed.to_model()), self._groups, threads=self._threads
        )
        return losses_of_groups(self._groups, self._references, found, self.judged_outputs.losses)

    def compare(self, measured: Model, *, signals: bool = False) -> Judgement:
        """Return how a model compares whose outputs are those that are measured; signals: with errors of values."""
        found = run_groups(measured, self._groups, threads=self._threads)
        counts = [group.rows for group in self._groups]
        results = output_results(self.judged_outputs.losses, counts, self._references, found, signals=signals)
        answers = [
            (one, loss)
            for one, loss in zip(results, self.judged_outputs.losses, strict=True)
            if loss.kind != "values"
        ]
        values = [
            (one, loss)
            for one, loss in zip(results, self.judged_outputs.losses, strict=True)
            if loss.kind == "values"
        ]
        share = _mean([(one.same or 0.0, loss.weight) for one, loss in answers]) if answers else None
        single = (
            share is not None
            and len(self.judged_outputs.losses) == 1
            and self.judged_outputs.losses[0].axis is None
        )
        interval = None
        if single and share is not None and self.judged_outputs.losses[0].kind == "classes":
            low, high = wilson_interval(round(share / 100 * len(self._samples)), len(self._samples))
            interval = (100 * low, 100 * high)
        return Judgement(
            samples=len(self._samples),
            agreement=share,
            agreement_interval=interval,
            kl=_mean([(one.loss, loss.weight) for one, loss in answers]) if answers else math.nan,
            data_hash=self._samples.hash,
            values_loss=_mean([(one.loss, loss.weight) for one, loss in values]) if values else None,
            outputs=results,
            **self._right_answers(found),
        )

    def _right_answers(self, found: Sequence[Sequence[np.ndarray]]) -> dict[str, Any]:
        """Return the fields of a `Judgement` on right answers; nothing where there are none to know."""
        labels, answers = self._samples.labels, self._classes_of(found) if self._answers is not None else None
        if labels is None or answers is None or self._answers is None:
            return {"top1": None, "drop": None, "drop_interval": None}
        right, was_right = answers == labels, self._answers == labels
        lost, won = int(np.count_nonzero(was_right & ~right)), int(np.count_nonzero(right & ~was_right))
        least, most = paired_interval(lost, won, len(labels))
        return {
            "original_top1": 100 * float(was_right.mean()), "top1": 100 * float(right.mean()),
            "drop": 100 * (lost - won) / len(labels), "drop_interval": (100 * least, 100 * most),
        }  # fmt: skip

    def _classes_of(self, outputs: Sequence[Sequence[np.ndarray]]) -> np.ndarray | None:
        """Return the class (N,) of every sample, −1 for NaN; None where no output is a single list of classes."""
        losses = self.judged_outputs.losses
        place = next((number for number, loss in enumerate(losses) if loss.kind == "classes"), None)
        if place is None or self._samples.feedback:
            return None
        rows = [
            found[place].reshape(group.count, -1)
            for found, group in zip(outputs, self._groups, strict=True)
            if found[place].size == group.count * max(found[place].shape[1:], default=0)
        ]
        if len(rows) < len(self._groups) or len({row.shape[1] for row in rows}) > 1:
            return None
        scores = np.concatenate(rows) * (-1 if losses[place].least else 1)
        return np.asarray(np.where(np.isnan(scores).any(axis=1), -1, scores.argmax(axis=1)), np.int64)

    def _class_count(self) -> int:
        place = next(n for n, loss in enumerate(self.judged_outputs.losses) if loss.kind == "classes")
        return int(self._references[0][place].size // self._groups[0].count)

    def _scaled(self, number: int, loss: OutputLoss) -> OutputLoss:
        if loss.kind != "values":
            return loss
        pieces = [
            (outputs[number], group.rows)
            for outputs, group in zip(self._references, self._groups, strict=True)
        ]
        return replace(loss, scale=output_variance(pieces) or loss.scale)


def compare_outputs(
    reference: Model,
    model: Model,
    samples: Samples,
    choices: OutputChoices | None = None,
    *,
    threads: int = 0,
    kinds: Mapping[str, str] | None = None,
) -> tuple[Judgement, JudgedOutputs]:
    """Return how a model's outputs compare with a reference's on samples, and how they are judged.

    kinds: by output what a file keeps of how it was made; `choices` go before them. Raises `ModelError` where the model
    lacks an output of the reference.
    """
    known, choices = with_kept_kinds(reference, choices, kinds)
    names = {item.name for item in model.proto.graph.output}
    missing = [item.name for item in reference.proto.graph.output if item.name not in names]
    if missing:
        raise ModelError(
            f"the model has no output {missing[0]!r}, which the reference has; it has {', '.join(sorted(names))}",
            code="E037",
        )
    made = {name for node in model.proto.graph.node for name in node.output}
    samples = run_together(reference, samples, threads=threads)
    judge = OutputJudge(reference, samples, choices, threads=threads, known=known)
    before = judge.judged_outputs.answers.before if judge.judged_outputs.answers is not None else None
    needed = (
        [loss.value for loss in judge.judged_outputs.losses]
        if judge.judged_outputs.answers is None
        else [before]
    )
    if any(value is not None and value not in made for value in needed):
        judge = OutputJudge(reference, samples, choices, threads=threads, peel=False, known=known)
    return judge.compare(judge.judged_outputs.measured(model), signals=True), judge.judged_outputs


def with_kept_kinds(
    model: Model, choices: OutputChoices | None, kinds: Mapping[str, str] | None
) -> tuple[dict[str, str], OutputChoices | None]:
    """Return what outputs are known to be, and what is asked for, with outputs that a file was made to ignore."""
    own = {item.name for item in model.proto.graph.output} - set(choices or {})
    kept = {name: kind for name, kind in (kinds or {}).items() if name in own}
    ignored = {name: ("ignore", 1.0) for name, kind in kept.items() if kind == "ignore"}
    return {name: kind for name, kind in kept.items() if name not in ignored}, {
        **ignored,
        **(choices or {}),
    } or None


def output_results(
    losses: Sequence[OutputLoss],
    counts: Sequence[int],
    references: Sequence[Sequence[np.ndarray]],
    found: Sequence[Sequence[np.ndarray]],
    *,
    signals: bool = False,
) -> tuple[OutputResult, ...]:
    """Return what was lost of each output, over groups of samples.

    counts: samples, or steps of a sequence, of each group. references, found: for each group the measured outputs.
    signals: whether errors of values and of images are measured too.
    """
    results = []
    for number, loss in enumerate(losses):
        lost, same, yes = [], [], []
        for count, before, after in zip(counts, references, found, strict=True):
            lost.append(loss.each(before[number], after[number], count))
            equal = loss.same(before[number], after[number], count)
            same.append(np.zeros(0) if equal is None else equal)
            yes.append(loss.yes(before[number], after[number]))
        mean = mean_divergence(np.concatenate(lost))
        whole = np.concatenate(same)
        if math.isnan(mean) and loss.kind == "values":
            mean = _LOST
        share = 100 * float(whole.mean()) if whole.size else None
        signal = None
        if signals and loss.kind != "classes" and loss.value == loss.name and not is_called_state(loss.name):
            pairs = [(before[number], after[number]) for before, after in zip(references, found, strict=True)]
            signal = measure_output(pairs)
        both, either = np.sum(yes, axis=0)
        iou = 100 * float(both / either) if either else None
        results.append(OutputResult(loss.name, loss.kind, mean, share, signal, iou))
    return tuple(results)


def check_bounds_fit(bounds: Bounds, judged_outputs: JudgedOutputs) -> None:
    """Raise `UsageError` where what is bounded is not among what the model's outputs are judged by."""
    answers = [loss for loss in judged_outputs.losses if loss.kind != "values"]
    values = [loss for loss in judged_outputs.losses if loss.kind == "values"]
    if not answers and any(bound is not None for bound in (bounds.max_kl, bounds.min_agreement)):
        raise UsageError(
            f"max_kl= and min_agreement= are of classes, and this model's outputs are values "
            f"({judged_outputs.describe()}); bound min_snr=, or say with outputs= which are classes",
            code="E035",
        )
    if not values and bounds.min_snr is not None:
        raise UsageError(
            f"min_snr= is of values, and this model's outputs are none ({judged_outputs.describe()}); bound max_kl= or "
            "min_agreement=, or say with outputs= which are values",
            code="E035",
        )


def rows_by_bounds(bounds: Bounds, judged_outputs: JudgedOutputs) -> str:
    """Return what doubtful outputs are, `classes` or `values`, where a bound is of what no output is, else ""."""
    # With bounds of both sorts they are of the sort that no output is of: the other bound has outputs of its own.
    of_classes = any(bound is not None for bound in (bounds.max_kl, bounds.min_agreement, bounds.max_drop))
    has_values = any(loss.kind == "values" for loss in judged_outputs.losses)
    has_classes = any(loss.kind != "values" for loss in judged_outputs.losses)
    if of_classes and not has_classes:
        return "classes"
    return "values" if bounds.min_snr is not None and not has_values else ""


def _mean(weighted: Sequence[tuple[float, float]]) -> float:
    return sum(value * weight for value, weight in weighted) / sum(weight for _, weight in weighted)

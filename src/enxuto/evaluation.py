"""Model × data -> `Evaluation`: every metric of one model on one labelled data set, beside a reference if
given.

A model is any callable from a float32 batch to scores (N, classes); `runtime` makes one of an ONNX file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enxuto.data import Dataset, Preprocess
from enxuto.errors import DataError, ModelError
from enxuto.metrics import (
    AgreementMetrics,
    AgreementResult,
    ClassificationMetrics,
    ScoreKind,
    paired_interval,
    wilson_interval,
)
from enxuto.metrics.scores import check_labels
from enxuto.tables import as_percent, interval_in_percent

__all__ = [
    "Evaluation",
    "Predict",
    "ReferenceComparison",
    "compare_with_reference",
    "evaluate",
    "predict_batches",
]

Predict = Callable[[NDArray[np.float32]], NDArray[Any]]
"""A model: float32 batch (N, …) → scores (N, classes)."""


def predict_batches(
    models: Sequence[Predict],
    dataset: Dataset,
    preprocess: Preprocess,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[list[NDArray[Any]], NDArray[np.int64]]]:
    """Yield, batch by batch and in order, what each model gives for it, and the labels (N,).

    Args:
        models: each is called once a batch.
        dataset: the images.
        preprocess: how they become a float32 batch.
        batch_size: images at a time; the last batch may be smaller.
        progress: called with (images done, images in all) after the consumer has taken each batch.
    """
    done = 0
    with closing(dataset.batches(batch_size, preprocess)) as batches:
        for batch, labels in batches:
            yield [np.asarray(model(batch)) for model in models], labels
            done += len(batch)
            if progress is not None:
                progress(done, len(dataset))


@dataclass(frozen=True, repr=False)
class Evaluation:
    """What a model scores on a data set; plain numbers, lists and text, so that it can be stored as it is.

    metrics: see `enxuto.metrics.ClassificationResult.to_dict`; shares are 0…1. data_hash identifies the
    samples (`Dataset.hash`), seed is the one they were drawn with. top1_interval: Wilson's 95 % interval of
    the accuracy. agreement, kl: share of equal top-1 answers and mean divergence in nats from the reference,
    or None. reference_top1: the reference's accuracy; lost: how much of it is lost, as a share of the samples, and
    lost_interval its paired 95 % interval (Tango's). scores_are, reference_are: what the scores of both were taken for.
    """

    metrics: dict[str, Any]
    samples: int
    data_hash: str
    seed: int
    classes: int
    top1_interval: tuple[float, float]
    agreement: float | None = None
    kl: float | None = None
    reference_top1: float | None = None
    lost: float | None = None
    lost_interval: tuple[float, float] | None = None
    scores_are: str | None = None
    reference_are: str | None = None
    class_names: tuple[str, ...] | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        low, high = self.top1_interval
        top1 = f"{as_percent(self.top1)} {interval_in_percent(low, high)}"
        text = f"<Evaluation: top-1 {top1} on {self.samples:,} samples"
        if self.lost is not None:
            text += f", {100 * self.lost:+.2f} points lost against the reference"
        if self.agreement is not None:
            text += f", {as_percent(self.agreement)} same answers"
        return f"{text}>" if self.kl is None else f"{text}, KL {self.kl:.3g} nats>"

    @property
    def top1(self) -> float:
        """Share of samples whose best score is the expected class."""
        return float(self.metrics["accuracy"])

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe values."""
        values = asdict(self)
        values["top1_interval"] = list(self.top1_interval)
        values["lost_interval"] = None if self.lost_interval is None else list(self.lost_interval)
        values["class_names"] = None if self.class_names is None else list(self.class_names)
        return values

    def summary(self) -> dict[str, Any]:
        """`to_dict` without the lists over classes: a few hundred bytes, fit for the metadata of a file."""
        values = self.to_dict()
        del values["class_names"]
        values["metrics"] = {k: v for k, v in values["metrics"].items() if not isinstance(v, list)}
        return values

    def rows(self) -> list[tuple[str, str]]:
        """(name, value) pairs for a table that people read; shares in percent."""
        low, high = self.top1_interval
        metrics = self.metrics
        rows = [("samples", f"{self.samples:,} (seed {self.seed}, data {self.data_hash})")]
        for k, share in metrics["top"].items():
            interval = f" {interval_in_percent(low, high)}" if k == "1" else ""
            rows.append((f"top-{k}", f"{as_percent(share)}{interval}"))
        names = ("macro_accuracy", "macro_precision", "macro_recall", "macro_f1")
        rows += [(name.replace("_", " "), as_percent(metrics[name])) for name in names]
        rows += [("MRR", f"{metrics['mrr']:.4f}"), ("NDCG", f"{metrics['ndcg']:.4f}")]
        if self.lost is not None and self.lost_interval is not None and self.reference_top1 is not None:
            least, most = (100 * end for end in self.lost_interval)
            interval = f"(95 % interval {least:+.2f} to {most:+.2f})"
            rows.append(("reference's top-1", as_percent(self.reference_top1)))
            rows.append(("lost", f"{100 * self.lost:+.2f} points {interval}"))
        if self.agreement is not None:
            rows.append(_same_answers(self.agreement, self.samples))
        return [*rows, *_divergence_rows(self.kl, self.scores_are, self.reference_are)]

    def class_rows(self) -> list[tuple[str, int, float, float, float]]:
        """(class, samples, precision, recall, F1) of every class that occurs, in the order of the labels."""
        metrics = self.metrics
        names = self.class_names or [str(label) for label in range(self.classes)]
        columns = (metrics["support"], metrics["precision"], metrics["recall"], metrics["f1"])
        rows = zip(names, *columns, strict=False)  # a data set may name fewer classes than the model has
        return [row for row in rows if row[1] > 0]


def evaluate(
    predict: Predict,
    dataset: Dataset,
    *,
    preprocess: Preprocess,
    batch_size: int = 64,
    reference: Predict | None = None,
    scores_are: ScoreKind = "auto",
    reference_are: ScoreKind = "auto",
    top: Sequence[int] = (1, 5),
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Score every sample of `dataset` once, in order, and measure.

    predict, reference: float32 batch as `preprocess` makes it -> scores (N, C); axes of length 1 after those
    are dropped. scores_are, reference_are: logits, probabilities or log-probabilities, by which the divergence
    goes; `auto` tells them apart by all scores, a graph knows better (`enxuto.calibration.answers`). progress:
    called with (samples done, samples in all) after each batch. Raises `ModelError` when the output is not one
    score per class, `DataError` for NaN scores, labels beyond the outputs, or images that cannot be read.
    """
    if not dataset.labelled:
        raise DataError(
            f"{dataset.path} has no labels, which accuracy needs; without them only `compare_with_reference` compares",
            code="E042",
        )
    classes: ClassificationMetrics | None = None
    agreement = AgreementMetrics(scores_are, reference_are) if reference is not None else None
    pairs = np.zeros(3, np.int64)  # right in the reference alone, in the model alone, in the reference at all
    models = [predict] if reference is None else [predict, reference]
    for outputs, labels in predict_batches(models, dataset, preprocess, batch_size, progress):
        scores = _class_scores(outputs[0], len(labels), "model")
        if classes is None:
            classes = ClassificationMetrics(scores.shape[1], top)
            # All labels at once: reported now, not after hours of work.
            check_labels(dataset.labels, len(dataset), classes.classes, 0)
        classes.update(scores, labels)
        if agreement is not None:
            theirs = _class_scores(outputs[1], len(labels), "reference model")
            agreement.update(scores, theirs)
            right, was_right = scores.argmax(axis=1) == labels, theirs.argmax(axis=1) == labels
            pairs += [(was_right & ~right).sum(), (right & ~was_right).sum(), was_right.sum()]
    if classes is None:
        raise DataError(
            f"{dataset.path} holds no samples; name a data set with at least one image", code="E043"
        )
    result = classes.result()
    return Evaluation(
        metrics=result.to_dict(),
        samples=result.samples,
        data_hash=dataset.hash,
        seed=dataset.seed,
        classes=classes.classes,
        top1_interval=wilson_interval(result.correct, result.samples),
        class_names=dataset.classes,
        **({} if agreement is None else _compared(agreement.result(), *pairs.tolist())),
    )


def _compared(found: AgreementResult, only_reference: int, only_model: int, reference: int) -> dict[str, Any]:
    """Return what an `Evaluation` says beside a reference, from how often both, or one alone, were right."""
    return {
        "agreement": found.agreement,
        "kl": found.kl,
        "reference_top1": reference / found.samples,
        "lost": (only_reference - only_model) / found.samples,
        "lost_interval": paired_interval(only_reference, only_model, found.samples),
        "scores_are": found.scores_are,
        "reference_are": found.reference_are,
    }


@dataclass(frozen=True)
class ReferenceComparison:
    """How a model's answers follow a reference's on images that need no labels; see `Evaluation` for the fields."""

    samples: int
    data_hash: str
    seed: int
    agreement: float
    kl: float | None
    scores_are: str | None = None
    reference_are: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe values."""
        return asdict(self)

    def rows(self) -> list[tuple[str, str]]:
        """(name, value) pairs for a table that people read."""
        return [
            ("samples", f"{self.samples:,} (seed {self.seed}, data {self.data_hash}), without labels"),
            _same_answers(self.agreement, self.samples),
            *_divergence_rows(self.kl, self.scores_are, self.reference_are),
        ]


def compare_with_reference(
    predict: Predict,
    reference: Predict,
    dataset: Dataset,
    *,
    preprocess: Preprocess,
    batch_size: int = 64,
    scores_are: ScoreKind = "auto",
    reference_are: ScoreKind = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> ReferenceComparison:
    """Compare answers on every sample of `dataset`, whose labels are not looked at. Otherwise as `evaluate`."""
    agreement = AgreementMetrics(scores_are, reference_are)
    for (ours, theirs), labels in predict_batches(
        [predict, reference], dataset, preprocess, batch_size, progress
    ):
        agreement.update(
            _class_scores(ours, len(labels), "model"), _class_scores(theirs, len(labels), "reference model")
        )
    result = agreement.result()
    return ReferenceComparison(
        result.samples,
        dataset.hash,
        dataset.seed,
        result.agreement,
        result.kl,
        result.scores_are,
        result.reference_are,
    )


def _same_answers(agreement: float, samples: int) -> tuple[str, str]:
    """The row of equal answers, with their interval (Wilson's)."""
    interval = interval_in_percent(*wilson_interval(round(agreement * samples), samples))
    return "same answers", f"{as_percent(agreement)} {interval}"


def _divergence_rows(kl: float | None, ours: str | None, theirs: str | None) -> list[tuple[str, str]]:
    """Rows of the divergence, where one is known, and of what both models' scores were taken for."""
    rows = [] if kl is None else [("KL from the reference", f"{kl:.3g} nats")]
    if ours is not None:
        rows.append(("scores are", ours if ours == theirs else f"{ours}, the reference's {theirs}"))
    return rows


def _class_scores(output: NDArray[Any], samples: int, who: str) -> NDArray[Any]:
    """The output as (N, C): axes of length 1 behind the first are dropped, such as those of (N, C, 1, 1)."""
    values = np.asarray(output)
    longer = [length for length in values.shape[1:] if length != 1]
    if values.ndim < 2 or values.shape[0] != samples or len(longer) != 1:
        raise ModelError(
            f"the {who} gives an output of shape {values.shape} for {samples} images; a classifier with one "
            "score per class, (images, classes), is needed",
            code="E035",
        )
    return values.reshape(samples, longer[0])

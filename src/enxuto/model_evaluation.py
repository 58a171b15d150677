"""`enxuto.evaluate`: what a model scores on labelled images, or how its outputs follow a reference's on named arrays.

Preprocessing and class names are the model's own where none are given, as `enxuto evaluate` takes them. Not here: the
metrics and the loop over batches (`evaluation`).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from os import PathLike
from typing import Any, TypeAlias, overload

import numpy as np
from onnx import ModelProto

from enxuto import evaluation
from enxuto.calibration.answers import inspect_answers
from enxuto.classifier import LoadedModel, load
from enxuto.compression.arguments import (
    DataLike,
    PreprocessLike,
    check_count,
    named_samples,
    to_dataset,
    to_named,
    to_outputs,
    to_preprocess,
)
from enxuto.compression.judge import Judgement
from enxuto.compression.output_judge import compare_outputs
from enxuto.compression.result import CompressionResult
from enxuto.data import Dataset, Preprocess
from enxuto.data.columns import columns_of
from enxuto.data.labels import Label
from enxuto.data.listed import gather
from enxuto.data.samples import Samples
from enxuto.enx.file import CompressedModel
from enxuto.errors import UsageError
from enxuto.evaluation import Evaluation, Predict
from enxuto.files import to_path
from enxuto.metrics import ScoreKind, compare_confusion_with_chance
from enxuto.onnx_model import Model
from enxuto.opening import (
    class_count,
    labels_of,
    onnx_metadata,
    output_kinds_of,
    plain_preprocess_of,
    preprocess_of,
)
from enxuto.runtime import Runner

__all__ = ["PredictLike", "evaluate"]

PredictLike: TypeAlias = (
    str | PathLike[str] | Model | ModelProto | CompressedModel | CompressionResult | Runner | Predict
)
"""The path of an `.enx` or ONNX file, a model, what `compress` returns, a `Runner`, or a function: batch → scores."""

_SAMPLE = 8  # images that tell what scores are


@overload
def evaluate(
    predict: PredictLike,
    dataset: Mapping[str, Any] | Iterable[Mapping[str, Any]],
    *,
    reference: PredictLike | None = None,
    outputs: Mapping[str, Any] | None = None,
    feedback: Mapping[str, str] | None = None,
    threads: int = 0,
) -> Judgement: ...


@overload
def evaluate(
    predict: PredictLike,
    dataset: str | PathLike[str] | Dataset | np.ndarray | tuple[np.ndarray, np.ndarray],
    *,
    preprocess: PreprocessLike | None = None,
    labels: Sequence[Label] | None = None,
    batch_size: int = 64,
    reference: PredictLike | None = None,
    scores_are: ScoreKind = "auto",
    reference_are: ScoreKind = "auto",
    top: Sequence[int] = (1, 5),
    outputs: Mapping[str, Any] | None = None,
    feedback: Mapping[str, str] | None = None,
    threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation: ...


def evaluate(
    predict: PredictLike,
    dataset: DataLike,
    *,
    preprocess: PreprocessLike | None = None,
    labels: Sequence[Label] | None = None,
    batch_size: int = 64,
    reference: PredictLike | None = None,
    scores_are: ScoreKind = "auto",
    reference_are: ScoreKind = "auto",
    top: Sequence[int] = (1, 5),
    outputs: Mapping[str, Any] | None = None,
    feedback: Mapping[str, str] | None = None,
    threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation | Judgement:
    """Score every sample of labelled images once, in order, and measure; or compare all outputs on named arrays.

    Named arrays, also in files, give a `Judgement` of the outputs beside the reference's. Without a reference they have
    labels, and only top-1 is known.

    Args:
        predict: the path of an `.enx` or ONNX file, a model as `enxuto.load` gives it, a `Runner`, or a function:
            float32 batch (N, …) as `preprocess` makes it → scores (N, C).
        dataset: a path, a `Dataset`, or arrays (images, labels). Or named arrays of a model: a dict of arrays (N, …) by
            input name, dicts, arrays or lists of arrays of a sample each, as `compress` takes them, or files of them.
        preprocess: how images become the model's input: a preset's name, a `Preprocess`, or a dict of its settings. By
            default the model's own, or the reference's where the model has none; functions and Runners have none.
        labels: class names in the order of the model's outputs, with which the data's classes are matched by name. By
            default the model's own.
        batch_size: images at a time.
        reference: a model, in the same forms, whose answers are compared.
        scores_are: logits, probabilities or log-probabilities, by which the divergence goes; `auto` finds out.
        reference_are: the same of the reference.
        top: for which k the share of samples is measured whose class is among the k best.
        outputs: of named arrays, what outputs are judged as: by name `values`, `binary`, `classes`, `ignore`, or
            (kind, weight). By default the graph tells.
        feedback: of named arrays, by output the input that it is at the next step: samples are sequences then.
        threads: threads that decode and run models; 0 takes one per processor.
        progress: called with (samples done, samples in all) after each batch.

    Raises:
        UsageError: arguments have wrong types; E046 where no preprocessing is known of a function.
        ModelError: a model cannot be read, or its output is not one score per class.
        DataError: images cannot be read, have no labels, or labels that the model does not have.
    """
    threads, batch_size = check_count("threads", threads), check_count("batch_size", batch_size, 1)
    if progress is not None and not callable(progress):
        raise UsageError(f"progress= takes a function of (done, total), not {progress!r:.80}")
    model = _open("predict", predict, threads)
    other = None if reference is None else _open("reference", reference, threads)
    dataset = to_named(dataset, model, "dataset=") if isinstance(model, LoadedModel) else gather(dataset)
    named = _named(model, dataset, feedback)
    if named is not None:
        images_only = (
            preprocess is not None or labels is not None or (scores_are, reference_are) != ("auto", "auto")
        )
        return _judge_arrays(model, other, named, outputs, images_only=images_only, threads=threads)
    for given, told in (("outputs", outputs), ("feedback", feedback)):
        if told is not None:
            raise UsageError(f"{given}= is of named arrays, which dataset= does not hold", code="E024")
    samples = to_dataset("dataset", dataset, labelled=True, seed=0)
    if isinstance(model, LoadedModel) or labels is not None:
        samples = _match(samples, model, labels)
    chosen = _choose_preprocess(to_preprocess(preprocess), model, other, samples)
    known = True
    if other is not None:
        scores_are, is_list = _kind_of_scores(model, scores_are, samples, chosen, threads)
        reference_are, is_other_list = _kind_of_scores(other, reference_are, samples, chosen, threads)
        known = is_list and is_other_list
    found = evaluation.evaluate(
        _predictor(model, threads),
        samples,
        preprocess=chosen,
        batch_size=batch_size,
        reference=None if other is None else _predictor(other, threads),
        scores_are=scores_are,
        reference_are=reference_are,
        top=top,
        progress=progress,
    )
    if found.metrics:
        doubt = compare_confusion_with_chance(found.metrics["confusion"]).order_doubt
        if doubt is not None:
            warnings.warn(doubt, stacklevel=2)
    return found if known else replace(found, kl=None, scores_are=None, reference_are=None)


def _named(
    model: LoadedModel | Predict, dataset: DataLike, feedback: Mapping[str, str] | None
) -> Samples | None:
    """Return named arrays as samples of the model; None for images."""
    if isinstance(model, LoadedModel):
        if isinstance(dataset, Samples) and feedback is None:
            return dataset
        return named_samples(dataset, model, feedback, name="dataset=")
    if columns_of(dataset) is not None:
        raise UsageError(
            "named arrays are of a model's inputs; give predict= as a path or a model", code="E024"
        )
    return None


def _judge_arrays(
    model: LoadedModel | Predict,
    reference: LoadedModel | Predict | None,
    samples: Samples,
    outputs: Mapping[str, Any] | None,
    *,
    images_only: bool,
    threads: int,
) -> Judgement:
    """Return how outputs follow the reference's; without one, top-1 by the samples' labels.

    images_only: whether arguments are given that only images have.
    """
    if images_only:
        raise UsageError(
            "preprocess=, labels=, scores_are= and reference_are= are of images; named arrays are fed as they are, and "
            "outputs= says what outputs are",
            code="E024",
        )
    if not isinstance(model, LoadedModel) or not (reference is None or isinstance(reference, LoadedModel)):
        raise UsageError("named arrays compare models; give reference= as a path or a model", code="E024")
    if reference is None and not samples.labelled:
        raise UsageError(
            "these arrays have no labels: give reference=, the model whose outputs these are compared with",
            code="E023",
        )
    choices = to_outputs(outputs)
    found, judged = compare_outputs(
        reference or model,
        model,
        samples,
        choices,
        threads=threads,
        kinds=(reference.output_kinds if reference else {}) | model.output_kinds,
    )
    for remark in (*samples.remarks, *judged.remarks):
        warnings.warn(remark, stacklevel=3)
    if reference is not None:
        return found
    if found.top1 is None:
        raise UsageError(
            "the model has no output that is a single list of classes, which labels could count "
            f"({judged.describe()}); give reference=",
            code="E035",
        )
    return replace(
        found,
        agreement=None,
        agreement_interval=None,
        kl=math.nan,
        original_top1=None,
        drop=None,
        drop_interval=None,
        outputs=(),
    )


def _open(name: str, given: PredictLike, threads: int) -> LoadedModel | Predict:
    """The model with its preprocessing and class names; a function as it is."""
    if isinstance(given, (str, PathLike)):
        return load(to_path(given), threads=threads)
    if isinstance(given, LoadedModel):
        return given
    if isinstance(given, ModelProto):
        given = Model.from_proto(given)
    if isinstance(given, CompressionResult):
        given = given.compressed
    if isinstance(given, (Model, CompressedModel)):
        stored = given.metadata if isinstance(given, CompressedModel) else {}
        model = given.to_model(threads=threads) if isinstance(given, CompressedModel) else given
        facts = {**onnx_metadata(model), **stored}
        return LoadedModel(
            model, preprocess=preprocess_of(facts), labels=labels_of(model, facts), threads=threads,
            output_kinds=output_kinds_of(facts),
        )  # fmt: skip
    if isinstance(given, Runner):
        return given.scores
    if callable(given):
        return given
    raise UsageError(
        f"{name}= takes a path, a model, an enxuto.Runner or a function of a batch, not {type(given).__name__}"
    )


def _match(dataset: Dataset, model: LoadedModel | Predict, labels: Sequence[Label] | None) -> Dataset:
    """The data set with labels that count the model's outputs."""
    own = model.labels if isinstance(model, LoadedModel) else None
    outputs = class_count(model) if isinstance(model, LoadedModel) else None
    if labels is not None and outputs is not None and len(labels) != outputs:
        raise UsageError(
            f"labels= names {len(labels)} classes and the model has {outputs} outputs; give one name each",
            code="E042",
        )
    matched, matching = dataset.match_classes(own if labels is None else tuple(labels), outputs)
    for warning in matching.warnings:
        warnings.warn(warning, stacklevel=3)
    return matched


def _choose_preprocess(
    given: Preprocess | None,
    model: LoadedModel | Predict,
    reference: LoadedModel | Predict | None,
    dataset: Dataset,
) -> Preprocess:
    """What is given, else what the model carries, else the reference; a warning where nothing is known of a model."""
    stored = model.preprocess if isinstance(model, LoadedModel) else None
    if stored is None and isinstance(model, LoadedModel) and isinstance(reference, LoadedModel):
        stored = reference.preprocess
        if given is None and stored is not None:
            warnings.warn(
                "images are prepared as the reference says, since the model says nothing of it", stacklevel=3
            )
    if given is not None or stored is not None:
        chosen = stored if given is None else given
        assert chosen is not None, "one of them is known"
        if stored is not None and (differences := chosen.differences(stored)):
            warnings.warn(
                f"the preprocessing differs from the model's own: {'; '.join(differences)}", stacklevel=3
            )
        return chosen
    if not dataset.prepared:
        if not isinstance(model, LoadedModel):
            raise UsageError("no preprocessing is known of a function; give preprocess=", code="E046")
        chosen = plain_preprocess_of(model)
        how = "fed as they are, 0 to 255" if chosen.divide_by == 1 else "divided by 255 and nothing else"
        warnings.warn(
            f"no preprocessing is known for this model: pixels are {how}; give preprocess=", stacklevel=3
        )
        return chosen
    return Preprocess()


def _kind_of_scores(
    model: LoadedModel | Predict, given: ScoreKind, dataset: Dataset, preprocess: Preprocess, threads: int
) -> tuple[ScoreKind, bool]:
    """What scores are, and whether they are of classes; of functions what is given."""
    if given != "auto" or not isinstance(model, LoadedModel) or not len(dataset):
        return given, True
    with closing(dataset.batches(_SAMPLE, preprocess)) as batches:
        sample: np.ndarray = next(images for images, _ in batches)
    answers = inspect_answers(model, sample, threads=threads)
    # The graph knows; where it does not, all images know better than some.
    return (answers.kind if answers.operator else "auto"), answers.reason is None


def _predictor(model: LoadedModel | Predict, threads: int) -> Predict:
    return Runner(model, threads=threads).scores if isinstance(model, LoadedModel) else model

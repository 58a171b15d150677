"""`enxuto evaluate`: what a model scores on labelled images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enxuto.cli.shared.answers import check_class_scores, kind_of_scores, sample_batch, warn_of_other_outputs
from enxuto.cli.shared.array_options import preprocess_given, refuse_options_of_images
from enxuto.cli.shared.common_options import Batch, Json, Threads
from enxuto.cli.shared.data_options import DATA, DataOptions, match_labels
from enxuto.cli.shared.judging import (
    Feedback,
    Outputs,
    image_arrays,
    open_for_outputs,
    show_outputs,
    show_right_answers,
)
from enxuto.cli.shared.preprocess_options import PreprocessOptions
from enxuto.cli.shared.provenance import provenance
from enxuto.cli.shared.terminal import note, print_json, progress_bar, show_table, warn
from enxuto.errors import DataError, ModelError, UsageError
from enxuto.tables import as_percent

if TYPE_CHECKING:
    from enxuto.data import Dataset, Preprocess
    from enxuto.evaluation import Evaluation, ReferenceComparison

HELP = """Evaluate an ONNX model or `.enx` file on labelled images; with `--reference`, compare answers too.

The data are Parquet with image bytes, class folders, IDX (MNIST), CIFAR binary, .npz or a table. Classes are matched
with the model's by name where both have names; `--labels` gives the model's names. Folders with numbers as names count
the outputs. The preprocessing stored with the model is used unless options override it.

With arrays by input name as data (.npz, a folder of .npz or .npy, .jsonl, Parquet), or with `--outputs`, all outputs
are compared with the reference's: divergence of classes, signal-to-noise ratio of values.

    enxuto evaluate model.enx --data test.parquet --reference model.onnx
    enxuto evaluate model.onnx --data photos/ --preprocess imagenet --limit 500 --per-class
"""

_WHOLE_MATRIX = 100  # classes up to which JSON holds all cells of the confusion matrix
_MOST_CELLS = 10_000  # of larger ones; some 250 kB


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """What is measured and shown."""

    reference: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="Model to compare the answers with, such as the original."),
    ] = None
    outputs: Outputs = ()
    feedback: Feedback = ()
    batch: Batch = 64
    threads: Threads = 0
    per_class: Annotated[
        bool, typer.Option("--per-class", help="Show precision, recall and F1 of every class.")
    ] = False
    confusion: Annotated[bool, typer.Option("--confusion", help="Show the confusion matrix.")] = False
    json: Json = False


def run(
    source: Annotated[Path, typer.Argument(metavar="MODEL", help="An ONNX model or .enx file.")],
    data: Annotated[Path, typer.Option(rich_help_panel=DATA, metavar="DATA", help="Data file or folder.")],
    image_options: DataOptions,
    preprocess: PreprocessOptions,
    options: EvaluateOptions,
) -> None:
    """Load models and images, run, measure, show."""
    from enxuto.evaluation import ReferenceComparison, compare_with_reference, evaluate
    from enxuto.opening import load_with_metadata, output_kinds_of, preprocess_of
    from enxuto.runtime import Runner

    reference, threads = options.reference, options.threads
    if _shows_outputs(source, data, image_options, preprocess, options):
        return
    dataset = image_options.open(data, labelled=reference is None)
    _check_options(dataset, options)
    model, metadata = load_with_metadata(source)
    original, beside = None, None
    if reference:
        original, others_metadata = load_with_metadata(reference)
        beside = (reference, preprocess_of(others_metadata))
    chosen = preprocess.choose(preprocess_of(metadata), model, beside=beside)
    sample = sample_batch(dataset, chosen)
    kind, reason = kind_of_scores(model, sample, threads)
    try:
        check_class_scores(model, str(source))
        dataset, _ = match_labels(dataset, model, metadata, image_options.labels)
    except (DataError, ModelError) as error:
        if original is None or reason is None:
            raise
        note(f"outputs are compared with the reference's, and nothing with labels: {error}")
        show_outputs(
            source,
            original,
            model,
            image_arrays(dataset, chosen, model),
            (),
            threads=threads,
            json=options.json,
            kinds=output_kinds_of(metadata),
        )
        return
    kind_of_other, reason_of_other = (
        ("auto", None) if original is None else kind_of_scores(original, sample, threads)
    )
    first = Runner(model, threads=threads).scores
    other = None if original is None else Runner(original, threads=threads).scores
    result: Evaluation | ReferenceComparison
    with progress_bar("evaluating") as progress:
        done = partial(progress, "evaluating")
        if dataset.labelled:
            result = evaluate(
                first, dataset, preprocess=chosen, batch_size=options.batch, reference=other,
                scores_are=kind, reference_are=kind_of_other, progress=done,
            )  # fmt: skip
        else:
            assert other is not None, "data without labels are opened only beside a reference"
            result = compare_with_reference(
                first, other, dataset, preprocess=chosen, batch_size=options.batch,
                scores_are=kind, reference_are=kind_of_other, progress=done,
            )  # fmt: skip
    remarks = warn_of_other_outputs(
        {str(source): reason, str(reference): reason_of_other}, compared=original is not None
    )
    if remarks:
        result = replace(result, kl=None, scores_are=None, reference_are=None)
    if not isinstance(result, ReferenceComparison):
        _warn_of_chance(result.metrics["confusion"], str(source))
    _show(result, source, data, chosen, remarks, options)


def _show(
    result: Evaluation | ReferenceComparison,
    source: Path,
    data: Path,
    chosen: Preprocess,
    remarks: list[str],
    options: EvaluateOptions,
) -> None:
    """Print what was measured, as JSON or as tables."""
    from enxuto.evaluation import ReferenceComparison

    if options.json:
        print_json(
            {
                "model": str(source),
                "data": str(data),
                "preprocess": chosen.to_dict(),
                **(result.to_dict() if isinstance(result, ReferenceComparison) else _as_json(result)),
                "remarks": remarks,
                "provenance": provenance(
                    samples=result.samples, seed=result.seed, data=result.data_hash, threads=options.threads
                ),
            }
        )
        return
    show_table(
        f"{source} on {data}", {"measure": "left", "value": "left"}, result.rows(), caption=chosen.describe()
    )
    if not isinstance(result, ReferenceComparison):
        _show_classes(result, options)


def _shows_outputs(
    source: Path,
    data: Path,
    image_options: DataOptions,
    preprocess: PreprocessOptions,
    options: EvaluateOptions,
) -> bool:
    """Compare all outputs with the reference's and show them, where data are named arrays or outputs no classes."""
    from enxuto.opening import load_with_metadata, output_kinds_of, preprocess_of

    opened = open_for_outputs(source, data, options.outputs, options.feedback, image_options)
    if opened is None:
        return False
    model, metadata, samples = opened
    prepared = {} if samples is None else preprocess_given(preprocess)
    refuse_options_of_images(
        {
            "per_class": options.per_class,
            "confusion": options.confusion,
            "labels": image_options.labels,
            **prepared,
        },
        None if samples is None else data,
    )
    if options.reference is None and samples is not None and samples.labelled:
        show_right_answers(
            source, model, samples, options.outputs, threads=options.threads, json=options.json,
            kinds=output_kinds_of(metadata),
        )  # fmt: skip
        return True
    if options.reference is None:
        raise UsageError(
            f"{data} has no labels: give --reference, the model whose outputs these are compared with",
            code="E023",
        )
    original, others_metadata = load_with_metadata(options.reference)
    if samples is None:
        beside = (options.reference, preprocess_of(others_metadata))
        chosen = preprocess.choose(preprocess_of(metadata), model, beside=beside)
        samples = image_arrays(image_options.open(data, labelled=False), chosen, model)
    show_outputs(
        source,
        original,
        model,
        samples,
        options.outputs,
        threads=options.threads,
        json=options.json,
        kinds=output_kinds_of(metadata),
    )
    return True


def _show_classes(result: Evaluation, options: EvaluateOptions) -> None:
    """Show the figures of every class, and the confusion matrix, where these are asked for."""
    if options.per_class:
        show_table(
            "by class",
            {"class": "left", "samples": "right", "precision": "right", "recall": "right", "F1": "right"},
            [
                (str(name), str(count), *(as_percent(share) for share in shares))
                for name, count, *shares in result.class_rows()
            ],
            give_way=("precision", "recall"),
        )
    if options.confusion:
        _show_confusion(result.to_dict())


def _as_json(result: Evaluation) -> dict[str, Any]:
    """The result's values; of many classes, the confusion matrix as its largest cells, as nearly all others are 0."""
    values = result.to_dict()
    matrix = values["metrics"]["confusion"]
    if len(matrix) <= _WHOLE_MATRIX:
        return values
    cells = [
        [row, column, count]
        for row, counts in enumerate(matrix)
        for column, count in enumerate(counts)
        if count
    ]
    cells.sort(key=lambda cell: -cell[2])
    remark = f"more than {_WHOLE_MATRIX} classes: cells that are not 0 in confusion_cells"
    if len(cells) > _MOST_CELLS:
        remark = f"{remark}, the largest {_MOST_CELLS:,} of {len(cells):,}"
    values["metrics"] |= {
        "confusion": None,
        "confusion_note": remark,
        "confusion_cells": {
            "columns": ["predicted", "expected", "samples"],
            "nonzero": len(cells),
            "cells": cells[:_MOST_CELLS],
        },
    }
    return values


def _check_options(dataset: Dataset, options: EvaluateOptions) -> None:
    """Refuse what cannot be shown without labels."""
    if dataset.labelled:
        return
    if options.per_class or options.confusion:
        raise UsageError(
            f"{dataset.path} has no labels, which --per-class and --confusion need; leave them out",
            code="E042",
        )
    note(f"{dataset.path} has no labels: answers are compared with the reference's, and no accuracy is shown")


def _warn_of_chance(confusion: list[list[int]], model: str) -> None:
    """Warn where the answers have nothing to do with the labels."""
    from enxuto.metrics import compare_confusion_with_chance

    chance = compare_confusion_with_chance(confusion)
    if not chance.better:
        warn(
            f"{model}: top-1, {chance.right} of {chance.samples}, is no better than chance "
            f"({as_percent(chance.expected, 1)}): "
            "are the labels those of the model, in its order, and the preprocessing its own?"
        )
    elif chance.order_doubt is not None:
        warn(f"{model}: {chance.order_doubt}")


def _show_confusion(result: dict[str, Any]) -> None:
    """Write the confusion matrix: rows predicted, columns expected."""
    matrix = result["metrics"]["confusion"]
    names = result["class_names"] or [str(label) for label in range(len(matrix))]
    if len(matrix) > 50:
        note(f"the confusion matrix has {len(matrix)} rows; --json prints it")
        return
    columns = {"predicted \\ expected": "left"} | {str(name): "right" for name in names}
    show_table(
        "confusion", columns, [(str(name), *map(str, row)) for name, row in zip(names, matrix, strict=False)]
    )

"""`enxuto evaluate`: what a model scores on labelled images."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enxuto.cli.shared import data_options as opts
from enxuto.cli.shared import preprocessing as pre
from enxuto.cli.shared.provenance import provenance
from enxuto.cli.shared.terminal import note, print_json, progress_bar, show_table, warn

if TYPE_CHECKING:
    import numpy as np

    from enxuto.data import Dataset, Preprocess
    from enxuto.evaluation import Evaluation
    from enxuto.metrics import ScoreKind
    from enxuto.onnx_model import Model

HELP = """Evaluate an ONNX model or `.enx` file on labelled images; with `--reference`, compare answers too.

Data: Parquet with image bytes, class folders, IDX (MNIST), CIFAR binary, .npz or a table. Classes are matched with the
model's by name where both have names; `--labels` names the model's. Folders called by numbers are outputs. The
preprocessing stored with the model is used unless options say otherwise.

    enxuto evaluate model.enx --data test.parquet --reference model.onnx
    enxuto evaluate model.onnx --data photos/ --preprocess imagenet --limit 500 --per-class
"""

_DATA = "Data"
_WHOLE_MATRIX = 100  # classes up to which JSON holds all cells of the confusion matrix
_MOST_CELLS = 10_000  # of larger ones; some 250 kB
_SAMPLE = 8  # images that tell what scores are


def run(
    source: Annotated[Path, typer.Argument(metavar="MODEL", help="An ONNX model or .enx file.")],
    data: Annotated[Path, typer.Option(rich_help_panel=_DATA, help="Data file or folder.")],
    reference: Annotated[
        Path | None, typer.Option(help="Model to compare the answers with, such as the original.")
    ] = None,
    split: opts.Split = None,
    format_: opts.Format = None,
    limit: opts.Limit = None,
    seed: opts.Seed = 0,
    image_column: opts.ImageColumn = None,
    label_column: opts.LabelColumn = None,
    labels: opts.Labels = None,
    preprocess: pre.Base = None,
    resize: pre.Resize = None,
    interpolation: pre.Interpolation = None,
    crop: pre.Crop = None,
    divide_by: pre.DivideBy = None,
    mean: pre.Mean = None,
    std: pre.Std = None,
    channels: pre.Channels = None,
    layout: pre.Layout = None,
    batch: Annotated[int, typer.Option(min=1, help="Images per run.")] = 64,
    threads: Annotated[int, typer.Option(min=0, help="Threads; 0 takes one per processor.")] = 0,
    per_class: Annotated[
        bool, typer.Option("--per-class", help="Show precision, recall and F1 of every class.")
    ] = False,
    confusion: Annotated[bool, typer.Option("--confusion", help="Show the confusion matrix.")] = False,
    json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print everything as JSON; of many classes, the cells of the confusion that are filled.",
        ),
    ] = False,
) -> None:
    """Load, run, measure, show."""
    from enxuto.evaluation import Following, evaluate, follow
    from enxuto.opening import load, load_with_metadata, preprocess_of
    from enxuto.runtime import Runner

    options = opts.DataOptions(split, format_, limit, seed, image_column, label_column, labels)
    dataset = options.open(data, labelled=reference is None)
    _check_options(dataset, per_class=per_class, confusion=confusion)
    model, metadata = load_with_metadata(source)
    dataset, _ = opts.fitted(dataset, model, metadata, labels)
    said = pre.PreprocessOptions(
        preprocess, resize, interpolation, crop, divide_by, mean, std, channels, layout
    )
    chosen = choose_preprocess(said, preprocess_of(metadata))
    original = load(reference) if reference else None
    sample = first_batch(dataset, chosen)
    kind, reason = scores_of(model, sample, threads)
    kind_of_other, reason_of_other = (
        ("auto", None) if original is None else scores_of(original, sample, threads)
    )
    first = Runner(model, threads=threads).scores
    other = None if original is None else Runner(original, threads=threads).scores
    result: Evaluation | Following
    with progress_bar("evaluating") as progress:
        done = partial(progress, "evaluating")
        if dataset.labelled:
            result = evaluate(
                first, dataset, preprocess=chosen, batch_size=batch, reference=other,
                scores_are=kind, reference_are=kind_of_other, progress=done,
            )  # fmt: skip
        else:
            assert other is not None, "data without labels are opened only beside a reference"
            result = follow(
                first, other, dataset, preprocess=chosen, batch_size=batch,
                scores_are=kind, reference_are=kind_of_other, progress=done,
            )  # fmt: skip
    remarks = no_classes(
        {str(source): reason, str(reference): reason_of_other}, compared=original is not None
    )
    if remarks:
        result = replace(result, kl=None, scores_are=None, reference_are=None)
    if not isinstance(result, Following):
        _warn_of_chance(result.metrics["confusion"], str(source))
    if json:
        print_json(
            {
                "model": str(source),
                "data": str(data),
                "preprocess": chosen.to_dict(),
                **(result.to_dict() if isinstance(result, Following) else _as_json(result)),
                "remarks": remarks,
                "provenance": provenance(
                    samples=result.samples, seed=result.seed, data=result.data_hash, threads=threads
                ),
            }
        )
        return
    show_table(
        f"{source} on {data}", {"measure": "left", "value": "left"}, result.rows(), caption=chosen.describe()
    )
    if isinstance(result, Following):
        return
    if per_class:
        show_table(
            "by class",
            {"class": "left", "samples": "right", "precision": "right", "recall": "right", "F1": "right"},
            [
                (str(name), str(count), *(f"{share:.2%}" for share in shares))
                for name, count, *shares in result.class_rows()
            ],
            give_way=("precision", "recall"),
        )
    if confusion:
        show_confusion(result.to_dict())


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
    told = f"more than {_WHOLE_MATRIX} classes: cells that are not 0 in confusion_cells"
    if len(cells) > _MOST_CELLS:
        told = f"{told}, the largest {_MOST_CELLS:,} of {len(cells):,}"
    values["metrics"] |= {
        "confusion": None,
        "confusion_note": told,
        "confusion_cells": {
            "columns": ["predicted", "expected", "samples"],
            "nonzero": len(cells),
            "cells": cells[:_MOST_CELLS],
        },
    }
    return values


def _check_options(dataset: Dataset, *, per_class: bool, confusion: bool) -> None:
    """Say what cannot be shown without labels."""
    from enxuto.errors import UsageError

    if dataset.labelled:
        return
    if per_class or confusion:
        raise UsageError(
            f"{dataset.path} has no labels, which --per-class and --confusion need; leave them out"
        )
    note(f"{dataset.path} has no labels: answers are compared with the reference's, and no accuracy is told")


def _warn_of_chance(confusion: list[list[int]], model: str) -> None:
    """Warn where the answers have nothing to do with the labels."""
    from enxuto.metrics import compare_confusion_with_chance

    found = compare_confusion_with_chance(confusion)
    if not found.better:
        warn(
            f"{model}: top-1, {found.right} of {found.samples}, is no better than chance ({found.expected:.1%}): are "
            "the labels those of the model, in its order, and the preprocessing its own?"
        )


def first_batch(dataset: Dataset, preprocess: Preprocess) -> np.ndarray:
    """Return some images (N, …) as models take them."""
    with closing(dataset.batches(_SAMPLE, preprocess)) as batches:
        return next(images for images, _ in batches)


def scores_of(model: Model, sample: np.ndarray, threads: int) -> tuple[ScoreKind, str | None]:
    """Return what a model's scores are, and why they are none of classes (or None)."""
    from enxuto.calibration.answers import inspect_answers

    found = inspect_answers(model, sample, threads=threads)
    # The graph knows; where it does not, all images know better than some.
    return (found.kind if found.operator else "auto"), found.reason


def no_classes(reasons: Mapping[str, str | None], *, compared: bool = True) -> list[str]:
    """Warn of models whose outputs are no scores of classes; return what was said."""
    meant = "top-1 goes by the largest output"
    if compared:
        meant = "top-1 and equal answers go by the largest output, and no divergence is shown"
    said = [
        f"{name}: the outputs are no scores of classes, for {reason}; {meant}"
        for name, reason in reasons.items()
        if reason is not None
    ]
    for remark in said:
        warn(remark)
    return said


def choose_preprocess(said: pre.PreprocessOptions, stored: Preprocess | None) -> Preprocess:
    """Return what the options say over what the model carries; a difference, or nothing known, is a warning."""
    from enxuto.data import Preprocess

    chosen = said.build(stored)
    if chosen is None:
        warn(
            "no preprocessing is known for this model: pixels are divided by 255 and nothing else; say --preprocess …"
        )
        return Preprocess()
    if stored is not None and (differences := chosen.differences(stored)):
        warn(f"the preprocessing differs from the model's own: {'; '.join(differences)}")
    return chosen


def show_confusion(result: dict[str, Any]) -> None:
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

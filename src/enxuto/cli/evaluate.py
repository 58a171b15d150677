"""`enxuto evaluate`: what a model scores on labelled images."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enxuto.cli import preprocessing as pre
from enxuto.cli.provenance import provenance
from enxuto.cli.terminal import note, print_json, progress_bar, show_table, warn

if TYPE_CHECKING:
    import numpy as np

    from enxuto.data import Dataset, Preprocess
    from enxuto.metrics import ScoresAre
    from enxuto.onnx_model import Model

HELP = """Evaluate an ONNX model or `.enx` file on labelled images; with `--reference`, compare answers too.

Data: Parquet with image bytes, class folders, IDX (MNIST), CIFAR binary or .npz. The preprocessing stored with the
model is used unless options say otherwise.

    enxuto evaluate model.enx --data test.parquet --reference model.onnx
    enxuto evaluate model.onnx --data photos/ --preprocess imagenet --limit 500 --per-class
"""

_DATA = "Data"
_SAMPLE = 8  # images that tell what scores are


def run(
    source: Annotated[Path, typer.Argument(metavar="MODEL", help="An ONNX model or .enx file.")],
    data: Annotated[Path, typer.Option(rich_help_panel=_DATA, help="Data file or folder.")],
    reference: Annotated[
        Path | None, typer.Option(help="Model to compare the answers with, such as the original.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(rich_help_panel=_DATA, help="train, test, …; default: test if there are several."),
    ] = None,
    format_: Annotated[
        str | None,
        typer.Option("--format", rich_help_panel=_DATA, help="parquet, folder, idx, cifar or npz."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(rich_help_panel=_DATA, help="That many samples, drawn at random.")
    ] = None,
    seed: Annotated[int, typer.Option(rich_help_panel=_DATA, help="Seed of that draw.")] = 0,
    image_column: Annotated[
        str | None, typer.Option(rich_help_panel=_DATA, help="Parquet column with images.")
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option(rich_help_panel=_DATA, help="Parquet column with labels; CIFAR-100: fine or coarse."),
    ] = None,
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
        bool, typer.Option("--json", help="Print everything, confusion matrix included, as JSON.")
    ] = False,
) -> None:
    """Load, run, measure, show."""
    from enxuto.api import load, load_with_metadata, preprocess_of
    from enxuto.data import open_dataset
    from enxuto.evaluation import evaluate
    from enxuto.runtime import Runner

    dataset = open_dataset(data, split=split, format=format_, limit=limit, seed=seed,
                           image_column=image_column, label_column=label_column)  # fmt: skip
    model, metadata = load_with_metadata(source)
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
    with progress_bar("evaluating") as progress:
        result = evaluate(
            Runner(model, threads=threads).scores, dataset, preprocess=chosen, batch_size=batch,
            reference=None if original is None else Runner(original, threads=threads).scores,
            scores_are=kind, reference_are=kind_of_other,
            progress=lambda done, total: progress("evaluating", done, total),
        )  # fmt: skip
    remarks = no_classes(
        {str(source): reason, str(reference): reason_of_other}, compared=original is not None
    )
    if remarks:
        result = replace(result, kl=None, scores_are=None, reference_are=None)
    if json:
        print_json(
            {
                "model": str(source),
                "data": str(data),
                "preprocess": chosen.to_dict(),
                **result.to_dict(),
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
    if per_class:
        show_table(
            "by class",
            {"class": "left", "samples": "right", "precision": "right", "recall": "right", "F1": "right"},
            [
                (str(name), str(count), *(f"{share:.2%}" for share in shares))
                for name, count, *shares in result.class_rows()
            ],
        )
    if confusion:
        show_confusion(result.to_dict())


def first_batch(dataset: Dataset, preprocess: Preprocess) -> np.ndarray:
    """Return some images (N, …) as models take them."""
    with closing(dataset.batches(_SAMPLE, preprocess)) as batches:
        return next(images for images, _ in batches)


def scores_of(model: Model, sample: np.ndarray, threads: int) -> tuple[ScoresAre, str | None]:
    """Return what a model's scores are, and why they are none of classes (or None)."""
    from enxuto.quantize.answers import answers_of

    found = answers_of(model, sample, threads=threads)
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

"""`enxuto classify`: what is on images, by a model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enxuto.cli.shared.common_options import Json, Threads
from enxuto.cli.shared.preprocess_options import PreprocessOptions
from enxuto.cli.shared.provenance import provenance
from enxuto.cli.shared.terminal import print_json, progress_bar, show_table, warn
from enxuto.tables import as_percent

if TYPE_CHECKING:
    from enxuto.classifier import ClassScore, LoadedModel
    from enxuto.data import Preprocess

HELP = """Say which classes images belong to, by an ONNX model or `.enx` file.

Images are files, folders and patterns in quotes. Preprocessing and class names are those stored with the model;
options say them where it has none. Probabilities are a softmax of the scores, or the model's own where it ends in one.
An image that cannot be read is warned of, the others are answered, and the exit code is 1.

    enxuto classify model.enx cat.jpg dog.jpg
    enxuto classify model.onnx photos/ 'more/*.png' --preprocess imagenet --labels names.txt --top 3 --json
"""


def run(
    source: Annotated[Path, typer.Argument(metavar="MODEL", help="An ONNX model or .enx file.")],
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Image files, folders, patterns.")],
    preprocess: PreprocessOptions,
    top: Annotated[int, typer.Option(min=1, metavar="N", help="Show N classes for each image.")] = 5,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Names of the classes in the order of the model's outputs, one a line or a JSON list. By default the "
            "model's own.",
        ),
    ] = None,
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """Load the model, classify the images, show their classes."""
    from enxuto.classifier import image_paths, load

    paths = image_paths(images)
    model = _configure(load(source, threads=threads), preprocess, labels)
    answers, unread = _answer(model, paths, top)
    assert model.preprocess is not None, "predict needs it"
    if json:
        print_json(
            {
                "model": str(source),
                "preprocess": model.preprocess.to_dict(),
                "images": [
                    {
                        "image": str(path),
                        "milliseconds": round(milliseconds, 3),
                        "classes": [
                            {"index": found.index, "name": found.name, "probability": found.probability}
                            for found in classes
                        ],
                    }
                    for path, classes, milliseconds in answers
                ],
                "unread": [str(path) for path in unread],
                "provenance": provenance(samples=len(answers), threads=threads),
            }
        )
    else:
        _show(source, model.preprocess, answers)
    if unread:
        raise typer.Exit(1)


def _answer(
    model: LoadedModel, paths: Sequence[Path], top: int
) -> tuple[list[tuple[Path, list[ClassScore], float]], list[Path]]:
    """Return the images' classes and milliseconds, and the images that cannot be read, each of which is warned of.

    Raises `DataError` for an image that cannot be read where it is the only one.
    """
    from enxuto.errors import DataError

    answers: list[tuple[Path, list[ClassScore], float]] = []
    unread: list[Path] = []
    with progress_bar("classifying") as progress:
        for path in paths:
            try:
                if not answers:
                    model.predict(path)  # makes the session, which is no part of an image's time
                start = time.perf_counter()
                classes = model.predict(path, top)
                answers.append((path, classes, 1000 * (time.perf_counter() - start)))
            except DataError as error:
                if len(unread) == len(paths) - 1:  # none has an answer
                    raise
                warn(f"{error} [{error.code}]")
                unread.append(path)
            progress("classifying", len(answers) + len(unread), len(paths))
    return answers, unread


def _show(source: Path, preprocess: Preprocess, answers: list[tuple[Path, list[ClassScore], float]]) -> None:
    rows = [
        (
            "" if place else str(path),
            found.name,
            as_percent(found.probability, 1),
            "" if place else f"{milliseconds:.1f}",
        )
        for path, classes, milliseconds in answers
        for place, found in enumerate(classes)
    ]
    show_table(
        f"{source}",
        {"image": "left", "class": "left", "probability": "right", "ms": "right"},
        rows,
        caption=f"{preprocess.describe()}\nms: to read, preprocess and run one image by itself",
        give_way=("ms",),
    )


def _configure(model: LoadedModel, options: PreprocessOptions, labels: Path | None) -> LoadedModel:
    """Return the model with what the options say of preprocessing and class names."""
    from enxuto.data import read_labels
    from enxuto.errors import UsageError

    chosen = options.build(model.preprocess)
    if chosen is None:
        raise UsageError(
            "no preprocessing is known for this model; give it with --preprocess, --resize, --mean and so on",
            code="E046",
        )
    if model.preprocess is not None and (differences := chosen.differences(model.preprocess)):
        warn(f"the preprocessing differs from the model's own: {'; '.join(differences)}")
    return model.configure(preprocess=chosen, labels=None if labels is None else read_labels(labels))

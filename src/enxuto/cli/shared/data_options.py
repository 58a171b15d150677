"""The options of images that verbs share, and how their labels come to count a model's outputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enxuto.cli.shared.terminal import note, warn
from enxuto.errors import UsageError

if TYPE_CHECKING:
    from enxuto.data import Dataset, LabelMatching
    from enxuto.data.labels import Label
    from enxuto.onnx_model import Model

__all__ = ["DATA", "ClassNames", "DataOptions", "ImageOptions", "class_names", "match_labels", "say_matching"]

DATA = "Data"
"""The panel of the help that options of images stand in."""


ClassNames = Annotated[
    Path | None,
    typer.Option(
        rich_help_panel=DATA,
        metavar="FILE",
        help="Names of the classes in the order of the network's outputs, one a line or a JSON list. The data's "
        "classes are matched with them by name. By default the model's own names, or the data's.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """How to open images."""

    format: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=DATA,
            metavar="NAME",
            help="parquet, folder, idx, cifar, npz, table or ilsvrc; found out by default.",
        ),
    ] = None
    split: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=DATA,
            metavar="NAME",
            help="The part of the data to use: train, test, …. By default the only one; of several, "
            "`train` to train on and `test` to measure.",
        ),
    ] = None
    limit: Annotated[
        int | None,
        typer.Option(min=1, rich_help_panel=DATA, metavar="N", help="Use that many images, drawn at random."),
    ] = None
    image_column: Annotated[
        str | None,
        typer.Option(rich_help_panel=DATA, metavar="NAME", help="Column of images, in Parquet and tables."),
    ] = None
    seed: Annotated[
        int,
        typer.Option(min=0, rich_help_panel=DATA, metavar="N", help="Seed of everything drawn at random."),
    ] = 0

    def arguments(self) -> dict[str, Any]:
        """Return what `open_dataset` takes besides the path."""
        return {"split": self.split, "format": self.format, "limit": self.limit, "seed": self.seed,
                "image_column": self.image_column}  # fmt: skip

    def open(self, path: str | Path, *, labelled: bool = True) -> Dataset:
        """Open a data set, and say on stderr what it leaves out. labelled: whether labels are needed."""
        from enxuto.data import open_dataset

        dataset = open_dataset(path, require_labels=labelled, **self.arguments())
        for remark in dataset.notes:
            note(f"{path}: {remark}")
        return dataset


@dataclass(frozen=True, kw_only=True)
class DataOptions(ImageOptions):
    """How to open images with labels."""

    label_column: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=DATA,
            metavar="NAME",
            help="Column of labels, in Parquet and tables. CIFAR-100: fine or coarse. Adience: age or gender.",
        ),
    ] = None
    labels: ClassNames = None

    def arguments(self) -> dict[str, Any]:
        """Return what `open_dataset` takes besides the path."""
        return {**super().arguments(), "label_column": self.label_column}

    def class_order(self) -> tuple[Label, ...] | None:
        """Return the class names in the file of --labels; None without --labels."""
        from enxuto.data import read_labels

        return None if self.labels is None else read_labels(self.labels)


def class_names(labels: Path | None, model: Model, metadata: dict[str, Any]) -> tuple[Label, ...] | None:
    """Return the names of the classes in the order of a model's outputs, None where they are unknown.

    Args:
        labels: a file of names; None takes those that the model carries.
        model: its outputs count the names.
        metadata: what the model's file says of it.

    Raises:
        UsageError: the file has another number of names than the model has outputs.
    """
    from enxuto.data import read_labels
    from enxuto.opening import class_count, labels_of

    if labels is None:
        return labels_of(model, metadata)
    names, outputs = read_labels(labels), class_count(model)
    if outputs is not None and len(names) != outputs:
        raise UsageError(
            f"{labels} names {len(names)} classes and the model has {outputs} outputs; give one name each",
            code="E042",
        )
    return names


def match_labels(
    dataset: Dataset, model: Model, metadata: dict[str, Any], labels: Path | None
) -> tuple[Dataset, LabelMatching]:
    """Return the data set with labels that count the model's outputs; say on stderr what is not plain.

    Args:
        dataset: with labels of its own.
        model: whose outputs the labels shall count.
        metadata: what the model's file says of it.
        labels: a file with the names of the outputs; None takes those that the model carries.
    """
    from enxuto.opening import class_count

    matched, matching = dataset.match_classes(class_names(labels, model, metadata), class_count(model))
    say_matching(matching)
    return matched, matching


def say_matching(matching: LabelMatching) -> None:
    """Write on stderr how labels were matched, where there is something to say."""
    for warning in matching.warnings:
        warn(warning)
    for remark in matching.remarks:
        note(remark)

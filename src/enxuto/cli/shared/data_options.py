"""The options of labelled images that verbs share, and how their labels come to count a model's outputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enxuto.cli.shared.terminal import note, warn

if TYPE_CHECKING:
    from enxuto.data import Dataset, LabelMatching
    from enxuto.data.labels import Label
    from enxuto.onnx_model import Model

__all__ = [
    "FORMATS_HELP",
    "DataOptions",
    "Format",
    "ImageColumn",
    "LabelColumn",
    "Labels",
    "Limit",
    "Order",
    "Seed",
    "Split",
    "fitted",
    "given_names",
    "tell",
]

_PANEL = "Data"
FORMATS_HELP = "parquet, folder, idx, cifar, npz or table; default: found out."
"""For the help of an option that names the format of the data."""

Split = Annotated[
    str | None,
    typer.Option(rich_help_panel=_PANEL, help="train, test, …; default: test if there are several."),
]
Format = Annotated[str | None, typer.Option("--format", rich_help_panel=_PANEL, help=FORMATS_HELP)]
Limit = Annotated[
    int | None, typer.Option(rich_help_panel=_PANEL, help="That many samples, drawn at random.")
]
Seed = Annotated[int, typer.Option(min=0, rich_help_panel=_PANEL, help="Seed of that draw.")]
ImageColumn = Annotated[
    str | None, typer.Option(rich_help_panel=_PANEL, help="Column of images, in Parquet and tables.")
]
LabelColumn = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=_PANEL,
        help="Column of labels, in Parquet and tables; CIFAR-100: fine or coarse; Adience: age or gender.",
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        metavar="FILE",
        rich_help_panel=_PANEL,
        help="The model's class names in its order, a line each or JSON; default: the model's own. "
        "Data's classes are matched by name.",
    ),
]

Order = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        metavar="FILE",
        rich_help_panel=_PANEL,
        help="The classes in the order of the network's outputs, a line each or JSON; default: as the data say.",
    ),
]


@dataclass(frozen=True)
class DataOptions:
    """How to open the data, as the user said."""

    split: str | None = None
    format: str | None = None
    limit: int | None = None
    seed: int = 0
    image_column: str | None = None
    label_column: str | None = None
    labels: Path | None = None

    def how(self) -> dict[str, Any]:
        """Return what `open_dataset` is given besides the path."""
        return {"split": self.split, "format": self.format, "limit": self.limit, "seed": self.seed,
                "image_column": self.image_column, "label_column": self.label_column}  # fmt: skip

    def open(self, path: str | Path, *, labelled: bool = True) -> Dataset:
        """Open it, and say what was left out. labelled: whether labels are needed."""
        from enxuto.data import open_dataset

        dataset = open_dataset(path, require_labels=labelled, **self.how())
        for remark in dataset.notes:
            note(f"{path}: {remark}")
        return dataset


def given_names(labels: Path | None, model: Model, metadata: dict[str, Any]) -> tuple[Label, ...] | None:
    """The class names in the order of a model's outputs: those of the file, else its own, else None.

    Raises `UsageError` for a file of another number of names than the model has outputs.
    """
    from enxuto.data import read_labels
    from enxuto.errors import UsageError
    from enxuto.opening import class_count, labels_of

    if labels is None:
        return labels_of(model, metadata)
    names, outputs = read_labels(labels), class_count(model)
    if outputs is not None and len(names) != outputs:
        raise UsageError(
            f"{labels} names {len(names)} classes and the model has {outputs} outputs; give one name each"
        )
    return names


def fitted(
    dataset: Dataset, model: Model, metadata: dict[str, Any], labels: Path | None
) -> tuple[Dataset, LabelMatching]:
    """The data set with labels that count the model's outputs; what is not plain is said on stderr."""
    from enxuto.opening import class_count

    found, matching = dataset.match_classes(given_names(labels, model, metadata), class_count(model))
    tell(matching)
    return found, matching


def tell(matching: LabelMatching) -> None:
    """Write on stderr how labels were matched, where there is something to say."""
    for warning in matching.warnings:
        warn(warning)
    for remark in matching.remarks:
        note(remark)

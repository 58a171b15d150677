"""The options of verbs that train: which images they train and test on, at which size, and with which settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enxuto.cli.shared.completion import complete_networks
from enxuto.cli.shared.data_options import DATA, DataOptions
from enxuto.cli.shared.terminal import note, warn
from enxuto.cli.shared.values import parse_image_size
from enxuto.errors import ModelError, UsageError, needs

if TYPE_CHECKING:
    from enxuto.data.labels import Label
    from enxuto.studies.images import Images, ImageSelection
    from enxuto.studies.pruning import TrainedWeights
    from enxuto.train.config import TrainConfig
    from enxuto.zoo.entry import OptionValue

__all__ = [
    "Network",
    "Settings",
    "TrainingDataOptions",
    "absolute_path",
    "check_packages",
    "count_images",
    "machine_notes",
    "open_both_parts",
    "parse_settings",
    "retraining_recipe",
]

Network = Annotated[
    str,
    typer.Argument(
        metavar="NETWORK",
        autocompletion=complete_networks,
        help="A network of the zoo, module:factory, or an ONNX or .enx file.",
    ),
]

Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        rich_help_panel="Training",
        help="Override one setting of the training; may be repeated.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class TrainingDataOptions(DataOptions):
    """How to open the images that a network is trained and tested on."""

    test: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=DATA, metavar="DATA", help="Test images, where --data has no part `test`."
        ),
    ] = None
    test_limit: Annotated[
        int | None,
        typer.Option(
            min=1, rich_help_panel=DATA, metavar="N", help="Use that many test images, drawn at random."
        ),
    ] = None
    resize: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=DATA, metavar="H,W", help="Resize images; by default to the size of the network."
        ),
    ] = None

    def select(
        self,
        network: str,
        *,
        limit: int | None = None,
        test_limit: int | None = None,
        labels: tuple[Label, ...] | None = None,
        weights: TrainedWeights | None = None,
        input_shape: tuple[int, ...] | None = None,
        built: Mapping[str, OptionValue] | None = None,
    ) -> ImageSelection:
        """Return which images to train and test on.

        Args:
            network: images are resized to what it takes, unless --resize says otherwise.
            limit, test_limit: how many images there are by default; None takes all.
            labels: the classes in the order of the outputs.
            weights: trained weights, whose training normalised images in its own way.
            input_shape: what the network takes, for one that is not of the zoo.
            built: options of a network of the zoo.
        """
        from enxuto.cli.shared import network_options
        from enxuto.cli.shared.model_files import follow
        from enxuto.studies.images import ImageSelection
        from enxuto.train.preparation import with_resize

        size = parse_image_size(self.resize)
        prepared = None if weights is None else weights.preprocess
        if size is None and (input_shape is not None or ":" not in network):
            shape = network_options.input_shape(network, built or {}) if input_shape is None else input_shape
            if len(shape) != 3:
                raise ModelError(
                    f"{network} takes no images: a sample of its input has the shape {shape}, not (channels, height, "
                    "width); filters are pruned of networks for images",
                    code="E044",
                )
            size = shape[1], shape[2]
        elif size is not None and input_shape is not None:
            asked = with_resize(prepared, size)
            assert asked is not None
            prepared = follow(asked, input_shape, network, resized=True)
        return ImageSelection(
            train=self.limit or limit, test=self.test_limit or test_limit, seed=self.seed, size=size,
            mean=None if weights is None else weights.mean, std=None if weights is None else weights.std,
            labels=labels, preprocess=prepared, **self.opening(),
        )  # fmt: skip

    def opening(self) -> dict[str, Any]:
        """Return the fields of a selection of images that say how files are read."""
        return {"format": self.format, "image_column": self.image_column, "label_column": self.label_column,
                "split": self.split}  # fmt: skip

    def paths(self, data: str) -> dict[str, str]:
        """Return the absolute paths of the images: `data` and, where --test names another, `test`."""
        paths = {"data": data, "test": self.test}
        return {key: absolute_path(path) for key, path in paths.items() if path is not None}


def absolute_path(path: str | Path) -> str:
    """Return a path that any process finds; the name of a published data set as it is."""
    return str(Path(path).resolve()) if Path(path).exists() else str(path)


def parse_settings(texts: Sequence[str] | None) -> dict[str, Any]:
    """Return the settings of a training that --set gave, by name."""
    from enxuto.train.config import parse_setting

    return dict(parse_setting(text) for text in texts or ())


def retraining_recipe(network: str, mode: str) -> tuple[str, float]:
    """Return the recipe of trainings between rounds where nothing says how the network was trained, and its last rate.

    That rate, which `fine-tune` keeps, is a share of the recipe's. mode: of `prune.retrain.MODES`. Files hold trained
    weights, mostly with folded batch norms, which the rates of a first training ruin; other modes begin anew.
    """
    from enxuto.cli.shared.model_files import is_model_file

    if mode in ("fine-tune", "lr-rewind") and (is_model_file(network) or network.endswith(".pt")):
        return "fine-tune", 1.0  # its clipped steps are short already
    return "quick", 0.01


def check_packages(*names: str) -> None:
    """Raise `UsageError` where a package is missing."""
    from importlib.util import find_spec

    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise UsageError(needs("this verb", ", ".join(missing), "train", "report"), code="E090")


def machine_notes(config: TrainConfig, scheduler: str | None = None) -> list[str]:
    """Return what is to be known of how this machine trains, a line each.

    Nothing of a cluster (scheduler), whose machines are others, nor where it cannot train so: the training says that.
    """
    from enxuto.train.placement import Placement
    from enxuto.train.processes import Processes

    if scheduler is not None:
        return []
    try:
        return Placement.of(config, Processes()).notes()
    except UsageError:
        return []


def open_both_parts(selection: ImageSelection, data: str, test: str | None) -> Images:
    """Open training and test images; say on stderr how many there are and what is not plain about them."""
    from enxuto.studies.images import open_images

    images = open_images(selection, data, test)
    for remark in images.label_notes:
        warn(remark)
    if len(images.test) < 100:
        warn(f"accuracies of {len(images.test)} test images say little")
    note(
        f"{len(images.train):,} training images, {len(images.test):,} test images, {images.train.classes} classes"
    )
    return images


def count_images(images: Images) -> dict[str, int]:
    """Return how many images there are, by what they are for."""
    return {"train": len(images.train), "test": len(images.test)}

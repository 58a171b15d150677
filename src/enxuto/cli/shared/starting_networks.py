"""What `enxuto train` begins with: a new network of the zoo, one's own, trained weights, or an ONNX or `.enx` file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enxuto.cli.shared.model_files import is_model_file, keep_labels, open_network_file
from enxuto.cli.shared.network_options import NetworkOptions, input_shape, options_with_weights
from enxuto.cli.shared.preprocess_options import PreparingOptions
from enxuto.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from enxuto.data import Preprocess
    from enxuto.studies.pruning import StartingNetwork
    from enxuto.train import TrainingData
    from enxuto.zoo.entry import OptionValue

__all__ = ["StartOptions", "StartingPoint", "open_start"]

_PANEL = "Transfer learning"


@dataclass(frozen=True, kw_only=True)
class StartOptions:
    """What training begins with, and what of it stays."""

    weights: Annotated[
        Path | None,
        typer.Option(rich_help_panel=_PANEL, metavar="FILE", help="Begin with these weights of NETWORK."),
    ] = None
    classes: Annotated[
        int | None,
        typer.Option(
            min=2,
            rich_help_panel=_PANEL,
            metavar="N",
            help="Replace the last layer by a fresh one for N classes.",
        ),
    ] = None
    freeze: Annotated[
        list[str] | None,
        typer.Option(
            rich_help_panel=_PANEL,
            metavar="PATTERN",
            help="Do not train parameters of these names: 'features.*'. Repeatable.",
        ),
    ] = None


@dataclass(frozen=True)
class StartingPoint:
    """A network to train. file: what an ONNX or `.enx` file holds, None for others. built: options of the zoo's.

    mean, std, preprocess: as in `TrainedWeights`.
    """

    network: str
    options: StartOptions
    file: StartingNetwork | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    preprocess: Preprocess | None = None
    built: Mapping[str, OptionValue] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of its images, None for a network of the user's own."""
        if self.file is not None:
            return self.file.architecture.input_shape[1], self.file.architecture.input_shape[2]
        return None if ":" in self.network else input_shape(self.network, self.built)[1:]

    @property
    def began(self) -> dict[str, str | None]:
        """What decides which network is trained, and what of it: a resumed run must be told the same."""
        given, built = self.options, dict(self.built)
        activation = built.pop("activation", None)
        return {
            "network": _contents(self.network) if self.file is not None else self.network,
            "weights": None if given.weights is None else _contents(given.weights),
            "classes": None if given.classes is None else str(given.classes),
            "freeze": ",".join(sorted(set(given.freeze or ()))) or None,
            "activation": None if activation is None else str(activation),
            "option": ",".join(f"{name}={value}" for name, value in sorted(built.items())) or None,
        }

    def normalise(self, train: TrainingData) -> TrainingData:
        """The images with the mean and std of the file's training."""
        if self.mean is None or self.std is None:
            return train
        from enxuto.studies.images import check_channels

        check_channels(train, self.mean, "--data")
        return replace(train, mean=self.mean, std=self.std)

    def labels(self, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """The class names of what is trained; of a network with its own head those are its own, in its order."""
        if self.file is None or self.options.classes is not None:
            return names
        return keep_labels(self.network, self.file, names)

    def build(self, train: TrainingData, seed: int) -> nn.Module:
        """The network for these images, with a new head and frozen parameters as the options say.

        Raises `UsageError` where the images have other classes than the network.
        """
        from enxuto.studies.transfer import freeze

        wanted = self.options.classes
        if wanted is not None and wanted != train.classes:
            raise UsageError(
                f"the images have {train.classes} classes, not {wanted}; leave out --classes", code="E042"
            )
        module = self._fresh(train, seed) if self.file is None else self._from_file(train, seed)
        if self.options.freeze:
            freeze(module, self.options.freeze)
        return module

    def _fresh(self, train: TrainingData, seed: int) -> nn.Module:
        import torch

        from enxuto import zoo
        from enxuto.archive import read_state
        from enxuto.studies.transfer import load_without_head
        from enxuto.summary.target import build_module

        shape = tuple(train.images.shape[1:])
        if ":" not in self.network:
            module = zoo.build(
                self.network, classes=train.classes, channels=shape[0], seed=seed, **dict(self.built)
            )
        else:
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed)
                module = build_module(self.network)
        if self.options.weights is not None:
            load_without_head(module, read_state(self.options.weights), shape, self.network)
        return module

    def _from_file(self, train: TrainingData, seed: int) -> nn.Module:
        import torch

        from enxuto.studies.transfer import with_classes

        assert self.file is not None
        with torch.no_grad():
            outputs = self.file.network(torch.zeros(1, *self.file.architecture.input_shape)).shape[1]
        if self.options.classes is None and outputs != train.classes:
            raise UsageError(
                f"{self.network} tells {outputs} classes apart, the images have {train.classes}; --classes "
                f"{train.classes} replaces its last layer",
                code="E042",
            )
        return with_classes(self.file, train.classes, seed, fresh=self.options.classes is not None)


def _contents(path: str | Path) -> str:
    """A word for a file that is another one for other contents, wherever it lies."""
    with Path(path).open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"


def open_start(
    network: str,
    options: StartOptions,
    network_options: NetworkOptions,
    preprocess: PreparingOptions,
    resize: tuple[int, int] | None = None,
) -> StartingPoint:
    """Check what NETWORK is, and read it where it is a file. resize: what --resize says.

    Raises what `open_network_file` raises, and `UsageError` for an unknown name or options that do not fit it.
    """
    from enxuto import zoo

    built = network_options.read(network)
    if is_model_file(network):
        if options.weights is not None:
            raise UsageError(f"{network} has its own weights; leave out --weights", code="E022")
        held = open_network_file(network, preprocess, resize=resize, prunes=False)
        shape = held.start.architecture.input_shape
        if len(shape) != 3:
            raise UsageError(
                f"{network} takes inputs of shape {tuple(shape)}, no images (channels, height, width)",
                code="E035",
            )
        images = held.normalisation
        return StartingPoint(network, options, held.start, images.mean, images.std, images.preprocess)
    if preprocess.is_given:
        raise UsageError(
            "how images are prepared is said of ONNX and .enx files; others take mean and std of their images",
            code="E024",
        )
    if options.classes is not None and options.weights is None:
        raise UsageError(
            "--classes replaces the head of a trained network; a new one has as many as the images",
            code="E024",
        )
    if ":" not in network:
        zoo.entry(network)
        built = options_with_weights(network, built, options.weights)
    return StartingPoint(network, options, built=built)

"""Verbs that take a network take an ONNX or `.enx` file too: the network in it, and how its images are prepared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from enxuto.cli.shared.preprocess_options import PreprocessOptions
from enxuto.cli.shared.terminal import warn
from enxuto.errors import UsageError

if TYPE_CHECKING:
    from enxuto.data import Preprocess
    from enxuto.studies.pruning import StartingNetwork, TrainedWeights

__all__ = ["NetworkFile", "is_model_file", "open_network_file"]


@dataclass(frozen=True)
class NetworkFile:
    """The network of a file. normalisation: `TrainedWeights` that hold nothing but the mean and std of its images."""

    start: StartingNetwork
    normalisation: TrainedWeights


def is_model_file(network: str) -> bool:
    """Whether NETWORK means an ONNX or `.enx` file."""
    return network.endswith((".onnx", ".enx"))


def open_network_file(network: str, preprocess: str | None) -> NetworkFile:
    """Make a module of a file; `preprocess` is what --preprocess says, over what the file carries.

    Raises:
        ModelError: no module can be made of it.
        UsageError: its images are prepared in a way that training cannot follow.
    """
    from enxuto.studies.pruning import StartingNetwork, TrainedWeights

    start, stored = StartingNetwork.of_file(Path(network))
    asked = PreprocessOptions(preprocess=preprocess).build(stored)
    if asked is None:
        warn(
            f"{network} does not say how its images are prepared: mean and std of the training images are taken; "
            "name the preset or file of its training by --preprocess"
        )
        return NetworkFile(start, TrainedWeights({}))
    mean, std = _pixel_scale(asked, start.architecture.input_shape, network)
    return NetworkFile(start, TrainedWeights({}, mean=mean, std=std))


def _pixel_scale(
    asked: Preprocess, shape: tuple[int, ...], network: str
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of pixels divided by 255, a value a channel."""
    channels, size = shape[0], tuple(shape[1:])
    whole = replace(asked, crop=None) if asked.crop == size == asked.resize else asked
    if (
        whole.layout != "NCHW"
        or whole.channels == "BGR"
        or whole.crop is not None
        or whole.resize not in (None, size)
    ):
        raise UsageError(
            f"{network} takes images in a way that training and pruning cannot follow ({asked}); they resize to "
            f"{size[0]}×{size[1]} without a crop, and take RGB or grey as NCHW",
            code="E046",
        )
    factor = whole.divide_by / 255
    mean, std = (
        tuple(value * factor for value in (values * channels if len(values) == 1 else values))
        for values in (whole.mean, whole.std)
    )
    return mean, std

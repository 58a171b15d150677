"""Verbs that take a network take an ONNX or `.enx` file too: the network in it, and how its images are prepared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from enxuto.cli.shared.preprocess_options import PreprocessOptions
from enxuto.cli.shared.terminal import warn, warnings_as_remarks
from enxuto.errors import UsageError

if TYPE_CHECKING:
    from enxuto.data import Preprocess
    from enxuto.studies.images import Images
    from enxuto.studies.pruning import StartingNetwork, TrainedWeights

__all__ = ["NetworkFile", "check_classes", "is_model_file", "keep_labels", "open_network_file"]


@dataclass(frozen=True)
class NetworkFile:
    """The network of a file. normalisation: `TrainedWeights` that hold nothing but the mean and std of its images."""

    start: StartingNetwork
    normalisation: TrainedWeights


def is_model_file(network: str) -> bool:
    """Whether NETWORK means an ONNX or `.enx` file."""
    return network.endswith((".onnx", ".enx"))


def open_network_file(network: str, preprocess: str | None, *, prunes: bool = True) -> NetworkFile:
    """Make a module of a file; `preprocess` is what --preprocess says, over what the file carries.

    prunes: whether its channels are followed.

    Raises:
        ModelError: no module can be made of it.
        UsageError: its images are prepared in a way that training cannot follow.
    """
    from enxuto.studies.pruning import StartingNetwork, TrainedWeights, size_after

    given = PreprocessOptions(preprocess=preprocess).build(None)
    with warnings_as_remarks():
        start, stored = StartingNetwork.of_file(Path(network), size_after(given), prunes=prunes)
    asked = given or stored
    if asked is None:
        warn(
            f"{network} does not say how its images are prepared: mean and std of the training images are taken; "
            "name the preset or file of its training by --preprocess"
        )
        return NetworkFile(start, TrainedWeights({}))
    mean, std = _pixel_scale(asked, start.architecture.input_shape, network)
    return NetworkFile(start, TrainedWeights({}, mean=mean, std=std))


def check_classes(network: str, start: StartingNetwork, images: Images) -> None:
    """Raise `UsageError` where images have classes that the network does not tell apart."""
    import torch

    with torch.no_grad():
        outputs = start.network(torch.zeros(1, *start.architecture.input_shape)).shape[1]
    if images.train.classes > outputs:
        raise UsageError(
            f"{network} tells {outputs} classes apart, the images have {images.train.classes}; leave out the others, "
            "or name the network's classes by --labels",
            code="E042",
        )


def keep_labels(
    network: str, start: StartingNetwork, names: tuple[str, ...] | None
) -> tuple[str, ...] | None:
    """The class names of what a network becomes: those of the images, or else its own.

    Raises `UsageError` where both are the same in another order: labels would count other classes than outputs do.
    """
    from enxuto.importing.network import OnnxNetwork
    from enxuto.opening import labels_of

    if start.source is None or not isinstance(start.network, OnnxNetwork):
        return names
    found = labels_of(start.source, dict(start.network.signature.metadata))
    own = None if found is None else tuple(one if isinstance(one, str) else one[0] for one in found)
    if own is None or names is None or len(names) != len(own):
        return own or names
    if names != own and sorted(map(str.casefold, names)) == sorted(map(str.casefold, own)):
        raise UsageError(
            f"{network} has its classes in another order than the images ({own[0]!r} first, not {names[0]!r}); name a "
            "file of them in the network's order by --labels",
            code="E042",
        )
    return names


def _pixel_scale(
    asked: Preprocess, shape: tuple[int, ...], network: str
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of pixels divided by 255, a value a channel."""
    channels, size = shape[0], tuple(shape[1:])
    whole = replace(asked, crop=None) if asked.crop == size == asked.resize else asked
    if whole.channels == "BGR" or whole.crop is not None or whole.resize not in (None, size):
        facts = {"resize": asked.resize, "crop": asked.crop, "channels": asked.channels}
        said = ", ".join(f"{key} {value}" for key, value in facts.items() if value is not None)
        raise UsageError(
            f"{network} takes images in a way that training and pruning cannot follow ({said}); they resize to "
            f"{size[0]}×{size[1]} without a crop, and take RGB or grey",
            code="E046",
        )
    factor = whole.divide_by / 255
    mean, std = (
        tuple(value * factor for value in (values * channels if len(values) == 1 else values))
        for values in (whole.mean, whole.std)
    )
    return mean, std

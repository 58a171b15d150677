"""Verbs that take a network take an ONNX or `.enx` file too: the network in it, and how its images are prepared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from enxuto.cli.shared.preprocess_options import PreparingOptions, assume_plain
from enxuto.cli.shared.terminal import note, warnings_as_remarks
from enxuto.errors import UsageError

if TYPE_CHECKING:
    from enxuto.data import Preprocess
    from enxuto.studies.images import Images
    from enxuto.studies.pruning import StartingNetwork, TrainedWeights

__all__ = [
    "NetworkFile",
    "check_classes",
    "follow",
    "is_model_file",
    "keep_labels",
    "normalisation_of",
    "open_network_file",
]


@dataclass(frozen=True)
class NetworkFile:
    """The network of a file. normalisation: `TrainedWeights` that hold nothing but how its images are prepared."""

    start: StartingNetwork
    normalisation: TrainedWeights


def is_model_file(network: str) -> bool:
    """Whether NETWORK means an ONNX or `.enx` file."""
    return network.endswith((".onnx", ".enx"))


def open_network_file(
    network: str,
    preprocess: PreparingOptions,
    *,
    resize: tuple[int, int] | None = None,
    prunes: bool = True,
    fresh: bool = False,
) -> NetworkFile:
    """Make a module of a file.

    Args:
        network: the file.
        preprocess: what the user said of preprocessing, over what the file carries.
        resize: what --resize says, over what either says of resizing.
        prunes: whether channels are followed.
        fresh: the network is trained from fresh weights, so that its images may be prepared in any way.

    Raises:
        ModelError: no module can be made of it.
        UsageError: its images are prepared in a way that does not leave the size that it takes.
    """
    from enxuto.opening import load_with_metadata, preprocess_of
    from enxuto.studies.pruning import StartingNetwork, size_after
    from enxuto.train.preparation import with_resize

    model, metadata = load_with_metadata(network)
    stored = preprocess_of(metadata)
    known = preprocess.build(stored, model)
    size = size_after(with_resize(known, resize)) or size_after(with_resize(stored, resize))
    with warnings_as_remarks():
        start = StartingNetwork.of_model(model, metadata, Path(network).stem, size, prunes=prunes)
    return NetworkFile(start, normalisation_of(network, start, known, resize=resize, fresh=fresh))


def normalisation_of(
    network: str,
    start: StartingNetwork,
    known: Preprocess | None,
    *,
    resize: tuple[int, int] | None = None,
    fresh: bool = False,
) -> TrainedWeights:
    """How images are prepared for the network of a file.

    Where nothing is `known` of it, they are what they need be at least, as all verbs take them, with a warning: its
    weights come from a training that had images in some scale, and hardly in that of these images' mean and std. Only
    `fresh` weights take those. resize: what --resize says. Raises `UsageError` as `open_network_file` does.
    """
    from enxuto.studies.pruning import TrainedWeights
    from enxuto.train.preparation import pixel_scale, with_resize

    shape = start.architecture.input_shape
    if fresh and known is None:
        asked = with_resize(None, resize)
        if asked is not None and len(shape) == 3:
            follow(asked, shape, network, resized=True)
        note(
            f"{network} does not say how its images are prepared: mean and std of the training images are taken"
        )
        return TrainedWeights({})
    known = known or assume_plain(start.source)
    asked = with_resize(known, resize)
    followed = None
    if asked is not None and len(shape) == 3:  # others take no images, which their verbs refuse
        followed = follow(asked, shape, network, resized=resize is not None)
    mean, std = pixel_scale(known, shape[0])
    return TrainedWeights({}, mean=mean, std=std, preprocess=followed)


def check_classes(network: str, start: StartingNetwork, images: Images) -> None:
    """Raise `UsageError` where images have classes that the network does not tell apart, or another size."""
    import torch

    takes, found = tuple(start.architecture.input_shape[1:]), tuple(images.train.images.shape[2:])
    if len(takes) == 2 and takes != found:
        raise UsageError(
            f"{network} takes images of {takes[0]}×{takes[1]}, and these are {found[0]}×{found[1]}; say --resize "
            f"{takes[0]},{takes[1]}",
            code="E044",
        )
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


def follow(asked: Preprocess, shape: tuple[int, ...], network: str, *, resized: bool) -> Preprocess | None:
    """The preprocessing by which images are cropped and resized; None where resizing to the input's size is all of it.

    Raises `UsageError` where it does not leave that size. resized: --resize has a part in it.
    """
    from enxuto.studies.pruning import size_after

    size = shape[1:]
    if asked.resize is asked.crop is None:  # it says nothing of sizes: images get the input's
        return None if asked.channels != "BGR" else replace(asked, resize=(size[0], size[1]))
    whole = replace(asked, crop=None) if asked.crop == asked.resize else asked
    after = size_after(whole)
    if after != size:
        if resized and after is not None:
            raise UsageError(
                f"{network} takes images of {size[0]}×{size[1]}, and --resize makes them {after[0]}×{after[1]}; leave "
                "it out",
                code="E044",
            )
        gives = "images of several sizes" if after is None else f"images of {after[0]}×{after[1]}"
        raise UsageError(
            f"{network} takes images of {size[0]}×{size[1]}, and its preprocessing gives {gives}; name another by "
            f"--preprocess, such as a TOML file with resize = [{size[0]}, {size[1]}]",
            code="E046",
        )
    if whole.crop is None and whole.interpolation == "bilinear" and whole.channels != "BGR":
        return None
    channels = replace(whole, layout="NCHW").output_shape()[0]
    if channels != shape[0]:
        raise UsageError(
            f"{network} takes images of {shape[0]} channels, and its preprocessing gives {channels} "
            f"({whole.channels}); name another by --preprocess",
            code="E046",
        )
    return whole

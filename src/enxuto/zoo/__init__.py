"""The networks: every architecture of the source documents, exact, by name.

`names()` and `entry()` answer from data and import no torch; `build()` imports the family's file when it is
called. Counts and their conventions are explained in `enxuto.zoo.entry`. `ACCURACIES` has published accuracies on
ImageNet by name, `WINNERS` the winners of ILSVRC.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from enxuto.errors import UsageError, import_optional
from enxuto.zoo import checks
from enxuto.zoo.entry import Entry, OptionValue, Variant
from enxuto.zoo.published.imagenet import ACCURACIES, WINNERS, ImageNetAccuracy, Winner
from enxuto.zoo.registry import check_count, check_options, entry, names

if TYPE_CHECKING:
    import torch

__all__ = [
    "ACCURACIES",
    "WINNERS",
    "Entry",
    "ImageNetAccuracy",
    "Variant",
    "Winner",
    "build",
    "entry",
    "input_shape",
    "names",
]


def build(
    name: str,
    *,
    classes: int | None = None,
    channels: int | None = None,
    seed: int | None = None,
    **options: OptionValue,
) -> torch.nn.Module:
    """Return the network `name` with fresh weights, in training mode, on torch's default device.

    It takes images (batch, `channels`, height, width) and returns logits (batch, `classes`).

    Args:
        name: of the architecture.
        classes, channels: by default the entry's.
        seed: gives the same weights every time and leaves the global random state alone; without a seed, weights
            are drawn from that state.
        options: keywords listed in `entry(name).options`; `activation` takes the place of the network's own.

    The module's `built_as` says what it was built of: name, classes, channels and options.

    Raises:
        UsageError: a name, option or value is unknown, or torch is not installed.
    """
    item = entry(name)
    check_options(item, options)
    outputs = check_count(name, "classes", item.classes if classes is None else classes)
    inputs = check_count(name, "channels", item.input_shape[0] if channels is None else channels)
    import_optional("torch", f"building {name}", "PyTorch", "train")
    import torch

    if seed is None:
        return _build(item, outputs, inputs, options)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise UsageError(f"{name}: seed must be a whole number from 0 and below 2**63, not {seed!r}")
    # devices=[]: the weights are drawn on the CPU, so accelerators' generators are neither read nor set.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return _build(item, outputs, inputs, options)


def _build(item: Entry, classes: int, channels: int, options: Mapping[str, OptionValue]) -> torch.nn.Module:
    """Build it with the weights that the random state gives, its activations replaced where that is asked for."""
    builders: Mapping[str, Callable[..., torch.nn.Module]]
    builders = importlib.import_module(f"enxuto.zoo.{item.family}").BUILDERS
    own = {option: value for option, value in options.items() if option != "activation"}
    network = builders[item.name](classes=classes, channels=channels, **own)
    if options.get("activation") is not None:
        from enxuto.zoo.activations import replace_activations

        replace_activations(network, item.name, options["activation"])
    built = {"name": item.name, "classes": classes, "channels": channels, "options": dict(options)}
    network.built_as = built  # type: ignore[assignment]
    return network


def input_shape(
    name: str, *, channels: int | None = None, resolution: float | None = None
) -> tuple[int, int, int]:
    """Return the (channels, height, width) that the network `name` takes.

    `resolution` is MobileNet's resolution multiplier rho: the side is the entry's times rho, rounded (192,
    160 and 128 of 224 for 6/7, 5/7 and 4/7). Raises `UsageError` where the architecture has no such option.
    """
    item = entry(name)
    depth, height, width = item.input_shape
    inputs = check_count(name, "channels", depth if channels is None else channels)
    if resolution is None:
        return inputs, height, width
    check_options(item, {"resolution": resolution})
    scale = checks.positive(name, "resolution", resolution)
    return inputs, max(1, round(height * scale)), max(1, round(width * scale))

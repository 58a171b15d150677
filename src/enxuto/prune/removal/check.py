"""Whether a pruned network computes what the original computes when the removed channels are zero.

"Zero" is meant literally: every weight, bias and norm parameter of a removed channel, and every weight that reads it,
is zero in a copy of the original. Both run in float64 (in their own type where the code allows no other) in evaluation
mode on the same seeded images. Where the outputs differ, both run once more and the first layer that differs is named.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from enxuto.errors import ModelError, error_reason
from enxuto.prune.channels.call import flatten
from enxuto.prune.channels.map import ChannelMap
from enxuto.prune.removal.kept import KeptChannels
from enxuto.prune.removal.remove import removed_atoms, zero_state

__all__ = ["TOLERANCE", "check_removal", "difference_of_outputs"]

TOLERANCE = 1e-9
"""Largest difference of two outputs in float64, relative to the largest value of the original's."""

SINGLE_TOLERANCE = 1e-4
"""The same where a network cannot run in float64."""


def check_removal(
    network: nn.Module, smaller: nn.Module, channels: ChannelMap, kept: KeptChannels, *, batch: int = 2
) -> float:
    """Return the largest relative difference between `smaller` and `network` with the removed channels zero.

    Raises:
        ModelError: it is above `TOLERANCE` or NaN, or `smaller` does not run; the message names the first layer that
            differs.
    """
    generator = torch.Generator().manual_seed(0)
    device = next((weight.device for weight in network.parameters()), torch.device("cpu"))
    images = [
        torch.randn(batch, *shape, generator=generator, dtype=torch.float64).to(device)
        for shape in channels.input_shapes
    ]
    removed = removed_atoms(channels, kept)
    try:
        zeroed, dtype, tolerance = (
            _zero_removed(network, channels, removed, torch.float64),
            torch.float64,
            TOLERANCE,
        )
        expected = _run(zeroed, images, "original")
    except ModelError:
        dtype = next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)
        zeroed, tolerance = _zero_removed(network, channels, removed, dtype), SINGLE_TOLERANCE
        images = [image.to(dtype) for image in images]
        expected = _run(zeroed, images, "original")
    small = copy.deepcopy(smaller).eval().to(dtype)
    difference = _difference(expected, _run(small, images, "pruned"))
    if difference <= tolerance:
        return difference
    where = _first_difference(zeroed, small, images, channels, kept, tolerance)
    raise ModelError(
        f"the pruned network differs from the original with the removed channels zero by {difference:.3g} of the "
        f"largest output, first in {where}; nothing was changed",
        code="E034",
    )


def difference_of_outputs(network: nn.Module, smaller: nn.Module, inputs: Sequence[Tensor]) -> float:
    """Return the largest difference of two networks' outputs on the same inputs, relative to the largest value.

    Raises `ModelError` where one of them does not run on these inputs.
    """
    return _difference(_run(network, inputs, "original"), _run(smaller, inputs, "pruned"))


def _zero_removed(
    network: nn.Module, channels: ChannelMap, removed: frozenset[int], dtype: torch.dtype
) -> nn.Module:
    """A copy of the original in evaluation mode, with everything zero that belongs to a removed channel."""
    copied = copy.deepcopy(network).eval().to(dtype)
    copied.load_state_dict(zero_state(copied.state_dict(), channels, removed))
    return copied


def _run(network: nn.Module, inputs: Sequence[Tensor], role: str) -> list[Tensor]:
    """All tensors that the network returns."""
    running: list[str] = []
    handles = [
        part.register_forward_pre_hook(_record_path(path, running)) for path, part in network.named_modules()
    ]
    try:
        with torch.no_grad():
            outputs = network(*inputs)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        where = running[-1] if running and running[-1] else "the network's forward"
        raise ModelError(
            f"the {role} network does not run, in or after {where}: {error_reason(error)}", code="E034"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return [item for item in flatten([outputs]) if isinstance(item, Tensor)]


def _record_path(path: str, running: list[str]) -> Callable[[nn.Module, Any], None]:
    def note(module: nn.Module, inputs: Any) -> None:
        running.append(path)

    return note


def _difference(expected: Sequence[Tensor], actual: Sequence[Tensor]) -> float:
    """Largest over all tensors, relative to the largest value expected; infinite where the shapes differ."""
    if [item.shape for item in expected] != [item.shape for item in actual]:
        return float("inf")
    largest = 0.0
    for one, other in zip(expected, actual, strict=True):
        if not one.numel():
            continue
        gap = float((one - other).abs().max())
        scale = float(one.abs().max())
        gap = gap / scale if scale > 0 else gap
        largest = gap if gap != gap else max(largest, gap)
        if largest != largest:
            break
    return largest


def _first_difference(
    zeroed: nn.Module,
    small: nn.Module,
    inputs: Sequence[Tensor],
    channels: ChannelMap,
    kept: KeptChannels,
    tolerance: float,
) -> str:
    """The layer, in the order of the run, whose kept outputs are the first to differ."""
    expected, actual = _layer_outputs(zeroed, inputs, channels), _layer_outputs(small, inputs, channels)
    for layer, value in expected.items():
        left = torch.tensor(kept.layers[layer], device=value.device)
        wanted = value.index_select(_channel_axis(zeroed, layer, value), left)
        if layer not in actual or not _difference([wanted], [actual[layer]]) <= tolerance:
            return layer
    return "what follows the last layer with filters"


def _layer_outputs(network: nn.Module, inputs: Sequence[Tensor], channels: ChannelMap) -> dict[str, Tensor]:
    """Layer → what it returned first, in the order of the run."""
    first_outputs: dict[str, Tensor] = {}

    def keeper(layer: str) -> Callable[[nn.Module, Any, Any], None]:
        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                first_outputs.setdefault(layer, output)

        return keep

    modules = dict(network.named_modules())
    handles = [
        modules[layer].register_forward_hook(keeper(layer)) for layer in channels.layers if layer in modules
    ]
    try:
        with torch.no_grad():
            network(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return first_outputs


def _channel_axis(network: nn.Module, layer: str, value: Tensor) -> int:
    """The axis of channels: the last behind a linear layer, the second else."""
    return value.dim() - 1 if isinstance(network.get_submodule(layer), nn.Linear) else 1

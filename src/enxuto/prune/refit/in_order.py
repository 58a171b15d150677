"""Refit every layer, first to last, on what the pruned network itself computes, so that errors do not add up.

A layer gets the weights that bring its output, computed from the pruned network's activations, nearest to what the
unpruned network computes there; after all that came before it was refitted. A layer that ends in a sum is fitted to the
unpruned network's sum, less what the other summand is in the pruned one: so a block also makes up for what blocks
before it lost. One run of each network suffices: weights change while the pruned one runs.

Source: Y. He, X. Zhang, J. Sun, Channel pruning for accelerating very deep neural networks, arXiv:1707.06168, sections
3.1 and 3.3. Depthwise convolutions are fitted filter by filter; other grouped and transposed ones are left, and very
wide layers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
from torch.overrides import TorchFunctionMode

from enxuto.progress import ItemProgress, ProgressCounter
from enxuto.prune.attribution.layers import Network, filter_layers, run_detached
from enxuto.prune.refit.equations import Equations, Goal, is_depthwise
from enxuto.prune.refit.moments import check_finite
from enxuto.prune.refit.readers import MOST_COLUMNS
from enxuto.prune.refit.structure import LayerUse, is_plain_sum, layer_uses, tensors_in
from enxuto.prune.removal.kept import KeptChannels

__all__ = ["refit_in_order"]

_ROWS = 32_768  # equations of a layer: positions of its output, over all images
_AT_ONCE = 64  # images
_MOST_NUMBERS = 400_000_000  # in memory, some 1.6 GB
_HELD = 5  # tensors as large as the largest
_FEWEST = 32  # images


@dataclass
class _Target:
    """places: positions of the output, for each chunk of images. values: (images, positions, outputs) for each."""

    places: list[Tensor | None] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)


def refit_in_order(
    network: nn.Module,
    smaller: nn.Module,
    kept: KeptChannels,
    images: Tensor,
    *,
    seed: int = 0,
    progress: ItemProgress | None = None,
) -> None:
    """Refit all layers of `smaller`, in place.

    Args:
        network: the unpruned one.
        smaller: what `remove` made of it by the plan `kept`.
        kept: the plan.
        images: (N, channels, height, width), as the network takes them. Only the first are used where the activations
            of all would take too much memory, as they are held at once; positions of theirs make up for it.
        seed: of the positions.
        progress: called after each layer that is refitted.

    Raises `ModelError` where the unpruned network's answers are not finite.
    """
    images = images[: _images_at_once(network, images)]
    # Where there are several, never one alone: a constant of its shape makes a sum that is none for others.
    before, after = layer_uses(network, images[:2]), layer_uses(smaller, images[:2])
    plans = {}
    for layer, use in after.items():
        module = smaller.get_submodule(layer)
        if layer in before and _is_fitted(module):
            same = before[layer].total == use.total
            plans[layer] = use if same else LayerUse(use.call, use.norm)
    places = max(1, _ROWS // len(images))
    with torch.no_grad():
        with run_detached(network) as running, torch.no_grad():
            targets = _TargetKeeper(running, plans, places, seed)
            with targets:
                for chunk in torch.tensor_split(images, math.ceil(len(images) / _AT_ONCE)):
                    targets.begin()
                    check_finite(running(chunk))
        with (
            run_detached(smaller) as running,
            torch.no_grad(),
            _Refitting(running, plans, targets.found, kept, ProgressCounter(len(plans), progress)),
        ):
            running(images)


def _images_at_once(network: nn.Module, images: Tensor) -> int:
    """How many images' activations may be held at once: some of the largest at a time."""
    largest = 0

    class Sizes(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            output = func(*args, **(kwargs or {}))
            largest = max([largest, *(tensor.numel() for tensor in tensors_in(output))])
            return output

    with run_detached(network) as running, torch.no_grad(), Sizes():
        running(images[:1])
    return min(len(images), max(_FEWEST, _MOST_NUMBERS // (_HELD * max(1, largest))))


def _is_fitted(module: nn.Module) -> bool:
    if isinstance(module, (nn.Linear, nn.Conv2d)) and module.weight[0].numel() > MOST_COLUMNS:
        return False
    if isinstance(module, nn.Linear):
        return True
    if not isinstance(module, nn.Conv2d) or module.padding_mode != "zeros":
        return False
    return module.groups == 1 or is_depthwise(module)


def _at(values: Tensor, linear: bool, places: Tensor | None) -> Tensor:
    """(images, positions, channels)"""
    rows = values.reshape(len(values), -1, values.shape[-1]) if linear else values.flatten(2).transpose(1, 2)
    return rows if places is None else rows[:, places]


class _TargetKeeper(TorchFunctionMode):
    """Keeps what layers, or the sums that they end in, give at some positions."""

    def __init__(self, network: Network, plans: Mapping[str, LayerUse], places: int, seed: int) -> None:
        super().__init__()
        self.network = network
        self.layers = filter_layers(network.model)
        self.plans = plans
        self.by_sum = {use.total: layer for layer, use in plans.items() if use.total is not None}
        self.positions = places
        self.draws = np.random.default_rng(seed)
        self.found = {layer: _Target() for layer in plans}
        self.sums = 0

    def begin(self) -> None:
        """The next chunk of images."""
        self.sums = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function and keep."""
        kwargs = kwargs or {}
        layer = self.network.layer_of_call(func, args, kwargs)
        is_sum = is_plain_sum(func, args, kwargs)
        output = func(*args, **kwargs)
        if is_sum:
            layer = self.by_sum.get(self.sums)
            self.sums += 1
            if layer is not None:
                self._keep(layer, output)
        elif layer is not None and layer in self.plans and self.plans[layer].total is None:
            self._keep(layer, output)
        return output

    def _keep(self, layer: str, output: Tensor) -> None:
        linear = isinstance(self.layers[layer], nn.Linear)
        count = int(np.prod(output.shape[1:-1])) if linear else int(np.prod(output.shape[2:]))
        places = None
        if count > self.positions:
            places = torch.from_numpy(np.sort(self.draws.choice(count, self.positions, replace=False)))
        target = self.found[layer]
        target.places.append(places)
        target.values.append(_at(output, linear, places).clone())


class _Refitting(TorchFunctionMode):
    """Refits each layer at its call, before it computes."""

    def __init__(
        self,
        network: Network,
        plans: Mapping[str, LayerUse],
        targets: Mapping[str, _Target],
        kept: KeptChannels,
        counter: ProgressCounter,
    ) -> None:
        super().__init__()
        self.network = network
        self.layers = filter_layers(network.model)
        self.plans = plans
        self.targets = targets
        self.kept = kept
        self.counter = counter
        self.count = 0
        self.wanted = Counter(use.other for use in plans.values() if use.other is not None)
        self.outputs: dict[int, Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Refit the layer, if it is one, and call the function."""
        kwargs = kwargs or {}
        number = self.count
        self.count += 1
        layer = self.network.layer_of_call(func, args, kwargs)
        if layer is not None and layer in self.plans:
            self._refit(layer, args[0])
            self.counter.add(1)
        output = func(*args, **kwargs)
        if number in self.wanted:
            self.outputs[number] = next(tensors_in(output))
        return output

    def _refit(self, layer: str, x: Tensor) -> None:
        module, use = self.layers[layer], self.plans[layer]
        norm = None if use.norm is None else self.network.model.get_submodule(use.norm)
        assert norm is None or isinstance(norm, BatchNorm)
        absorbed = module.bias is not None or norm is not None
        rows = torch.tensor(self.kept.layers[layer]) if layer in self.kept.layers else None
        equations = Equations(module, constant=absorbed)
        target = self.targets[layer]
        other = None if use.other is None else self.outputs[use.other]
        start = 0
        linear = isinstance(module, nn.Linear)
        for places, wanted in zip(target.places, target.values, strict=True):
            stop = start + len(wanted)
            summand = None if other is None else _at(other[start:stop], linear, places)
            goal = _goal(use, norm, wanted if rows is None else wanted[..., rows], summand)
            equations.add(x[start:stop], None if places is None else places.tolist(), goal, start)
            start = stop
        if use.other is not None:
            self.wanted[use.other] -= 1
            if not self.wanted[use.other]:
                del self.outputs[use.other]
        change, offset = equations.solve()
        module.weight.add_(change.reshape(module.weight.shape))
        if offset is None:
            return
        if module.bias is not None:
            module.bias.add_(offset)
        elif norm is not None:
            assert norm.running_mean is not None
            norm.running_mean.sub_(offset)


def _goal(use: LayerUse, norm: BatchNorm | None, wanted: Tensor, other: Tensor | None) -> Goal:
    """What the layer itself should give, where `wanted` is kept behind its sum, (images, positions, outputs)."""
    if other is None:
        values, shift = wanted, torch.zeros(1, 1, wanted.shape[-1])
    else:
        shift = other
        values = wanted - other if norm is None else _undo_norm(norm, wanted - other)
    low, high = (
        None if math.isinf(bound) else bound - shift if norm is None else _undo_norm(norm, bound - shift)
        for bound in (use.low, use.high)
    )
    if norm is not None and norm.weight is not None:
        falling = norm.weight < 0
        low, high = _swapped(low, high, falling)
    return Goal(values, low, high)


def _swapped(low: Tensor | None, high: Tensor | None, falling: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """The bounds before a norm that turns some outputs round."""
    if not bool(falling.any()) or (low is None and high is None):
        return low, high
    least = torch.tensor(-math.inf) if low is None else low
    most = torch.tensor(math.inf) if high is None else high
    return (
        torch.where(falling, torch.where(most.isinf(), -most, most), least),
        torch.where(falling, torch.where(least.isinf(), -least, least), most),
    )


def _undo_norm(norm: BatchNorm, values: Tensor) -> Tensor:
    """What a batch norm reads where it gives `values`; 0 in channels that it nearly removes."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = torch.rsqrt(norm.running_var + float(norm.eps))
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -norm.running_mean * scale
    if norm.bias is not None:
        shift = shift + norm.bias
    return torch.where(scale.abs() > 1e-3 * scale.abs().max(), (values - shift) / scale, 0.0)

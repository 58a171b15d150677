"""Refit every layer, first to last, on what the pruned network itself computes, so that errors do not add up.

A layer gets the weights that bring its output, computed from the pruned network's activations, nearest to what the
unpruned network computes there; after all that came before it was refitted. A layer that ends in a sum is fitted to the
unpruned network's sum, less what the other summand is in the pruned one: so a block also makes up for what blocks
before it lost. One run of each network suffices: weights change while the pruned one runs.

Source: Y. He, X. Zhang, J. Sun, Channel pruning for accelerating very deep neural networks, arXiv:1707.06168, sections
3.1 and 3.3. Depthwise convolutions are fitted filter by filter; other grouped and transposed ones are left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
from torch.overrides import TorchFunctionMode

from enxuto.prune.attribution.layers import FilterLayer, Network, filter_layers, run_detached
from enxuto.prune.refit.readers import sample_inputs
from enxuto.prune.refit.structure import LayerUse, is_plain_sum, layer_uses, tensors_in
from enxuto.prune.removal.kept import KeptChannels

__all__ = ["refit_in_order"]

FOLDS = 3
_RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e3)
_ROWS = 8192  # equations of a layer: positions of its output, over all images
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
    network: nn.Module, smaller: nn.Module, kept: KeptChannels, images: Tensor, *, seed: int = 0
) -> None:
    """Refit all layers of `smaller`, in place.

    Args:
        network: the unpruned one.
        smaller: what `remove` made of it by the plan `kept`.
        kept: the plan.
        images: (N, channels, height, width), as the network takes them. Only the first are used where the activations
            of all would take too much memory, as they are held at once; positions of theirs make up for it.
        seed: of the positions.
    """
    images = images[: _images_at_once(network, images)]
    before, after = layer_uses(network, images[:1]), layer_uses(smaller, images[:1])
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
                for chunk in torch.split(images, _AT_ONCE):
                    targets.begin()
                    running(chunk)
        with (
            run_detached(smaller) as running,
            torch.no_grad(),
            _Refitting(running, plans, targets.found, kept),
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
    if isinstance(module, nn.Linear):
        return True
    if not isinstance(module, nn.Conv2d) or module.padding_mode != "zeros":
        return False
    return module.groups == 1 or _is_depthwise(module)


def _is_depthwise(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and 1 < module.groups == module.in_channels == module.out_channels


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
    ) -> None:
        super().__init__()
        self.network = network
        self.layers = filter_layers(network.model)
        self.plans = plans
        self.targets = targets
        self.kept = kept
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
            goal = wanted if rows is None else wanted[..., rows]
            if other is not None:
                goal = goal - _at(other[start:stop], linear, places)
                if norm is not None:
                    goal = _undo_norm(norm, goal)
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


class Equations:
    """Sums over equations, by fold: of products of inputs, and of inputs with what is missing of the outputs."""

    def __init__(self, module: FilterLayer, *, constant: bool) -> None:
        self.module = module
        self.constant = constant
        self.depthwise = _is_depthwise(module)
        groups = module.weight.shape[0] if self.depthwise else 1
        size = module.weight[0].numel() + constant
        outputs = 1 if self.depthwise else module.weight.shape[0]
        self.inputs = torch.zeros(FOLDS, groups, size, size, dtype=torch.float64)
        self.missing = torch.zeros(FOLDS, groups, size, outputs, dtype=torch.float64)

    def add(self, x: Tensor, places: Sequence[int] | None, goal: Tensor, first: int) -> None:
        """Add a chunk: what the layer reads, and what it should give, (images, positions, outputs)."""
        module = self.module
        read = sample_inputs(module, x, places)
        if self.depthwise:
            kernel = module.weight[0].numel()
            read = read.reshape(*read.shape[:2], -1, kernel).permute(2, 0, 1, 3)
            now = torch.einsum("cnpk,ck->npc", read, module.weight.flatten(1))
        else:
            now = read @ module.weight.flatten(1).T
            read = read[None]
        if module.bias is not None:
            now = now + module.bias
        gap = goal - now
        gap = gap.permute(2, 0, 1)[..., None] if self.depthwise else gap[None]
        if self.constant:
            read = torch.cat((read, torch.ones(*read.shape[:3], 1)), 3)
        folds = (torch.arange(len(x)) + first) % FOLDS
        for fold in range(FOLDS):
            rows, wanted = read[:, folds == fold].flatten(1, 2), gap[:, folds == fold].flatten(1, 2)
            self.inputs[fold] += (rows.transpose(1, 2) @ rows).double()
            self.missing[fold] += (rows.transpose(1, 2) @ wanted).double()

    def solve(self) -> tuple[Tensor, Tensor | None]:
        """What to add to the weight, (outputs, columns), and to the constant, (outputs,)."""
        total, missing = self.inputs.sum(0), self.missing.sum(0)
        losses = torch.zeros(len(_RIDGES), dtype=torch.float64)
        for fold, gap in zip(self.inputs, self.missing, strict=True):
            for number, ridge in enumerate(_RIDGES):
                found = self._solve(total - fold, missing - gap, ridge)
                losses[number] += (found * (fold @ found)).sum() - 2 * (found * gap).sum()
        best = int(losses.argmin())
        found = self._solve(total, missing, _RIDGES[best])
        found = found[..., 0] if self.depthwise else found[0].T
        if not self.constant:
            return found.float(), None
        return found[:, :-1].float(), found[:, -1].float()

    def _solve(self, inputs: Tensor, missing: Tensor, ridge: float) -> Tensor:
        powers = inputs.diagonal(dim1=1, dim2=2)
        added = ridge * torch.maximum(powers, 1e-6 * powers.mean(1, keepdim=True) + 1e-12)
        if self.constant:
            added[:, -1] = 1e-9 * powers[:, -1]
        return torch.cholesky_solve(missing, torch.linalg.cholesky(inputs + torch.diag_embed(added)))

"""The layers of a network while it runs: its filters' layers by name, seen at each call, the network left as it was.

A network runs here in evaluation mode with its parameters detached (`run_detached`), so that whatever requires a
gradient depends on the images. A layer is recognised by the weight that a function is called with, whether or not
its module is called. Left out: weights that are computed on the way (parametrisations), which belong to no layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from enxuto.errors import DataError, ModelError
from enxuto.prune.attribution.rules import base_name
from enxuto.zoo.modes import evaluation_mode

__all__ = [
    "FilterLayer",
    "Network",
    "filter_layers",
    "is_layer_call",
    "output_layers",
    "per_filter",
    "run_detached",
]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_CALLS = frozenset(
    f"{kind}{size}d" for kind in ("conv", "conv_transpose") for size in (1, 2, 3)
) | {"linear"}  # fmt: skip

FilterLayer = (
    nn.Conv1d
    | nn.Conv2d
    | nn.Conv3d
    | nn.ConvTranspose1d
    | nn.ConvTranspose2d
    | nn.ConvTranspose3d
    | nn.Linear
)


def filter_layers(model: nn.Module) -> dict[str, FilterLayer]:
    """Return all convolutions and linear layers by name, in the order of definition; a shared one has one name."""
    return {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, (*_CONVOLUTIONS, *_TRANSPOSED, nn.Linear))
    }


def validate_classes(classes: Tensor, logits: Tensor) -> Tensor:
    """Return classes (batch,) as int64 beside logits (batch, classes); `DataError` where they are not such."""
    count, width = logits.shape
    if classes.shape != (count,) or classes.is_floating_point():
        kind = f"{classes.dtype} {tuple(classes.shape)}"
        raise DataError(f"classes must be {count} integers, one for each image, not {kind}", code="E042")
    if count and not 0 <= int(classes.min()) <= int(classes.max()) < width:
        raise DataError(f"classes must lie in 0…{width - 1}, as the network has {width}", code="E042")
    return classes.long().to(logits.device)


def is_layer_call(func: Callable[..., Any]) -> bool:
    """Whether a torch function is a convolution or a linear layer: called with an input, weights, and a bias."""
    return base_name(func) in _CALLS


def per_filter(values: Tensor, layer: FilterLayer) -> Tensor:
    """Sum a layer's output or its like, (batch, filters, …) or linear (batch, …, filters), to (batch, filters)."""
    if isinstance(layer, nn.Linear):
        return values.reshape(len(values), -1, values.shape[-1]).sum(1)
    return values.flatten(2).sum(2)


@dataclass(frozen=True)
class Network:
    """A network ready to run: `weights` says which layer a weight, by its id, belongs to."""

    model: nn.Module
    parameters: Mapping[str, Tensor]
    weights: Mapping[int, str]

    def __call__(self, images: Tensor) -> Tensor:
        """Return logits (batch, classes) for images; raises `ModelError` where the network gives anything else."""
        logits = functional_call(self.model, dict(self.parameters), (images,))
        if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(images):
            kind = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ModelError(
                f"the network must give scores (batch, classes) in evaluation mode, not {kind}", code="E035"
            )
        return logits

    def layer_of_call(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> str | None:
        """Return the name of the layer that a call of a torch function is, or None."""
        if not is_layer_call(func):
            return None
        weight = kwargs["weight"] if "weight" in kwargs else args[1]
        return self.weights.get(id(weight))


@contextmanager
def run_detached(model: nn.Module) -> Iterator[Network]:
    """Lend a network to run in evaluation mode, gradients on and parameters detached; its modes are put back after.

    No parameter or gradient is changed, in any gradient mode of the caller (`no_grad` too).
    """
    detached = {name: value.detach() for name, value in model.named_parameters()}
    names = {id(layer.weight): name for name, layer in reversed(filter_layers(model).items())}
    weights = {
        id(detached[name]): names[id(value)] for name, value in model.named_parameters() if id(value) in names
    }
    with evaluation_mode(model), torch.inference_mode(False), torch.enable_grad():
        yield Network(model, detached, weights)


def output_layers(model: nn.Module, images: Tensor) -> frozenset[str]:
    """Return the names of the layers whose filters are the classes: no layer that mixes channels comes after.

    Every other layer is called on a copy of its input that no gradient passes, so that a gradient from the scores
    reaches exactly the last ones. Depthwise convolutions mix nothing: they let it pass.
    """
    with run_detached(model) as network, _GraphCutter(network) as cut:
        logits = network(images[:1])
    if not logits.requires_grad:
        return frozenset()
    reached = torch.autograd.grad(logits.sum(), [output for _, output in cut.outputs], allow_unused=True)
    return frozenset(name for (name, _), grad in zip(cut.outputs, reached, strict=True) if grad is not None)


class _GraphCutter(TorchFunctionMode):
    """Cuts the graph before each layer that mixes channels, and keeps the layers' outputs."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.layers = filter_layers(network.model)
        self.network = network
        self.outputs: list[tuple[str, Tensor]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function; where it is a layer, on a detached input."""
        kwargs = kwargs or {}
        name = self.network.layer_of_call(func, args, kwargs)
        if name is None:
            return func(*args, **kwargs)
        layer = self.layers[name]
        depthwise = (
            not isinstance(layer, nn.Linear) and 1 < layer.groups == layer.in_channels == layer.out_channels
        )
        output = func(args[0] if depthwise else args[0].detach(), *args[1:], **kwargs)
        if not output.requires_grad:
            output.requires_grad_()
        self.outputs.append((name, output))
        return output.clone()  # the network may overwrite it

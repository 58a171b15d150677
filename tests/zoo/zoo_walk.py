"""Run a network on the meta device, which has shapes and no numbers, and write down what its layers did.

Nothing is allocated and nothing computed, so VGG-19 costs as little as LeNet-5.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial

import torch
from torch import nn

from enxuto import zoo

Note = Callable[[str, nn.Module, torch.Tensor, torch.Tensor], None]
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Tanh)


@dataclass(frozen=True)
class Step:
    """One call of a layer: what it is, what it holds, and the volumes (channels, height, width) around it."""

    kind: str
    detail: tuple[object, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]


@dataclass
class Walk:
    """Steps in the order of execution, calls of each activation module, and the totals."""

    outputs: tuple[int, ...] = ()
    parameters: int = 0
    macs: int = 0
    steps: list[Step] = field(default_factory=list)
    activations: Counter[str] = field(default_factory=Counter)


@cache
def meta(name: str, **options: object) -> nn.Module:
    """The network without memory for its weights, ready for inference; built once, so tests do not change it."""
    with torch.device("meta"):
        return zoo.build(name, **options).eval()


def walk(network: nn.Module, shape: tuple[int, int, int]) -> Walk:
    """Send one image of `shape` through a network on the meta device."""
    found = Walk(parameters=sum(weights.numel() for weights in network.parameters() if weights.requires_grad))

    def note(name: str, layer: nn.Module, before: torch.Tensor, after: torch.Tensor) -> None:
        if isinstance(layer, ACTIVATIONS):
            found.activations[name] += 1
        if isinstance(layer, nn.Conv2d | nn.Linear):
            places = math.prod(after.shape[2:])  # of a linear layer: one
            found.macs += layer.weight.numel() * places
        row = _row(layer, before, after)
        if row is not None:
            found.steps.append(Step(*row, tuple(before.shape[1:]), tuple(after.shape[1:])))

    hooks = []
    for name, layer in network.named_modules():
        if isinstance(layer, ACTIVATIONS):
            found.activations[name] = 0
        if not list(layer.children()):
            hook = partial(_forward, note, name)
            hooks.append(layer.register_forward_hook(hook))
    with torch.no_grad():
        found.outputs = tuple(network(torch.empty(1, *shape, device="meta")).shape)
    for hook in hooks:
        hook.remove()
    return found


def _forward(
    note: Note, name: str, layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor
) -> None:
    note(name, layer, inputs[0], output)


def _row(
    layer: nn.Module, before: torch.Tensor, after: torch.Tensor
) -> tuple[str, tuple[object, ...]] | None:
    """Kind and detail of the layers that an ONNX graph shows too."""
    if isinstance(layer, nn.Conv2d):
        detail = (*layer.weight.shape, layer.stride[0], "bias" if layer.bias is not None else "")
        return "conv", detail
    if isinstance(layer, nn.Linear):
        return "linear", (*layer.weight.shape, "bias" if layer.bias is not None else "")
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        return "average", (before.shape[-1], 1)
    if isinstance(layer, nn.AvgPool2d | nn.MaxPool2d):
        kernel, stride = (
            side[0] if isinstance(side, tuple) else side for side in (layer.kernel_size, layer.stride)
        )
        kind = "max" if isinstance(layer, nn.MaxPool2d) else "average"
        return kind, (kernel, 1 if after.shape[-1] == 1 else stride)  # one place has no stride
    if isinstance(layer, nn.BatchNorm2d):
        return "norm", tuple(layer.weight.shape)
    if isinstance(layer, nn.ReLU):
        return "relu", ()
    return ("lrn", ()) if type(layer).__name__ == "LocalResponseNorm" else None


@cache
def walk_named(name: str) -> Walk:
    """The walk of a network with its default options and input."""
    return walk(meta(name), zoo.entry(name).input_shape)

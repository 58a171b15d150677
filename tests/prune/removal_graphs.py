"""Random small networks with everything that makes removal hard, and an oracle that knows nothing of traces.

Each `Unit` is a convolution with batch norm; its output is what a channel is. The oracle zeroes a removed channel
there, by a hook, so that sums, concatenations, shuffles and ReLU carry the zero on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from enxuto.zoo.resnet import OptionAShortcut
from enxuto.zoo.shufflenet import ChannelShuffle

Step = tuple[str, int]


class Unit(nn.Module):
    """Convolution and batch norm with random statistics."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, groups: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class Graph(nn.Module):
    """The steps one after another on (batch, 2, 6, 6), then a head: flatten or mean, and two linear layers."""

    def __init__(self, width: int, steps: Sequence[Step], flat: bool) -> None:
        super().__init__()
        self.stem = Unit(2, width)
        self.steps = list(steps)
        self.flat = flat
        parts: list[nn.Module] = []
        side = 6
        for kind, size in steps:
            made, width, side = _made(kind, size, width, side)
            parts.append(made)
        self.parts = nn.ModuleList(parts)
        self.hidden = nn.Linear(width * side * side if flat else width, 5)
        self.output = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = relu(self.stem(x))
        for (kind, _), part in zip(self.steps, self.parts, strict=True):
            x = _run(kind, part, x)
        x = torch.flatten(x, 1) if self.flat else x.mean((2, 3))
        return self.output(relu(self.hidden(x)))


def _made(kind: str, size: int, width: int, side: int) -> tuple[nn.Module, int, int]:
    """The module of a step, and how many channels and rows come out."""
    match kind:
        case "residual" | "reused" | "chunk":
            half = width // 2 if kind == "chunk" else width
            return Unit(half, half), width, side
        case "concatenation":
            return Unit(width, size), width + size, side
        case "depthwise":
            return Unit(width, width, groups=width), width, side
        case "shuffled" | "written":
            units = [Unit(width, 4 * size, 1, 2), ChannelShuffle(2), Unit(4 * size, 2 * size, 3, 2)]
            return nn.ModuleList(units), 2 * size, side
        case "option":
            shortcut = OptionAShortcut(0, size, 2)
            return (
                nn.ModuleList([Unit(width, width + size, stride=2), shortcut]),
                width + size,
                (side + 1) // 2,
            )
        case "gate":
            return nn.ModuleList([nn.Linear(width, 2), nn.Linear(2, width)]), width, side
    return Unit(width, size), size, side


def _run(kind: str, part: nn.Module, x: Tensor) -> Tensor:
    match kind:
        case "residual":
            return relu(x + part(x))
        case "reused":
            return relu(part(relu(part(x))))
        case "concatenation":
            return torch.cat((relu(part(x)), x), 1)
        case "chunk":
            first, second = x.chunk(2, 1)
            return torch.cat((second, relu(part(first))), dim=1)
        case "shuffled":
            return relu(part[2](part[1](relu(part[0](x)))))
        case "written":
            y = relu(part[0](x))
            y = y.reshape(y.shape[0], 2, y.shape[1] // 2, *y.shape[2:]).transpose(1, 2).flatten(1, 2)
            return relu(part[2](y))
        case "option":
            return relu(part[0](x) + part[1](x))
        case "gate":
            gate = torch.sigmoid(part[1](relu(part[0](x.mean((2, 3))))))
            return x * gate[:, :, None, None]
    return relu(part(x))


@st.composite
def graphs(draw: st.DrawFn, *, grouped: bool = True) -> Graph:
    """A network of two to five steps, with grouped convolutions or without; the seed of its weights is drawn too."""
    width = 2 * draw(st.integers(1, 3))
    kinds = ["plain", "residual", "reused", "concatenation", "depthwise", "option", "chunk", "gate"]
    kinds += ["shuffled", "written"] if grouped else []
    steps = [
        (draw(st.sampled_from(kinds)), draw(st.sampled_from([2, 4]))) for _ in range(draw(st.integers(2, 5)))
    ]
    torch.manual_seed(draw(st.integers(0, 99)))
    graph = Graph(width, steps, draw(st.booleans()))
    randomise(graph)
    return graph


def randomise(network: nn.Module) -> None:
    """Batch norms as after training: no scale is 1, no shift or mean 0."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            for vector in (part.weight, part.bias, part.running_mean, part.running_var):
                assert vector is not None
                nn.init.uniform_(vector, 0.5, 1.5)
    network.eval()


def zeroed_outputs(network: nn.Module, removed: Mapping[str, Sequence[int]], images: Tensor) -> Tensor:
    """The network's outputs when the removed channels are zero wherever a unit or a linear layer makes them."""
    handles = []
    for layer, places in removed.items():
        part = network.get_submodule(layer.removesuffix(".conv"))

        def zero(module: nn.Module, given: object, output: Tensor, places: Sequence[int] = places) -> Tensor:
            output = output.clone()
            output[:, list(places)] = 0
            return output

        handles.append(part.register_forward_hook(zero))
    try:
        with torch.no_grad():
            return network(images)
    finally:
        for handle in handles:
            handle.remove()


def zeros_of(width: int, x: Tensor) -> Tensor:
    """Option A as users write it: a fixed number of zero planes."""
    return pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, width))

"""The channels that go together, against Torch-Pruning's dependency graph on networks where that is right.

It is not asked about option A, shuffles, chunks and frozen parameters, where it is known to be wrong.
"""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from enxuto import zoo
from enxuto.prune import trace

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its own imports warn
    import torch_pruning

torch.set_num_threads(1)

Touched = set[tuple[str, str, int]]


def theirs(graph: torch_pruning.DependencyGraph, names: dict[nn.Module, str], layer: nn.Module) -> Touched:
    """(layer, rows or columns, place) of everything that Torch-Pruning removes with filter 1 of a layer."""
    group = graph.get_pruning_group(layer, torch_pruning.prune_conv_out_channels, idxs=[1])
    found: Touched = set()
    for dependency, places in group:
        module = dependency.target.module
        if module not in names or isinstance(module, nn.BatchNorm2d):
            continue
        rows = dependency.handler in (
            torch_pruning.prune_conv_out_channels,
            torch_pruning.prune_linear_out_channels,
            torch_pruning.prune_depthwise_conv_out_channels,
        )
        found |= {(names[module], "rows" if rows else "columns", place) for place in places}
    return found


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vgg16-cifar", {}),
        ("alexnet-cifar", {}),
        ("resnet18-cifar", {}),
        ("squeezenet-cifar", {}),
        ("mobilenet-cifar", {"width": 0.25}),
        ("mobilenet-v2-cifar", {"width": 0.25}),
        ("densenet121-k12-cifar", {}),
    ],
)
def test_groups_are_torch_prunings(name: str, options: dict[str, float]) -> None:
    network = zoo.build(name, seed=0, **options).eval()
    example = torch.zeros(1, 3, 32, 32)
    channels = trace(network, example)
    graph = torch_pruning.DependencyGraph().build_dependency(network, example_inputs=example)
    names = {module: path for path, module in network.named_modules()}
    compared = 0
    for layer in channels.layers:
        module = network.get_submodule(layer)
        number = channels.group_of.get(channels.layers[layer][1])
        if number is None or not isinstance(module, nn.Conv2d) or module.groups > 1:
            continue
        ours: Touched = set()
        for tensor, dim, places in channels.groups[number].slices:
            path = tensor.removesuffix(".weight")
            if path in channels.layers and tensor != path:
                ours |= {(path, "columns" if dim else "rows", place) for place in places}
        assert ours == theirs(graph, names, module), layer
        compared += 1
    assert compared > 4

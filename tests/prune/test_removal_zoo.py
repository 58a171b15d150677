"""Every network of the zoo: a third of its filters removed at random, the result compared with the zeroed original."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from torch import nn

from enxuto import zoo
from enxuto.export import export_onnx
from enxuto.prune import ChannelMap, KeptChannels, remove, trace

torch.set_num_threads(1)

# One network of each family, the smallest; options make them slim.
FAMILIES = {
    "lenet5": {},
    "resnet20-cifar": {},
    "squeezenet-dsc": {},
    "mobilenet-cifar": {"width": 0.25},
    "mobilenet-v2-cifar": {"width": 0.25},
    "densenet121-k12-cifar": {},
    "shufflenet-cifar": {"width": 0.5},
    "effnet": {},
    "vgg16-cifar": {},
    "googlenet-cifar": {},
}
REST = [name for name in zoo.names() if name not in FAMILIES]

# Layers whose channels a local response norm reads by their places.
NORMALISED = {
    "alexnet": {"features.conv1.conv", "features.conv2.conv"},
    "caffenet": {"features.conv1.conv", "features.conv2.conv"},
    "zfnet": {"features.conv1.conv", "features.conv2.conv"},
    "zfnet512": {"features.conv1.conv", "features.conv2.conv"},
    "googlenet": {"low.conv1.conv", "low.conv2.conv"},
}


def pruned(network: nn.Module, shape: tuple[int, ...]) -> tuple[ChannelMap, KeptChannels, nn.Module]:
    """A third of the groups gone, and at least one filter left in every layer."""
    channels = trace(network, torch.zeros(1, *shape))
    left, chosen = dict(channels.widths), []
    for group in random.Random(0).sample(channels.groups, len(channels.groups)):
        fits = all(left[layer] > len(places) for layer, places in group.filters.items())
        if fits and 3 * len(chosen) < len(channels.groups):
            chosen.append(group.number)
            for layer, places in group.filters.items():
                left[layer] -= len(places)
    kept = channels.without_groups(chosen)
    return channels, kept, remove(network, channels, kept)


def check(name: str, **options: float) -> None:
    network = zoo.build(name, seed=0, **options)
    channels, kept, smaller = pruned(network, zoo.input_shape(name))
    last = list(channels.layers)[-1]
    for item in channels.fixed:
        layers = NORMALISED.get(name, set())
        assert item.layer == last or item.layer in layers, f"{item.layer}: {item.reason}"
    assert {item.layer for item in channels.fixed} >= NORMALISED.get(name, set())
    count = sum(weight.numel() for weight in network.parameters())
    assert sum(weight.numel() for weight in smaller.parameters()) < 0.8 * count
    for layer, places in kept.layers.items():
        assert smaller.get_submodule(layer).get_parameter("weight").shape[0] == len(places)


@pytest.mark.parametrize("name", FAMILIES)
def test_one_of_each_family(name: str) -> None:
    check(name, **FAMILIES[name])


@pytest.mark.acceptance
@pytest.mark.parametrize("name", REST)
def test_all_others(name: str) -> None:
    check(name)


def test_residual_stages_of_resnet20() -> None:
    """Option A ties place k of all three stages; a stage's later channels go without the earlier stages."""
    channels = trace(zoo.build("resnet20-cifar", seed=0), torch.zeros(1, 3, 32, 32))
    sizes = [len(group.filters) for group in channels.groups]
    # 16 channels through all stages (stem and three blocks, three, three), 16 of the last two, 32 of the last.
    assert [sizes.count(count) for count in (10, 6, 3)] == [16, 16, 32]
    assert sizes.count(1) == 3 * (16 + 32 + 64)


@pytest.mark.parametrize(
    "name", ["resnet20-cifar", pytest.param("shufflenet-cifar", marks=pytest.mark.acceptance)]
)
def test_onnx_gives_equal_outputs(name: str, tmp_path: Path) -> None:
    """Padding shortcuts and channel orders among them."""
    options = {"width": 0.5} if name == "shufflenet-cifar" else {}
    _, _, smaller = pruned(zoo.build(name, seed=0, **options), (3, 32, 32))
    written = export_onnx(smaller, tmp_path / "small.onnx", input_shape=(3, 32, 32))
    assert written.difference is not None
    assert written.difference < 1e-5

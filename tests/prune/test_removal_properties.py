"""On random networks removal is the same as zeroing, and leaves nothing that a smaller network should not have."""

from __future__ import annotations

import random
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from removal_graphs import Graph, graphs, randomise, zeroed_outputs
from torch import nn

from enxuto.export import export_onnx
from enxuto.prune import ChannelMap, KeptChannels, remove, trace

torch.set_num_threads(1)

SETTINGS = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])


def some_plan(channels: ChannelMap, seed: int) -> KeptChannels:
    """Random groups, with at least one filter left in every layer."""
    left, chosen = dict(channels.widths), []
    order = list(channels.groups)
    random.Random(seed).shuffle(order)
    for group in order[: (len(order) * (1 + seed % 3) + 3) // 4]:
        if all(left[layer] > len(places) for layer, places in group.filters.items()):
            chosen.append(group.number)
            for layer, places in group.filters.items():
                left[layer] -= len(places)
    return channels.without_groups(chosen)


@SETTINGS
@given(graph=graphs(), seed=st.integers(0, 9))
def test_removal_is_zeroing(graph: Graph, seed: int) -> None:
    images = torch.randn(3, 2, 6, 6, dtype=torch.float64)
    channels = trace(graph, torch.zeros(1, 2, 6, 6))
    kept = some_plan(channels, seed)
    smaller = remove(graph, channels, kept, verify=False).double()
    expected = zeroed_outputs(graph.double(), kept.removed(), images)
    with torch.no_grad():
        found = smaller(images)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@SETTINGS
@given(graph=graphs(grouped=False), seed=st.integers(0, 9))
def test_shapes_and_plans_are_consistent(graph: Graph, seed: int) -> None:
    before = {name: value.clone() for name, value in graph.state_dict().items()}
    channels = trace(graph, torch.zeros(1, 2, 6, 6))
    first = some_plan(channels, seed)
    smaller = remove(graph, channels, first)
    for layer, places in first.layers.items():
        module = smaller.get_submodule(layer)
        assert module.weight.shape[0] == len(places)
        if isinstance(module, nn.Conv2d):
            assert module.out_channels == len(places)
            assert module.weight.shape[1] * module.groups == module.in_channels
    # The pruned network is a network like any other, and two rounds are one plan.
    again = trace(smaller, torch.zeros(1, 2, 6, 6))
    assert again.widths == {layer: len(places) for layer, places in first.layers.items()}
    second = some_plan(again, seed + 1)
    twice = remove(smaller, again, second)
    once = remove(graph, channels, first.compose(second))
    images = torch.randn(2, 2, 6, 6)
    with torch.no_grad():
        torch.testing.assert_close(twice(images), once(images))
    for name, value in graph.state_dict().items():
        assert torch.equal(value, before[name]), f"{name} of the original changed"


@SETTINGS
@given(graph=graphs())
def test_every_filter_is_in_one_group_or_has_a_reason(graph: Graph) -> None:
    channels = trace(graph, torch.zeros(1, 2, 6, 6))
    for layer, width in channels.widths.items():
        places = [place for group in channels.groups for place in group.filters.get(layer, ())]
        places += [place for item in channels.fixed if item.layer == layer for place in item.filters]
        assert sorted(places) == list(range(width))
    assert {item.filters for item in channels.fixed if item.layer == "output"} == {(0, 1, 2)}


def test_onnx_gives_the_same_outputs(tmp_path: Path) -> None:
    """One network with every kind of step."""
    kinds = [
        "residual",
        "reused",
        "concatenation",
        "depthwise",
        "shuffled",
        "written",
        "option",
        "chunk",
        "gate",
    ]
    torch.manual_seed(0)
    graph = Graph(4, [(kind, 2) for kind in kinds], flat=True)
    randomise(graph)
    channels = trace(graph, torch.zeros(1, 2, 6, 6))
    kept = some_plan(channels, 1)
    assert kept.kept_share < 0.9
    written = export_onnx(remove(graph, channels, kept), tmp_path / "small.onnx", input_shape=(2, 6, 6))
    assert written.difference is not None
    assert written.difference < 1e-5


@pytest.mark.acceptance
@settings(deadline=None, max_examples=40)
@given(graph=graphs(), seed=st.integers(0, 9))
def test_onnx_gives_the_same_outputs_for_random_networks(graph: Graph, seed: int) -> None:
    channels = trace(graph, torch.zeros(1, 2, 6, 6))
    smaller = remove(graph, channels, some_plan(channels, seed))
    with TemporaryDirectory() as folder:
        written = export_onnx(smaller, Path(folder) / "small.onnx", input_shape=(2, 6, 6))
    assert written.difference is not None
    assert written.difference < 1e-5


def test_dead_rectifiers_do_not_hide_a_shuffle_that_mixes_up_channels() -> None:
    """Found at random: half the groups may not go, as the 2 in the code would then mix channels of the other half.

    With these weights nothing of that reaches the outputs of the images that removals are tried on.
    """
    torch.manual_seed(82)
    graph = Graph(2, [("residual", 2), ("written", 2), ("shuffled", 4), ("shuffled", 2)], flat=False)
    randomise(graph)
    channels = trace(graph, torch.zeros(1, 2, 6, 6))
    assert "parts.1.0.conv" in {item.layer for item in channels.fixed}
    assert not any("parts.1.0.conv" in group.filters for group in channels.groups)


def test_neither_does_what_saturates() -> None:
    """Positive weights let nothing but ones through a few of these; the network's own do."""
    torch.manual_seed(0)
    cells = [
        nn.Sequential(
            nn.Conv2d(16 if i else 2, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.Hardtanh()
        )
        for i in range(8)
    ]

    class Shuffling(nn.Module):
        """Six cells, a shuffle with its sizes in the code, two more."""

        def __init__(self) -> None:
            super().__init__()
            self.cells = nn.ModuleList(cells)
            self.output = nn.Linear(16, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for cell in self.cells[:6]:
                x = cell(x)
            x = x.reshape(x.shape[0], -1, 4, 6, 6).transpose(1, 2).reshape(x.shape[0], -1, 6, 6)
            for cell in self.cells[6:]:
                x = cell(x)
            return self.output(x.mean((2, 3)))

    network = Shuffling().eval()
    channels = trace(network, torch.zeros(1, 2, 6, 6))
    assert "cells.5.0" in {item.layer for item in channels.fixed}
    assert channels.groups
    for group in channels.groups:
        remove(network, channels, channels.without_groups([group.number]))  # which compares

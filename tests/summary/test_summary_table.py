"""The layer table of torch modules: rows, stages, totals; and of the zoo."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from enxuto import zoo
from enxuto.errors import ModelError, UsageError
from enxuto.summary import Layer, Reach, Stage, Summary, summarize, summarize_module, summarize_network

QUICK = (
    "lenet5",
    "resnet20-cifar",
    "squeezenet-dsc",
    "shufflenet-cifar",
    "effnet",
    "mobilenet-v2",
    "googlenet",
)


def _counts(name: str) -> None:
    table, item = summarize_network(name), zoo.entry(name)
    assert table.parameters == item.counts[item.classes]
    assert table.macs == item.macs
    assert table.layers[-1].activations == item.classes
    assert not table.remarks
    stages = table.stages()
    assert sum(stage.parameters for stage in stages) == table.parameters
    assert sum(len(stage.layers) for stage in stages) == len(table.layers)


@pytest.mark.parametrize("name", QUICK)
def test_zoo_networks_have_their_published_counts(name: str) -> None:
    _counts(name)


@pytest.mark.acceptance
@pytest.mark.parametrize("name", zoo.names())
def test_all_zoo_networks_have_their_published_counts(name: str) -> None:
    _counts(name)


class Mixed(nn.Module):
    """Functional operators, a shared layer, a bare parameter, a branch, a layer that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=2, dilation=2)
        self.shared = nn.Conv2d(4, 4, 1, bias=False)
        self.scale = nn.Parameter(torch.ones(4, 1, 1))
        self.up = nn.ConvTranspose2d(4, 2, 4, 2, 1)
        self.idle = nn.Linear(10, 10)
        self.fc = nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = F.relu(self.conv(x))
        b = self.shared(self.shared(a)) * self.scale
        joined = torch.cat((F.max_pool2d(a + b, 2), F.avg_pool2d(a, 3, 2, 1)[:, :2]), 1)
        wide = self.up(joined[:, :4])
        seen = torch.cat((wide, F.interpolate(joined[:, :4], scale_factor=2.0)), 1).mean((2, 3))
        return self.fc(seen)


@pytest.fixture(scope="module")
def mixed() -> Summary:
    return summarize_module(Mixed(), (3, 8, 8))


def test_functional_operators_are_rows(mixed: Summary) -> None:
    kinds = [layer.operator for layer in mixed.layers]
    for kind in ("Conv", "Relu", "Add", "Mul", "MaxPool", "AveragePool", "Concat", "ConvTranspose", "Gemm"):
        assert kind in kinds, kind
    assert "GlobalAveragePool" in kinds


def test_numbers_of_single_rows(mixed: Summary) -> None:
    conv = mixed.layers[0]
    assert (conv.name, conv.kernel, conv.dilation, conv.padding) == ("conv", (3, 3), (2, 2), (2, 2, 2, 2))
    assert conv.inputs == ((3, 8, 8),)
    assert conv.macs == 4 * 8 * 8 * 27
    assert conv.reach == Reach((5, 5), (Fraction(1), Fraction(1)), (8, 8))
    up = next(layer for layer in mixed.layers if layer.operator == "ConvTranspose")
    assert up.output == (2, 8, 8)
    assert up.macs == 4 * 4 * 4 * 2 * 4 * 4  # places read × kernel × output channels × input channels
    assert up.reach is not None
    assert up.reach.stride == (1, 1)


def test_a_shared_layer_is_counted_once_and_runs_twice(mixed: Summary) -> None:
    twice = [layer for layer in mixed.layers if layer.name == "shared"]
    assert [layer.weights for layer in twice] == [16, 0]
    assert all(layer.macs == 16 * 64 for layer in twice)


def test_bare_parameters_count_where_they_are_used(mixed: Summary) -> None:
    assert next(layer for layer in mixed.layers if layer.operator == "Mul").weights == 4


def test_what_does_not_run_is_a_remark(mixed: Summary) -> None:
    assert mixed.remarks == ("110 trainable parameters are in modules that do not run in inference",)
    assert mixed.parameters == sum(p.numel() for p in Mixed().parameters()) - 110


def test_the_module_is_untouched() -> None:
    module = Mixed().train()
    summarize_module(module, (3, 8, 8))
    assert module.training
    assert not module._forward_hooks
    assert module.conv.weight.device.type == "cpu"


def test_branches_join_with_the_larger_field() -> None:
    assert Reach.of_image((8, 8)).window((3, 3), (2, 2), (1, 1), (4, 4)) == Reach((3, 3), (2, 2), (4, 4))
    small, large = Reach((3, 3), (2, 2), (4, 4)), Reach((9, 5), (2, 2), (4, 4))
    assert small.merge(large) == large.merge(small) == large
    assert large.whole() == Reach((15, 11), (2, 2), (1, 1))


def test_auxiliary_heads_are_named_in_a_remark() -> None:
    with torch.device("meta"):
        network = zoo.build("googlenet", auxiliary=True)
    table = summarize_module(network, (3, 224, 224))
    assert table.parameters == zoo.entry("googlenet").counts[1000]
    assert "6,379,728" in table.remarks[0]


def test_modules_that_do_not_fit_the_input_are_one_line() -> None:
    with pytest.raises(ModelError, match="does not run on an input of 3×4×4"):
        summarize_network("lenet5", input_shape=(3, 4, 4))
    with pytest.raises(UsageError, match="lenet5"):
        summarize("lenet6")


def _layer(name: str, output: tuple[int, ...], weights: int) -> Layer:
    return Layer(name, "Conv", ((1, 4, 4),), output, 16, kernel=(1, 1), weights=weights, macs=10, flops=20)


def test_stages_by_depth_and_by_plane() -> None:
    rows = (
        _layer("a.1.conv", (1, 4, 4), 5),
        _layer("a.2.conv", (1, 4, 4), 6),
        _layer("b.1.conv", (1, 2, 2), 7),
    )
    table = Summary("test", (1, 4, 4), rows)
    assert [(stage.name, stage.parameters) for stage in table.stages(1)] == [("a", 11), ("b", 7)]
    assert [stage.name for stage in table.stages(2)] == ["a.1", "a.2", "b.1"]
    assert [(stage.name, stage.macs, stage.flops) for stage in table.stages()] == [
        ("4×4", 20, 40),
        ("2×2", 10, 20),
    ]
    assert isinstance(table.stages(1)[0], Stage)
    with pytest.raises(UsageError, match="depth"):
        table.stages(0)

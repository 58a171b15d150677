"""However a network's tensors lie in memory, its channels are those of the network whose tensors lie as usual."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from enxuto.errors import ModelError
from enxuto.prune import ChannelMap, remove, trace

LAST, LAST_3D = torch.channels_last, torch.channels_last_3d


class Called(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def network(pool: nn.Module, places: int = 1, rank: int = 2) -> nn.Module:
    kinds = {1: (nn.Conv1d, nn.BatchNorm1d), 2: (nn.Conv2d, nn.BatchNorm2d), 3: (nn.Conv3d, nn.BatchNorm3d)}
    convolution, norm = kinds[rank]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            convolution(3, 5, 3, padding=1), norm(5), nn.ReLU(), convolution(5, 4, 3, padding=1), pool,
            nn.Flatten(), nn.Linear(4 * places, 3),
        ).eval()  # fmt: skip


def squeezed(x: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(x * F.adaptive_avg_pool2d(x, 1).sigmoid(), 1)


POOLS: dict[str, tuple[nn.Module, int]] = {
    "average to one": (nn.AdaptiveAvgPool2d(1), 1),
    "average of rows": (nn.AdaptiveAvgPool2d((1, None)), 8),
    "average by a window": (nn.AvgPool2d(8), 1),
    "largest": (nn.AdaptiveMaxPool2d(1), 1),
    "largest by a window": (nn.MaxPool2d(8), 1),
    "mean": (Called(lambda x: x.mean((2, 3))), 1),
    "function, flattened": (Called(lambda x: torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)), 1),
    "squeeze and excite": (Called(squeezed), 1),
    "laid out inside": (Called(lambda x: F.adaptive_avg_pool2d(x.to(memory_format=LAST), 1)), 1),
    "transposed inside": (Called(lambda x: F.adaptive_avg_pool2d(x.transpose(2, 3), 1)), 1),
    "expanded inside": (
        Called(lambda x: F.adaptive_avg_pool2d(F.adaptive_avg_pool2d(x, 1).expand(-1, -1, 5, 5), 1)), 1
    ),
    "enlarged inside": (Called(lambda x: F.adaptive_avg_pool2d(F.interpolate(x, scale_factor=2), 1)), 1),
}  # fmt: skip
INPUTS: dict[str, Callable[[], Tensor]] = {
    "usual": lambda: torch.zeros(1, 3, 8, 8),
    "channels last": lambda: torch.zeros(1, 3, 8, 8).to(memory_format=LAST),
    "transposed": lambda: torch.zeros(1, 3, 8, 8).transpose(2, 3),
    "expanded": lambda: torch.zeros(1, 3, 1, 1).expand(1, 3, 8, 8),
}


def found(channels: ChannelMap) -> object:
    groups = [(dict(group.filters), group.slices) for group in channels.groups]
    return groups, [(item.layer, item.filters, item.reason) for item in channels.fixed]


@pytest.mark.parametrize("pool", POOLS)
def test_the_channels_are_the_same(pool: str) -> None:
    layer, places = POOLS[pool]
    expected = found(trace(network(layer, places), torch.zeros(1, 3, 8, 8)))
    for name, make in INPUTS.items():
        for layout in (torch.contiguous_format, LAST)[name == "usual" :]:
            net = network(layer, places).to(memory_format=layout)
            channels = trace(net, make())
            assert found(channels) == expected, (name, layout)
            if (name, layout) == ("channels last", LAST):
                smaller = remove(net, channels, channels.without_groups([0, len(channels.groups) - 1]))
                assert smaller[0].weight.shape[0] == 4


@pytest.mark.parametrize("pool", [nn.AdaptiveAvgPool3d(1), nn.AdaptiveMaxPool3d(1), nn.AvgPool3d(4)])
def test_the_channels_of_volumes_are_the_same(pool: nn.Module) -> None:
    volume = torch.zeros(1, 3, 4, 4, 4)
    expected = found(trace(network(pool, rank=3), volume))
    for layout in (torch.contiguous_format, LAST_3D):
        for example in (volume.to(memory_format=LAST_3D), volume.transpose(2, 4)):
            net = network(pool, rank=3).to(memory_format=layout)
            channels = trace(net, example)
            assert found(channels) == expected
            remove(net, channels, channels.without_groups([0]))


@pytest.mark.parametrize("pool", [nn.AdaptiveAvgPool1d(1), nn.AdaptiveMaxPool1d(1)])
def test_the_channels_of_rows_are_the_same(pool: nn.Module) -> None:
    row = torch.zeros(1, 3, 8)
    expected = found(trace(network(pool, rank=1), row))
    for example in (row.transpose(1, 2).contiguous().transpose(1, 2), row[:, :, :1].expand(1, 3, 8)):
        assert found(trace(network(pool, rank=1), example)) == expected


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.as_strided((1, 4, 2, 2), (256, 64, 8, 1)),
        lambda x: x.as_strided((1, 4, 8, 8), (256, 1, 32, 4)),
        lambda x: torch.as_strided(x, (1, 4, 7, 7), (256, 64, 8, 1), 9),
    ],
)
def test_other_views_of_the_memory_are_refused_by_name(view: Callable[[Tensor], Tensor]) -> None:
    pool = nn.Sequential(Called(view), nn.AdaptiveAvgPool2d(1))
    with pytest.raises(ModelError, match=r"as_strided.*positions in memory"):
        trace(network(pool), torch.zeros(1, 3, 8, 8))

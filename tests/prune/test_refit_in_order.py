"""Refitting layer by layer, on what the pruned network itself computes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from enxuto.prune.channels.tracing import trace
from enxuto.prune.refit.in_order import refit_in_order
from enxuto.prune.refit.structure import layer_uses
from enxuto.prune.removal.remove import remove


class Block(nn.Module):
    """Two convolutions with batch norms beside a shortcut, a depthwise one, and a head; no biases but the head's."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.first = nn.Conv2d(8, 12, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(12)
        self.second = nn.Conv2d(12, 8, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(8)
        self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.head = nn.Linear(8, 4)
        for norm in (self.norm1, self.norm2):
            norm.running_mean.uniform_(-0.2, 0.2)  # type: ignore[union-attr]
            norm.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).relu()
        x = (self.norm2(self.second(self.norm1(self.first(x)).relu())) + x).relu()
        x = self.depth(x).relu()
        scores: torch.Tensor = self.head(x.mean((2, 3)))
        return scores


def pictures(count: int = 96, seed: int = 1) -> torch.Tensor:
    """Smooth images: neighbouring inputs have to do with each other."""
    noise = torch.randn(count, 3, 10, 10, generator=torch.Generator().manual_seed(seed))
    return nn.functional.avg_pool2d(noise, 3, 1, 1)


@pytest.fixture
def network() -> nn.Module:
    return Block().eval()


def test_what_becomes_of_each_layers_output(network: nn.Module) -> None:
    uses = layer_uses(network, pictures(1))
    assert list(uses) == ["stem", "first", "second", "depth", "head"]
    assert {name: (use.norm, use.total) for name, use in uses.items()} == {
        "stem": (None, None), "first": ("norm1", None), "second": ("norm2", 0), "depth": (None, None),
        "head": (None, None),
    }  # fmt: skip
    other = uses["second"].other
    assert other is not None
    assert uses["stem"].call < other < uses["first"].call  # the ReLU behind the stem


def test_nothing_changes_where_nothing_was_removed(network: nn.Module) -> None:
    kept = trace(network, torch.zeros(1, 3, 10, 10)).keep_all()
    same = copy.deepcopy(network)
    refit_in_order(network, same, kept, pictures())
    with torch.no_grad():
        torch.testing.assert_close(same(pictures()), network(pictures()), rtol=1e-3, atol=1e-4)


class Constants(nn.Module):
    """Constants of an image's shape: added, and joined to it as channels, as the exporters write them for one image."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.place = nn.Parameter(0.5 * torch.randn(1, 6, 10, 10))
        self.blocks = nn.ModuleList([nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)])
        self.wide = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x) + self.place
        for block in self.blocks:
            x = (x + block(x)).relu()
        zeros = torch.zeros(1, 2, 10, 10)
        zeros = zeros if len(x) == 1 else zeros.expand(len(x), 2, 10, 10)  # a call more for several images
        x = torch.cat((x, zeros), 1)
        x = (x + self.wide(x)).relu()
        scores: torch.Tensor = self.head(x.mean((2, 3)))
        return scores


@pytest.mark.parametrize("count", [1, 2, 64, 65, 129])
def test_constants_of_an_images_shape_are_no_sums_of_layers(count: int) -> None:
    """They are for one image: numbers of sums and calls that were taken from one were those of others in a batch."""
    network, images = Constants().eval(), pictures(count)
    same = copy.deepcopy(network)
    refit_in_order(network, same, trace(network, torch.zeros(1, 3, 10, 10)).keep_all(), images)
    with torch.no_grad():
        torch.testing.assert_close(same(images), network(images), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "filters", [{"first": range(0, 12, 3)}, {"stem": (1, 5)}, {"first": (0, 1), "stem": (7,)}]
)
def test_later_layers_make_up_for_what_is_lost(network: nn.Module, filters: dict[str, range]) -> None:
    channels = trace(network, torch.zeros(1, 3, 10, 10))
    kept = channels.without_filters(filters)
    smaller = remove(network, channels, kept)
    fresh = pictures(64, seed=2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        wanted = network(fresh)
        plain = float((smaller(fresh) - wanted).square().mean())
        refit_in_order(network, smaller, kept, pictures())
        assert float((smaller(fresh) - wanted).square().mean()) < 0.25 * plain
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_block_makes_up_for_what_comes_before_it(network: nn.Module) -> None:
    """A shortcut that is off by a constant: the branch beside it gives the sum back, through its batch norm."""
    channels = trace(network, torch.zeros(1, 3, 10, 10))
    off = copy.deepcopy(network)
    sums = []
    with torch.no_grad():
        off.stem.weight[:, 1] = 0  # type: ignore[operator, index, union-attr]
        for model in (network, off):
            model.depth.register_forward_hook(lambda _, inputs, __: sums.append(inputs[0]))  # type: ignore[union-attr, operator]
        network(pictures()), off(pictures())
        plain = float((sums[1] - sums[0]).square().mean())
        refit_in_order(network, off, channels.keep_all(), pictures())
        sums.clear()
        network(pictures()), off(pictures())
    assert float((sums[1] - sums[0]).square().mean()) < 0.5 * plain

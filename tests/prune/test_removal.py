"""Removal worked out by hand: what is left of weights, state dicts, optimizers; and plans that cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import get_args

import pytest
import torch
from removal_graphs import Unit, randomise
from torch import Tensor, nn
from torch.optim import Optimizer

from enxuto.errors import FormatError, ModelError, UsageError
from enxuto.prune import (
    Architecture,
    ChannelMap,
    KeptChannels,
    remove,
    remove_from_optimizer,
    slice_state,
    trace,
)
from enxuto.prune.channels.resizing import ChannelOrder
from enxuto.prune.removal.check import check_removal
from enxuto.train import TrainConfig
from enxuto.train.config import Optimizer as OptimizerName
from enxuto.train.optimizers import make_optimizer
from enxuto.zoo.shufflenet import ChannelShuffle

torch.set_num_threads(1)


def chain() -> nn.Sequential:
    """Two units and a linear layer on (batch, 2, 4, 4), with running statistics that are not 0 and 1."""
    torch.manual_seed(0)
    network = nn.Sequential(Unit(2, 3), nn.ReLU(), Unit(3, 4), nn.Flatten(), nn.Linear(64, 2))
    randomise(network)
    return network


def traced(network: nn.Module) -> ChannelMap:
    return trace(network, torch.zeros(1, 2, 4, 4))


def test_weights_that_are_left() -> None:
    network = chain()
    channels = traced(network)
    smaller = remove(network, channels, channels.without_filters({"0.conv": [1], "2.conv": [0, 3]}))
    old, new = network.state_dict(), smaller.state_dict()
    assert torch.equal(new["0.conv.weight"], old["0.conv.weight"][[0, 2]])
    assert torch.equal(new["0.norm.running_var"], old["0.norm.running_var"][[0, 2]])
    assert torch.equal(new["2.conv.weight"], old["2.conv.weight"][[1, 2]][:, [0, 2]])
    assert torch.equal(new["4.weight"], old["4.weight"][:, 16:48])
    assert torch.equal(new["4.bias"], old["4.bias"])
    assert (smaller.get_submodule("0.norm").num_features, smaller.get_submodule("4").in_features) == (2, 32)


def test_a_grouped_convolution_is_cut_group_by_group() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 6, 1), nn.Conv2d(6, 4, 1, groups=2, bias=False), nn.Conv2d(4, 1, 1))
    channels = traced(network)
    widths = channels.widths
    # Channel 0 of the first group and channel 5, the last of the second; filters 1 and 2.
    kept = KeptChannels({"0": (1, 2, 3, 4), "1": (0, 3), "2": (0,)}, widths)
    smaller = remove(network, channels, kept)
    weight = network.get_parameter("1.weight")
    expected = torch.stack((weight[0, 1:], weight[3, :2]))
    assert torch.equal(smaller.get_parameter("1.weight"), expected)
    assert smaller.get_submodule("1").groups == 2


def test_shuffles_keep_the_original_order() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        Unit(2, 6, 1), Unit(6, 6, 1, groups=2), ChannelShuffle(2), Unit(6, 6, groups=2), nn.Conv2d(6, 1, 1)
    )
    randomise(network)
    channels = traced(network)
    everything = channels.keep_all()

    def shuffle_left(places: tuple[int, ...]) -> nn.Module:
        kept = replace(everything, layers={**everything.layers, "1.conv": places})
        return remove(network, channels, kept).get_submodule("2")

    # Behind the shuffle stand 0 3 1 and 4 2 5. Without 1 and 4 it is the shuffle of two groups of two.
    assert isinstance(shuffle_left((0, 2, 3, 5)), ChannelShuffle)
    # Without 0 and 5 stand 3 1 and 4 2, which are places 2 0 3 1 of those left before it: no plain shuffle.
    order = shuffle_left((1, 2, 3, 4))
    assert isinstance(order, ChannelOrder)
    assert order.order.tolist() == [2, 0, 3, 1]
    assert not order.state_dict()
    with pytest.raises(UsageError, match=r"more from one part of 3\.conv than from another"):
        shuffle_left((0, 2, 4, 5))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"body": (0, 1)}, "keeps filter 2 of stem and removes what goes with it|keeps filter 0"),
        ({"last": (0,)}, "filter 1 of last must stay: it is an output of the network"),
    ],
)
def test_plans_that_cannot_be(layers: dict[str, tuple[int, ...]], message: str) -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.body, self.last = nn.Conv2d(2, 3, 1), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            return self.last(x + self.body(x))

    network = Residual()
    channels = traced(network)
    kept = channels.keep_all()
    with pytest.raises(UsageError, match=message):
        remove(network, channels, replace(kept, layers={**kept.layers, **layers}))
    with pytest.raises(UsageError, match="E022"):
        remove(network, channels, traced(chain()).keep_all())


def test_a_mistake_in_the_map_is_found_and_its_layer_named() -> None:
    """Columns of the second unit bound one place further: the check notices, and says where."""
    network = chain()
    channels = traced(network)
    wrong = [
        replace(bound, atoms=(*bound.atoms[1:], bound.atoms[0]))
        if (bound.tensor, bound.dim) == ("2.conv.weight", 1)
        else bound
        for bound in channels.bindings
    ]
    with pytest.raises(ModelError, match=r"first in 2\.conv"):
        remove(network, replace(channels, bindings=tuple(wrong)), channels.without_groups([0]))
    missing = [bound for bound in channels.bindings if bound.tensor != "4.weight"]
    with pytest.raises(ModelError, match="the pruned network does not run, in or after 4"):
        remove(network, replace(channels, bindings=tuple(missing)), channels.without_groups([3]))


def test_the_check_sees_one_wrong_weight() -> None:
    network = chain()
    channels = traced(network)
    kept = channels.without_groups([0, 4])
    smaller = remove(network, channels, kept)
    assert check_removal(network, smaller, channels, kept) < 1e-12
    with torch.no_grad():
        smaller.get_parameter("2.conv.weight")[0, 0, 0, 0] += 1e-3
    with pytest.raises(ModelError, match=r"first in 2\.conv"):
        check_removal(network, smaller, channels, kept)
    with torch.no_grad():
        smaller.get_parameter("2.conv.weight")[0, 0, 0, 0] = float("nan")
    with pytest.raises(ModelError, match="by nan"):
        check_removal(network, smaller, channels, kept)


def test_activations_that_make_something_of_zero() -> None:
    """Behind a sigmoid a zeroed channel is ½; what reads it is zero in the comparison too."""
    network = nn.Sequential(
        Unit(2, 3), nn.Sigmoid(), Unit(3, 2), nn.Hardsigmoid(), nn.Flatten(), nn.Linear(32, 1)
    )
    randomise(network)
    channels = traced(network)
    remove(network, channels, channels.without_groups([0, 3]))


def test_earlier_checkpoints_are_cut_by_the_plan() -> None:
    network = chain()
    channels = traced(network)
    early = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(1)
    kept = channels.without_groups([0, 3, 4])
    smaller = remove(network, channels, kept)
    smaller.load_state_dict(slice_state(early, channels, kept))
    network.load_state_dict(early)
    check_removal(network, smaller, channels, kept)
    with pytest.raises(UsageError, match=r"lacks '2.conv.weight'"):
        slice_state({k: v for k, v in early.items() if k != "2.conv.weight"}, channels, kept)
    with pytest.raises(UsageError, match=r"4.weight has the shape \(2, 63\); axis 1 should be 64"):
        slice_state({**early, "4.weight": early["4.weight"][:, 1:]}, channels, kept)


def test_shared_parameters_stay_shared() -> None:
    one, other = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
    other.weight, other.bias = one.weight, one.bias
    network = nn.Sequential(nn.Conv2d(2, 3, 1), one, nn.ReLU(), other, nn.Conv2d(3, 1, 1))
    channels = traced(network)
    kept = channels.without_groups([1])
    smaller = remove(network, channels, kept)
    assert smaller.get_parameter("1.weight") is smaller.get_parameter("3.weight")
    assert smaller.get_submodule("3").in_channels == 2
    smaller.load_state_dict(slice_state(network.state_dict(), channels, kept))


def test_plans_compose_and_travel_as_json() -> None:
    first = KeptChannels({"a": (0, 2, 3, 5), "b": (1,)}, {"a": 6, "b": 2})
    both = first.compose(KeptChannels({"a": (1, 3), "b": (0,)}, {"a": 4, "b": 1}))
    assert both.layers == {"a": (2, 5), "b": (1,)}
    assert both.removed() == {"a": (0, 1, 3, 4), "b": (0,)}
    assert both.kept_share == 3 / 8
    assert KeptChannels.from_dict(both.to_dict()) == both
    with pytest.raises(UsageError, match="a has 4 filters after the first, the second expects 6"):
        first.compose(first)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "no plan of kept channels"),
        ({"kept": {"a": [0.5]}, "widths": {"a": 2}}, "no plan of kept channels"),
        ({"kept": {"a": [1, 0]}, "widths": {"a": 2}}, "different and ascending"),
        ({"kept": {"a": [2]}, "widths": {"a": 2}}, "a has filters 0 to 1"),
        ({"kept": {"a": []}, "widths": {"a": 2}}, "nothing would be left of a"),
        ({"kept": {"a": [0]}, "widths": {"b": 2}}, "same layers"),
    ],
)
def test_damaged_plans(values: dict[str, object], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        KeptChannels.from_dict(values)


def _other_optimizers() -> Iterable[Callable[[Iterable[nn.Parameter]], Optimizer]]:
    yield lambda weights: torch.optim.AdamW(weights, lr=1e-3, amsgrad=True)
    yield from (
        lambda weights, name=name: make_optimizer(TrainConfig(optimizer=name, lr=1e-3), weights)
        for name in get_args(OptimizerName)
    )


@pytest.mark.parametrize("make", list(_other_optimizers()))
def test_optimizers_follow(make: Callable[[Iterable[nn.Parameter]], Optimizer]) -> None:
    """A step after the removal is the step that the same slice of the original takes with the same gradient."""
    network = chain().train()
    network.get_parameter("0.conv.weight").requires_grad_(False)
    optimizer = make(network.parameters())
    images = torch.randn(4, 2, 4, 4)
    network(images).square().sum().backward()
    optimizer.step()
    channels = traced(network)
    kept = channels.without_groups([0, 4])
    smaller = remove(network, channels, kept)
    follower = remove_from_optimizer(optimizer, network, smaller, channels, kept)
    assert follower is not optimizer
    assert follower.param_groups[0]["params"][0] is next(smaller.parameters())
    smaller(images).square().sum().backward()
    gradients = {name: weight.grad for name, weight in smaller.named_parameters()}
    zeros = {name: torch.zeros_like(value) for name, value in network.state_dict().items()}
    for name, weight in network.named_parameters():
        if weight.requires_grad:
            weight.grad = zeros[name]
            places = slice_state(
                {**zeros, name: torch.arange(weight.numel()).reshape(weight.shape)}, channels, kept
            )[name]
            weight.grad.view(-1)[places.flatten()] = gradients[name].flatten()
    optimizer.step()
    follower.step()
    expected = slice_state(network.state_dict(), channels, kept)
    for name, weight in smaller.named_parameters():
        torch.testing.assert_close(weight.detach(), expected[name])


def test_an_optimizer_of_another_network() -> None:
    network = chain()
    channels = traced(network)
    kept = channels.without_groups([0])
    smaller = remove(network, channels, kept)
    foreign = torch.optim.SGD(chain().parameters(), lr=0.1)
    with pytest.raises(UsageError, match="not the network's"):
        remove_from_optimizer(foreign, network, smaller, channels, kept)


def test_architectures() -> None:
    item = Architecture("mobilenet-v2-cifar", (3, 32, 32), 7, {"width": 0.25})
    assert Architecture.from_dict(item.to_dict()) == item
    assert item.build().get_parameter("classifier.fc.weight").shape[0] == 7
    with pytest.raises(UsageError, match="E022"):
        Architecture("here:factory", (1, 2, 2), 7)
    with pytest.raises(FormatError, match="no description of an architecture"):
        Architecture.from_dict({"name": "lenet5"})

"""Channels of small networks, worked out by hand: what goes together, what must stay, and why."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from removal_graphs import Unit, zeros_of
from torch import Tensor, nn

from enxuto.errors import ModelError, UsageError
from enxuto.prune import ChannelMap, remove, trace
from enxuto.zoo.blocks import LocalResponseNorm
from enxuto.zoo.resnet import OptionAShortcut

torch.set_num_threads(1)

IMAGE = torch.zeros(1, 2, 6, 6)


class Between(nn.Module):
    """A stem of `width` filters, something in the middle, and a 1×1 convolution of as many inputs as that has."""

    def __init__(self, width: int, middle: Callable[[Tensor], Tensor] | nn.Module, inputs: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, width, 3, padding=1)
        self.middle = middle
        self.last = nn.Conv2d(inputs, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.middle(self.stem(x)))


def traced(network: nn.Module) -> ChannelMap:
    return trace(network, IMAGE)


def free(channels: ChannelMap, layer: str = "stem") -> list[int]:
    """The filters of a layer that can be removed."""
    return [place for place, atom in enumerate(channels.layers[layer]) if atom in channels.group_of]


def test_a_chain() -> None:
    network = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 5)
    )
    channels = traced(network)
    assert channels.widths == {"0": 3, "3": 4, "5": 5}
    assert [dict(group.filters) for group in channels.groups] == [
        *({"0": (place,)} for place in range(3)),
        *({"3": (place,)} for place in range(4)),
    ]
    norm = {(f"1.{name}", 0, (1,)) for name in ("weight", "bias", "running_mean", "running_var")}
    assert set(channels.groups[1].slices) == {
        ("0.weight", 0, (1,)),
        ("0.bias", 0, (1,)),
        ("3.weight", 1, (1,)),
        *norm,
    }
    # One channel before the flattening is a plane of 2×2 columns behind it.
    assert set(channels.groups[3 + 2].slices) == {
        ("3.weight", 0, (2,)),
        ("3.bias", 0, (2,)),
        ("5.weight", 1, (8, 9, 10, 11)),
    }
    assert [(item.layer, item.filters, item.reason) for item in channels.fixed] == [
        ("5", (0, 1, 2, 3, 4), "it is an output of the network")
    ]


def test_what_is_added_goes_together() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.body, self.last = nn.Conv2d(2, 3, 1), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            return self.last(x + self.body(x))

    channels = traced(Residual())
    assert [dict(group.filters) for group in channels.groups] == [
        {"stem": (place,), "body": (place,)} for place in range(3)
    ]
    assert ("body.weight", 1, (2,)) in channels.groups[2].slices


def test_concatenation_keeps_channels_apart() -> None:
    class Concatenation(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.last = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 3, 1), nn.Conv2d(5, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(torch.cat((self.two(x), self.one(x)), 1))

    channels = traced(Concatenation())
    assert len(channels.groups) == 5
    columns = {dict(group.filters).popitem(): group.slices[-1] for group in channels.groups}
    assert columns["two", (0,)] == ("last.weight", 1, (0,))
    assert columns["one", (1,)] == ("last.weight", 1, (4,))


def test_depthwise_with_a_multiplier() -> None:
    channels = traced(Between(3, nn.Conv2d(3, 6, 3, groups=3), 6))
    assert [dict(group.filters) for group in channels.groups] == [
        {"stem": (place,), "middle": (2 * place, 2 * place + 1)} for place in range(3)
    ]
    smaller = remove(Between(3, nn.Conv2d(3, 6, 3, groups=3), 6), channels, channels.without_groups([1]))
    middle = smaller.get_submodule("middle")
    assert (middle.in_channels, middle.out_channels, middle.groups) == (2, 4, 2)


def test_a_grouped_convolution_loses_equally_from_each_group() -> None:
    channels = traced(Between(4, nn.Conv2d(4, 6, 3, groups=2), 6))
    stems = [dict(group.filters)["stem"] for group in channels.groups if "stem" in group.filters]
    assert stems == [(0, 2), (1, 3)]
    middles = [dict(group.filters)["middle"] for group in channels.groups if "middle" in group.filters]
    assert middles == [(0, 3), (1, 4), (2, 5)]


def test_option_a() -> None:
    class OptionA(nn.Module):
        def __init__(self, shortcut: nn.Module) -> None:
            super().__init__()
            self.stem, self.body = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 5, 3, 2, 1)
            self.shortcut, self.last = shortcut, nn.Conv2d(5, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            return self.last(self.body(x) + self.shortcut(x))

    class Written(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return zeros_of(3, x)

    network = OptionA(OptionAShortcut(1, 2, 2))
    channels = traced(network)
    together = {(*group.filters.get("stem", ()), *group.filters["body"]) for group in channels.groups}
    # Zero planes stand before and behind the two channels, which meet planes 1 and 2 of the body.
    assert together == {(0,), (0, 1), (1, 2), (3,), (4,)}
    smaller = remove(network, channels, channels.without_filters({"body": [0, 1, 4]}))
    shortcut = smaller.get_submodule("shortcut")
    assert (shortcut.before, shortcut.after) == (0, 1)
    # In a user's own code the number of zeros stays what is written there, and so do the filters that meet them.
    own = traced(OptionA(Written()))
    assert free(own, "body") == [0, 1]
    assert own.reason("body", 3) == "a number of zero channels is written in the code of shortcut"


def test_chunks_stay_equal() -> None:
    def swap(x: Tensor) -> Tensor:
        first, second = x.chunk(2, 1)
        return torch.cat((second, first), 1)

    channels = traced(Between(6, swap, 6))
    assert [group.filters["stem"] for group in channels.groups] == [(0, 3), (1, 4), (2, 5)]


@pytest.mark.parametrize(
    "middle",
    [
        lambda x: torch.cat((x[:, 3:], x[:, :3]), 1),
        lambda x: torch.cat(x.split(3, 1)[::-1], 1),
        lambda x: x.reshape(1, 6, 6, 6) * 2,
        lambda x: x.reshape(-1, 2, 3, 6, 6).transpose(1, 2).reshape(-1, 6, 6, 6),
    ],
    ids=["slice", "split", "reshape", "shuffle"],
)
def test_sizes_written_in_the_code_fix_channels(middle: Callable[[Tensor], Tensor]) -> None:
    channels = traced(Between(6, middle, 6))
    assert not free(channels)
    assert "written in the code of the network's forward" in str(channels.reason("stem", 0))


@pytest.mark.parametrize(
    ("middle", "groups"),
    [
        (lambda x: torch.cat((x[:, x.shape[1] // 2 :], x[:, : x.shape[1] // 2]), 1), 3),
        (lambda x: x.reshape(x.shape[0], 2, -1, 6, 6).transpose(1, 2).flatten(1, 2), 3),
        (lambda x: x.flatten(2).transpose(1, 2).transpose(1, 2).reshape(x.shape), 6),
        (nn.ChannelShuffle(2), 6),
        (nn.PixelShuffle(1), 6),
        (nn.ReflectionPad2d(1), 6),
        (nn.Upsample(scale_factor=2), 6),
        (lambda x: torch.stack((x, 2 * x), 0).sum(0), 6),
        (lambda x: nn.functional.pad(x, (1, 0, 2, 0)), 6),
    ],
    ids=["halves", "shuffle", "tokens", "module", "pixels", "mirror", "upsample", "stack", "pad"],
)
def test_sizes_that_follow_leave_channels_free(middle: Callable[[Tensor], Tensor], groups: int) -> None:
    network = Between(6, middle, 6)
    channels = traced(network)
    assert len(channels.groups) == groups
    assert free(channels) == list(range(6))
    remove(network, channels, channels.without_groups([0]))


def test_columns_of_a_hand_written_flattening_stay() -> None:
    class Written(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.last = nn.Conv2d(2, 4, 3), nn.Linear(64, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.stem(x).view(-1, 64))

    channels = traced(Written())
    assert not channels.groups
    assert channels.reason("stem", 1) == "sizes written in the code of the network's forward fix it (view)"


@pytest.mark.parametrize(
    ("middle", "reason"),
    [
        (lambda x: x.softmax(1), "_softmax goes over all channels"),
        (nn.GroupNorm(2, 4), "native_group_norm mixes channels"),
        (LocalResponseNorm(3, alpha=1.0, beta=0.5, k=1.0), "neighbouring channels are mixed in middle"),
        (lambda x: x - x.mean(1, keepdim=True), "mean goes over all channels"),
        (lambda x: x[:, [0, 2, 1, 3]], "index picks channels by number"),
        (lambda x: x + torch.arange(4.0).view(1, 4, 1, 1), "a constant of their number"),
        (lambda x: torch.cat(x.split([1, 3], 1), 1), "unequal parts"),
        (lambda x: nn.functional.normalize(x, dim=1), "linalg_vector_norm goes over all channels"),
        (lambda x: x[:, ::2].repeat(1, 2, 1, 1), "a part of the channels is cut out"),
        (lambda x: nn.functional.pad(x, (0, 0, 0, 0, -1, 1)), "channels are cropped"),
        (lambda x: (x.flatten(2) @ x.flatten(2).mT @ x.flatten(2)).view(x.shape), "mixes channels"),
    ],
    ids=[
        *("softmax", "group norm", "lrn", "mean", "index", "constant", "split"),
        *("normalise", "every second", "crop", "attention"),
    ],
)
def test_channels_that_are_used_by_their_number_must_stay(
    middle: Callable[[Tensor], Tensor], reason: str
) -> None:
    channels = traced(Between(4, middle, 4))
    assert not free(channels)
    assert reason in str(channels.reason("stem", 3))
    with pytest.raises(UsageError, match="filter 1 of stem must stay"):
        channels.without_filters({"stem": [1]})


def test_a_gate_goes_with_what_it_gates_and_a_map_over_all_channels_stays() -> None:
    class Gates(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.last = nn.Conv2d(2, 3, 1), nn.Conv2d(3, 1, 1)
            self.squeeze, self.excite, self.where = nn.Linear(3, 2), nn.Linear(2, 3), nn.Conv2d(3, 1, 1)
            self.scale = nn.Parameter(torch.ones(3, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            gate = torch.sigmoid(self.excite(self.squeeze(x.mean((2, 3)))))
            x = x * gate.view(*gate.shape, 1, 1) * self.scale
            return self.last(x * torch.sigmoid(self.where(x)))

    channels = traced(Gates())
    shared = [dict(group.filters) for group in channels.groups if "stem" in group.filters]
    assert shared == [{"stem": (place,), "excite": (place,)} for place in range(3)]
    assert ("scale", 0, (1,)) in channels.groups[channels.group_of[channels.layers["stem"][1]]].slices
    assert free(channels, "squeeze") == [0, 1]
    assert channels.reason("where", 0) == "one channel is broadcast over others in the network's forward"


def test_a_convolution_used_twice_has_one_set_of_filters() -> None:
    shared = nn.Conv2d(3, 3, 1)
    network = nn.Sequential(nn.Conv2d(2, 3, 1), shared, nn.ReLU(), shared, nn.Conv2d(3, 1, 1))
    channels = traced(network)
    assert [dict(group.filters) for group in channels.groups] == [{"0": (p,), "1": (p,)} for p in range(3)]
    smaller = remove(network, channels, channels.without_groups([1]))
    assert smaller.get_submodule("1") is smaller.get_submodule("3")


def test_heads_that_run_only_in_training_are_followed_too() -> None:
    class Auxiliary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.norm, self.last = nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 1, 1)
            self.head = nn.Conv2d(3, 1, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor] | Tensor:
            x = self.norm(self.stem(x))
            return (self.last(x), self.head(x)) if self.training else self.last(x)

    network = Auxiliary().train()
    statistics = network.norm.running_mean.clone()
    channels = traced(network)
    assert ("head.weight", 1, (2,)) in channels.groups[2].slices
    assert network.training
    assert torch.equal(network.norm.running_mean, statistics)
    assert len(remove(network, channels, channels.without_groups([0]))(torch.zeros(2, 2, 6, 6))) == 2


def test_frozen_parameters_are_like_the_others() -> None:
    network = Between(4, Unit(4, 3), 3)
    expected = traced(network)
    network.stem.weight.requires_grad_(False)
    network.middle.requires_grad_(False)
    frozen = traced(network)
    assert frozen.to_dict() == expected.to_dict()
    smaller = remove(network, frozen, frozen.without_groups([0]))
    assert {name: weight.requires_grad for name, weight in smaller.named_parameters()} == {
        name: weight.requires_grad for name, weight in network.named_parameters()
    }


def test_computed_weights_and_transposed_convolutions() -> None:
    normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 1))
    channels = traced(Between(4, normed, 4))
    assert not channels.groups
    assert "computed from middle.parametrizations.weight" in str(channels.reason("stem", 0))
    network = Between(4, nn.ConvTranspose2d(4, 3, 2, 2), 3)
    channels = traced(network)
    assert len(channels.groups) == 4 + 3
    smaller = remove(network, channels, channels.without_groups([0, 1, 5]))
    middle = smaller.get_submodule("middle")
    assert (middle.in_channels, middle.out_channels, tuple(middle.weight.shape)) == (2, 2, (2, 2, 2, 2))


@pytest.mark.parametrize(
    ("middle", "operator"),
    [
        (lambda x: torch.fft.rfft(x).real, "aten._fft_r2c in the network's forward"),
        (lambda x: torch.zeros_like(x).copy_(x).cumprod(1), "aten.copy_ in"),
        (lambda x: torch.zeros(1, 4, 6, 6).add_(x), "aten.add_ in the network's forward, which writes"),
        (lambda x: x.as_strided((1, 4, 3, 3), (144, 36, 6, 1)), "aten.as_strided in"),
    ],
    ids=["fft", "copy", "in place", "strided"],
)
def test_an_unknown_operator_is_refused_by_name(middle: Callable[[Tensor], Tensor], operator: str) -> None:
    network = Between(4, middle, 4).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ModelError, match=operator.replace("(", r"\(")) as caught:
        traced(network)
    assert "\n" not in str(caught.value)
    assert network.training
    assert not network.stem._forward_hooks
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_network_that_does_not_run_on_the_example() -> None:
    with pytest.raises(ModelError, match="does not run on an input of 1×2×6×6"):
        traced(Between(4, nn.Identity(), 5))


def test_report_and_json() -> None:
    channels = traced(Between(3, nn.Conv2d(3, 3, 3, groups=3), 3))
    lines = channels.report().splitlines()
    assert lines[0] == "stem        3 of     3 can go in 3 groups, with middle"
    assert lines[-1] == "last: 3 filters must stay: it is an output of the network"
    told = channels.to_dict()
    assert told["groups"][2]["filters"] == {"stem": [2], "middle": [2]}
    assert told["fixed"] == [
        {"layer": "last", "filters": [0, 1, 2], "reason": "it is an output of the network"}
    ]


def test_wrong_numbers_are_refused() -> None:
    channels = traced(Between(3, nn.Identity(), 3))
    with pytest.raises(UsageError, match="no group 3; they go from 0 to 2"):
        channels.without_groups([3])
    with pytest.raises(UsageError, match=r"no layer 'stern' .*did you mean 'stem'"):
        channels.without_filters({"stern": [0]})
    with pytest.raises(UsageError, match="stem has no filter 3"):
        channels.without_filters({"stem": [3]})
    with pytest.raises(UsageError, match="nothing would be left of stem"):
        channels.without_groups([0, 1, 2])


def test_random_numbers_and_networks_in_single_precision_only() -> None:
    """A second pass in training leaves the generator alone; a network that runs in float32 alone is verified there."""

    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.last = nn.Conv2d(2, 4, 1), nn.Linear(4, 2)
            self.unused, self.drop = nn.Linear(1, 1), nn.Dropout(0.5)
            self.table = torch.eye(2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.drop(self.stem(x)).mean((2, 3))) @ self.table

    network = Single()
    state = torch.random.get_rng_state()
    channels = traced(network)
    assert torch.equal(torch.random.get_rng_state(), state)
    remove(network, channels, channels.without_groups([1]))


def test_a_shuffle_used_twice() -> None:
    shuffle = nn.ChannelShuffle(2)
    network = nn.Sequential(nn.Conv2d(2, 4, 1), shuffle, nn.Conv2d(4, 4, 1), shuffle, nn.Conv2d(4, 1, 1))
    channels = traced(network)
    assert [dict(group.filters) for group in channels.groups] == [{"0": (p,), "2": (p,)} for p in range(4)]
    remove(network, channels, channels.without_groups([0]))


def test_two_reshapes_of_a_layer_of_two_filters() -> None:
    """Trying both at once would leave nothing of the layer; they are tried one by one."""

    def there_and_back(x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], -1, 36).reshape(x.shape)

    network = Between(2, there_and_back, 2)
    channels = traced(network)
    assert free(channels) == [0, 1]

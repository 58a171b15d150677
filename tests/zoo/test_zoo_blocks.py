"""The numbers that the lectures and the papers work out by hand, and the formulas behind them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from zoo_walk import Walk, meta, walk, walk_named

from enxuto import zoo
from enxuto.zoo.blocks import scale_channels
from enxuto.zoo.googlenet import Inception, NaiveInception
from enxuto.zoo.mobilenet import DepthwiseSeparable
from enxuto.zoo.resnet import OptionAShortcut
from enxuto.zoo.shufflenet import ChannelShuffle
from enxuto.zoo.squeezenet import Fire, FireDSC, fire_dsc_weights, fire_weights

torch.set_num_threads(1)


def _convolution_weights(module: nn.Module) -> int:
    return sum(layer.weight.numel() for layer in module.modules() if isinstance(layer, nn.Conv2d))


def _on_meta(module: nn.Module, shape: tuple[int, int, int]) -> Walk:
    return walk(module.to("meta").eval(), shape)


@settings(deadline=None, max_examples=50)
@given(
    side=st.integers(1, 64), kernel=st.integers(1, 11), padding=st.integers(0, 5), stride=st.integers(1, 5)
)
def test_output_side(side: int, kernel: int, padding: int, stride: int) -> None:
    """W2 = (W1 − F + 2P)/S + 1 rounded down, D2 = K."""
    if side + 2 * padding < kernel:
        return
    layer = nn.Conv2d(2, 3, kernel, stride, padding, device="meta")
    expected = (side - kernel + 2 * padding) // stride + 1
    assert layer(torch.empty(1, 2, side, side, device="meta")).shape == (1, 3, expected, expected)


def test_alexnet_volumes() -> None:
    steps = walk_named("alexnet").steps
    assert steps[0].after == (96, 55, 55)
    assert [step.after[1] for step in steps if step.kind == "max"] == [27, 13, 6]
    conv1 = meta("alexnet").get_submodule("features.conv1.conv")
    assert conv1.weight.numel() == 11 * 11 * 3 * 96 == 34_848
    assert conv1.weight.numel() + conv1.bias.numel() == 34_944


def test_caffenet_differs_from_alexnet_in_the_order_of_norm_and_pool_only() -> None:
    ours, caffe = (
        [(step.kind, step.detail) for step in walk_named(name).steps] for name in ("alexnet", "caffenet")
    )
    assert ours != caffe
    assert sorted(map(str, ours)) == sorted(map(str, caffe))
    assert [kind for kind, _ in ours][:4] == ["conv", "relu", "lrn", "max"]
    assert [kind for kind, _ in caffe][:4] == ["conv", "relu", "max", "lrn"]


def test_vgg16_layers() -> None:
    network = meta("vgg16")

    def parameters(layer: str) -> int:
        return sum(weights.numel() for weights in network.get_submodule(layer).parameters())

    assert parameters("features.conv1_1") == 1_792
    assert parameters("features.conv1_2") == 36_928
    assert network.get_submodule("classifier.fc6").weight.numel() == 102_760_448


def test_zfnet_planes() -> None:
    sides = [step.after[1] for step in walk_named("zfnet").steps if step.kind in {"conv", "max"}]
    assert sides == [110, 55, 26, 13, 13, 13, 13, 6]


def test_naive_inception() -> None:
    """The lecture's example: 28×28×256 to 28×28×672 for 854 M multiplications."""
    found = _on_meta(NaiveInception(256, 128, 192, 96), (256, 28, 28))
    assert found.outputs == (1, 672, 28, 28)
    assert found.macs == 854_196_224
    assert round(found.macs / 1e6) == 854


def test_reduced_inception() -> None:
    """The same with 64-filter bottlenecks: 480 channels.

    The six convolutions cost 271 M. The lecture's 358 M is that sum with the 3×3 convolution counted twice,
    to the last digit shown; the naive module's 854 M is right.
    """
    module = Inception(256, (128, 64, 192, 64, 96, 64))
    found = _on_meta(module, (256, 28, 28))
    assert found.outputs == (1, 480, 28, 28)
    assert found.macs == 271_351_808
    three = 28 * 28 * 192 * 3 * 3 * 64
    assert round((found.macs + three) / 1e6) == 358


@settings(deadline=None, max_examples=50)
@given(inputs=st.integers(1, 40), squeeze=st.integers(1, 20), expand=st.integers(1, 30))
def test_fire_formulas(inputs: int, squeeze: int, expand: int) -> None:
    with torch.device("meta"):
        fire, separable = Fire(inputs, squeeze, expand), FireDSC(inputs, squeeze, expand)
    assert _convolution_weights(fire) == fire_weights(inputs, squeeze, 2 * expand)
    assert _convolution_weights(separable) == fire_dsc_weights(inputs, squeeze, 2 * expand)


def test_fire_example_of_the_source() -> None:
    """Souza 2020, section 3: M = 96, N1 = 16, N = 128, k = 3."""
    assert fire_weights(96, 16, 128) == 11_776
    assert fire_dsc_weights(96, 16, 128) == 3_728
    assert pytest.approx(0.6834, abs=5e-5) == 1 - 3_728 / 11_776


def test_squeezenet_bypasses() -> None:
    plain, simple, complex_ = (meta("squeezenet1_0", bypass=bypass) for bypass in (None, "simple", "complex"))
    assert [name for name, layer in simple.named_modules() if isinstance(layer, nn.Identity)] == [
        f"features.fire{place}.shortcut" for place in (3, 5, 7, 9)
    ]
    assert _convolution_weights(simple) == _convolution_weights(plain)
    added = 96 * 128 + 128 * 256 + 256 * 384 + 384 * 512
    assert _convolution_weights(complex_) == _convolution_weights(plain) + added


def test_squeezenet_dsc_shrinks_squeezenet_as_the_source_says() -> None:
    small, large = zoo.entry("squeezenet-dsc").counts, zoo.entry("squeezenet-cifar").counts
    assert round(100 * small[10] / large[10], 1) == 33.3


@settings(deadline=None, max_examples=50)
@given(inputs=st.integers(1, 40), outputs=st.integers(1, 40))
def test_depthwise_separable_weights(inputs: int, outputs: int) -> None:
    """M·Dk² + M·N instead of Dk²·M·N."""
    with torch.device("meta"):
        block = DepthwiseSeparable(inputs, outputs, 1)
    assert _convolution_weights(block) == inputs * 9 + inputs * outputs


@pytest.mark.parametrize(
    ("channels", "expected"), [(32, 32), (44.8, 48), (134.4, 136), (24 * 0.5, 16), (3, 8)]
)
def test_scaled_channels(channels: float, expected: int) -> None:
    assert scale_channels(channels) == expected


def test_option_a_shortcut() -> None:
    x = torch.arange(2 * 3 * 5 * 4.0).reshape(2, 3, 5, 4)
    y = OptionAShortcut(1, 2, 2)(x)
    assert y.shape == (2, 6, 3, 2)
    assert torch.equal(y[:, 1:4], x[:, :, ::2, ::2])
    assert not y[:, :1].any()
    assert not y[:, 4:].any()
    assert not list(OptionAShortcut(1, 2, 2).parameters())


def test_channel_shuffle() -> None:
    """Three groups of two channels: each group of the result holds one of … every group."""
    x = torch.arange(6.0).reshape(1, 6, 1, 1)
    assert ChannelShuffle(3)(x).flatten().tolist() == [0, 2, 4, 1, 3, 5]
    assert torch.equal(ChannelShuffle(2)(ChannelShuffle(3)(x)), x)


def test_residual_networks_of_the_paper_have_their_depth() -> None:
    for depth in (20, 32, 44, 56, 110):
        layers = [step.kind for step in walk_named(f"resnet{depth}-cifar").steps]
        assert layers.count("conv") + layers.count("linear") == depth
    for depth in (18, 34, 50, 101, 152):
        layers = meta(f"resnet{depth}-v2").named_modules()
        weighted = [name for name, layer in layers if isinstance(layer, nn.Conv2d | nn.Linear)]
        assert sum("projection" not in name for name in weighted) == depth

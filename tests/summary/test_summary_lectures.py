"""The worked numbers of the lectures, and the formulas behind them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from enxuto.summary import Layer, Summary, conv_side, summarize_module, summarize_network
from enxuto.zoo.googlenet import Inception, NaiveInception
from enxuto.zoo.squeezenet import Fire, FireDSC, fire_dsc_weights, fire_weights


def row(table: Summary, name: str) -> Layer:
    return next(layer for layer in table.layers if layer.name == name)


@settings(deadline=None)  # the first call pays for torch's first steps
@given(
    size=st.integers(1, 300),
    kernel=st.integers(1, 11),
    stride=st.integers(1, 5),
    padding=st.integers(0, 5),
)
def test_w2_is_w1_minus_f_plus_2p_over_s_plus_1(size: int, kernel: int, stride: int, padding: int) -> None:
    if size + 2 * padding < kernel:
        return
    layer = nn.Conv2d(3, 7, kernel, stride, padding, device="meta")
    (found,) = summarize_module(layer, (3, size, size)).layers
    side = (size - kernel + 2 * padding) // stride + 1
    assert conv_side(size, kernel, stride=stride, padding=padding) == side
    assert found.output == (7, side, side)
    assert found.weights == 7 * 3 * kernel**2
    assert found.biases == 7
    assert found.macs == found.weights * side**2
    assert found.flops == 2 * found.macs + 7 * side**2


@settings(deadline=None)  # the first call pays for torch's first steps
@given(kernel=st.integers(1, 7), inputs=st.integers(1, 16), outputs=st.integers(1, 16))
def test_depthwise_separable_weights_are_m_k2_plus_m_n(kernel: int, inputs: int, outputs: int) -> None:
    standard = nn.Conv2d(inputs, outputs, kernel, bias=False, device="meta")
    separable = nn.Sequential(
        nn.Conv2d(inputs, inputs, kernel, groups=inputs, bias=False, device="meta"),
        nn.Conv2d(inputs, outputs, 1, bias=False, device="meta"),
    )
    shape = (inputs, kernel + 1, kernel + 1)
    assert summarize_module(standard, shape).parameters == kernel**2 * inputs * outputs
    assert summarize_module(separable, shape).parameters == inputs * kernel**2 + inputs * outputs


def test_alexnet() -> None:
    table = summarize_network("alexnet")
    first = row(table, "features.conv1.conv")
    assert first.output == (96, 55, 55)
    assert first.parameters == 34_944
    assert first.weights == 11 * 11 * 3 * 96
    pools = [row(table, f"features.pool{place}").output for place in (1, 2, 5)]
    assert pools == [(96, 27, 27), (256, 13, 13), (256, 6, 6)]
    assert table.parameters == 60_965_224
    assert first.reach is not None
    assert (first.reach.size, first.reach.stride) == ((11, 11), (4, 4))


# Volume in thousands as the lecture writes it, weights without biases; lecture 003, VGG16.
VGG16 = {
    "conv1_1": (3200, 1_728),
    "conv1_2": (3200, 36_864),
    "pool1": (800, 0),
    "conv2_1": (1600, 73_728),
    "conv2_2": (1600, 147_456),
    "pool2": (400, 0),
    "conv3_1": (800, 294_912),
    "conv3_2": (800, 589_824),
    "conv3_3": (800, 589_824),
    "pool3": (200, 0),
    "conv4_1": (400, 1_179_648),
    "conv4_2": (400, 2_359_296),
    "conv4_3": (400, 2_359_296),
    "pool4": (100, 0),
    "conv5_1": (100, 2_359_296),
    "conv5_2": (100, 2_359_296),
    "conv5_3": (100, 2_359_296),
    "pool5": (25, 0),
}


@pytest.fixture(scope="module")
def vgg16() -> Summary:
    return summarize_network("vgg16")


@pytest.mark.parametrize("place", VGG16)
def test_vgg16_row_by_row(vgg16: Summary, place: str) -> None:
    thousands, weights = VGG16[place]
    found = row(vgg16, f"features.{place}.conv" if place.startswith("conv") else f"features.{place}")
    assert found.activations / 1000 == pytest.approx(thousands, rel=0.01)
    assert found.weights == weights


def test_vgg16_fully_connected_and_totals(vgg16: Summary) -> None:
    heads = {name: row(vgg16, f"classifier.{name}") for name in ("fc6", "fc7", "fc8")}
    assert [layer.weights for layer in heads.values()] == [102_760_448, 16_777_216, 4_096_000]
    assert [layer.output for layer in heads.values()] == [(4096,), (4096,), (1000,)]
    assert row(vgg16, "features.conv1_1.conv").parameters == 1_792
    assert row(vgg16, "features.conv1_2.conv").parameters == 36_928
    assert vgg16.parameters == 138_357_544
    assert vgg16.weights == 138_344_128
    shares = sum(layer.parameters for layer in heads.values()) / vgg16.parameters
    assert shares > 0.89  # most parameters sit in the fully connected layers
    early = sum(layer.activations for layer in vgg16.layers if layer.name.startswith("features.conv1"))
    assert early / vgg16.activations() > 0.44  # and most memory in the early convolutions


def test_vgg16_memory_by_the_lecture_s_count(vgg16: Summary) -> None:
    """24 M × 4 B ≈ 96 MB: what convolutions read and write and pools write.

    The rows of the lecture's own table add up to 15.2 M (61 MB); its total is met when the volumes that the
    convolutions read are counted with those they write.
    """
    assert vgg16.activations("lecture") == 24_159_744
    assert 4 * vgg16.activations("lecture") == pytest.approx(96e6, rel=0.01)
    assert vgg16.activations("volumes") == 15_237_608
    assert vgg16.activations("all") == 28_642_792


# Kernels 3×3 of stride 1 and pools 2×2: Simonyan and Zisserman 2014; the fields as in Araujo et al. 2019.
def test_receptive_fields_of_vgg16(vgg16: Summary) -> None:
    fields = {"conv1_2.conv": 5, "pool1": 6, "conv3_3.conv": 40, "conv5_3.conv": 196, "pool5": 212}
    for place, side in fields.items():
        found = row(vgg16, f"features.{place}").reach
        assert found is not None
        assert found.size == (side, side)
    whole = row(vgg16, "classifier.fc6").reach
    assert whole is not None
    assert whole.size == (404, 404)


def test_inception_854_against_358_million() -> None:
    """The lecture's 358 M counts the 3×3 convolution twice; the six convolutions it lists cost 271 M."""
    image = (256, 28, 28)
    with torch.device("meta"):
        naive = summarize_module(NaiveInception(256, 128, 192, 96), image)
        reduced = summarize_module(Inception(256, (128, 64, 192, 64, 96, 64)), image)
    assert naive.layers[-1].output == (672, 28, 28)
    assert reduced.layers[-1].output == (480, 28, 28)
    assert round(naive.macs / 1e6) == 854
    three = row(reduced, "three.conv.conv").macs
    assert round(reduced.macs / 1e6) == 271
    assert round((reduced.macs + three) / 1e6) == 358


def test_fire_modules_of_souza_2020() -> None:
    with torch.device("meta"):
        fire = summarize_module(Fire(96, 16, 64), (96, 8, 8))
        separable = summarize_module(FireDSC(96, 16, 64), (96, 8, 8))
    assert fire.weights == fire_weights(96, 16, 128) == 11_776
    kernels = sum(layer.weights for layer in separable.layers if layer.operator == "Conv")
    assert kernels == fire_dsc_weights(96, 16, 128) == 3_728
    saved = 100 * (1 - kernels / fire.weights)
    assert round(saved, 2) == 68.34

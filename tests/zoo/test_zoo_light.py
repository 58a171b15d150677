"""The zoo against the light_*.onnx graphs of the onnx package: every layer, weight shape and plane.

Where a graph and the paper (or the zoo's reading of it) part ways, the difference is written out below with
its reason; any other difference fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
import zoo_light
from zoo_walk import Step, meta, walk

from enxuto import zoo

Layer = tuple[str, tuple[object, ...]]


@dataclass(frozen=True)
class Comparison:
    """A zoo network, and the pairs (zoo's, graph's) in which it differs: layers, and sides of planes."""

    name: str
    options: Mapping[str, float] = field(default_factory=dict)
    layers: frozenset[tuple[Layer, Layer]] = frozenset()
    sides: frozenset[tuple[int, int]] = frozenset()


def _conv(*detail: object) -> Layer:
    return "conv", (*detail, "") if isinstance(detail[-1], int) else detail


# The graph of ShuffleNet is 0.5× with 4 groups, and not quite the paper's: its bottlenecks are as wide as
# their unit's output instead of a quarter, it groups the very first 1×1 convolution, its stem keeps 24
# channels and has a bias.
_SHUFFLENET_STEM = {
    (_conv(12, 3, 3, 3, 2), _conv(24, 3, 3, 3, 2, "bias")),
    (("norm", (12,)), ("norm", (24,))),
    (_conv(36, 12, 1, 1, 1), _conv(112, 6, 1, 1, 1)),
    (_conv(36, 1, 3, 3, 2), _conv(112, 1, 3, 3, 2)),
    (_conv(124, 9, 1, 1, 1), _conv(112, 28, 1, 1, 1)),
    (("norm", (36,)), ("norm", (112,))),
    (("norm", (124,)), ("norm", (112,))),
}
_SHUFFLENET_BOTTLENECKS = {
    *(
        pair
        for narrow, wide, per_group in ((36, 136, 34), (68, 272, 68), (136, 544, 136))
        for pair in (
            (_conv(narrow, per_group, 1, 1, 1), _conv(wide, per_group, 1, 1, 1)),
            (_conv(narrow, 1, 3, 3, 1), _conv(wide, 1, 3, 3, 1)),
            (_conv(wide, narrow // 4, 1, 1, 1), _conv(wide, per_group, 1, 1, 1)),
            (("norm", (narrow,)), ("norm", (wide,))),
        )
    ),
    # First units of stages 3 and 4: they add as many channels as come in.
    (_conv(68, 34, 1, 1, 1), _conv(136, 34, 1, 1, 1)),
    (_conv(68, 1, 3, 3, 2), _conv(136, 1, 3, 3, 2)),
    (_conv(136, 17, 1, 1, 1), _conv(136, 34, 1, 1, 1)),
    (("norm", (68,)), ("norm", (136,))),
    (_conv(136, 68, 1, 1, 1), _conv(272, 68, 1, 1, 1)),
    (_conv(136, 1, 3, 3, 2), _conv(272, 1, 3, 3, 2)),
    (_conv(272, 34, 1, 1, 1), _conv(272, 68, 1, 1, 1)),
    (("norm", (136,)), ("norm", (272,))),
}

# The graph of ZFNet-512 normalises before it pools; has 512 filters in convolution 4, where the lectures have
# 1024; a last pool of 2×2, which leaves the same 6×6; and 1024 units in the second fully connected layer.
_ZFNET = {
    (("max", (3, 2)), ("lrn", ())),
    (("lrn", ()), ("max", (3, 2))),
    (_conv(1024, 512, 3, 3, 1, "bias"), _conv(512, 512, 3, 3, 1, "bias")),
    (_conv(512, 1024, 3, 3, 1, "bias"), _conv(512, 512, 3, 3, 1, "bias")),
    (("max", (3, 2)), ("max", (2, 2))),
    (("linear", (4096, 4096, "bias")), ("linear", (1024, 4096, "bias"))),
    (("linear", (1000, 4096, "bias")), ("linear", (1000, 1024, "bias"))),
}

COMPARISONS = {
    # The graph takes 224×224, Caffe's crop; the paper's arithmetic needs 227. A pad in the last pool leaves
    # 6×6 all the same.
    "light_bvlc_alexnet.onnx": Comparison("alexnet", sides=frozenset({(55, 54), (27, 26), (13, 12)})),
    # The graph's classifier is a 1×1 convolution on the averaged plane: the same weights.
    "light_densenet121.onnx": Comparison(
        "densenet121",
        layers=frozenset({(("linear", (1000, 1024, "bias")), _conv(1000, 1024, 1, 1, 1, "bias"))}),
    ),
    # The graph's pools round down, so its planes miss the paper's 56, 28, 14, 7 by one.
    "light_inception_v1.onnx": Comparison(
        "googlenet", sides=frozenset({(56, 55), (28, 27), (14, 13), (7, 6)})
    ),
    "light_inception_v2.onnx": Comparison("inception-v2"),
    "light_resnet50.onnx": Comparison("resnet50"),
    "light_shufflenet.onnx": Comparison(
        "shufflenet",
        {"groups": 4, "width": 0.5},
        layers=frozenset(_SHUFFLENET_STEM | _SHUFFLENET_BOTTLENECKS),
    ),
    "light_squeezenet.onnx": Comparison("squeezenet1_1"),
    "light_vgg19.onnx": Comparison("vgg19"),
    # The graph's first convolution has no padding, the paper's planes are 110, 55, 26, 13, 6; where norm and
    # pool change places, the planes between them differ too.
    "light_zfnet512.onnx": Comparison(
        "zfnet512",
        layers=frozenset(_ZFNET),
        sides=frozenset({(110, 109), (55, 109), (55, 54), (26, 25), (13, 25), (13, 12)}),
    ),
}


def test_every_graph_of_the_package_is_compared() -> None:
    assert zoo_light.files() == sorted(COMPARISONS)


@pytest.mark.parametrize("file", COMPARISONS)
def test_layers_weights_and_planes(file: str) -> None:
    comparison = COMPARISONS[file]
    ours = walk(meta(comparison.name, **comparison.options), zoo.input_shape(comparison.name)).steps
    theirs = zoo_light.steps(file)
    assert len(ours) == len(theirs) > 19
    pairs = list(zip(ours, theirs, strict=True))
    layers = {(_layer(mine), _layer(other)) for mine, other in pairs if _layer(mine) != _layer(other)}
    assert layers == comparison.layers
    planes = [(mine.after, other.after) for mine, other in pairs if len(mine.after) == len(other.after) == 3]
    assert {(mine[2], other[2]) for mine, other in planes if mine[1:] != other[1:]} == comparison.sides


def test_a_network_of_another_family_does_not_pass() -> None:
    resnet = walk(meta("resnet34"), zoo.input_shape("resnet34")).steps
    assert [_layer(step) for step in resnet] != [
        _layer(step) for step in zoo_light.steps("light_resnet50.onnx")
    ]


def _layer(step: Step) -> Layer:
    return step.kind, step.detail

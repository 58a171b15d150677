"""Published counts against recomputed ones: parameters and multiply–accumulates, every entry and variant."""

from __future__ import annotations

import pytest
from zoo_walk import meta, walk, walk_named

from enxuto import zoo

ENTRIES = [zoo.entry(name) for name in zoo.names()]
COUNTS = [(item.name, classes, count) for item in ENTRIES for classes, count in item.counts.items()]
VARIANTS = [
    pytest.param(item, variant, id=f"{item.name}-{'-'.join(map(str, variant.options.values()))}")
    for item in ENTRIES
    for variant in item.variants
]

# The rows of the specification, written here a second time: an edit of the data alone cannot pass.
SPECIFIED = {
    ("squeezenet-cifar", 10): 746_638,
    ("squeezenet-cifar", 100): 792_988,
    ("squeezenet-dsc", 10): 248_670,
    ("squeezenet-dsc", 100): 295_020,
    ("mobilenet-cifar", 10): 3_217_226,
    ("mobilenet-cifar", 100): 3_309_476,
    ("alexnet-cifar", 10): 35_871_562,
    ("alexnet-cifar", 100): 36_240_292,
    ("vgg19-cifar", 10): 20_040_522,
    ("vgg19-cifar", 100): 20_086_692,
    ("vgg16-cifar", 10): 14_728_266,
    ("vgg16-cifar", 100): 14_774_436,
    ("resnet20-cifar", 10): 269_722,
    ("resnet32-cifar", 10): 464_154,
    ("resnet44-cifar", 10): 658_586,
    ("resnet56-cifar", 10): 853_018,
    ("resnet110-cifar", 10): 1_727_962,
    ("plain20-cifar", 10): 269_722,
    ("plain56-cifar", 10): 853_018,
    ("lenet5", 10): 61_706,
    ("alexnet", 1000): 60_965_224,
    ("alexnet-one-tower", 1000): 61_100_840,
    ("caffenet", 1000): 60_965_224,
    ("zfnet", 1000): 62_357_608,
    ("vgg11", 1000): 132_863_336,
    ("vgg13", 1000): 133_047_848,
    ("vgg16", 1000): 138_357_544,
    ("vgg19", 1000): 143_667_240,
    ("vgg11-bn", 1000): 132_868_840,
    ("vgg13-bn", 1000): 133_053_736,
    ("vgg16-bn", 1000): 138_365_992,
    ("vgg19-bn", 1000): 143_678_248,
    ("googlenet", 1000): 6_998_552,
    ("resnet18", 1000): 11_689_512,
    ("resnet34", 1000): 21_797_672,
    ("resnet50", 1000): 25_557_032,
    ("resnet101", 1000): 44_549_160,
    ("resnet152", 1000): 60_192_808,
    ("squeezenet1_0", 1000): 1_248_424,
    ("squeezenet1_1", 1000): 1_235_496,
    ("mobilenet", 1000): 4_231_976,
    ("mobilenet-v2", 1000): 3_504_872,
    ("densenet121", 1000): 7_978_856,
    ("efficientnet-lite0", 1000): 4_652_008,
    ("efficientnet-lite4", 1000): 13_006_568,
}


def _parameters(name: str, **options: object) -> int:
    if options.get("classes") == zoo.entry(name).classes:
        options = {key: value for key, value in options.items() if key != "classes"}
    return sum(weights.numel() for weights in meta(name, **options).parameters() if weights.requires_grad)


@pytest.mark.parametrize(("name", "classes", "count"), COUNTS)
def test_parameters_are_the_published_ones(name: str, classes: int, count: int) -> None:
    assert _parameters(name, classes=classes) == count


@pytest.mark.parametrize(("row", "count"), SPECIFIED.items(), ids=[f"{n}-{c}" for n, c in SPECIFIED])
def test_the_data_hold_every_row_of_the_specification(row: tuple[str, int], count: int) -> None:
    name, classes = row
    assert zoo.entry(name).counts[classes] == count


@pytest.mark.parametrize("name", zoo.names())
def test_multiply_accumulates_and_outputs(name: str) -> None:
    item, found = zoo.entry(name), walk_named(name)
    assert found.macs == item.macs
    assert found.outputs == (1, item.classes)


@pytest.mark.parametrize(("item", "variant"), VARIANTS)
def test_variants(item: zoo.Entry, variant: zoo.Variant) -> None:
    for classes, count in variant.counts.items():
        assert _parameters(item.name, classes=classes, **variant.options) == count
    shape = zoo.input_shape(item.name, resolution=variant.options.get("resolution"))
    assert walk(meta(item.name, **variant.options), shape).macs == variant.macs


@pytest.mark.parametrize(
    ("name", "options", "millions", "tolerance"),
    [
        # ShuffleNet, tables 1 and 2: complexity in MFLOPs (multiply–adds).
        ("shufflenet", {"groups": 1}, 143, 1.5),
        ("shufflenet", {"groups": 2}, 140, 1.5),
        ("shufflenet", {"groups": 3}, 137, 1.5),
        ("shufflenet", {"groups": 4}, 133, 1.5),
        ("shufflenet", {"groups": 8}, 137, 1.5),
        ("shufflenet", {"groups": 3, "width": 0.5}, 38, 0.5),
        # MobileNet, tables 6 and 7; MobileNetV2, table 4; ResNet, table 1 of 2015 (stride in the first 1×1:
        # 3.8 G).
        ("mobilenet", {}, 569, 0.5),
        ("mobilenet", {"width": 0.75}, 325, 0.5),
        ("mobilenet", {"width": 0.5}, 149, 0.5),
        ("mobilenet", {"width": 0.25}, 41, 0.5),
        ("mobilenet", {"resolution": 6 / 7}, 418, 0.5),
        ("mobilenet", {"resolution": 5 / 7}, 290, 0.8),
        ("mobilenet", {"resolution": 4 / 7}, 186, 0.5),
        ("mobilenet-v2", {}, 300, 1),
        ("mobilenet-v2", {"width": 1.4}, 585, 3),
        ("resnet18", {}, 1_800, 20),
        ("resnet34", {}, 3_600, 70),
        # EffNet on CIFAR-10: 11.4 M FLOPs, multiplications and additions apart.
        ("effnet", {}, 11.4 / 2, 0.1),
    ],
)
def test_operations_stated_in_the_papers(
    name: str, options: dict[str, float], millions: float, tolerance: float
) -> None:
    shape = zoo.input_shape(name, resolution=options.get("resolution"))
    assert walk(meta(name, **options), shape).macs / 1e6 == pytest.approx(millions, abs=tolerance)


def test_mobilenet_widths_give_the_paper_s_millions_of_parameters() -> None:
    widths = {1.0: 4.2, 0.75: 2.6, 0.5: 1.3, 0.25: 0.5}
    assert {width: round(_parameters("mobilenet", width=width) / 1e6, 1) for width in widths} == widths


def test_auxiliary_heads_do_not_run_in_inference() -> None:
    plain, headed = meta("googlenet"), meta("googlenet", auxiliary=True)
    shape = zoo.input_shape("googlenet")
    assert walk(headed, shape).steps == walk(plain, shape).steps


def test_dropping_idle_biases_changes_one_number_per_filter() -> None:
    filters = sum(step.detail[0] for step in walk_named("vgg16-cifar").steps if step.kind == "conv")
    assert _parameters("vgg16-cifar") - _parameters("vgg16-cifar", conv_bias=False) == filters == 4224


def test_slim_vgg_by_hand() -> None:
    # Stages of 8, 16, 32, 64, 64 channels. A convolution of M to N channels has 9·M·N weights, N biases and 2·N of
    # batch norm: 9·M·N + 3·N.
    stages = {
        1: 240 + 600,  # 9·3·8 + 24, 9·8·8 + 24
        2: 1_200 + 2_352,  # 9·8·16 + 48, 9·16·16 + 48
        3: 4_704 + 2 * 9_312,  # 9·16·32 + 96, 9·32·32 + 96
        4: 18_624 + 2 * 37_056,  # 9·32·64 + 192, 9·64·64 + 192
        5: 3 * 37_056,
    }
    linear = {10: 64 * 10 + 10, 100: 64 * 100 + 100}
    for classes, last in linear.items():
        assert _parameters("vgg16-slim-cifar", classes=classes) == sum(stages.values()) + last
    # Planes of 32², 16², 8², 4² and 2² times the weights alone.
    planes = {1_024: 792, 256: 3_456, 64: 23_040, 16: 92_160, 4: 110_592}
    assert walk_named("vgg16-slim-cifar").macs == sum(side * some for side, some in planes.items()) + 640
    assert _parameters("vgg16-cifar", width=1 / 8) == _parameters("vgg16-slim-cifar") == 232_274


def test_narrow_vgg_keeps_a_channel_in_every_layer() -> None:
    widths = {
        step.detail[0]
        for step in walk(meta("vgg16-cifar", width=0.001), (3, 32, 32)).steps
        if step.kind == "conv"
    }
    assert widths == {1}


def test_sixty_networks_in_thirteen_families() -> None:
    assert len(ENTRIES) == 60
    assert len({item.family for item in ENTRIES}) == 13

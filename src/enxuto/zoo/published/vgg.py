"""Published counts of the VGG family; conventions in `enxuto.zoo.entry`."""

from __future__ import annotations

from enxuto.zoo.entry import Entry, Variant

__all__ = ["ENTRIES"]

_PAPER = "Simonyan, Zisserman 2014, Very deep convolutional networks for large-scale image recognition"
_SOUZA = "Souza 2020, Convolução separável em profundidade na arquitetura SqueezeNet, 4.3.4"

# Depth: parameters without and with batch norm, multiply–accumulates, column of table 1.
_IMAGENET = {
    11: (132_863_336, 132_868_840, 7_609_090_048, "A"),
    13: (133_047_848, 133_053_736, 11_308_466_176, "B"),
    16: (138_357_544, 138_365_992, 15_470_264_320, "D"),
    19: (143_667_240, 143_678_248, 19_632_062_464, "E"),
}


def _imagenet(depth: int, *, norm: bool) -> Entry:
    without_norm, with_norm, macs, column = _IMAGENET[depth]
    return Entry(
        name=f"vgg{depth}-bn" if norm else f"vgg{depth}",
        family="vgg",
        title=f"VGG-{depth} with batch norm" if norm else f"VGG-{depth}",
        paper=_PAPER,
        year=2014,
        input_shape=(3, 224, 224),
        classes=1000,
        counts={1000: with_norm if norm else without_norm},
        macs=macs,
        options=("dropout",),
        note=f"Published count. Column {column} of the paper's table 1.",
    )


ENTRIES: tuple[Entry, ...] = (
    *(_imagenet(depth, norm=False) for depth in _IMAGENET),
    *(_imagenet(depth, norm=True) for depth in _IMAGENET),
    Entry(
        name="vgg16-cifar",
        family="vgg",
        title="VGG-16 for 32×32 images",
        paper="Frankle, Carbin 2018, The lottery ticket hypothesis",
        year=2018,
        input_shape=(3, 32, 32),
        classes=10,
        counts={10: 14_728_266, 100: 14_774_436},
        macs=313_201_664,
        options=("width", "conv_bias"),
        note="Published counts, with and without biases in the convolutions.",
        variants=(Variant({"conv_bias": False}, {10: 14_724_042}, 313_201_664),),
    ),
    Entry(
        name="vgg16-slim-cifar",
        family="vgg",
        title="VGG-16 for 32×32 images, an eighth as wide",
        paper="Frankle, Carbin 2018, The lottery ticket hypothesis",
        year=2018,
        input_shape=(3, 32, 32),
        classes=10,
        counts={10: 232_274, 100: 238_124},
        macs=5_087_872,
        options=("width", "conv_bias"),
        note="`vgg16-cifar` with 8, 16, 32, 64 and 64 channels in its stages, ours: counts by hand. Width "
        "is of VGG-16's channels, 1/8 unless said otherwise.",
        variants=(Variant({"width": 1.0}, {10: 14_728_266, 100: 14_774_436}, 313_201_664),),
    ),
    Entry(
        name="vgg19-cifar",
        family="vgg",
        title="VGG-19 for 32×32 images",
        paper=_SOUZA,
        year=2020,
        input_shape=(3, 32, 32),
        classes=10,
        counts={10: 20_040_522, 100: 20_086_692},
        macs=398_136_320,
        options=("width", "conv_bias"),
        note="Published counts.",
    ),
)

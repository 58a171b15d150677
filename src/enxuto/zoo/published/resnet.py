"""Published counts of ResNet v1 and v2; conventions in `enxuto.zoo.entry`."""

from __future__ import annotations

from enxuto.zoo.entry import Entry

__all__ = ["ENTRIES"]

_PAPER = "He et al. 2015, Deep residual learning for image recognition"
_PAPER_V2 = "He et al. 2016, Identity mappings in deep residual networks"

# Depth: parameters of v1, parameters of v2, multiply–accumulates of both.
_IMAGENET = {
    18: (11_689_512, 11_687_848, 1_814_073_344),
    34: (21_797_672, 21_796_008, 3_663_761_408),
    50: (25_557_032, 25_549_480, 4_089_184_256),
    101: (44_549_160, 44_541_608, 7_801_405_440),
    152: (60_192_808, 60_185_256, 11_513_626_624),
}
# Depth: parameters for 10 classes, multiply–accumulates.
_CIFAR = {
    20: (269_722, 40_551_040),
    32: (464_154, 68_862_592),
    44: (658_586, 97_174_144),
    56: (853_018, 125_485_696),
    110: (1_727_962, 252_887_680),
}


def _imagenet(depth: int) -> Entry:
    return Entry(
        name=f"resnet{depth}",
        family="resnet",
        title=f"ResNet-{depth}",
        paper=_PAPER,
        year=2015,
        input_shape=(3, 224, 224),
        classes=1000,
        counts={1000: _IMAGENET[depth][0]},
        macs=_IMAGENET[depth][2],
        note="Published count."
        + (" Bottlenecks with their stride in the 3×3 convolution." if depth >= 50 else ""),
    )


def _imagenet_v2(depth: int) -> Entry:
    return Entry(
        name=f"resnet{depth}-v2",
        family="resnet",
        title=f"ResNet-{depth} v2 (pre-activation)",
        paper=_PAPER_V2,
        year=2016,
        input_shape=(3, 224, 224),
        classes=1000,
        counts={1000: _IMAGENET[depth][1]},
        macs=_IMAGENET[depth][2],
        note="Count as in other collections of pre-activation ResNets; norm and ReLU after the stem.",
    )


def _plain(depth: int) -> Entry:
    return Entry(
        name=f"plain{depth}-cifar",
        family="resnet",
        title=f"plain network of {depth} layers for 32×32 images",
        paper=_PAPER,
        year=2015,
        input_shape=(3, 32, 32),
        classes=10,
        counts={10: _CIFAR[depth][0]},
        macs=_CIFAR[depth][1],
        note=f"ResNet-{depth} for 32×32 images without its shortcuts, which have no parameters: the same counts.",
    )


def _cifar(depth: int) -> Entry:
    return Entry(
        name=f"resnet{depth}-cifar",
        family="resnet",
        title=f"ResNet-{depth} for 32×32 images",
        paper=_PAPER,
        year=2015,
        input_shape=(3, 32, 32),
        classes=10,
        counts={10: _CIFAR[depth][0]},
        macs=_CIFAR[depth][1],
        note="Published count. Shortcuts without parameters (option A).",
    )


ENTRIES: tuple[Entry, ...] = (
    *(_imagenet(depth) for depth in _IMAGENET),
    *(_imagenet_v2(depth) for depth in _IMAGENET),
    Entry(
        name="resnet18-cifar",
        family="resnet",
        title="ResNet-18 for 32×32 images",
        paper=_PAPER,
        year=2015,
        input_shape=(3, 32, 32),
        classes=10,
        counts={10: 11_173_962, 100: 11_220_132},
        macs=555_422_720,
        note="Counts as in the usual 32×32 form: 3×3 stem of stride 1, no max pool, 1×1 shortcuts.",
    ),
    *(_cifar(depth) for depth in _CIFAR),
    *(_plain(depth) for depth in (20, 56)),
)

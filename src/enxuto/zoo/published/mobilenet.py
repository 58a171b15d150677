"""Published counts of MobileNet v1 and v2; conventions in `enxuto.zoo.entry`."""

from __future__ import annotations

from enxuto.zoo.entry import Entry, Variant

__all__ = ["ENTRIES"]

_PAPER = "Howard et al. 2017, MobileNets: efficient CNNs for mobile vision applications"
_PAPER_V2 = "Sandler et al. 2018, MobileNetV2: inverted residuals and linear bottlenecks"

ENTRIES: tuple[Entry, ...] = (
    Entry(
        name="mobilenet",
        family="mobilenet",
        title="MobileNet v1",
        paper=_PAPER,
        year=2017,
        input_shape=(3, 224, 224),
        classes=1000,
        counts={1000: 4_231_976},
        macs=568_740_352,
        options=("width", "resolution"),
        note="Published count; the variants against the paper's tables 6 and 7.",
        variants=(
            Variant({"width": 0.75}, {1000: 2_585_560}, 325_400_448),
            Variant({"width": 0.5}, {1000: 1_331_592}, 149_497_088),
            Variant({"width": 0.25}, {1000: 470_072}, 41_030_272),
            Variant({"resolution": 6 / 7}, {1000: 4_231_976}, 418_121_728, "Images of 192×192."),
            Variant({"resolution": 5 / 7}, {1000: 4_231_976}, 290_675_200, "Images of 160×160."),
        ),
    ),
    Entry(
        name="mobilenet-v2",
        family="mobilenet",
        title="MobileNet v2",
        paper=_PAPER_V2,
        year=2018,
        input_shape=(3, 224, 224),
        classes=1000,
        counts={1000: 3_504_872},
        macs=300_774_272,
        options=("width", "resolution", "dropout"),
        note="Published count. The paper states 585 M multiply–adds and 6.9 M parameters for width 1.4; its "
        "definition gives the 582 M and 6.1 M here.",
        variants=(Variant({"width": 1.4}, {1000: 6_108_776}, 582_195_824),),
    ),
    Entry(
        name="mobilenet-cifar",
        family="mobilenet",
        title="MobileNet v1 for 32×32 images",
        paper="Souza 2020, Convolução separável em profundidade na arquitetura SqueezeNet, 4.3.2",
        year=2020,
        input_shape=(3, 32, 32),
        classes=10,
        counts={10: 3_217_226, 100: 3_309_476},
        macs=46_354_432,
        options=("width",),
        note="Published counts.",
    ),
    Entry(
        name="mobilenet-v2-cifar",
        family="mobilenet",
        title="MobileNet v2 for 32×32 images",
        paper=_PAPER_V2,
        year=2018,
        input_shape=(3, 32, 32),
        classes=10,
        counts={10: 2_236_682, 100: 2_351_972},
        macs=87_976_448,
        options=("width", "dropout"),
        note="mobilenet-v2's published count with another linear layer; two strides are 1 instead of 2.",
    ),
)

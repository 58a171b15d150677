"""Published counts of EfficientNet-Lite; conventions in `enxuto.zoo.entry`."""

from __future__ import annotations

from enxuto.zoo.entry import Entry

__all__ = ["ENTRIES"]

# Number: side of the images, parameters, multiply–accumulates.
_LITE = {
    0: (224, 4_652_008, 385_187_552),
    1: (240, 5_416_680, 600_185_232),
    2: (260, 6_092_072, 859_736_272),
    3: (280, 8_197_096, 1_383_321_872),
    4: (300, 13_006_568, 2_553_034_336),
}

ENTRIES: tuple[Entry, ...] = tuple(
    Entry(
        name=f"efficientnet-lite{number}",
        family="efficientnet_lite",
        title=f"EfficientNet-Lite{number}",
        paper="Tan, Le 2019, EfficientNet: rethinking model scaling for convolutional neural networks",
        year=2020,
        input_shape=(3, side, side),
        classes=1000,
        counts={1000: count},
        macs=macs,
        options=("dropout",),
        note="Published count. The multiply–adds of the authors' table (407 M for Lite0 … 2.64 G for "
        "Lite4) are 3 to 6 % higher; it does not say what it counts.",
    )
    for number, (side, count, macs) in _LITE.items()
)

"""Published counts of ZFNet; conventions in `enxuto.zoo.entry`."""

from __future__ import annotations

from enxuto.zoo.entry import Entry

__all__ = ["ENTRIES"]

_PAPER = "Zeiler, Fergus 2013, Visualizing and understanding convolutional networks"

ENTRIES: tuple[Entry, ...] = (
    Entry(
        name="zfnet",
        family="zfnet",
        title="ZFNet",
        paper=_PAPER,
        year=2013,
        input_shape=(3, 224, 224),
        classes=1000,
        counts={1000: 62_357_608},
        macs=1_168_032_896,
        options=("dropout",),
        note="Published count. Convolutions 3 to 5 have 384, 384, 256 filters, as in the paper.",
    ),
    Entry(
        name="zfnet512",
        family="zfnet",
        title="ZFNet-512",
        paper=_PAPER,
        year=2013,
        input_shape=(3, 224, 224),
        classes=1000,
        counts={1000: 107_627_624},
        macs=2_476_704_896,
        options=("dropout",),
        note="The lectures' 512, 1024, 512; no published count, counted by hand from the definition. The "
        "ONNX package's model of that name has 512, 512, 512 and a narrower head.",
    ),
)

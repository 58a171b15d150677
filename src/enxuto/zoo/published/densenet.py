"""Published counts of DenseNet; conventions in `enxuto.zoo.entry`."""

from __future__ import annotations

from enxuto.zoo.entry import Entry

__all__ = ["ENTRIES"]

_PAPER = "Huang et al. 2016, Densely connected convolutional networks"

ENTRIES: tuple[Entry, ...] = (
    Entry(
        name="densenet121",
        family="densenet",
        title="DenseNet-121",
        paper=_PAPER,
        year=2016,
        input_shape=(3, 224, 224),
        classes=1000,
        counts={1000: 7_978_856},
        macs=2_834_161_664,
        note="Published count.",
    ),
    Entry(
        name="densenet121-cifar",
        family="densenet",
        title="DenseNet-121 for 32×32 images, growth 32",
        paper=_PAPER,
        year=2016,
        input_shape=(3, 32, 32),
        classes=10,
        counts={10: 6_956_298, 100: 7_048_548},
        macs=888_350_720,
        note="Count for 10 classes as in the usual 32×32 form with four blocks.",
    ),
    Entry(
        name="densenet121-k12-cifar",
        family="densenet",
        title="DenseNet-121 for 32×32 images, growth 12",
        paper=_PAPER,
        year=2016,
        input_shape=(3, 32, 32),
        classes=10,
        counts={10: 1_000_618, 100: 1_035_268},
        macs=125_341_440,
        note="Count for 10 classes as in the usual 32×32 form with four blocks.",
    ),
)

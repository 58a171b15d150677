"""Published counts of the LeNet family; conventions in `enxuto.zoo.entry`."""

from __future__ import annotations

from enxuto.zoo.entry import Entry

__all__ = ["ENTRIES"]

_PAPER = "LeCun et al. 1998, Gradient-based learning applied to document recognition"

ENTRIES: tuple[Entry, ...] = (
    Entry(
        name="lenet5",
        family="lenet",
        title="LeNet-5",
        paper=_PAPER,
        year=1998,
        input_shape=(1, 32, 32),
        classes=10,
        counts={10: 61_706},
        macs=416_520,
        options=("activation", "pool"),
        note="Published count. C3 sees all maps of S2; the original's partial table leaves 60,000.",
    ),
    Entry(
        name="lenet5-cifar",
        family="lenet",
        title="LeNet-5 for colour images",
        paper=_PAPER,
        year=1998,
        input_shape=(3, 32, 32),
        classes=10,
        counts={10: 62_006, 100: 69_656},
        macs=651_720,
        options=("activation", "pool"),
        note="LeNet-5 with three input channels; counted by hand from the definition.",
    ),
)

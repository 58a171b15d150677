"""Published counts of EffNet; conventions in `enxuto.zoo.entry`."""

from __future__ import annotations

from enxuto.zoo.entry import Entry

__all__ = ["ENTRIES"]

ENTRIES: tuple[Entry, ...] = (
    Entry(
        name="effnet",
        family="effnet",
        title="EffNet",
        paper="Freeman, Roese-Koerner, Kummert 2018, EffNet: an efficient structure for CNNs",
        year=2018,
        input_shape=(3, 32, 32),
        classes=10,
        counts={10: 151_146, 100: 519_876},
        macs=5_640_192,
        options=("width",),
        note="No published parameter count; checked against the paper's 11.4 M FLOPs on CIFAR-10, which "
        "counts multiplications and additions apart: 2 × 5.64 M = 11.3 M without the norms.",
    ),
)

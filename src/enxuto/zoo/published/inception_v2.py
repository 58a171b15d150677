"""Published counts of BN-Inception; conventions in `enxuto.zoo.entry`."""

from __future__ import annotations

from enxuto.zoo.entry import Entry

__all__ = ["ENTRIES"]

ENTRIES: tuple[Entry, ...] = (
    Entry(
        name="inception-v2",
        family="inception_v2",
        title="BN-Inception (Inception v2)",
        paper="Ioffe, Szegedy 2015, Batch normalization: accelerating deep network training",
        year=2015,
        input_shape=(3, 224, 224),
        classes=1000,
        counts={1000: 11_194_984},
        macs=2_018_851_840,
        note="No published count; weight shapes checked against the ONNX package's light_inception_v2, "
        "which keeps the scale and shift of each norm twice.",
    ),
)

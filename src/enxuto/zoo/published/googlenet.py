"""Published counts of GoogLeNet; conventions in `enxuto.zoo.entry`."""

from __future__ import annotations

from enxuto.zoo.entry import Entry, Variant

__all__ = ["ENTRIES"]

_PAPER = "Szegedy et al. 2014, Going deeper with convolutions"

ENTRIES: tuple[Entry, ...] = (
    Entry(
        name="googlenet",
        family="googlenet",
        title="GoogLeNet (Inception v1)",
        paper=_PAPER,
        year=2014,
        input_shape=(3, 224, 224),
        classes=1000,
        counts={1000: 6_998_552},
        macs=1_582_671_872,
        options=("auxiliary", "dropout"),
        note="Published counts, without and with the two auxiliary heads.",
        variants=(Variant({"auxiliary": True}, {1000: 13_378_280}, 1_582_671_872),),
    ),
    Entry(
        name="googlenet-bn",
        family="googlenet",
        title="GoogLeNet with batch norm",
        paper=_PAPER,
        year=2014,
        input_shape=(3, 224, 224),
        classes=1000,
        counts={1000: 7_005_832},
        macs=1_582_671_872,
        options=("auxiliary", "dropout"),
        note="No published count: googlenet with 7,280 scales and 7,280 shifts in place of 7,280 biases.",
        variants=(Variant({"auxiliary": True}, {1000: 13_385_816}, 1_582_671_872),),
    ),
    Entry(
        name="googlenet-cifar",
        family="googlenet",
        title="GoogLeNet for 32×32 images",
        paper=_PAPER,
        year=2014,
        input_shape=(3, 32, 32),
        classes=10,
        counts={10: 5_871_914, 100: 5_964_164},
        macs=1_447_241_728,
        note="No published count; fixed here. The paper's nine modules with batch norm on a 3×3 stem of 192.",
    ),
)

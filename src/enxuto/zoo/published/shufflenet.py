"""Published counts of ShuffleNet v1; conventions in `enxuto.zoo.entry`."""

from __future__ import annotations

from enxuto.zoo.entry import Entry, Variant

__all__ = ["ENTRIES"]

_PAPER = "Zhang et al. 2017, ShuffleNet: an extremely efficient CNN for mobile devices"

ENTRIES: tuple[Entry, ...] = (
    Entry(
        name="shufflenet",
        family="shufflenet",
        title="ShuffleNet v1, 3 groups",
        paper=_PAPER,
        year=2017,
        input_shape=(3, 224, 224),
        classes=1000,
        counts={1000: 1_865_728},
        macs=137_460_672,
        options=("groups", "width"),
        note="MACs checked against the paper's tables 1 and 2: 143, 140, 137, 133, 137 M for 1, 2, 3, 4, 8 "
        "groups and 38 M at width 0.5; parameters agree with other collections.",
        variants=(
            Variant({"groups": 1}, {1000: 1_531_936}, 143_078_976),
            Variant({"groups": 2}, {1000: 1_733_848}, 140_836_512),
            Variant({"groups": 4}, {1000: 1_968_344}, 134_339_776),
            Variant({"groups": 8}, {1000: 2_434_768}, 138_365_952),
            Variant({"width": 0.5}, {1000: 718_324}, 37_589_856),
        ),
    ),
    Entry(
        name="shufflenet-cifar",
        family="shufflenet",
        title="ShuffleNet v1 for 32×32 images",
        paper=_PAPER,
        year=2017,
        input_shape=(3, 32, 32),
        classes=10,
        counts={10: 914_338, 100: 1_000_828},
        macs=42_590_592,
        options=("groups", "width"),
        note="No published count: shufflenet with a stem of stride 1, no max pool, another linear layer.",
        variants=(
            Variant({"groups": 1}, {10: 960_706}, 44_546_688),
            Variant({"groups": 2}, {10: 940_858}, 43_743_552),
            Variant({"groups": 4}, {10: 890_234}, 41_531_008),
            Variant({"groups": 8}, {10: 913_138}, 42_703_872),
        ),
    ),
)

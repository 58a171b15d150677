"""Published counts of SqueezeNet and SqueezeNet-DSC; conventions in `enxuto.zoo.entry`."""

from __future__ import annotations

from enxuto.zoo.entry import Entry, Variant

__all__ = ["ENTRIES"]

_PAPER = "Iandola et al. 2016, SqueezeNet: AlexNet-level accuracy with 50x fewer parameters"
_SOUZA = "Souza 2020, Convolução separável em profundidade na arquitetura SqueezeNet"
_COMPLEX = "From the definition: 1×1 convolutions with bias around fire2, 4, 6, 8; the paper states 7.7 MB."

ENTRIES: tuple[Entry, ...] = (
    Entry(
        name="squeezenet1_0",
        family="squeezenet",
        title="SqueezeNet 1.0",
        paper=_PAPER,
        year=2016,
        input_shape=(3, 224, 224),
        classes=1000,
        counts={1000: 1_248_424},
        macs=818_924_576,
        options=("bypass", "dropout"),
        note="Published count.",
        variants=(
            Variant(
                {"bypass": "simple"}, {1000: 1_248_424}, 818_924_576, "A simple bypass adds no parameter."
            ),
            Variant({"bypass": "complex"}, {1000: 1_589_672}, 1_165_298_720, _COMPLEX),
        ),
    ),
    Entry(
        name="squeezenet1_1",
        family="squeezenet",
        title="SqueezeNet 1.1",
        paper=_PAPER,
        year=2016,
        input_shape=(3, 224, 224),
        classes=1000,
        counts={1000: 1_235_496},
        macs=349_151_936,
        options=("bypass", "dropout"),
        note="Published count.",
    ),
    Entry(
        name="squeezenet-cifar",
        family="squeezenet",
        title="SqueezeNet for 32×32 images",
        paper=_SOUZA,
        year=2020,
        input_shape=(3, 32, 32),
        classes=10,
        counts={10: 746_638, 100: 792_988},
        macs=64_995_328,
        note="Published counts. The first Fire module squeezes to 32.",
    ),
    Entry(
        name="squeezenet-dsc",
        family="squeezenet",
        title="SqueezeNet-DSC",
        paper=_SOUZA,
        year=2020,
        input_shape=(3, 32, 32),
        classes=10,
        counts={10: 248_670, 100: 295_020},
        macs=22_363_136,
        note="Published counts.",
    ),
)

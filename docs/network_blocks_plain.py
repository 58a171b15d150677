"""Drawings of the networks whose layers stand in one row: LeNet-5, AlexNet, ZFNet, VGG, EffNet."""

from __future__ import annotations

from network_chains import chain, join_chains, output
from network_drawing import Arrow, Box, Diagram

__all__ = ["PLAIN"]


def _lenet() -> Diagram:
    left = chain(
        "a",
        0,
        [
            ("image", "data", "1×32×32"),
            ("conv 5×5, 6", "conv", "tanh → 6×28×28"),
            ("average pool 2/2", "pool", "→ 6×14×14"),
            ("conv 5×5, 16", "conv", "tanh → 16×10×10"),
            ("average pool 2/2", "pool", "→ 16×5×5"),
        ],
    )
    right = chain(
        "b",
        1.2,
        [
            ("flatten", "norm", "→ 400"),
            ("linear 120", "conv", "tanh"),
            ("linear 84", "conv", "tanh"),
            ("linear", "conv", "one output a class"),
            ("logits", "data", "10"),
        ],
    )
    return join_chains("LeNet-5", [left, right], Arrow("a4", "b0", around=0.6))


def _alexnet() -> Diagram:
    boxes = [
        Box("x", "x", 0.5, 0, "data", "96×27×27"),
        Box("g1", "conv 5×5, 128", 0, 1, "conv", "channels 1–48"),
        Box("g2", "conv 5×5, 128", 1, 1, "conv", "channels 49–96"),
        Box("cat", "concatenate", 0.5, 2, "join", "256 channels"),
        Box("act", "ReLU", 0.5, 3, "norm"),
        Box("lrn", "local response", 0.5, 4, "norm", "norm over 5 channels"),
        Box("pool", "max pool 3/2", 0.5, 5, "pool", "windows overlap"),
        Box("y", "y", 0.5, 6, "data", "256×13×13"),
    ]
    keys = [
        ("x", "g1"),
        ("x", "g2"),
        ("g1", "cat"),
        ("g2", "cat"),
        ("cat", "act"),
        ("act", "lrn"),
        ("lrn", "pool"),
        ("pool", "y"),
    ]
    return Diagram("The second convolution of AlexNet", boxes, [Arrow(a, b) for a, b in keys])


def _zfnet() -> Diagram:
    left = chain(
        "a",
        0,
        [
            ("image", "data", "3×227×227"),
            ("conv 11×11, 96", "conv", "stride 4 → 55×55"),
            ("LRN", "norm", ""),
            ("max pool 3/2", "pool", "→ 27×27"),
        ],
    )
    right = chain(
        "b",
        1.3,
        [
            ("image", "data", "3×224×224"),
            ("conv 7×7, 96", "conv", "stride 2 → 110×110"),
            ("max pool 3/2", "pool", "→ 55×55"),
            ("LRN", "norm", ""),
            ("conv 5×5, 256", "conv", "stride 2 → 26×26"),
        ],
    )
    return join_chains("First layers", [left, right], headings=(("AlexNet", 0), ("ZFNet", 1.3)))


def _vgg() -> Diagram:
    stage = chain(
        "a",
        0,
        [
            ("x", "data", "64×112×112"),
            ("conv 3×3, 128", "conv", "padding 1"),
            ("ReLU", "norm", ""),
            ("conv 3×3, 128", "conv", "padding 1"),
            ("ReLU", "norm", ""),
            ("max pool 2/2", "pool", ""),
            ("y", "data", "128×56×56"),
        ],
    )
    same = chain(
        "b",
        1.3,
        [("x", "data", "C channels"), ("conv 5×5", "conv", "25·C² weights"), ("y", "data", "sees 5×5")],
    )
    two = chain(
        "c",
        1.3,
        [
            ("x", "data", "C channels"),
            ("conv 3×3", "conv", "9·C² weights"),
            ("conv 3×3", "conv", "9·C² weights"),
            ("y", "data", "sees 5×5"),
        ],
        row=3.2,
    )
    return join_chains("A stage of VGG", [stage, same, two], headings=(("second stage", 0), ("why 3×3", 1.3)))


def _effnet() -> Diagram:
    block = chain(
        "a",
        0,
        [
            ("x", "data", "M×H×W"),
            ("pointwise 1×1", "conv", "K filters"),
            ("depthwise 1×3", "conv", "K filters"),
            ("max pool 1×2", "pool", "→ H×W/2"),
            ("depthwise 3×1", "conv", "K filters"),
            ("conv 2×1, N", "conv", "stride 2×1 → H/2×W/2"),
            output("N×H/2×W/2"),
        ],
    )
    return join_chains("The block of EffNet", [block])


PLAIN: dict[str, Diagram] = {
    "lenet": _lenet(),
    "alexnet": _alexnet(),
    "zfnet": _zfnet(),
    "vgg": _vgg(),
    "effnet": _effnet(),
}

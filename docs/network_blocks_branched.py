"""Drawings of blocks whose ways part and meet again: Inception, residual, dense, Fire and shuffle blocks."""

from __future__ import annotations

from collections.abc import Sequence

from network_chains import INPUT, Step, chain, join_chains, output
from network_drawing import Arrow, Box, Diagram

__all__ = ["BRANCHED"]


def _inception(
    prefix: str, left: float, branches: Sequence[Sequence[Step]], out: str
) -> tuple[list[Box], list[Arrow]]:
    """Parallel branches between an input and a concatenation."""
    middle = left + (len(branches) - 1) / 2
    depth = max(map(len, branches))
    boxes = [Box(f"{prefix}x", "x", middle, 0, "data", "256×28×28")]
    boxes.append(Box(f"{prefix}cat", "concatenate", middle, depth + 1, "join", out))
    arrows = []
    for place, steps in enumerate(branches):
        own, between = chain(f"{prefix}{place}_", left + place, steps, row=1)
        boxes += own
        arrows += [Arrow(f"{prefix}x", own[0].key), *between, Arrow(own[-1].key, f"{prefix}cat")]
    return boxes, arrows


_POOL: Step = ("max pool 3/1", "pool", "padding 1")


def _googlenet() -> Diagram:
    naive = [[("1×1, 128", "conv", "")], [("3×3, 192", "conv", "")], [("5×5, 96", "conv", "")], [_POOL]]
    narrow: Step = ("1×1, 64", "conv", "reduces")
    reduced = [
        [("1×1, 128", "conv", "")],
        [narrow, ("3×3, 192", "conv", "")],
        [narrow, ("5×5, 96", "conv", "")],
        [_POOL, ("1×1, 64", "conv", "projects")],
    ]
    chains = [_inception("n", 0, naive, "672×28×28"), _inception("r", 4.4, reduced, "480×28×28")]
    return join_chains(
        "Inception", chains, headings=(("naive: 854 M MACs", 1.5), ("with reductions: 271 M MACs", 5.9))
    )


def _inception_v2() -> Diagram:
    branches = [
        [("1×1", "conv", "norm, ReLU")],
        [("1×1", "conv", "reduces"), ("3×3", "conv", "norm, ReLU")],
        [("1×1", "conv", "reduces"), ("3×3", "conv", "norm, ReLU"), ("3×3", "conv", "norm, ReLU")],
        [("average pool 3/1", "pool", ""), ("1×1", "conv", "projects")],
    ]
    boxes, arrows = _inception("a", 0, branches, "on the channel axis")
    boxes[0] = Box("ax", "x", 1.5, 0, "data", "M channels")
    return Diagram("A module of Inception v2", boxes, arrows)


def _resnet() -> Diagram:
    basic = chain(
        "a",
        0,
        [
            INPUT,
            ("conv 3×3, norm", "conv", "M channels"),
            ("ReLU", "norm", ""),
            ("conv 3×3, norm", "conv", "M channels"),
            ("+", "join", ""),
            ("ReLU", "norm", ""),
            output("M channels"),
        ],
    )
    bottle = chain(
        "b",
        1.6,
        [
            ("x", "data", "4W channels"),
            ("conv 1×1, norm", "conv", "W, ReLU"),
            ("conv 3×3, norm", "conv", "W, ReLU"),
            ("conv 1×1, norm", "conv", "4W"),
            ("+", "join", ""),
            ("ReLU", "norm", ""),
            output("4W channels"),
        ],
    )
    pre = chain(
        "c",
        3.2,
        [
            INPUT,
            ("norm, ReLU", "norm", ""),
            ("conv 3×3", "conv", ""),
            ("norm, ReLU", "norm", ""),
            ("conv 3×3", "conv", ""),
            ("+", "join", ""),
            output("no ReLU here"),
        ],
    )
    return join_chains(
        "Residual blocks",
        [basic, bottle, pre],
        Arrow("a0", "a4", around=0.62, label="x"),
        Arrow("b0", "b4", around=0.62, label="x"),
        Arrow("c0", "c5", around=0.62, label="x"),
        headings=(("basic", 0), ("bottleneck", 1.6), ("pre-activation (v2)", 3.2)),
    )


def _fire(prefix: str, left: float, wide: Sequence[Step]) -> tuple[list[Box], list[Arrow]]:
    deep = len(wide)
    boxes = [
        Box(f"{prefix}x", "x", left + 0.5, 0, "data", "M channels"),
        Box(f"{prefix}s", "squeeze 1×1", left + 0.5, 1, "conv", "N1 filters"),
        Box(f"{prefix}e", "expand 1×1", left, 2, "conv", "N/2 filters"),
        Box(f"{prefix}cat", "concatenate", left + 0.5, 2 + deep, "join", "N channels"),
    ]
    own, arrows = chain(f"{prefix}w", left + 1, wide, row=2)
    links = [("x", "s"), ("s", "e"), ("s", "w0"), ("e", "cat"), (f"w{deep - 1}", "cat")]
    return boxes + own, arrows + [Arrow(prefix + a, prefix + b) for a, b in links]


def _squeezenet() -> Diagram:
    plain = _fire("f", 0, [("expand 3×3", "conv", "N/2 filters")])
    separable = _fire(
        "d", 2.6, [("depthwise 3×3", "conv", "N1 filters, ReLU"), ("pointwise 1×1", "conv", "N/2 filters")]
    )
    return join_chains("Fire modules", [plain, separable], headings=(("Fire", 0.5), ("Fire-DSC", 3.1)))


def _densenet() -> Diagram:
    layer = chain(
        "a",
        0,
        [
            ("x", "data", "C channels"),
            ("norm, ReLU", "norm", ""),
            ("conv 1×1", "conv", "4k filters"),
            ("norm, ReLU", "norm", ""),
            ("conv 3×3", "conv", "k filters"),
            ("concatenate", "join", "x in front"),
            output("C + k channels"),
        ],
    )
    transition = chain(
        "b",
        1.7,
        [
            ("x", "data", "C channels"),
            ("norm, ReLU", "norm", ""),
            ("conv 1×1", "conv", "C/2 filters"),
            ("average pool 2/2", "pool", ""),
            output("C/2, half the side"),
        ],
    )
    return join_chains(
        "DenseNet",
        [layer, transition],
        Arrow("a0", "a5", around=0.62, label="x"),
        headings=(("dense layer", 0), ("transition", 1.7)),
    )


def _inverted(prefix: str, column: float, kernel: str) -> tuple[list[Box], list[Arrow]]:
    boxes, arrows = chain(
        prefix,
        column,
        [
            ("x", "data", "C channels"),
            ("expand 1×1", "conv", "t·C, norm, ReLU6"),
            (f"depthwise {kernel}", "conv", "t·C, norm, ReLU6"),
            ("project 1×1", "conv", "C′, norm"),
            ("+", "join", ""),
            output("C′ channels"),
        ],
    )
    return boxes, [*arrows, Arrow(f"{prefix}0", f"{prefix}4", around=0.62, label="x")]


def _mobilenet() -> Diagram:
    first = chain(
        "a",
        0,
        [
            INPUT,
            ("depthwise 3×3", "conv", "M filters"),
            ("norm, ReLU", "norm", ""),
            ("pointwise 1×1", "conv", "N filters"),
            ("norm, ReLU", "norm", ""),
            output("N channels"),
        ],
    )
    return join_chains(
        "MobileNet",
        [first, _inverted("b", 1.4, "3×3")],
        headings=(("v1: separable", 0), ("v2: inverted", 1.4)),
    )


def _efficientnet() -> Diagram:
    return join_chains("The block of EfficientNet-Lite", [_inverted("a", 0, "k×k")])


def _shufflenet() -> Diagram:
    steps: list[Step] = [
        ("grouped 1×1", "conv", "norm, ReLU"),
        ("channel shuffle", "norm", "groups mix"),
        ("depthwise 3×3", "conv", "norm"),
        ("grouped 1×1", "conv", "norm"),
    ]
    one = chain(
        "a",
        0,
        [("x", "data", "C channels"), *steps, ("+", "join", ""), ("ReLU", "norm", ""), output("C channels")],
    )
    steps[2] = ("depthwise 3×3", "conv", "stride 2, norm")
    two = chain(
        "b",
        1.6,
        [
            ("x", "data", "C channels"),
            *steps,
            ("concatenate", "join", ""),
            ("ReLU", "norm", ""),
            output("half the side"),
        ],
    )
    pool = Box("p", "average pool 3/2", 2.75, 1, "pool")
    return join_chains(
        "ShuffleNet units",
        [one, two],
        Arrow("a0", "a5", around=0.62, label="x"),
        Arrow("b0", "p"),
        Arrow("p", "b5"),
        boxes=[pool],
        headings=(("stride 1", 0), ("stride 2", 1.6)),
    )


BRANCHED: dict[str, Diagram] = {
    "googlenet": _googlenet(),
    "inception_v2": _inception_v2(),
    "resnet": _resnet(),
    "squeezenet": _squeezenet(),
    "densenet": _densenet(),
    "mobilenet": _mobilenet(),
    "efficientnet_lite": _efficientnet(),
    "shufflenet": _shufflenet(),
}

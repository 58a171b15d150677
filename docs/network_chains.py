"""What the drawings are put together from: chains of boxes, and several chains as one diagram."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from network_drawing import Arrow, Box, Diagram

__all__ = ["INPUT", "Step", "chain", "join_chains", "output"]

Step = tuple[str, str, str]
"""text, kind, detail"""


def chain(
    prefix: str, column: float, steps: Sequence[Step], *, row: float = 0
) -> tuple[list[Box], list[Arrow]]:
    """Boxes below each other, each with an arrow to the next; keys are prefix0, prefix1, …"""
    boxes = [
        Box(f"{prefix}{place}", text, column, row + place, kind, detail)
        for place, (text, kind, detail) in enumerate(steps)
    ]
    return boxes, [Arrow(a.key, b.key) for a, b in pairwise(boxes)]


def join_chains(
    name: str,
    chains: Sequence[tuple[list[Box], list[Arrow]]],
    *arrows: Arrow,
    boxes: Sequence[Box] = (),
    headings: Sequence[tuple[str, float]] = (),
) -> Diagram:
    everything = [box for own, _ in chains for box in own] + list(boxes)
    return Diagram(name, everything, [item for _, own in chains for item in own] + list(arrows), headings)


INPUT: Step = ("x", "data", "M channels")


def output(detail: str) -> Step:
    return ("y", "data", detail)

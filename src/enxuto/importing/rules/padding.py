"""Pad, in all its modes; zeros padded to the channels become `OptionAShortcut`, which pruning can resize."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from enxuto.importing.modules import Apply, spatial
from enxuto.importing.node import Built, Node, Rule
from enxuto.zoo.resnet import OptionAShortcut

__all__ = ["PADDING_RULES", "constant_padding"]


def constant_padding(starts: Sequence[int], ends: Sequence[int], value: float = 0.0) -> nn.Module:
    """The module that pads the last axes with a number: `nn.ZeroPad2d`, `nn.ConstantPad2d`, … ."""
    margins = [int(item) for pair in reversed(list(zip(starts, ends, strict=True))) for item in pair]
    rank = len(starts)
    if not 1 <= rank <= 3:
        return Apply(F.pad, {"pad": margins, "value": value})
    kind = "ZeroPad" if value == 0 else "ConstantPad"
    return spatial(kind, rank)(tuple(margins), *(() if value == 0 else (value,)))


def _pad(node: Node) -> Built:
    rank = node.example().dim()
    pads = node.setting("pads", 1)
    assert pads is not None
    axes = [int(axis) % rank for axis in node.constant(3)] if node.has(3) else list(range(rank))
    starts, ends = np.zeros(rank, np.int64), np.zeros(rank, np.int64)
    starts[axes], ends[axes] = pads[: len(axes)], pads[len(axes) :]
    value = float(node.constant(2).reshape(-1)[0]) if node.has(2) else node.float("value", 0.0)
    mode = node.text("mode", "constant")
    if mode != "constant":
        return Built(Apply(_mirrored, {"starts": starts.tolist(), "ends": ends.tolist(), "mode": mode}))
    padded = np.flatnonzero((starts != 0) | (ends != 0))
    if padded.tolist() == [1] and rank > 2 and value == 0 and min(starts[1], ends[1]) >= 0:
        return (
            Built(OptionAShortcut(int(starts[1]), int(ends[1]), 1))
            if rank == 4
            else _plain(starts, ends, value)
        )
    first = min(2, rank) if padded.size == 0 or padded[0] >= 2 else int(padded[0])
    return _plain(starts[first:], ends[first:], value)


def _plain(starts: np.ndarray, ends: np.ndarray, value: float) -> Built:
    return Built(constant_padding(starts.tolist(), ends.tolist(), value))


def _mirrored(x: Tensor, starts: Sequence[int], ends: Sequence[int], mode: str) -> Tensor:
    """Edges reflected, repeated or wrapped, axis by axis; negative margins cut."""
    for axis, (start, end) in enumerate(zip(starts, ends, strict=True)):
        size = x.shape[axis]
        if start == end == 0:
            continue
        positions = np.arange(-start, size + end)
        if mode == "edge":
            positions = positions.clip(0, size - 1)
        elif mode == "wrap":
            positions = positions % size
        else:
            period = max(1, 2 * size - 2)
            positions = size - 1 - np.abs(size - 1 - positions % period)
        x = x.index_select(axis, torch.as_tensor(positions, device=x.device))
    return x


PADDING_RULES: dict[str, Rule] = {"Pad": _pad}

"""Operators that take a part of a tensor: Slice and Gather."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from enxuto.importing.modules import Apply
from enxuto.importing.node import Built, Node, Rule
from enxuto.importing.values import Value

__all__ = ["SELECTION_RULES"]


def _slice(node: Node) -> Built:
    """Limits are attributes until opset 9, inputs since; those made of the input's sizes are read at each run."""
    if node.has_attribute("starts"):
        starts, ends = node.ints("starts"), node.ints("ends")
        settings = {"axes": list(node.ints("axes")) or list(range(len(starts))), "steps": [1] * len(starts)}
        return Built(Apply(_sliced, {"starts": list(starts), "ends": list(ends), **settings}))
    axes = node.constant(3).tolist() if node.has(3) else list(range(_count(node.value(1))))
    steps = node.constant(4).tolist() if node.has(4) else [1] * len(axes)
    settings = {"axes": axes, "steps": steps}
    if node.value(1).constant is not None and node.value(2).constant is not None:
        starts, ends = node.constant(1).tolist(), node.constant(2).tolist()
        return Built(Apply(_sliced, {"starts": starts, "ends": ends, **settings}))
    limits = {
        name: node.constant(position).tolist()
        for name, position in (("starts", 1), ("ends", 2))
        if node.value(position).constant is not None
    }
    computed = [position for position in (1, 2) if node.value(position).constant is None]
    if not all(node.value(position).is_sizes for position in computed):
        raise node.refusal("its limits are computed from the images' values")
    function = _sliced if len(computed) == 2 or computed == [1] else _sliced_to
    return Built(Apply(function, {**limits, **settings}), inputs=(0, *computed))


def _count(value: Value) -> int:
    limits = value.constant if value.constant is not None else value.example
    assert limits is not None
    return int(limits.shape[0])


def _sliced_to(x: Tensor, ends: Any, starts: Any, axes: Sequence[int], steps: Sequence[int]) -> Tensor:
    return _sliced(x, starts, ends, axes, steps)


def _sliced(x: Tensor, starts: Any, ends: Any, axes: Sequence[int], steps: Sequence[int]) -> Tensor:
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step > 0:
            index: list[slice] = [slice(None)] * x.dim()
            index[axis] = slice(start, None if end > 2**31 else end, step)
            x = x[tuple(index)]
        else:
            positions = range(*slice(start, None if end < -(2**31) else end, step).indices(x.shape[axis]))
            x = x.index_select(axis, torch.tensor(list(positions), dtype=torch.int64, device=x.device))
    return x


def _gather(node: Node) -> Built:
    axis = node.int("axis", 0) % node.value(0).rank
    indices = node.value(1).constant
    if indices is None:
        return Built(Apply(_picked, {"axis": axis}), inputs=(0, 1))
    size = node.example().shape[axis]
    if indices.ndim == 0:
        return Built(Apply(torch.select, {"dim": axis, "index": int(indices) % size}))
    return Built(Apply(_picked_constants, {"axis": axis, "indices": (indices % size).tolist()}))


def _picked(x: Tensor, indices: Tensor | np.ndarray, axis: int) -> Tensor:
    """Pick by a tensor, or by sizes of the input, which are an array of objects."""
    size = x.shape[axis]
    if not isinstance(indices, Tensor):
        indices = torch.from_numpy(indices.astype(np.int64)).to(x.device)
    flat = indices.reshape(-1).long()
    found = x.index_select(axis, torch.where(flat < 0, flat + size, flat))
    return found.reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


def _picked_constants(x: Tensor, axis: int, indices: Any) -> Tensor:
    flat = torch.tensor(np.array(indices).reshape(-1), device=x.device)
    found = x.index_select(axis, flat)
    return found.reshape([*x.shape[:axis], *np.array(indices).shape, *x.shape[axis + 1 :]])


SELECTION_RULES: dict[str, Rule] = {"Gather": _gather, "Slice": _slice}

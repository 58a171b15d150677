"""Operators that only move elements: reshapes, transpositions, joins, repetitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from enxuto.importing.modules import Apply
from enxuto.importing.node import Built, Node, Rule

__all__ = ["MOVEMENT_RULES", "resolve_shape"]


def resolve_shape(shape: Sequence[int], target: Sequence[int], *, zero_is_zero: bool = False) -> list[int]:
    """ONNX's target of a Reshape for a tensor of `shape`: 0 copies a size, −1 is what is left."""
    return [
        shape[axis] if int(size) == 0 and not zero_is_zero else int(size) for axis, size in enumerate(target)
    ]


class _Reshape(nn.Module):
    """A Reshape to a target as ONNX writes it, given here or as a second input."""

    def __init__(self, target: Sequence[int] | None, *, zero_is_zero: bool) -> None:
        super().__init__()
        self.target = None if target is None else tuple(target)
        self.zero_is_zero = zero_is_zero

    def forward(self, x: Tensor, target: Any = None) -> Tensor:
        """Return x in its new shape."""
        wanted = list(target) if self.target is None else list(self.target)
        sizes = [
            x.shape[axis]
            if isinstance(size, (int, np.integer)) and size == 0 and not self.zero_is_zero
            else size
            for axis, size in enumerate(wanted)
        ]
        return x.reshape([int(size) if isinstance(size, np.integer) else size for size in sizes])

    def extra_repr(self) -> str:
        """What `print(network)` shows."""
        return "shape computed" if self.target is None else f"shape={self.target}"


def _reshape(node: Node) -> Built:
    """One that joins all axes but the batch is `nn.Flatten`, whatever its target says, so that channels may go."""
    shape = tuple(node.example().shape)
    constant = node.setting("shape", 1) if node.has_attribute("shape") else node.value(1).constant
    sizes = constant if constant is not None else node.value(1).example
    if not isinstance(sizes, np.ndarray):
        raise node.refusal("its shape is computed from the images' values")
    zero = bool(node.int("allowzero"))
    found = tuple(
        torch.empty(shape, device="meta")
        .reshape(resolve_shape(shape, sizes.tolist(), zero_is_zero=zero))
        .shape
    )
    if found == shape and constant is not None and all(size in (0, -1) for size in constant[:1]):
        return Built(nn.Identity())
    if len(found) == 2 and len(shape) > 2 and found[0] == shape[0] and _follows_batch(constant):
        return Built(nn.Flatten(1))
    if constant is not None:
        target = [int(size) for size in constant]
        parts = _parts_of(shape, found, target)
        return Built(_Reshape(target, zero_is_zero=zero) if parts is None else _FollowingReshape(parts))
    return Built(_Reshape(None, zero_is_zero=zero), inputs=(0, 1))


class _FollowingReshape(nn.Module):
    """A Reshape to constant sizes, most of which are sizes of the input: they follow it when channels go.

    parts: for each axis of the result the axes of the input that it joins, or a size.
    """

    def __init__(self, parts: Sequence[tuple[int, ...] | int]) -> None:
        super().__init__()
        self.parts = tuple(parts)

    def forward(self, x: Tensor) -> Tensor:
        """Return x in its new shape."""
        sizes = []
        for part in self.parts:
            size: Any = part
            if not isinstance(part, int):
                size = 1
                for axis in part:
                    size = size * x.shape[axis]
            sizes.append(size)
        return x.reshape(sizes)

    def extra_repr(self) -> str:
        """What `print(network)` shows."""
        shown = (
            str(part) if isinstance(part, int) else "·".join(f"axis{axis}" for axis in part)
            for part in self.parts
        )
        return f"shape=({', '.join(shown)})"


def _parts_of(
    shape: Sequence[int], found: Sequence[int], target: Sequence[int]
) -> list[tuple[int, ...] | int] | None:
    """Where the sizes of a reshaped tensor come from, as `_FollowingReshape` takes them; None where nothing can follow.

    Args:
        shape: of the tensor, whose first axis is the batch.
        found: its new shape.
        target: as ONNX writes it; sizes there that an axis is split into stay.
    """
    if 0 in shape:
        return None
    parts: list[tuple[int, ...] | int] = []
    read = 0
    while read < len(shape) or len(parts) < len(found):
        axes, made = [read] if read < len(shape) else [], 1
        first = len(parts)
        if first < len(found) and found[first] == 1 and (not axes or shape[read] != 1):
            parts.append(1)
            continue
        if axes and shape[read] == 1 and (first == len(found) or found[first] != 1):
            read += 1  # an axis of size 1 is left out
            continue
        joined, last = (shape[read] if axes else 1), first
        if last < len(found):
            made, last = found[last], last + 1
        while joined != made:  # the fewest axes that hold as many numbers on both sides
            if joined < made and axes[-1] + 1 < len(shape):
                axes.append(axes[-1] + 1)
                joined *= shape[axes[-1]]
            elif last < len(found):
                made, last = made * found[last], last + 1
            else:
                return None
        if 0 in axes and (last - first > 1 or target[first] > 0):
            return None  # the batch is split, or its size is written down
        if last - first == 1:
            parts.append(tuple(axes))
        else:
            parts += [int(size) for size in target[first:last]]
        read += len(axes)
    return parts if parts.count(-1) < 2 and 0 not in parts else None


def _follows_batch(constant: np.ndarray | None) -> bool:
    """Whether the first size of a target is the batch's; a computed one is taken to be."""
    return constant is None or int(constant[0]) in (0, -1)


def _flatten(node: Node) -> Built:
    axis = node.int("axis", 1)
    rank = node.example().dim()
    axis = axis + rank if axis < 0 else axis
    if axis == 1:
        return Built(nn.Flatten(1))
    return Built(Apply(_flattened, {"axis": axis}))


def _flattened(x: Tensor, axis: int) -> Tensor:
    first = 1
    for size in x.shape[:axis]:
        first *= size
    return x.reshape(first, -1)


def _transpose(node: Node) -> Built:
    order = node.ints("perm") or tuple(reversed(range(node.example().dim())))
    return Built(Apply(torch.permute, {"dims": order}))


def _squeeze(node: Node) -> Built:
    example = node.example()
    axes = node.setting("axes", 1)
    if axes is None:
        # Never the batch: the example has two images.
        axes = np.array([axis for axis, size in enumerate(example.shape) if size == 1])
    return Built(Apply(torch.squeeze, {"dim": tuple(int(axis) % example.dim() for axis in axes.reshape(-1))}))


def _unsqueeze(node: Node) -> Built:
    axes = node.setting("axes", 1)
    assert axes is not None
    rank = node.example().dim() + axes.size
    return Built(Apply(_unsqueezed, {"axes": sorted(int(axis) % rank for axis in axes.reshape(-1))}))


def _unsqueezed(x: Tensor, axes: Sequence[int]) -> Tensor:
    for axis in axes:
        x = x.unsqueeze(axis)
    return x


def _concat(node: Node) -> Built:
    if node.opset < 4 and not node.has_attribute("axis"):
        raise node.refusal("it names no axis")
    axis, shapes = node.int("axis"), [node.shape(position) for position in range(len(node.inputs))]
    repeated: list[int] = []
    if axis % len(shapes[0]):
        batch = max(shape[0] for shape in shapes)
        repeated = [place for place, shape in enumerate(shapes) if shape[0] == 1 != batch]
    return Built(Apply(_joined, {"axis": axis, "repeated": repeated}), inputs=tuple(range(len(node.inputs))))


def _joined(*parts: Tensor, axis: int, repeated: Sequence[int]) -> Tensor:
    """A constant part made for a batch of one is repeated for every image: in a batch of one too.

    So the same functions are called whatever the batch, by whose numbers the refit knows them.
    """
    if repeated:
        batch = next(part.shape[0] for place, part in enumerate(parts) if place not in repeated)
        parts = tuple(
            part.expand(batch, *part.shape[1:]) if place in repeated else part
            for place, part in enumerate(parts)
        )
    return torch.cat(parts, axis)


def _split(node: Node) -> Built:
    axis = node.int("axis", 0) % node.example().dim()
    size, parts = node.example().shape[axis], len(node.proto.output)
    given = node.setting("split", 1)
    if given is None:
        whole = -(-size // node.int("num_outputs", parts))
        sizes = [min(whole, size - start) for start in range(0, size, whole)]
    else:
        sizes = given.tolist()
    if len(set(sizes)) == 1:
        return Built(Apply(torch.chunk, {"chunks": len(sizes), "dim": axis}))
    return Built(Apply(torch.split, {"split_size_or_sections": sizes, "dim": axis}))


def _expand(node: Node) -> Built:
    target = node.value(1)
    if target.constant is not None:
        return Built(Apply(_expanded, {"target": target.constant.tolist(), "own": _own_axes(node)}))
    if not target.is_sizes:
        raise node.refusal("its shape is computed from the images' values")
    return Built(Apply(_expanded, {"own": _own_axes(node)}), inputs=(0, 1))


def _own_axes(node: Node) -> tuple[int, ...]:
    """The axes, counted from the end, along which an Expand leaves a tensor as it is: channels may go there."""
    target = node.value(1).constant if node.value(1).constant is not None else node.value(1).example
    assert target is not None
    sizes = zip(reversed(node.example().shape), reversed(target.tolist()), strict=False)
    return tuple(-1 - place for place, (size, wanted) in enumerate(sizes) if size == wanted)


def _expanded(x: Tensor, target: Any, own: Sequence[int] = ()) -> Tensor:
    """A size of 1 in the target keeps the tensor's, and so do the axes `own`."""
    wanted = [1 if place - len(target) in own else size for place, size in enumerate(target)]
    rank = max(x.dim(), len(wanted))
    shape = [1] * (rank - x.dim()) + list(x.shape)
    wanted = [1] * (rank - len(wanted)) + wanted
    return x.expand([size if want == 1 else want for size, want in zip(shape, wanted, strict=True)])


def _tile(node: Node) -> Built:
    if node.value(1).is_sizes:
        return Built(Apply(_tiled), inputs=(0, 1))
    return Built(Apply(torch.tile, {"dims": tuple(node.constant(1).tolist())}))


def _tiled(x: Tensor, times: np.ndarray) -> Tensor:
    return torch.tile(x, tuple(times.tolist()))


def _depth_to_space(node: Node) -> Built:
    block = node.int("blocksize")
    if node.text("mode", "DCR") == "CRD":
        return Built(nn.PixelShuffle(block))
    return Built(Apply(_depth_first, {"block": block}))


def _depth_first(x: Tensor, block: int) -> Tensor:
    batch, channels, height, width = x.shape
    parts = x.reshape(batch, block, block, channels // block**2, height, width).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(batch, channels // block**2, height * block, width * block)


def _space_to_depth(node: Node) -> Built:
    return Built(Apply(_space_first, {"block": node.int("blocksize")}))


def _space_first(x: Tensor, block: int) -> Tensor:
    batch, channels, height, width = x.shape
    parts = x.reshape(batch, channels, height // block, block, width // block, block).permute(
        0, 3, 5, 1, 2, 4
    )
    return parts.reshape(batch, channels * block**2, height // block, width // block)


MOVEMENT_RULES: dict[str, Rule] = {
    "Concat": _concat,
    "DepthToSpace": _depth_to_space,
    "Expand": _expand,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}

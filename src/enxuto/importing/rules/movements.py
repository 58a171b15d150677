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
        return Built(_Reshape([int(size) for size in constant], zero_is_zero=zero))
    return Built(_Reshape(None, zero_is_zero=zero), inputs=(0, 1))


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
    return Built(Apply(_joined, {"axis": node.int("axis")}), inputs=tuple(range(len(node.inputs))))


def _joined(*parts: Tensor, axis: int) -> Tensor:
    """A constant part made for a batch of one is repeated for every image."""
    batch = max(part.shape[0] for part in parts) if parts[0].dim() else 0
    if axis % max(1, parts[0].dim()) and any(part.shape[0] == 1 != batch for part in parts):
        parts = tuple(part.expand(batch, *part.shape[1:]) if part.shape[0] == 1 else part for part in parts)
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
        return Built(Apply(_expanded, {"target": target.constant.tolist()}))
    if not target.is_sizes:
        raise node.refusal("its shape is computed from the images' values")
    return Built(Apply(_expanded), inputs=(0, 1))


def _expanded(x: Tensor, target: Any) -> Tensor:
    """A size of 1 in the target keeps the tensor's."""
    wanted = list(target)
    rank = max(x.dim(), len(wanted))
    shape = [1] * (rank - x.dim()) + list(x.shape)
    wanted = [1] * (rank - len(wanted)) + wanted
    return x.expand([size if want == 1 else want for size, want in zip(shape, wanted, strict=True)])


def _tile(node: Node) -> Built:
    return Built(Apply(torch.tile, {"dims": tuple(node.constant(1).tolist())}))


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

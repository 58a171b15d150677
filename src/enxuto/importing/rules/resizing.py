"""Resize and Upsample. What PyTorch's `interpolate` computes goes there; the other forms are written out here.

Every axis is resized by itself: each output position reads input positions by weights. Left out: antialiasing, regions
of interest (`tf_crop_and_resize`), and sizes of batch and channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from enxuto.importing.node import Built, Node, Rule

__all__ = ["RESIZING_RULES"]

_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
_MODES: dict[str, Callable[[np.ndarray, float, int, int], np.ndarray]] = {
    "asymmetric": lambda x, scale, before, after: x / scale,
    "half_pixel": lambda x, scale, before, after: (x + 0.5) / scale - 0.5,
    "pytorch_half_pixel": lambda x, scale, before, after: (x + 0.5) / scale - 0.5 if after > 1 else x * 0.0,
    "align_corners": lambda x, scale, before, after: x * (before - 1) / max(1, after - 1),
    "half_pixel_symmetric": lambda x, scale, before, after: (
        before / 2 * (1 - after / (scale * before)) + (x + 0.5) / scale - 0.5
    ),
}
_ROUNDING: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


class _Resize(nn.Module):
    """Spatial axes resized by scales, or to sizes given here or as a second input."""

    def __init__(
        self, scales: Sequence[float] | None, sizes: Sequence[int] | None, kind: str, transform: str, rounding: str,
        cubic: tuple[float, bool],
    ) -> None:  # fmt: skip
        super().__init__()
        self.scales, self.sizes = scales, sizes
        self.kind, self.transform, self.rounding, self.cubic = kind, transform, rounding, cubic

    def forward(self, x: Tensor, sizes: Any = None) -> Tensor:
        """Return the resized tensor."""
        before = list(x.shape[2:])
        if self.scales is not None and self.sizes is not None:
            scales, after = list(self.scales), list(self.sizes)
        elif self.scales is not None:
            scales = list(self.scales)
            after = [int(np.floor(size * scale)) for size, scale in zip(before, scales, strict=True)]
        else:
            after = [
                int(size) for size in (self.sizes if self.sizes is not None else list(sizes)[-len(before) :])
            ]
            scales = [new / old for new, old in zip(after, before, strict=True)]
        if before == after:
            return x
        exact = all(
            abs(old * scale - new) < 1e-9 for old, scale, new in zip(before, scales, after, strict=True)
        )
        if exact and self.kind == "nearest" and (self.transform, self.rounding) == ("asymmetric", "floor"):
            return F.interpolate(x, size=after, mode="nearest")
        if exact and self.kind == "linear" and self.transform in ("half_pixel", "align_corners"):
            corners = self.transform == "align_corners"
            return F.interpolate(x, size=after, mode=_LINEAR[len(after)], align_corners=corners)
        for axis, (old, new, scale) in enumerate(zip(before, after, scales, strict=True), 2):
            if old != new or scale != 1:
                x = self._along(x, axis, old, new, scale)
        return x

    def _along(self, x: Tensor, axis: int, old: int, new: int, scale: float) -> Tensor:
        places = _MODES[self.transform](np.arange(new, dtype=np.float64), scale, old, new)
        if self.kind == "nearest":
            return _select(x, axis, _ROUNDING[self.rounding](places).clip(0, old - 1))
        if self.kind == "linear":
            places = places.clip(0, old - 1)
        first = np.floor(places)
        share = places - first
        taps = [(0, 1 - share), (1, share)] if self.kind == "linear" else _cubic(share, self.cubic[0])
        rows = [(first + offset, weight) for offset, weight in taps]
        if self.kind == "cubic" and self.cubic[1]:
            inside = [np.where((row < 0) | (row >= old), 0.0, weight) for row, weight in rows]
            total = np.sum(inside, axis=0)
            rows = [(row, weight / total) for (row, _), weight in zip(rows, inside, strict=True)]
        found: Tensor | None = None
        for row, weight in rows:
            shape = [1] * x.dim()
            shape[axis] = new
            factor = torch.as_tensor(weight.reshape(shape), dtype=x.dtype, device=x.device)
            part = _select(x, axis, row.clip(0, old - 1)) * factor
            found = part if found is None else found + part
        assert found is not None
        return found

    def extra_repr(self) -> str:
        """What `print(network)` shows."""
        return f"scales={self.scales}, sizes={self.sizes}, {self.kind}, {self.transform}"


def _select(x: Tensor, axis: int, positions: np.ndarray) -> Tensor:
    return x.index_select(axis, torch.as_tensor(positions.astype(np.int64), device=x.device))


def _cubic(share: np.ndarray, a: float) -> list[tuple[int, np.ndarray]]:
    """The weights of the four neighbours: R. Keys, Cubic convolution interpolation, 1981."""

    def near(d: np.ndarray) -> np.ndarray:
        return np.asarray(((a + 2) * d - (a + 3)) * d * d + 1)

    def far(d: np.ndarray) -> np.ndarray:
        return np.asarray(((a * d - 5 * a) * d + 8 * a) * d - 4 * a)

    return [(-1, far(share + 1)), (0, near(share)), (1, near(1 - share)), (2, far(2 - share))]


def _resize(node: Node) -> Built:
    """Opset 10: (x, scales). Since 11: (x, region, scales, sizes)."""
    old = node.operator == "Upsample" or node.opset < 11
    transform = "asymmetric" if old else node.text("coordinate_transformation_mode", "half_pixel")
    rounding = "floor" if old else node.text("nearest_mode", "round_prefer_floor")
    kind = node.text("mode", "nearest").removeprefix("bi").removeprefix("tri")
    if transform not in _MODES or node.int("antialias"):
        raise node.refusal(f"{transform} with antialias={node.int('antialias')} has no counterpart")
    shape = tuple(node.example().shape)
    axes = [axis % len(shape) for axis in node.ints("axes")] or list(range(len(shape)))
    scales, sizes, inputs = _targets(node, shape, axes, old=old)
    cubic = node.float("cubic_coeff_a", -0.75), bool(node.int("exclude_outside"))
    return Built(_Resize(scales, sizes, kind, transform, rounding, cubic), inputs=inputs)


def _targets(
    node: Node, shape: tuple[int, ...], axes: Sequence[int], *, old: bool
) -> tuple[list[float] | None, list[int] | None, tuple[int, ...]]:
    """Scales or sizes of the spatial axes, and the inputs that are read at each run."""
    position = 1 if old else 2
    scales: Sequence[float] | None = None
    if node.has_attribute("scales"):
        scales = next(item.floats for item in node.proto.attribute if item.name == "scales")
    elif node.has(position) and (node.value(position).constant is None or node.constant(position).size):
        scales = node.constant(position).tolist()
    if scales is not None:
        wanted = dict(zip(axes, scales, strict=True))
        if any(wanted.get(axis, 1.0) != 1.0 for axis in (0, 1)):
            raise node.refusal("it resizes batch or channels")
        return [float(wanted.get(axis, 1.0)) for axis in range(2, len(shape))], None, (0,)
    policy = node.text("keep_aspect_ratio_policy", "stretch")
    if node.value(3).is_sizes:
        if policy != "stretch" or len(axes) < len(shape):
            raise node.refusal("its sizes are computed, and it names axes or a policy")
        return None, None, (0, 3)
    given = dict(zip(axes, (int(size) for size in node.constant(3)), strict=True))
    if given.get(1, shape[1]) != shape[1]:
        raise node.refusal("it resizes channels")
    if policy != "stretch":
        choose = min if policy == "not_larger" else max
        scale = choose(size / shape[axis] for axis, size in given.items())
        given = {axis: int(np.floor(scale * shape[axis] + 0.5)) for axis in given}
        return (
            [scale if axis in given else 1.0 for axis in range(2, len(shape))],
            [given.get(axis, shape[axis]) for axis in range(2, len(shape))],
            (0,),
        )
    return None, [given.get(axis, shape[axis]) for axis in range(2, len(shape))], (0,)


RESIZING_RULES: dict[str, Rule] = {"Resize": _resize, "Upsample": _resize}

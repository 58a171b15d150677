"""Pools: the largest or the mean of windows, or of whole planes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from enxuto.importing.modules import Apply, SamePadding, spatial
from enxuto.importing.node import Built, Node, Rule
from enxuto.importing.rules.padding import constant_padding
from enxuto.onnx_model import Window, window_of

__all__ = ["POOL_RULES"]


def _spatial_rank(node: Node) -> int:
    rank = node.example().dim() - 2
    if not 1 <= rank <= 3:
        raise node.refusal(f"it has {rank} spatial axes, where PyTorch has 1 to 3")
    return rank


def _padding(window: Window, value: float) -> tuple[tuple[int, ...], nn.Module | None]:
    """Padding that PyTorch's pools do themselves, or a module that does it before."""
    rank = len(window.kernel)
    if window.is_same:
        upper = window.auto_pad == "SAME_UPPER"
        return (0,) * rank, SamePadding(window.extents, window.strides, upper=upper, value=value)
    starts, ends = window.pads[:rank], window.pads[rank:]
    own = all(start <= side // 2 for start, side in zip(starts, window.kernel, strict=True))
    if starts == ends and own:
        return starts, None
    return (0,) * rank, constant_padding(starts, ends, value)


def _max_pool(node: Node) -> Built:
    rank = _spatial_rank(node)
    window = window_of(node.proto)
    padding, before = _padding(window, -math.inf)
    module = spatial("MaxPool", rank)(
        window.kernel, window.strides, padding, window.dilations, ceil_mode=bool(node.int("ceil_mode"))
    )
    return Built(module, before=before)


def _average_pool(node: Node) -> Built:
    rank = _spatial_rank(node)
    window = window_of(node.proto)
    if max(window.dilations) > 1:
        raise node.refusal("PyTorch has no average over dilated windows")
    counts_padding, ceil = bool(node.int("count_include_pad")), bool(node.int("ceil_mode"))
    padding, before = _padding(window, 0.0)
    if before is None:
        return Built(
            spatial("AvgPool", rank)(
                window.kernel, window.strides, padding, ceil_mode=ceil, count_include_pad=counts_padding
            )
        )
    settings = {"kernel": window.kernel, "strides": window.strides, "ceil": ceil}
    if counts_padding:
        return Built(Apply(_mean, settings), before=before)
    return Built(_CountedAverage(before, settings))


def _mean(x: Tensor, kernel: Sequence[int], strides: Sequence[int], ceil: bool) -> Tensor:
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[len(kernel) - 1]
    return pool(x, tuple(kernel), tuple(strides), ceil_mode=ceil)


class _CountedAverage(nn.Module):
    """The mean over those positions of each window that are not padding."""

    def __init__(self, padding: nn.Module, settings: dict[str, object]) -> None:
        super().__init__()
        self.padding = padding
        self.settings = settings

    def forward(self, x: Tensor) -> Tensor:
        """Return sums divided by counts, both as means of whole windows."""
        ones = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=x.device)
        counts = _mean(self.padding(ones), **self.settings)  # type: ignore[arg-type]
        return _mean(self.padding(x), **self.settings) / counts  # type: ignore[arg-type]


def _global(kind: str) -> Rule:
    return lambda node: Built(spatial(kind, _spatial_rank(node))(1))


POOL_RULES: dict[str, Rule] = {
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global("AdaptiveAvgPool"),
    "GlobalMaxPool": _global("AdaptiveMaxPool"),
    "MaxPool": _max_pool,
}

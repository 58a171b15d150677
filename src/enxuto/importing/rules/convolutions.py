"""Convolutions: Conv and ConvTranspose."""

from __future__ import annotations

import numpy as np
from torch import nn

from enxuto.importing.modules import Crop, SamePadding, spatial
from enxuto.importing.node import Built, Node, Rule
from enxuto.importing.rules.padding import constant_padding
from enxuto.onnx_model import window_of

__all__ = ["CONVOLUTION_RULES"]


def _state(node: Node) -> dict[str, tuple[int, np.ndarray]]:
    state = {"weight": (1, node.constant(1))}
    if node.has(2):
        state["bias"] = (2, node.constant(2))
    return state


def _convolution(node: Node) -> Built:
    """Padding that differs at both ends, or that follows the size of the input, is a module of its own before it."""
    weight = node.constant(1)
    rank = weight.ndim - 2
    if not 1 <= rank <= 3:
        raise node.refusal(f"it has {rank} spatial axes, where PyTorch has 1 to 3")
    window = window_of(node.proto, weight.shape[2:])
    before: nn.Module | None = None
    pads = window.pads if not window.is_same else (0,) * (2 * rank)
    if window.is_same and max(window.strides) == 1:
        pads = window.padding(node.example().shape[2:])  # the same for every size
    elif window.is_same:
        before = SamePadding(window.extents, window.strides, upper=window.auto_pad == "SAME_UPPER")
    starts, ends = pads[:rank], pads[rank:]
    if starts != ends or min(pads) < 0:
        before, starts = constant_padding(starts, ends), (0,) * rank
    group = node.int("group", 1)
    module = spatial("Conv", rank)(
        weight.shape[1] * group, weight.shape[0], window.kernel, stride=window.strides, padding=starts,
        dilation=window.dilations, groups=group, bias=node.has(2), device="meta",
    )  # fmt: skip
    return Built(module, state=_state(node), before=before)


def _transposed(node: Node) -> Built:
    """What is cut off both ends unequally is cut by a module of its own behind it."""
    weight = node.constant(1)
    rank = weight.ndim - 2
    if not 1 <= rank <= 3:
        raise node.refusal(f"it has {rank} spatial axes, where PyTorch has 1 to 3")
    window = window_of(node.proto, weight.shape[2:])
    more = node.ints("output_padding") or (0,) * rank
    starts, ends = window.pads[:rank], window.pads[rank:]
    sizes = node.ints("output_shape")[-rank:]
    if sizes or window.is_same:
        given = tuple(node.example().shape[2:])
        wanted = sizes or tuple(size * step for size, step in zip(given, window.strides, strict=True))
        totals = [
            max(0, step * (size - 1) + extra + extent - target)
            for step, size, extra, extent, target in zip(
                window.strides, given, more, window.extents, wanted, strict=True
            )
        ]
        small, large = [total // 2 for total in totals], [-(-total // 2) for total in totals]
        starts, ends = map(tuple, (small, large) if window.auto_pad == "SAME_UPPER" else (large, small))
    after: nn.Module | None = None
    if starts != ends:
        after, starts = Crop(starts, ends), (0,) * rank
    group = node.int("group", 1)
    module = spatial("ConvTranspose", rank)(
        weight.shape[0], weight.shape[1] * group, window.kernel, stride=window.strides, padding=starts,
        output_padding=more, groups=group, bias=node.has(2), dilation=window.dilations, device="meta",
    )  # fmt: skip
    return Built(module, state=_state(node), after=after)


CONVOLUTION_RULES: dict[str, Rule] = {"Conv": _convolution, "ConvTranspose": _transposed}

"""Normalisations: batch, instance, layer, group and local response, means and variances."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from enxuto.importing.modules import Apply, spatial
from enxuto.importing.node import Built, Node, Rule

__all__ = ["NORMALIZATION_RULES"]

_MVN_EPSILON = 1e-9  # beside the standard deviation, as ONNX defines MeanVarianceNormalization


def _batch_norm(node: Node) -> Built:
    """In training it takes the batch's statistics and updates its own, as PyTorch's does."""
    if not node.int("spatial", 1) and node.example().dim() > 2:
        raise node.refusal("statistics for each position (spatial=0) have no module")
    scale, shift, mean, variance = (node.constant(position) for position in (1, 2, 3, 4))
    module = spatial("BatchNorm", max(1, node.example().dim() - 2))(
        len(scale), eps=node.float("epsilon", 1e-5), momentum=1 - node.float("momentum", 0.9), device="meta"
    )
    state = {
        "weight": (1, scale),
        "bias": (2, shift),
        "running_mean": (3, mean),
        "running_var": (4, variance),
    }
    return Built(module, state=state, buffers=frozenset({"running_mean", "running_var"}))


def _instance_norm(node: Node) -> Built:
    scale, shift = node.constant(1), node.constant(2)
    module = spatial("InstanceNorm", node.example().dim() - 2)(
        len(scale), eps=node.float("epsilon", 1e-5), affine=True, device="meta"
    )
    return Built(module, state={"weight": (1, scale), "bias": (2, shift)})


def _layer_norm(node: Node) -> Built:
    example = node.example()
    shape = tuple(example.shape[node.int("axis", -1) % example.dim() :])
    scale = np.broadcast_to(node.constant(1), shape)
    module = nn.LayerNorm(shape, eps=node.float("epsilon", 1e-5), bias=node.has(2), device="meta")
    state = {"weight": (1, scale)}
    if node.has(2):
        state["bias"] = (2, np.broadcast_to(node.constant(2), shape))
    return Built(module, state=state)


def _group_norm(node: Node) -> Built:
    """Until opset 20 scale and shift were of groups, since 21 they are of channels."""
    groups, channels = node.int("num_groups"), node.example().shape[1]
    scale, shift = (
        np.repeat(values, channels // len(values)) for values in (node.constant(1), node.constant(2))
    )
    module = nn.GroupNorm(groups, channels, eps=node.float("epsilon", 1e-5), device="meta")
    return Built(module, state={"weight": (1, scale), "bias": (2, shift)})


def _response_norm(node: Node) -> Built:
    size = node.int("size")
    if size % 2 == 0:
        raise node.refusal("ONNX and PyTorch lay windows of an even size differently")
    settings = node.float("alpha", 1e-4), node.float("beta", 0.75), node.float("bias", 1.0)
    return Built(nn.LocalResponseNorm(size, *settings))


def _mean_variance(node: Node) -> Built:
    """MeanVarianceNormalization; over the images it would mix them."""
    given = node.setting("axes", len(node.inputs))
    axes = tuple(int(axis) % node.example().dim() for axis in ((0, 2, 3) if given is None else given))
    if 0 in axes:
        raise node.refusal("it takes means over the images of a batch")
    return Built(Apply(_standardize, {"axes": axes}))


def _standardize(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    centred = x - x.mean(axes, keepdim=True)
    return centred / (centred.square().mean(axes, keepdim=True).sqrt() + _MVN_EPSILON)


NORMALIZATION_RULES: dict[str, Rule] = {
    "BatchNormalization": _batch_norm,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "LRN": _response_norm,
    "LayerNormalization": _layer_norm,
    "MeanVarianceNormalization": _mean_variance,
}

"""What each weight is for, found from the operators that read it.

A weight is followed forward through Identity, Cast, Transpose, Reshape, Squeeze, Unsqueeze, DequantizeLinear,
model-local functions and into subgraphs, with the origin of every axis carried along, so that the axis of
output channels is known for the weight as it is stored. Where several operators read one weight, the first
role in the order of `Role` wins, and the axis only if they agree on it.

A matrix is what a layer multiplies and sums over. A table that Gather reads is one where the rows that it gives go
into a layer, as embeddings do, or are multiplied and summed up; anchors, grids and tables of indices, which are
added, scaled, compared or given out, are not (`features`), nor are factors of an Einsum that sums nothing of them.

Apart from its role, a weight may be a `part` of features: positions that are added to them, class tokens that are
joined to them, tables that scale them, vectors of a layer norm, biases of a MatMul. It takes bits like a layer's.

`other` is everything that is not a float, and floats read by operators not listed here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from onnx import ModelProto

from enxuto.onnx_model.attributes import int_attribute, text_attribute
from enxuto.onnx_model.dtypes import FLOAT_TYPES
from enxuto.onnx_model.features import Features
from enxuto.onnx_model.scopes import STANDARD_DOMAINS, Slot
from enxuto.onnx_model.trace import Tracer, Use

__all__ = ["Placement", "Role", "placements"]


class Role(StrEnum):
    """The use of a weight."""

    KERNEL = "kernel"
    DEPTHWISE = "depthwise"
    MATRIX = "matrix"
    BIAS = "bias"
    NORM = "norm"
    OTHER = "other"


@dataclass(frozen=True)
class Placement:
    """A weight's role, and the axis of the stored tensor that counts output channels, if there is one.

    operand: whether only elementwise operators read it, so that it may be no parameter at all but a mask, say. part:
    whether what it is added to, scales or is joined to are features, which a layer multiplies and sums.
    """

    role: Role
    axis: int | None = None
    operand: bool = False
    part: bool = False


_OTHER = Placement(Role.OTHER)
_ORDER = list(Role)
_Rule = Callable[[Use], Placement]


def placements(
    proto: ModelProto, slots: Mapping[str, Slot], load: Callable[[str], np.ndarray]
) -> dict[str, Placement]:
    """Role and axis of every weight; `load` is asked for small integer tensors that give shapes."""
    tracer = Tracer(proto, slots, load)
    features = Features(tracer)
    return {
        name: _best([(use, _placement(use, features)) for use in tracer.follow(slot)], features)
        if slot.tensor.data_type in FLOAT_TYPES
        else _OTHER
        for name, slot in slots.items()
    }


def _best(candidates: list[tuple[Use, Placement]], features: Features) -> Placement:
    if not candidates:
        return _OTHER
    role = min((found.role for _, found in candidates), key=_ORDER.index)
    axes = {found.axis for _, found in candidates if found.role == role}
    operand = all(use.node.op_type in _ELEMENTWISE for use, _ in candidates)
    part = role in (Role.BIAS, Role.NORM, Role.OTHER) and all(
        features.are_joined_by(use) for use, _ in candidates
    )
    return Placement(role, axes.pop() if len(axes) == 1 else None, operand, part)


def _placement(use: Use, features: Features) -> Placement:
    """Role and axis by one use; the axis already in terms of the stored tensor."""
    if use.node.domain in STANDARD_DOMAINS:
        rule = _RULES.get((use.node.op_type, use.index)) or _RULES.get((use.node.op_type, None))
    elif use.node.domain == "com.microsoft":
        rule = _CONTRIBUTED.get((use.node.op_type, use.index))
    else:
        rule = None
    if rule is None or (use.node.op_type == "Gather" and not features.reach_a_layer(use)):
        return _OTHER
    found = rule(use)
    return Placement(found.role, None if found.axis is None else use.axes[found.axis])


def _conv_kernel(use: Use) -> Placement:
    """(output channels, input channels / group, …)"""
    if len(use.shape) < 3:
        return _OTHER
    depthwise = int_attribute(use.node, "group", 1) > 1 and use.shape[1] == 1
    return Placement(Role.DEPTHWISE if depthwise else Role.KERNEL, 0)


def _transposed_kernel(use: Use) -> Placement:
    """(input channels, output channels / group, …); with groups, axis 1 counts one channel of each group."""
    if len(use.shape) < 3:
        return _OTHER
    group = int_attribute(use.node, "group", 1)
    if group > 1 and use.shape[1] == 1 and use.shape[0] == group:
        return Placement(Role.DEPTHWISE, 0)
    return Placement(Role.KERNEL, 1 if group == 1 or use.shape[1] > 1 else None)


def _gemm_right(use: Use) -> Placement:
    return (
        Placement(Role.MATRIX, 0 if int_attribute(use.node, "transB", 0) else 1)
        if len(use.shape) == 2
        else _OTHER
    )


def _gemm_left(use: Use) -> Placement:
    return (
        Placement(Role.MATRIX, 1 if int_attribute(use.node, "transA", 0) else 0)
        if len(use.shape) == 2
        else _OTHER
    )


def _matmul_right(use: Use) -> Placement:
    turned = int_attribute(use.node, "transB", 0)
    return Placement(Role.MATRIX, len(use.shape) - (2 if turned else 1) if len(use.shape) > 1 else None)


def _matmul_left(use: Use) -> Placement:
    turned = int_attribute(use.node, "transA", 0)
    return Placement(Role.MATRIX, len(use.shape) - (1 if turned else 2) if len(use.shape) > 1 else None)


def _recurrent_matrix(use: Use) -> Placement:
    """(directions, gates × hidden, inputs)"""
    return Placement(Role.MATRIX, 1) if len(use.shape) == 3 else _OTHER


def _recurrent_bias(use: Use) -> Placement:
    """(directions, 2 × gates × hidden)"""
    return Placement(Role.BIAS, 1) if len(use.shape) == 2 else _OTHER


def _einsum_factor(use: Use) -> Placement:
    """What is summed over something of it."""
    text = text_attribute(use.node, "equation").replace(" ", "")
    terms, arrow, result = text.partition("->")
    every = terms.split(",")
    if len(use.shape) < 2 or use.index >= len(every):
        return _OTHER
    letters = set(every[use.index]) - {"."}
    if not arrow:  # then letters that occur once are the result's
        result = "".join(letter for letter in letters if terms.count(letter) == 1)
    return Placement(Role.MATRIX) if letters - set(result) else _OTHER


def _table(use: Use) -> Placement:
    return Placement(Role.MATRIX) if len(use.shape) >= 2 else _OTHER


def _per_channel(role: Role) -> _Rule:
    """A rule for vectors: of one axis, or with all axes but one of size 1, as in 1 × C × 1 × 1."""

    def rule(use: Use) -> Placement:
        wide = [axis for axis, size in enumerate(use.shape) if size != 1]
        if not use.shape or len(wide) > 1:
            return _OTHER
        return Placement(role, wide[0] if wide else 0 if len(use.shape) == 1 else None)

    return rule


def _any_shape(role: Role) -> _Rule:
    """A rule for normalisation parameters: layer norm has them of several axes too."""

    def rule(use: Use) -> Placement:
        return Placement(role, 0 if len(use.shape) == 1 else None)

    return rule


_ELEMENTWISE = {"Add", "Sub", "Mul", "Div", "Where", "Max", "Min", "Sum"}
_NORM = _any_shape(Role.NORM)
_RULES: dict[tuple[str, int | None], _Rule] = {
    **{(op, 1): _conv_kernel for op in ("Conv", "DeformConv")},
    **{(op, 2): _per_channel(Role.BIAS) for op in ("Conv", "ConvTranspose", "Gemm")},
    ("DeformConv", 3): _per_channel(Role.BIAS),
    ("ConvTranspose", 1): _transposed_kernel,
    ("Gemm", 0): _gemm_left,
    ("Gemm", 1): _gemm_right,
    ("MatMul", 0): _matmul_left,
    ("MatMul", 1): _matmul_right,
    ("Einsum", None): _einsum_factor,
    ("Gather", 0): _table,
    **{(op, index): _recurrent_matrix for op in ("RNN", "LSTM", "GRU") for index in (1, 2)},
    **{(op, 3): _recurrent_bias for op in ("RNN", "LSTM", "GRU")},
    **{("BatchNormalization", index): _NORM for index in (1, 2, 3, 4)},
    **{
        (op, index): _NORM
        for op in ("InstanceNormalization", "LayerNormalization", "GroupNormalization")
        for index in (1, 2)
    },
    **{(op, 1): _NORM for op in ("RMSNormalization", "SimplifiedLayerNormalization")},
    ("Add", None): _per_channel(Role.BIAS),
    **{(op, None): _per_channel(Role.NORM) for op in ("Mul", "Div", "Sub")},
}
_BIAS = _per_channel(Role.BIAS)
_CONTRIBUTED: dict[tuple[str, int], _Rule] = {
    **{(op, 1): _conv_kernel for op in ("FusedConv", "NhwcConv", "NhwcFusedConv")},
    **{(op, 2): _BIAS for op in ("FusedConv", "NhwcConv", "NhwcFusedConv", "FusedGemm", "GemmFastGelu")},
    ("FusedGemm", 0): _gemm_left,
    ("FusedGemm", 1): _gemm_right,
    **{(op, 0): _matmul_left for op in ("FusedMatMul", "FusedMatMulActivation", "TransposeMatMul")},
    **{(op, 1): _matmul_right for op in ("FusedMatMul", "FusedMatMulActivation", "TransposeMatMul")},
    **{
        (op, 1): _matmul_right
        for op in ("Attention", "PackedAttention", "GemmFastGelu", "LongformerAttention")
    },
    **{(op, 2): _BIAS for op in ("Attention", "PackedAttention", "LongformerAttention")},
    ("LongformerAttention", 4): _matmul_right,
    ("LongformerAttention", 5): _BIAS,
    ("MultiHeadAttention", 3): _BIAS,
    **{("EmbedLayerNormalization", index): _table for index in (2, 3, 4)},
    **{("EmbedLayerNormalization", index): _NORM for index in (5, 6)},
    **{("SkipLayerNormalization", index): _NORM for index in (2, 3)},
    ("SkipLayerNormalization", 4): _BIAS,
    **{(op, index): _NORM for op in ("GroupNorm", "SkipGroupNorm") for index in (1, 2)},
    ("SkipSimplifiedLayerNormalization", 2): _NORM,
    ("SkipSimplifiedLayerNormalization", 3): _BIAS,
    **{(op, 1): _BIAS for op in ("BiasGelu", "FastGelu", "BiasSplitGelu", "BiasAdd", "BiasDropout")},
    **{("MoE", index): _table for index in (2, 4, 6)},
}
"""Operators that ONNX Runtime writes into the models that it optimises (domain com.microsoft), by input."""

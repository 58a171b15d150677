"""Derivatives of operators that keep all values and change only their shape, order, type or number of copies."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from enxuto.calibration.gradients.graph import Contributions, GraphMaker, Rule, UnsupportedError
from enxuto.onnx_model import int_attribute, ints_attribute
from enxuto.onnx_model.dtypes import FLOAT_TYPES

__all__ = ["SHAPE_RULES"]


def _reshape(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    """Reshape, Flatten, Squeeze, Unsqueeze: the same values in another shape."""
    return [(node.input[0], maker.reshape_like(gradient, node.input[0]))]


def _identity(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    return [(node.input[0], gradient)]


def _dropout(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    training = node.input[2] if len(node.input) > 2 else ""
    if training and not (maker.is_constant(training) and not maker.load(training).any()):
        raise UnsupportedError("no gradient is known here for a Dropout that trains")
    return [(node.input[0], gradient)]


def _cast(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    if int_attribute(node, "to") not in FLOAT_TYPES:
        raise UnsupportedError("no gradient is known here for a Cast to integers")
    return [(node.input[0], gradient)]


def _transpose(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    rank = len(maker.shape(node.input[0]))
    order = ints_attribute(node, "perm", range(rank)[::-1])
    return [(node.input[0], maker.op("Transpose", gradient, perm=[int(i) for i in np.argsort(order)]))]


def _expand(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    return [(node.input[0], maker.sum_to(gradient, node.input[0], node.output[0]))]


def _tile(maker: GraphMaker, node: NodeProto, gradient: str, carries: set[str]) -> Contributions:
    copies = maker.op("Tile", maker.number_positions(node.input[0]), maker.integers(node.input[1]))
    return [(node.input[0], maker.scatter(copies, gradient, node.input[0]))]


SHAPE_RULES: dict[str, Rule] = {
    "Cast": _cast,
    "Dropout": _dropout,
    "Expand": _expand,
    "Flatten": _reshape,
    "Identity": _identity,
    "Reshape": _reshape,
    "Squeeze": _reshape,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _reshape,
}

"""Attributes of ONNX nodes, read by name and type.

Each reader takes the field of its type and returns the default where the node lacks the attribute. The type that an
attribute says it has is not looked at: files of the first IR versions do not give one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import AttributeProto, NodeProto, TensorProto, numpy_helper

__all__ = [
    "attribute",
    "constant_tensor",
    "float_attribute",
    "has_attribute",
    "int_attribute",
    "ints_attribute",
    "text_attribute",
]


def attribute(node: NodeProto, name: str) -> AttributeProto | None:
    """Return the attribute called `name`, or None."""
    return next((item for item in node.attribute if item.name == name), None)


def has_attribute(node: NodeProto, name: str) -> bool:
    """Say whether the node has an attribute of this name."""
    return attribute(node, name) is not None


def int_attribute(node: NodeProto, name: str, default: int = 0) -> int:
    """Return an integer, such as `group` of a Conv."""
    item = attribute(node, name)
    return default if item is None else int(item.i)


def float_attribute(node: NodeProto, name: str, default: float) -> float:
    """Return a floating-point number, such as `alpha` of a LeakyRelu."""
    item = attribute(node, name)
    return default if item is None else float(item.f)


def text_attribute(node: NodeProto, name: str, default: str = "") -> str:
    """Return a text, such as `mode` of a Pad; bytes that are no UTF-8 become replacement characters."""
    item = attribute(node, name)
    return default if item is None else item.s.decode(errors="replace")


def ints_attribute(node: NodeProto, name: str, default: Sequence[int] = ()) -> tuple[int, ...]:
    """Return a list of integers, such as `strides` of a Conv."""
    item = attribute(node, name)
    return tuple(default) if item is None else tuple(item.ints)


def constant_tensor(node: NodeProto) -> TensorProto | None:
    """Return the tensor that a Constant node gives, whichever of its attributes holds the numbers.

    None for other nodes and for constants that are text or sparse. In a `Model` the tensors of weights are emptied.
    """
    for item in node.attribute if node.op_type == "Constant" else ():
        match item.name:
            case "value":
                tensor: TensorProto = item.t
                return tensor
            case "value_int":
                return numpy_helper.from_array(np.array(item.i, np.int64))
            case "value_ints":
                return numpy_helper.from_array(np.array(item.ints, np.int64))
            case "value_float":
                return numpy_helper.from_array(np.array(item.f, np.float32))
            case "value_floats":
                return numpy_helper.from_array(np.array(item.floats, np.float32))
    return None

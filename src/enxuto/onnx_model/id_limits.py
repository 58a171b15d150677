"""How large the whole numbers that a model is fed may be: rows of the tables that they point into."""

from __future__ import annotations

from enxuto.onnx_model.attributes import int_attribute
from enxuto.onnx_model.model import Model

__all__ = ["id_limits"]

_MOVES = frozenset({"Cast", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Expand"})
_CASTS = frozenset({"Cast", "Identity", "DequantizeLinear"})  # of tables, which keep their rows


def id_limits(model: Model) -> dict[str, int]:
    """Return, by input, the least number of rows of a table that a Gather picks by that input's values."""
    behind = {item.name: item.name for item in model.proto.graph.input if item.name not in model}
    tables = {name: model.info(name).shape for name in model.weight_names}
    found: dict[str, int] = {}
    for node in model.proto.graph.node:
        if node.op_type in _MOVES and node.input[0] in behind:
            behind[node.output[0]] = behind[node.input[0]]
        if node.op_type in _CASTS and node.input[0] in tables:
            tables[node.output[0]] = tables[node.input[0]]
        if node.op_type == "Gather" and node.input[0] in tables and node.input[1] in behind:
            shape = tables[node.input[0]]
            axis = int_attribute(node, "axis")
            if shape and -len(shape) <= axis < len(shape):
                name = behind[node.input[1]]
                found[name] = min(shape[axis], found.get(name, shape[axis]))
    return found

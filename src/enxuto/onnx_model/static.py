"""Values of a graph that follow from its weights alone, whatever the model is fed."""

from __future__ import annotations

from enxuto.onnx_model.model import Model
from enxuto.onnx_model.scopes import reads_of

__all__ = ["static_values"]

_RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)


def static_values(model: Model) -> set[str]:
    """Return the names of values that follow from weights alone; weights themselves are not among them."""
    found: set[str] = set()
    for node in model.proto.graph.node:
        if node.op_type not in _RANDOM and all(name in model or name in found for name in reads_of(node)):
            found.update(name for name in node.output if name)
    return found

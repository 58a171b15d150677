"""The weight behind what an operator reads, through nodes that keep its numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from onnx import NodeProto

from enxuto.onnx_model import STANDARD_DOMAINS, Model, Role, ints_attribute

__all__ = ["own_matrix", "own_weight"]


def own_weight(name: str, model: Model, made_by: Mapping[str, NodeProto], reads: Counter[str]) -> str | None:
    """Return the weight behind a name, through Identity and Cast; None where another node reads it too."""
    found, turned = own_matrix(name, model, made_by, reads)
    return None if turned else found


def own_matrix(
    name: str, model: Model, made_by: Mapping[str, NodeProto], reads: Counter[str]
) -> tuple[str | None, bool]:
    """Return what `own_weight` does, through transpositions of a matrix too, and whether it is read transposed."""
    turned = False
    while reads[name] == 1:
        if name in model:
            return (name if model.info(name).role is not Role.OTHER else None), turned
        node = made_by.get(name)
        if node is None or node.domain not in STANDARD_DOMAINS:
            break
        if node.op_type == "Transpose" and ints_attribute(node, "perm", (1, 0)) == (1, 0):
            turned = not turned
        elif node.op_type not in ("Identity", "Cast"):
            break
        name = node.input[0]
    return None, False

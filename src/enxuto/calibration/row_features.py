"""Rows of numbers that the graph tells to be features, such as embeddings: no scores of classes are made or read so."""

from __future__ import annotations

from onnx import NodeProto

from enxuto.onnx_model import Model, static_values

__all__ = ["is_features"]

_MOVES = frozenset({"Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Dropout"})
_MATRICES = frozenset({"MatMul", "Gemm", "Conv", "LSTM", "GRU", "RNN"})
_PLACES = frozenset({"ArgMax", "ArgMin", "TopK", "Hardmax"})
_MAKES = frozenset(
    {
        "LayerNormalization", "SimplifiedLayerNormalization", "SkipLayerNormalization", "RMSNormalization",
        "LpNormalization", "GroupNormalization", "InstanceNormalization", "ScatterElements", "ScatterND", "Scatter",
    }
)  # fmt: skip


def is_features(model: Model, value: str) -> bool:
    """Say whether a value, moved or not, is read by weights, or made by a normalisation or by scatters.

    Scores are what is compared: no layer works on them before a softmax, none normalises them over themselves, and
    none adds them up where their places are told. What is searched for its largest places is scores all the same.
    """
    maker = {name: node for node in model.proto.graph.node for name in node.output if name}
    while (node := maker.get(value)) is not None and node.op_type in _MOVES:
        value = node.input[0]
    if node is not None and node.op_type in _MAKES:
        return True
    return _is_read_by_weights(model, value)


def _is_read_by_weights(model: Model, value: str) -> bool:
    """Say whether a layer with weights takes a value, moved or not, and nothing looks for its largest places."""
    readers: dict[str, list[NodeProto]] = {}
    for node in model.proto.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    pending, seen, weights, found = [value], set[str](), static_values(model), False
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        for node in readers.get(name, ()):
            if node.op_type in _PLACES:
                return False
            if node.op_type in _MATRICES:
                found = found or any(one in model or one in weights for one in node.input[:2])
            if node.op_type in _MOVES and node.input[0] == name:
                pending += [one for one in node.output if one]
    return found

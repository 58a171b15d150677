"""Whether the rows that Gather takes from a table are features: whether a layer multiplies and sums them.

Gathered values are followed forward through all operators, subgraphs and functions. The search stops where values only
index or select (indices, boxes, grids, conditions, sizes). Values that arrive at a layer are features, and so are
those that arrive at a sum over products, as in a factorisation of users and items. Rows that are only moved, added,
scaled and output (anchors, say) are not.

A weight that is added to features, scales them, is joined to them or takes their place somewhere is a part of them:
positions, class tokens, tables of rotations, vectors of a layer norm, biases of a MatMul.
"""

from __future__ import annotations

from collections.abc import Iterator

from onnx import NodeProto, TensorProto

from enxuto.onnx_model.attributes import int_attribute
from enxuto.onnx_model.dtypes import FLOAT_TYPES
from enxuto.onnx_model.scopes import STANDARD_DOMAINS, subgraphs
from enxuto.onnx_model.trace import Reader, Tracer, Use

__all__ = ["Features"]

_LAYERS = {
    **dict.fromkeys(("Conv", "ConvTranspose", "DeformConv", "Gemm", "MatMul"), 2),
    **dict.fromkeys(("RNN", "LSTM", "GRU"), 3),
    "Einsum": 99,
    **dict.fromkeys(
        ("FusedConv", "NhwcConv", "NhwcFusedConv", "FusedGemm", "GemmFastGelu", "FusedMatMul"), 2
    ),
    **dict.fromkeys(
        ("FusedMatMulActivation", "TransposeMatMul", "LongformerAttention", "MatMulNBits", "MoE"), 2
    ),
    **dict.fromkeys(("ConvInteger", "MatMulInteger"), 2),
    **dict.fromkeys(("QLinearConv", "QLinearMatMul"), 4),
    **dict.fromkeys(("Attention", "QAttention", "MultiHeadAttention", "GroupQueryAttention"), 3),
}
"""Operators that multiply and sum, and how many of their inputs, from the first on, are multiplied."""
_SUMS = frozenset({"ReduceSum", "ReduceMean", "ReduceSumSquare", "ReduceL2", "GlobalAveragePool", "CumSum"})
_PLACES = {
    **dict.fromkeys(("RoiAlign", "MaxRoiPool", "GridSample", "Gather", "GatherElements", "GatherND"), 1),
    **dict.fromkeys(("Slice", "Reshape", "Expand", "Tile", "Pad", "Resize", "Upsample", "TopK"), 1),
    **dict.fromkeys(
        ("Shape", "Size", "NonMaxSuppression", "ArgMax", "ArgMin", "NonZero", "Range", "OneHot"), 0
    ),
    **dict.fromkeys(("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "IsNaN", "IsInf"), 0),
}
"""Operators of which inputs from this one on only place, choose or count."""
_JOINS = frozenset({"Add", "Sub", "Mul", "Div", "Sum", "Concat", "Where", "Expand", "Tile", "Resize"})
"""Operators that make features of a weight and others; the last three repeat it for them."""
_NORMS = frozenset({"LayerNormalization", "RMSNormalization", "GroupNormalization", "InstanceNormalization",
                    "SimplifiedLayerNormalization", "SkipLayerNormalization"})  # fmt: skip
"""Operators whose vectors scale and shift features. Not those of a batch norm: its variances may not go below 0."""


class Features:
    """Answers for one model, each found once."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._known: dict[tuple[str, str], bool] = {}

    def reach_a_layer(self, use: Use) -> bool:
        """Say whether what a Gather takes from a table are features."""
        start = use.path, use.node.output[0] if use.node.output else ""
        if start not in self._known:
            self._known[start] = self._search(*start)
        return self._known[start]

    def are_joined_by(self, use: Use) -> bool:
        """Say whether a weight is a part of features by one use."""
        kind = use.node.op_type
        if kind in _NORMS:
            return use.index > 0
        if kind not in _JOINS or use.node.domain not in STANDARD_DOMAINS:
            return False
        if kind in ("Expand", "Tile", "Resize") and use.index:
            return False
        return (kind == "Add" and self._follows_a_layer(use)) or self.reach_a_layer(use)

    def _follows_a_layer(self, use: Use) -> bool:
        """Say whether what a weight is added to comes straight from a layer, whose bias it then is."""
        other = use.node.input[1 - use.index]
        maker = self._tracer.maker(use.path, other)
        return maker is not None and _is_layer(maker, 0)

    def _search(self, path: str, name: str) -> bool:
        waiting = [(path, name, False)]
        seen = set(waiting)
        while waiting:
            path, name, multiplied = waiting.pop()
            for reader in self._tracer.readers(path, name):
                node, index = reader[1:]
                if _is_layer(node, index) or (multiplied and node.op_type in _SUMS):
                    return True
                product = multiplied or node.op_type == "Mul"
                for after in self._next_values(reader):
                    if after[1] and (*after, product) not in seen:
                        seen.add((*after, product))
                        waiting.append((*after, product))
        return False

    def _next_values(self, reader: Reader) -> Iterator[tuple[str, str]]:
        """Yield the scopes and names of the values that depend on one of a node's inputs."""
        path, node, index = reader
        standard = node.domain in STANDARD_DOMAINS
        if standard and (index >= _PLACES.get(node.op_type, 99) or (node.op_type == "Where" and not index)):
            return
        if standard and node.op_type == "Cast" and not _to_float(node):
            return
        for name in node.output:
            yield path, name
        function = self._tracer.functions.get((node.domain, node.op_type))
        if function is not None and index < len(function.body.input):
            yield function.path, str(function.body.input[index])
        for step, graph in subgraphs(node):
            for item in graph.input:
                yield path + step, item.name


def _is_layer(node: NodeProto, index: int) -> bool:
    return index < _LAYERS.get(node.op_type, 0)


def _to_float(node: NodeProto) -> bool:
    return int_attribute(node, "to", TensorProto.FLOAT) in FLOAT_TYPES

"""Operators of ONNX that multiply by weights: their multiply–accumulates, and which operands are weights.

The convention is that of `enxuto.summary.cost`. What is neither counted here nor known to multiply nothing is named by
`is_uncounted`, so that a table can say so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from types import MappingProxyType

from onnx import NodeProto

from enxuto.onnx_model import int_attribute, text_attribute
from enxuto.summary.cost import is_pool, is_product

__all__ = ["BIAS_AT", "LEARNT_AT", "RECURRENT", "WEIGHT_AT", "einsum_shape", "is_uncounted", "macs_of"]

RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
_Shape = tuple[int, ...]
_ShapeOf = Callable[[str], _Shape | None]

# Where weight and bias stand among the operands of convolutions (and of a Gemm).
WEIGHT_AT: Mapping[str, int] = MappingProxyType(
    {"Conv": 1, "FusedConv": 1, "ConvTranspose": 1, "ConvInteger": 1, "QLinearConv": 3, "DeformConv": 1, "Gemm": 1}
)  # fmt: skip
BIAS_AT: Mapping[str, int] = MappingProxyType(
    {"Conv": 2, "FusedConv": 2, "ConvTranspose": 2, "QLinearConv": 8, "DeformConv": 3, "Gemm": 2,
     "LSTM": 3, "GRU": 3, "RNN": 3}
)  # fmt: skip
# The operands that may be learnt, where others (scales, zero points, states, masks, lengths) are not.
LEARNT_AT: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "Conv": (1, 2), "FusedConv": (1, 2), "ConvTranspose": (1, 2), "ConvInteger": (1,), "QLinearConv": (3, 8),
        "DeformConv": (1, 3), "Gemm": (0, 1, 2), "MatMul": (0, 1), "MatMulInteger": (0, 1), "QLinearMatMul": (0, 3),
        "LSTM": (1, 2, 3, 7), "GRU": (1, 2, 3), "RNN": (1, 2, 3), "Attention": (0, 1, 2),
        "BatchNormalization": (1, 2), "Gather": (0,), "GatherElements": (0,), "GatherND": (0,),
    }
)  # fmt: skip

_NAMES = """
    Reshape Flatten Squeeze Unsqueeze Identity Dropout Transpose Concat Split Slice Gather GatherElements GatherND
    Scatter ScatterElements ScatterND Pad Tile Expand DepthToSpace SpaceToDepth Resize Upsample ReverseSequence
    Compress Unique Constant ConstantOfShape Shape Size Range EyeLike OneHot NonZero Trilu CenterCropPad Cast
    CastLike BitCast QuantizeLinear DequantizeLinear DynamicQuantizeLinear TopK ReduceMean ReduceMax ReduceMin
    ReduceSum ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceSumSquare ArgMax ArgMin Hardmax CumSum
    CumProd Mean Where Equal Greater GreaterOrEqual Less LessOrEqual And Or Not Xor BitShift BitwiseAnd BitwiseOr
    BitwiseNot BitwiseXor IsNaN IsInf Sign Floor Ceil Round Mod Reciprocal Log Sin Cos Tan Asin Acos Atan Sinh Cosh
    Asinh Acosh Atanh Softsign ThresholdedRelu Celu Swish Shrink MeanVarianceNormalization LRN LpNormalization
    RMSNormalization MaxUnpool MaxRoiPool NonMaxSuppression Bernoulli RandomNormal RandomNormalLike RandomUniform
    RandomUniformLike Multinomial StringNormalizer SequenceConstruct SequenceAt SequenceEmpty SequenceErase
    SequenceInsert SequenceLength SplitToSequence ConcatFromSequence Optional OptionalGetElement OptionalHasElement
    If Loop Scan SequenceMap TensorScatter Col2Im ImageDecoder BatchNormalization Softmax LogSoftmax
    InstanceNormalization LayerNormalization GroupNormalization Relu Clip LeakyRelu PRelu Elu Selu Tanh Sigmoid Gelu
    HardSwish HardSigmoid Silu Mish Softplus Erf Exp Sqrt Add Sub Mul Div Sum Pow Neg Max Min Abs
"""
_FREE = frozenset(_NAMES.split())
"""Operators without multiply–accumulates by the convention: they move, compare, choose or work element by element."""


def is_uncounted(node: NodeProto) -> bool:
    """Whether the operator may multiply in a way that is not counted: those of other domains, transforms, sampling."""
    if node.domain not in ("", "ai.onnx") and node.op_type != "FusedConv":
        return True
    return not (is_product(node.op_type) or is_pool(node.op_type) or node.op_type in _FREE)


def macs_of(node: NodeProto, shape_of: _ShapeOf, output: str) -> int | None:
    """Multiply–accumulates of a product for the whole batch; None where a shape that they need is not known.

    output: the name of what it writes first.
    """
    operands = [shape_of(name) if name else () for name in node.input]
    written = shape_of(output)
    if any(shape is None for shape in operands[:3]) or written is None:
        return None
    shapes = [shape or () for shape in operands]
    kind = node.op_type
    if kind in ("MatMul", "MatMulInteger", "QLinearMatMul"):
        return prod(written) * shapes[0][-1]
    if kind == "Gemm":
        return prod(written) * shapes[0][0 if int_attribute(node, "transA") else 1]
    if kind == "Einsum":
        return _einsum(text_attribute(node, "equation"), shapes)
    if kind in RECURRENT:
        # (steps, sequences, inputs), or sequences first; W and R hold the gates of all directions.
        return prod(shapes[0][:2]) * (prod(shapes[1]) + prod(shapes[2]))
    if kind == "Attention":
        return _attention(node, operands, written)
    kernel = shape_of(node.input[WEIGHT_AT[kind]])
    if kernel is None:
        return None
    return prod(shapes[0] if kind == "ConvTranspose" else written) * prod(kernel[1:])


def _attention(node: NodeProto, operands: Sequence[_Shape | None], written: _Shape) -> int | None:
    """Queries by keys and weights by values; 4 axes (batch, heads, places, size) or 3 (batch, places, heads · size)."""
    query, key = operands[0] or (), operands[1] or ()
    past = operands[4] if len(operands) > 4 and node.input[4] else (0,) * 4
    if past is None:
        return None
    keys = key[-2] + past[-2]
    # In both forms heads · size elements a place are in the query and in what is written.
    places = prod(query[:-1])
    return places * keys * (query[-1] + written[-1])


def einsum_shape(equation: str, shapes: Sequence[_Shape]) -> _Shape:
    """The shape that an Einsum of operands of these shapes writes; shape inference does not know all of them."""
    _, sizes, result = _read(equation, shapes)
    return tuple(sizes[label] for label in result)


def _einsum(equation: str, shapes: Sequence[_Shape]) -> int:
    """Operands from left to right, two at a time; indices that only one of the two has, and nobody later, go before."""
    terms, sizes, result = _read(equation, shapes)
    held, macs = set(terms[0]), 0
    for place, term in enumerate(terms[1:], start=1):
        later = set(result).union(*terms[place + 1 :])
        both = held | set(term)
        macs += prod(sizes[label] for label in both if label in later or (label in held and label in term))
        held = both & later
    return macs


def _read(equation: str, shapes: Sequence[_Shape]) -> tuple[list[list[str]], dict[str, int], list[str]]:
    """Indices of each operand, the size of each index, and the indices of the result."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = [_labels(term, len(shape)) for term, shape in zip(left.split(","), shapes, strict=True)]
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for label, size in zip(term, shape, strict=True):
            sizes[label] = max(sizes.get(label, 1), size)
    everything = [label for term in terms for label in term]
    most = len({label for label in everything if label.startswith("...")})
    if arrow:
        return terms, sizes, _labels(right, len(right.replace("...", "")) + (most if "..." in right else 0))
    alone = sorted(label for label in everything if everything.count(label) == 1 and len(label) == 1)
    return terms, sizes, [*_labels("...", most), *alone]


def _labels(term: str, rank: int) -> list[str]:
    """The index of each axis; axes of an ellipsis are numbered from the last, as they are broadcast."""
    if "..." not in term:
        return list(term)
    before, after = term.split("...")
    count = rank - len(before) - len(after)
    return [*before, *(f"...{place}" for place in range(count, 0, -1)), *after]

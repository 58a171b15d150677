"""What an operator computes: multiply–accumulates and FLOPs for one image. The convention, in one place.

MACs: 1 MAC is one multiplication and the addition of its product. Only convolutions and matrix products have
MACs; biases add none. Recurrent layers have one for each weight, step, direction and sequence (peepholes none);
attention has those of queries by keys and of weights by values; an Einsum those of its operands from left to right, two
at a time, what only one of them has being summed before; a bilinear layer one for each weight and row; a deformable
convolution those of a plain one.
FLOPs: 2·MACs, plus one addition for each output of a layer with a bias (gates and softmax inside of layers are left
out), plus the operators without MACs: one for
each element of an activation function or of a sum or product of two tensors; 2 of batch normalisation (scale and
shift, statistics folded in); F·F of a pool with an F×F window for each output, one of a global pool for each
input; 3 of softmax; 2·n + 3 of local response normalisation over n channels; 5 of normalisations that measure
their statistics. Moving data (concatenation, transposition, slices, padding) costs nothing, and neither do
operators not named here. Operators have their ONNX names.
"""

from __future__ import annotations

from math import prod

__all__ = ["CONVENTION", "conv_side", "flops", "is_pool", "is_product"]

CONVENTION = (
    "1 MAC = 1 multiply–accumulate, of convolutions and matrix products only; "
    "FLOPs = 2·MACs + 1 per output with a bias + the other operators' (enxuto.summary.cost)"
)

_PRODUCTS = frozenset(
    {
        *("Conv", "ConvTranspose", "FusedConv", "QLinearConv", "ConvInteger", "DeformConv"),
        *("Gemm", "MatMul", "MatMulInteger", "QLinearMatMul", "Einsum", "Bilinear"),
        *("Attention", "LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell"),
    }
)
_POOLS = frozenset({"MaxPool", "AveragePool", "LpPool"})
_GLOBAL_POOLS = frozenset({"GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"})
_PER_ELEMENT = {
    "BatchNormalization": 2,
    "Softmax": 3,
    "LogSoftmax": 3,
    **dict.fromkeys(("InstanceNormalization", "LayerNormalization", "GroupNormalization"), 5),
    **dict.fromkeys(("Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Selu", "Tanh", "Sigmoid", "Gelu"), 1),
    **dict.fromkeys(("HardSwish", "HardSigmoid", "Silu", "Mish", "Softplus", "Erf", "Exp", "Sqrt"), 1),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Sum", "Pow", "Neg", "Max", "Min", "Abs"), 1),
}


def conv_side(size: int, kernel: int, *, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """The side of the plane behind a convolution or pool: W2 = (W1 − F + 2P)/S + 1, rounded down.

    A dilated kernel is as large as the places it spans, d·(F − 1) + 1. `padding` is that of one border.
    """
    return (size - dilation * (kernel - 1) - 1 + 2 * padding) // stride + 1


def is_product(operator: str) -> bool:
    """Whether the operator has MACs: a convolution or a matrix product."""
    return operator in _PRODUCTS


def is_pool(operator: str) -> bool:
    """Whether the operator is a pool, global ones included."""
    return operator in _POOLS or operator in _GLOBAL_POOLS


def flops(
    operator: str,
    *,
    macs: int,
    inputs: int,
    outputs: int,
    kernel: tuple[int, ...] = (),
    bias: bool = False,
    window: int = 0,
) -> int:
    """FLOPs by the convention above; `inputs` and `outputs` count elements, `window` the channels of an LRN."""
    if is_product(operator):
        return 2 * macs + (outputs if bias else 0)
    if operator in _POOLS:
        return prod(kernel) * outputs
    if operator in _GLOBAL_POOLS:
        return inputs
    if operator == "LRN":
        return (2 * window + 3) * outputs
    return _PER_ELEMENT.get(operator, 0) * outputs

"""Torch's operators (ATen) read as ONNX's: name, window, multiply–accumulates, FLOPs, receptive field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import Tensor, nn

from enxuto.summary.cost import flops
from enxuto.summary.reach import Reach

__all__ = [
    "RECURRENT",
    "VIEWS",
    "Operation",
    "is_uncounted",
    "reach_behind",
    "read_operation",
    "recurrent_macs",
]

VIEWS = frozenset(
    {
        *("view", "_unsafe_view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "expand"),
        *("t", "transpose", "permute", "slice", "select", "split", "split_with_sizes", "chunk", "unbind"),
        *("alias", "detach", "as_strided", "lift_fresh", "_to_copy", "narrow", "view_as", "diagonal"),
        *("getitem", "unsafe_split", "unsafe_chunk", "movedim", "empty", "zeros_like", "ones_like"),
    }
)

_PLAIN: Mapping[str, str] = {
    "relu": "Relu",
    "relu_": "Relu",
    "hardtanh": "Clip",
    "hardtanh_": "Clip",
    "clamp": "Clip",
    "clamp_min": "Clip",
    "leaky_relu": "LeakyRelu",
    "prelu": "PRelu",
    "_prelu_kernel": "PRelu",
    "elu": "Elu",
    "gelu": "Gelu",
    "silu": "Silu",
    "silu_": "Silu",
    "hardswish": "HardSwish",
    "hardswish_": "HardSwish",
    "hardsigmoid": "HardSigmoid",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "_softmax": "Softmax",
    "_safe_softmax": "Softmax",
    "_log_softmax": "LogSoftmax",
    "add": "Add",
    "add_": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "mul_": "Mul",
    "div": "Div",
    "pow": "Pow",
    "neg": "Neg",
    "cat": "Concat",
    "stack": "Concat",
    "constant_pad_nd": "Pad",
    "clone": "Transpose",  # a copy is made only where a view cannot show another order
    "native_batch_norm": "BatchNormalization",
    "_native_batch_norm_legit": "BatchNormalization",
    "_native_batch_norm_legit_no_training": "BatchNormalization",
    "cudnn_batch_norm": "BatchNormalization",
    "native_layer_norm": "LayerNormalization",
    "native_group_norm": "GroupNormalization",
    "embedding": "Gather",
}
_POOLS = {
    "max_pool2d_with_indices": "MaxPool",
    "max_pool2d": "MaxPool",
    "max_pool1d": "MaxPool",
    "max_pool3d_with_indices": "MaxPool",
    "avg_pool1d": "AveragePool",
    "avg_pool2d": "AveragePool",
    "avg_pool3d": "AveragePool",
}
_ADAPTIVE = {
    "_adaptive_avg_pool2d": "AveragePool",
    "adaptive_avg_pool2d": "AveragePool",
    "adaptive_avg_pool1d": "AveragePool",
    "_adaptive_avg_pool3d": "AveragePool",
    "adaptive_max_pool2d": "MaxPool",
    "adaptive_max_pool3d": "MaxPool",
}
# Places of (bias, left, right) among the operands of matrix products.
_PRODUCTS: Mapping[str, tuple[int | None, int, int]] = {
    "addmm": (0, 1, 2),
    "addmv": (0, 1, 2),
    "mv": (None, 0, 1),
    "dot": (None, 0, 1),
    "vdot": (None, 0, 1),
    "inner": (None, 0, 1),
    "baddbmm": (0, 1, 2),
    "mm": (None, 0, 1),
    "bmm": (None, 0, 1),
    "matmul": (None, 0, 1),
    "linear": (2, 0, 1),
}
_OTHER_PRODUCTS = frozenset({"_trilinear", "addbmm"})
_ATTENTION = "_scaled_dot_product"
_NAMES = """
    _cdist_forward _pdist_forward grid_sampler_2d grid_sampler_3d conv_tbc stft _native_multi_head_attention
    _transformer_encoder_layer_fwd cholesky_solve triangular_solve lstm gru rnn_tanh rnn_relu _thnn_fused_lstm_cell
    _thnn_fused_gru_cell mkldnn_rnn_layer _cudnn_rnn _grouped_mm _scaled_mm _int_mm _weight_int8pack_mm
    _weight_int4pack_mm
"""
_UNCOUNTED = frozenset(_NAMES.split())
RECURRENT = (nn.RNNBase, nn.RNNCellBase)
_BATCH_NORMS = frozenset(name for name, operator in _PLAIN.items() if operator == "BatchNormalization")


@dataclass(frozen=True)
class Operation:
    """One call of an operator: its ONNX name, window and costs, and which of its operands are biases.

    whole: whether each output sees the whole plane.
    """

    operator: str
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    macs: int = 0
    flops: int = 0
    biases: tuple[Tensor, ...] = ()
    whole: bool = False


def read_operation(name: str, args: Sequence[Any], moving: Sequence[Tensor], result: Tensor) -> Operation:
    """Read a call of the ATen operator `name`; `moving` are the operands that depend on the image."""
    inputs, outputs = moving[0].numel(), result.numel()
    if name in {"convolution", "_convolution"}:
        return _convolution(args, result)
    if name in _POOLS:
        return _pool(_POOLS[name], args, moving[0], result)
    if name in _ADAPTIVE:
        return _adaptive(_ADAPTIVE[name], moving[0], result)
    if name in {"mean", "amax"} and moving[0].dim() > 2 and _over_plane(args):
        operator = "GlobalAveragePool" if name == "mean" else "GlobalMaxPool"
        return Operation(operator, flops=flops(operator, macs=0, inputs=inputs, outputs=outputs), whole=True)
    if name in _PRODUCTS:
        return _product(name, args, result)
    if name in _OTHER_PRODUCTS or name.startswith(_ATTENTION):
        return _other_product(name, args, result)
    operator = _PLAIN.get(name, name.strip("_").title().replace("_", ""))
    counted = flops(operator, macs=0, inputs=inputs, outputs=outputs)
    return Operation(operator, flops=counted, biases=_shifts(name, operator, args))


def reach_behind(operation: Operation, before: Reach | None, result: Tensor) -> Reach | None:
    """The receptive field of what an operator writes."""
    if before is None:
        return None
    if operation.whole:
        return before.whole()
    if not operation.kernel:
        return before
    plane = tuple(result.shape[2:])
    if operation.operator == "ConvTranspose":
        return before.upsample(operation.kernel, operation.stride, plane)
    return before.window(
        operation.kernel, operation.stride, operation.dilation or (1,) * len(operation.kernel), plane
    )


def _convolution(args: Sequence[Any], result: Tensor) -> Operation:
    """(input, weight, bias, stride, padding, dilation, transposed, output padding, groups)"""
    image, weight, bias, stride, padding, dilation, transposed, _, groups = args[:9]
    operator = "ConvTranspose" if transposed else "Conv"
    places = image.numel() if transposed else result.numel()
    macs = places * prod(weight.shape[1:])
    axes = weight.dim() - 2
    return Operation(
        operator,
        kernel=tuple(weight.shape[2:]),
        stride=_per_axis(stride, axes),
        padding=_per_axis(padding, axes) * 2,
        dilation=_per_axis(dilation, axes),
        groups=int(groups),
        macs=macs,
        flops=flops(operator, macs=macs, inputs=image.numel(), outputs=result.numel(), bias=bias is not None),
        biases=() if bias is None else (bias,),
    )


def _pool(operator: str, args: Sequence[Any], image: Tensor, result: Tensor) -> Operation:
    """(input, kernel, stride, padding, …)"""
    axes = len(args[1]) if isinstance(args[1], Sequence) else 1
    kernel = _per_axis(args[1], axes)
    stride = _per_axis(args[2], axes) if len(args) > 2 and args[2] else kernel
    padding = _per_axis(args[3], axes) if len(args) > 3 else (0,) * axes
    counted = flops(operator, macs=0, inputs=image.numel(), outputs=result.numel(), kernel=kernel)
    return Operation(operator, kernel=kernel, stride=stride, padding=padding * 2, flops=counted)


def _adaptive(operator: str, image: Tensor, result: Tensor) -> Operation:
    """A pool told what plane to write: global for 1×1, else the window that divides the plane."""
    before, after = tuple(image.shape[2:]), tuple(result.shape[2:])
    if set(after) == {1}:
        counted = flops(f"Global{operator}", macs=0, inputs=image.numel(), outputs=result.numel())
        return Operation(f"Global{operator}", flops=counted, whole=True)
    stride = tuple(size // count for size, count in zip(before, after, strict=True))
    kernel = tuple(s - (n - 1) * j for s, n, j in zip(before, after, stride, strict=True))
    counted = flops(operator, macs=0, inputs=image.numel(), outputs=result.numel(), kernel=kernel)
    return Operation(operator, kernel=kernel, stride=stride, padding=(0,) * 2 * len(kernel), flops=counted)


def _product(name: str, args: Sequence[Any], result: Tensor) -> Operation:
    place, left, _ = _PRODUCTS[name]
    bias = args[place] if place is not None and len(args) > place else None
    macs = result.numel() * args[left].shape[-1]
    operator = "Gemm" if name in {"addmm", "mm", "linear"} else "MatMul"
    counted = flops(operator, macs=macs, inputs=0, outputs=result.numel(), bias=bias is not None)
    biases = () if bias is None else (bias,)
    # One row is the whole flattened plane; several are places of a sequence, which a Gemm keeps apart.
    whole = operator == "MatMul" or args[left].shape[0] == 1
    return Operation(operator, macs=macs, flops=counted, biases=biases, whole=whole)


def _other_product(name: str, args: Sequence[Any], result: Tensor) -> Operation:
    """Products of more than two tensors, or summed over their batch."""
    biases: tuple[Tensor, ...] = ()
    if name == "_trilinear":  # a bilinear layer: a MAC for each weight and row
        operator, macs = "Bilinear", args[0].numel() // args[0].shape[-1] * args[1].numel()
    elif name == "addbmm":  # (bias, left, right), summed over the batch
        operator, macs = "MatMul", result.numel() * args[1].shape[0] * args[1].shape[-1]
        biases = (args[0],)
    else:  # queries by keys, then weights by values: (…, queries, size), (…, keys, size), (…, keys, size)
        query, key, value = args[:3]
        pairs = query.numel() // query.shape[-1] * key.shape[-2]
        operator, macs = "Attention", pairs * (query.shape[-1] + value.shape[-1])
    counted = flops(operator, macs=macs, inputs=0, outputs=result.numel(), bias=bool(biases))
    return Operation(operator, macs=macs, flops=counted, biases=biases, whole=operator != "Bilinear")


def is_uncounted(name: str) -> bool:
    """Whether an ATen operator multiplies in a way that is not counted here."""
    return name in _UNCOUNTED or name.startswith(("fft_", "_fft_", "linalg_", "_linalg_"))


def recurrent_macs(module: nn.Module, image: Tensor) -> int:
    """MACs of an LSTM, GRU or RNN, or a cell of one: every weight once for each step, direction and sequence."""
    steps = image.numel() // image.shape[-1]
    return steps * sum(weight.numel() for weight in module.parameters() if weight.dim() > 1)


def _shifts(name: str, operator: str, args: Sequence[Any]) -> tuple[Tensor, ...]:
    """Return the operands that are added: the shift of a normalisation, either side of a sum."""
    if name in _BATCH_NORMS:
        candidates = args[2:3]
    elif name == "native_layer_norm":
        candidates = args[3:4]
    elif name == "native_group_norm":
        candidates = args[2:3]
    else:
        candidates = args[:2] if operator in {"Add", "Sub"} else ()
    return tuple(item for item in candidates if isinstance(item, Tensor))


def _over_plane(args: Sequence[Any]) -> bool:
    """Whether a mean goes over all axes behind batch and channels."""
    rank = args[0].dim()
    axes = args[1] if len(args) > 1 and isinstance(args[1], Sequence) else range(rank)
    return set(range(2, rank)) <= {axis % rank for axis in axes}


def _per_axis(value: Any, axes: int) -> tuple[int, ...]:
    """One number for all axes, or one each."""
    numbers = tuple(int(item) for item in value) if isinstance(value, Sequence) else (int(value),)
    return numbers * axes if len(numbers) == 1 else numbers

"""Functions of single elements, softmax, and dropout: PyTorch's modules where there are some."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from enxuto.importing.modules import Apply
from enxuto.importing.node import Built, Node, Rule

__all__ = ["ACTIVATION_RULES"]


def _module(make: Callable[[], nn.Module]) -> Rule:
    return lambda node: Built(make())


def _function(function: Any) -> Rule:
    return lambda node: Built(Apply(function))


def _clip(node: Node) -> Built:
    """Limits are attributes until opset 10, inputs since; 0 to 6 is ReLU6."""
    low, high = (_limit(node, name, position) for name, position in (("min", 1), ("max", 2)))
    if (low, high) == (0.0, 6.0):
        return Built(nn.ReLU6())
    if (low, high) == (0.0, None):
        return Built(nn.ReLU())
    if low is not None and high is not None and low < high and node.example().is_floating_point():
        return Built(nn.Hardtanh(low, high))
    return Built(
        Apply(torch.clamp, {"min": low, "max": high}) if (low, high) != (None, None) else nn.Identity()
    )


def _limit(node: Node, name: str, position: int) -> float | None:
    if node.has_attribute(name):
        found = node.float(name, 0.0)
    elif node.has(position):
        found = node.constant(position).reshape(-1)[0].item()
    else:
        return None
    return None if abs(found) > 3e38 else found


def _prelu(node: Node) -> Built:
    """One slope for all, or one a channel: `nn.PReLU`; of other shapes a function."""
    slope = node.value(1).constant
    rank = node.example().dim()
    if slope is not None and slope.ndim <= rank:
        shape = (1,) * (rank - slope.ndim) + slope.shape
        if slope.size == 1 or all(size == 1 for axis, size in enumerate(shape) if axis != 1):
            module = nn.PReLU(slope.size, device="meta")
            return Built(module, state={"weight": (1, slope.reshape(-1))})
    return Built(Apply(_leak), inputs=(0, 1))


def _leak(x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x < 0, x * slope, x)


def _hard_sigmoid(node: Node) -> Built:
    alpha, beta = node.float("alpha", 0.2), node.float("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return Built(nn.Hardsigmoid())
    return Built(Apply(_ramp, {"alpha": alpha, "beta": beta}))


def _ramp(x: Tensor, alpha: float, beta: float) -> Tensor:
    return torch.clamp(alpha * x + beta, 0.0, 1.0)


def _softmax(function: Callable[..., Tensor], module: Callable[[int], nn.Module]) -> Rule:
    """Before opset 13 all axes from `axis` on are one."""

    def rule(node: Node) -> Built:
        rank = node.example().dim()
        axis = node.int("axis", 1 if node.opset < 13 else -1) % rank
        if node.opset >= 13 or all(size == 1 for size in node.example().shape[axis + 1 :]):
            return Built(module(axis))
        return Built(Apply(_over_the_rest, {"function": function, "axis": axis}))

    return rule


def _over_the_rest(x: Tensor, function: Callable[..., Tensor], axis: int) -> Tensor:
    return function(x.flatten(axis), dim=-1).reshape(x.shape)


def _dropout(node: Node) -> Built:
    """The share is an attribute until opset 11, an input since; in evaluation mode nothing is dropped."""
    share = node.float("ratio", 0.5)
    if node.has(1):
        share = float(node.constant(1).reshape(-1)[0])
    return Built(nn.Dropout(min(share, 1.0)))


def _gelu(node: Node) -> Built:
    return Built(nn.GELU(node.text("approximate", "none")))


def _shrink(node: Node) -> Built:
    return Built(Apply(_shrunk, {"lambd": node.float("lambd", 0.5), "bias": node.float("bias", 0.0)}))


def _shrunk(x: Tensor, lambd: float, bias: float) -> Tensor:
    zero = torch.zeros_like(x)
    return torch.where(x < -lambd, x + bias, torch.where(x > lambd, x - bias, zero))


def _selu(node: Node) -> Built:
    alpha, gamma = (
        node.float("alpha", 1.67326319217681884765625),
        node.float("gamma", 1.05070102214813232421875),
    )
    return Built(Apply(_scaled_elu, {"alpha": alpha, "gamma": gamma}))


def _scaled_elu(x: Tensor, alpha: float, gamma: float) -> Tensor:
    return gamma * F.elu(x, alpha)


def _swish(x: Tensor, alpha: float) -> Tensor:
    return x * torch.sigmoid(alpha * x)


def _thresholded(node: Node) -> Built:
    return Built(nn.Threshold(node.float("alpha", 1.0), 0.0))


_TYPES = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32, 7: torch.int64, 9: torch.bool,
    10: torch.float16, 11: torch.float64, 16: torch.bfloat16,
}  # fmt: skip


def _cast(node: Node) -> Built:
    kind = _TYPES.get(node.int("to"))
    if kind is None:
        raise node.refusal(f"it casts to ONNX's type {node.int('to')}")
    same = kind == node.example().dtype
    return Built(nn.Identity() if same else Apply(Tensor.to, {"dtype": kind}))


ACTIVATION_RULES: dict[str, Rule] = {
    "Cast": _cast,
    "Celu": lambda node: Built(nn.CELU(node.float("alpha", 1.0))),
    "Clip": _clip,
    "Dropout": _dropout,
    "Elu": lambda node: Built(nn.ELU(node.float("alpha", 1.0))),
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _module(nn.Hardswish),
    "Identity": _module(nn.Identity),
    "LeakyRelu": lambda node: Built(nn.LeakyReLU(node.float("alpha", 0.01))),
    "LogSoftmax": _softmax(F.log_softmax, nn.LogSoftmax),
    "Mish": _module(nn.Mish),
    "PRelu": _prelu,
    "Relu": _module(nn.ReLU),
    "Selu": _selu,
    "Shrink": _shrink,
    "Sigmoid": _module(nn.Sigmoid),
    "Softmax": _softmax(F.softmax, nn.Softmax),
    "Softplus": lambda node: Built(nn.Softplus(threshold=1e30)),
    "Softsign": _module(nn.Softsign),
    "Swish": lambda node: Built(Apply(_swish, {"alpha": node.float("alpha", 1.0)})),
    "Tanh": _module(nn.Tanh),
    "ThresholdedRelu": _thresholded,
    **{
        name: _function(function)
        for name, function in {
            "Abs": torch.abs, "Acos": torch.acos, "Acosh": torch.acosh, "Asin": torch.asin, "Asinh": torch.asinh,
            "Atan": torch.atan, "Atanh": torch.atanh, "Ceil": torch.ceil, "Cos": torch.cos, "Cosh": torch.cosh,
            "Erf": torch.erf, "Exp": torch.exp, "Floor": torch.floor, "Log": torch.log, "Neg": torch.neg,
            "Not": torch.logical_not, "Reciprocal": torch.reciprocal, "Round": torch.round, "Sign": torch.sign,
            "Sin": torch.sin, "Sinh": torch.sinh, "Sqrt": torch.sqrt, "Tan": torch.tan, "IsNaN": torch.isnan,
        }.items()
    },
}  # fmt: skip

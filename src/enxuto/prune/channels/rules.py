"""What each ATen operator does to the names of channels; an operator that has no rule here is refused by its name.

Elementwise operators tie what meets. Convolution, matrix product and batch norm bind the rows and columns of their
parameters. Pools and means keep a channel a channel. No smaller network computes what mixes channels (softmax, layer
norm, local response norm, products of activations), so its channels must stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from enxuto.prune.channels.call import Call
from enxuto.prune.channels.layers import LAYERS, names_along
from enxuto.prune.channels.moves import MOVES
from enxuto.prune.channels.names import core, varies

__all__ = ["IGNORED", "RULES"]

Rule = Callable[[Call], Any]


def keep_names(call: Call) -> Any:
    """One operand, the same shape: activations, casts, copies, dropout's masks."""
    names = call.first_names()
    shape = call.output.shape if isinstance(call.output, Tensor) else call.output[0].shape
    names = names if names.shape == shape else names.expand(shape)
    return names if isinstance(call.output, Tensor) else [names] * len(call.output)


def elementwise(call: Call) -> Any:
    """Operands that broadcast: the channels that meet are tied.

    An operand of one channel that is broadcast over others (spatial attention) is no partner of theirs; its
    channel must stay.
    """
    shape, book = call.output.shape, call.book
    wide = [(names, names.expand(shape)) for names in call.operand_names()]
    axes = {axis for _, full in wide for axis in range(len(shape)) if varies(book.roots(full), axis)}
    partners = []
    for names, full in wide:
        broadcast = {axis for axis in axes if _size(names, axis - len(shape)) == 1}
        if broadcast:
            book.fix(names, f"one channel is broadcast over others in {call.module_path}")
        else:
            partners.append(full)
    for other in partners[1:]:
        book.tie(partners[0], other)
    names = partners[0] if partners else wide[0][1]
    for operand in call.operands():
        if call.names(operand) is None:
            _bind_constant(call, operand, names)
    return names


def _size(tensor: Tensor, axis: int) -> int:
    """Size along an axis counted from the end; 1 where the tensor does not reach so far."""
    return tensor.shape[axis] if -axis <= tensor.dim() else 1


def _bind_constant(call: Call, operand: Tensor, names: Tensor) -> None:
    """A parameter along channels is bound to them; a constant along them fixes them by its size."""
    roots = call.book.roots(names)
    along = [axis for axis in range(names.dim()) if varies(roots, axis)]
    view = call.parameter(operand)
    for axis in range(-operand.dim(), 0):
        position = names.dim() + axis
        if operand.shape[axis] == 1:
            continue
        if position in along:
            bound = None if view is None else view.axes[axis]
            if view is None or bound is None:
                call.book.fix(names, f"a constant of their number is used in {call.module_path}")
            else:
                call.book.bind(view.name, bound, names_along(call, names, position))
        elif position == 1 and not along:
            # All carry one name: one channel met as many numbers as the result has channels.
            call.book.fix(names, f"one channel is broadcast over others in {call.module_path}")


def pool(call: Call) -> Any:
    """Windows over the last axes; channels that lie along them are mixed."""
    names = call.first_names()
    rank = int(call.name.split("pool")[1][0]) if "pool" in call.name else names.dim() - 2
    outputs = [call.output] if isinstance(call.output, Tensor) else list(call.output)
    if any(varies(call.book.roots(names), axis) for axis in range(names.dim() - rank, names.dim())):
        call.fix_all("neighbouring channels are mixed")
    small = core(names)
    for axis in range(names.dim() - rank, names.dim()):
        small = small.narrow(axis, 0, 1)
    found = [small.expand(item.shape) for item in outputs]
    return found[0] if isinstance(call.output, Tensor) else found


def reduction(call: Call) -> Any:
    """Mean, sum, maximum, norm over axes; over channels it mixes them."""
    names = call.first_names()
    outputs = [call.output] if isinstance(call.output, Tensor) else list(call.output)
    axes = _reduced_axes(call, names.dim())
    if any(varies(call.book.roots(names), axis) for axis in axes):
        call.fix_all(f"{call.name} goes over all channels")
    small = core(names)
    for axis in sorted(axes, reverse=True):
        small = small.narrow(axis, 0, 1)
        if outputs[0].dim() < names.dim():
            small = small.squeeze(axis)
    found = [small.expand(item.shape) for item in outputs]
    return found[0] if isinstance(call.output, Tensor) else found


def _reduced_axes(call: Call, rank: int) -> list[int]:
    start = 2 if call.name in {"linalg_vector_norm", "norm"} else 1  # the order of the norm comes first
    given = next((item for item in call.args[start:] if isinstance(item, (list, int)) and item != []), None)
    given = call.kwargs.get("dim", given)
    if given is None or isinstance(given, bool):
        return list(range(rank))
    return [axis % rank for axis in ([given] if isinstance(given, int) else given)]


def over_axis(call: Call) -> Any:
    """Softmax and the like: of the shape of the operand, over one axis."""
    names = call.first_names()
    axis = int(call.args[1]) % names.dim()
    if varies(call.book.roots(names), axis):
        call.fix_all(f"{call.name} goes over all channels")
    return names


def mix(call: Call) -> Any:
    """Group and layer norm, products of activations: no channel of the operands can go alone."""
    reason = f"{call.name} mixes channels"
    call.fix_all(reason)
    return call.fixed_output_names(reason)


_UNARY = (
    *("relu", "silu", "sigmoid", "tanh", "hardtanh", "hardswish", "hardsigmoid", "leaky_relu", "elu", "gelu"),
    *(
        "softplus",
        "mish",
        "clamp",
        "clamp_min",
        "clamp_max",
        "abs",
        "neg",
        "exp",
        "log",
        "sqrt",
        "rsqrt",
        "sin",
    ),
    *("cos", "log1p", "expm1", "reciprocal", "square", "sign", "erf", "floor", "ceil", "round", "threshold"),
    *("log_sigmoid_forward", "celu", "selu", "softshrink", "hardshrink", "native_dropout", "bernoulli"),
    *(
        "_to_copy",
        "clone",
        "alias",
        "detach",
        "contiguous",
        "lift_fresh",
        "positive",
        "empty_like",
        "zeros_like",
    ),
    *(
        "ones_like",
        "rand_like",
        "randn_like",
        "full_like",
        "fill",
        "zero",
        "nan_to_num",
        "logical_not",
        "trunc",
    ),
    *(
        "rrelu_with_noise",
        "asinh",
        "atan",
        "sinh",
        "cosh",
        "tan",
        "isnan",
        "log2",
        "log10",
        "_softmax_backward",
    ),
)
_BINARY = (
    *("add", "sub", "rsub", "mul", "div", "pow", "maximum", "minimum", "where", "lerp", "addcmul", "addcdiv"),
    *("_prelu_kernel", "gt", "ge", "lt", "le", "eq", "ne", "logical_and", "logical_or", "fmod", "remainder"),
    *("atan2", "masked_fill", "true_divide", "floor_divide"),
)
_POOLS = (
    *(
        f"{kind}_pool{rank}d"
        for kind in ("avg", "_adaptive_avg", "adaptive_avg", "max")
        for rank in (1, 2, 3)
    ),
    *(f"max_pool{rank}d_with_indices" for rank in (2, 3)),
    *(f"adaptive_max_pool{rank}d" for rank in (2, 3)),
)
_UPSAMPLING = (
    *("upsample_nearest2d", "upsample_bilinear2d", "upsample_bicubic2d", "_upsample_nearest_exact2d"),
    *("_upsample_bilinear2d_aa", "upsample_nearest1d", "upsample_linear1d"),
)
_REDUCTIONS = (
    *(
        "mean",
        "sum",
        "amax",
        "amin",
        "max",
        "min",
        "var",
        "std",
        "prod",
        "logsumexp",
        "argmax",
        "argmin",
        "any",
    ),
    *("all", "linalg_vector_norm", "var_mean", "norm"),
)
_MIXING = (
    *(
        "native_group_norm",
        "native_layer_norm",
        "bmm",
        "baddbmm",
        "_scaled_dot_product_flash_attention_for_cpu",
    ),
    *("_scaled_dot_product_attention_math", "_scaled_dot_product_efficient_attention", "_fused_rms_norm"),
)

IGNORED = frozenset({"sym_size", "is_same_size", "new_zeros", "new_ones", "new_empty", "new_full", "size"})
"""Operators that read no more of a tensor than its type, so that their result holds no channels."""

RULES: Mapping[str, Rule] = {
    **MOVES,
    **LAYERS,
    **dict.fromkeys(_UNARY, keep_names),
    **dict.fromkeys(_BINARY, elementwise),
    **dict.fromkeys(_POOLS, pool),
    **dict.fromkeys(_UPSAMPLING, pool),
    **dict.fromkeys(_REDUCTIONS, reduction),
    **dict.fromkeys(("_softmax", "_log_softmax", "cumsum", "_safe_softmax"), over_axis),
    **dict.fromkeys(_MIXING, mix),
}
"""Rules by the operator's name; `name_` is `name` in place."""

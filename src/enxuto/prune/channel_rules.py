"""What each ATen operator does to the names of channels; an operator that has no rule here is refused by its name.

Elementwise operators tie what meets. Convolution, matrix product and batch norm bind the rows and columns of their
parameters. Pools and means keep a channel a channel. What mixes channels by their places (softmax, layer norm, local
response norm, products of activations) is computed by no smaller network, so its channels must stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from enxuto.prune.channel_call import Call, ParameterView
from enxuto.prune.channel_moves import MOVES
from enxuto.prune.channel_names import core, spread, varies

__all__ = ["IGNORED", "RULES"]

Rule = Callable[[Call], Any]


def same(call: Call) -> Any:
    """One operand, the same shape: activations, casts, copies, dropout's masks."""
    names = call.first()
    shape = call.out.shape if isinstance(call.out, Tensor) else call.out[0].shape
    names = names if names.shape == shape else names.expand(shape)
    return names if isinstance(call.out, Tensor) else [names] * len(call.out)


def elementwise(call: Call) -> Any:
    """Operands that broadcast: the channels that meet are tied.

    An operand of one channel that is broadcast over others (spatial attention) is no partner of theirs; its
    channel must stay.
    """
    shape, book = call.out.shape, call.book
    wide = [(names, names.expand(shape)) for names in call.named()]
    axes = {axis for _, full in wide for axis in range(len(shape)) if varies(book.roots(full), axis)}
    partners = []
    for names, full in wide:
        broadcast = {axis for axis in axes if _size(names, axis - len(shape)) == 1}
        if broadcast:
            book.fix(names, f"one channel is broadcast over others in {call.where}")
        else:
            partners.append(full)
    for other in partners[1:]:
        book.tie(partners[0], other)
    names = partners[0] if partners else wide[0][1]
    for operand in call.operands():
        if call.names(operand) is None:
            _meet_constant(call, operand, names)
    return names


def _size(tensor: Tensor, axis: int) -> int:
    """Size along an axis counted from the end; 1 where the tensor does not reach so far."""
    return tensor.shape[axis] if -axis <= tensor.dim() else 1


def _meet_constant(call: Call, operand: Tensor, names: Tensor) -> None:
    """A parameter along channels is bound to them; a constant along them fixes them by its size."""
    roots = call.book.roots(names)
    for axis in range(-operand.dim(), 0):
        if operand.shape[axis] == 1:
            continue
        place = names.dim() + axis
        view = call.parameter(operand)
        if not varies(roots, place):
            if place == 1 and names.shape[1] > 1:
                _broadcast_up(call, names, operand)
            elif place != 1 or view is None:
                continue
        if view is not None and view.axes[axis] is not None:
            call.book.bind(view.name, _axis(view, axis), _one_each(call, names, place))
        else:
            call.book.fix(names, f"a constant of their number is used in {call.where}")


def _broadcast_up(call: Call, names: Tensor, operand: Tensor) -> None:
    """Channels that all carry one name because a single one was broadcast against a parameter."""
    call.book.fix(names, f"one channel is broadcast over others in {call.where}")


def _axis(view: ParameterView, axis: int) -> int:
    found = view.axes[axis]
    assert found is not None
    return found


def _one_each(call: Call, names: Tensor, axis: int) -> Tensor:
    """The names along `axis`, one for each place; what shares a place is tied."""
    small = core(names)
    if small.shape[axis] != names.shape[axis]:
        small = small.expand(*small.shape[:axis], names.shape[axis], *small.shape[axis + 1 :])
    lanes = small.movedim(axis, 0).reshape(names.shape[axis], -1)
    if lanes.shape[1] > 1:
        call.book.tie(lanes, lanes[:, :1])
    return lanes[:, 0]


def convolution(call: Call) -> Any:
    """Rows of the weight make channels; its columns read them. Depthwise: both are the same channel."""
    image, weight, bias = call.args[:3]
    transposed, groups = bool(call.args[6]), int(call.args[8])
    view, names = call.parameter(weight), call.names(image)
    if view is None or names is None or view.axes != tuple(range(weight.dim())):
        call.fix_all(_computed(call, weight))
        return call.fixed_output(_computed(call, weight))
    inputs = _one_each(call, names, 1)
    if groups == 1:
        rows, columns = (1, 0) if transposed else (0, 1)
        call.book.bind(view.name, columns, inputs)
        outputs = call.book.rows(view.name, rows, weight.shape[rows])
    elif transposed or (weight.shape[1] > 1 and weight.shape[0] < groups):
        call.fix_all("a grouped transposed convolution reads it")
        return call.fixed_output("a grouped transposed convolution makes it")
    elif weight.shape[1] == 1:
        rows, outputs = 0, inputs.repeat_interleave(weight.shape[0] // groups)
        call.book.bind(view.name, 0, outputs)
        call.book.depthwise.add(view.name)
    else:
        rows, outputs = 0, _grouped(call, view.name, inputs, weight, groups)
    call.book.producers[view.name] = (view.name, rows)
    _bind_vector(call, bias, outputs)
    return spread(outputs, 1, call.out.shape)


def _grouped(call: Call, weight: str, inputs: Tensor, values: Tensor, groups: int) -> Tensor:
    """Each group reads its own part of the input; all groups must lose equally many inputs and outputs."""
    book = call.book
    first = weight not in book.grouped
    known = book.grouped.setdefault(weight, (groups, inputs))[1]
    outputs = book.rows(weight, 0, values.shape[0])
    book.tie(known, inputs)
    if first:
        book.balance(list(inputs.chunk(groups)), call.where)
        book.balance(list(outputs.chunk(groups)), call.where)
    return outputs


def linear(call: Call) -> Any:
    """addmm and mm with a parameter on the right; without one they are a product of activations."""
    bias, left, right = (None, *call.args[:2]) if call.name == "mm" else call.args[:3]
    names, view = call.names(left), call.parameter(right)
    if names is None or view is None or sorted(map(str, view.axes)) != ["0", "1"]:
        call.fix_all(_computed(call, right))
        return call.fixed_output(_computed(call, right))
    columns, rows = _axis(view, 0), _axis(view, 1)
    call.book.bind(view.name, columns, _one_each(call, names, 1))
    outputs = call.book.rows(view.name, rows, right.shape[1])
    call.book.producers[view.name] = (view.name, rows)
    _bind_vector(call, bias, outputs)
    return spread(outputs, 1, call.out.shape)


def _bind_vector(call: Call, vector: object, names: Tensor) -> None:
    """A bias or a statistic: one number a channel."""
    view = call.parameter(vector)
    if view is not None:
        call.book.bind(view.name, 0, names)
    elif vector is not None:
        call.book.fix(names, f"its parameters are computed in {call.where}")


def _computed(call: Call, weight: object) -> str:
    source = call.source(weight)
    return (
        "two activations are multiplied as matrices"
        if source is None
        else f"its weights are computed from {source}"
    )


def batch_norm(call: Call) -> Any:
    """Scale, shift and running statistics belong to the channels; so does the output."""
    names = call.first()
    channels = _one_each(call, names, 1)
    for vector in call.args[1:5]:
        if isinstance(vector, Tensor):
            _bind_vector(call, vector, channels)
    return [names, *(None for _ in call.out[1:])]


def pool(call: Call) -> Any:
    """Windows over the last axes; channels that lie along them are mixed."""
    names = call.first()
    rank = int(call.name.split("pool")[1][0]) if "pool" in call.name else names.dim() - 2
    outputs = [call.out] if isinstance(call.out, Tensor) else list(call.out)
    if any(varies(call.book.roots(names), axis) for axis in range(names.dim() - rank, names.dim())):
        call.fix_all("neighbouring channels are mixed")
    small = core(names)
    for axis in range(names.dim() - rank, names.dim()):
        small = small.narrow(axis, 0, 1)
    found = [small.expand(item.shape) for item in outputs]
    return found[0] if isinstance(call.out, Tensor) else found


def reduction(call: Call) -> Any:
    """Mean, sum, maximum, norm over axes; over channels it mixes them."""
    names = call.first()
    outputs = [call.out] if isinstance(call.out, Tensor) else list(call.out)
    axes = _reduced(call, names.dim())
    if any(varies(call.book.roots(names), axis) for axis in axes):
        call.fix_all(f"{call.name} goes over all channels")
    small = core(names)
    for axis in sorted(axes, reverse=True):
        small = small.narrow(axis, 0, 1)
        if outputs[0].dim() < names.dim():
            small = small.squeeze(axis)
    found = [small.expand(item.shape) for item in outputs]
    return found[0] if isinstance(call.out, Tensor) else found


def _reduced(call: Call, rank: int) -> list[int]:
    given = next((item for item in call.args[1:] if isinstance(item, (list, int)) and item != []), None)
    given = call.kwargs.get("dim", given)
    if given is None or isinstance(given, bool):
        return list(range(rank))
    return [axis % rank for axis in ([given] if isinstance(given, int) else given)]


def across(call: Call) -> Any:
    """Softmax and the like: of the shape of the operand, over one axis."""
    names = call.first()
    axis = int(call.args[1]) % names.dim()
    if varies(call.book.roots(names), axis):
        call.fix_all(f"{call.name} goes over all channels")
    return names


def mixing(call: Call) -> Any:
    """Group and layer norm, products of activations: no channel of the operands can go alone."""
    reason = f"{call.name} mixes channels"
    call.fix_all(reason)
    return call.fixed_output(reason)


_UNARY = (
    *("relu", "silu", "sigmoid", "tanh", "hardtanh", "hardswish", "hardsigmoid", "leaky_relu", "elu", "gelu"),
    *("softplus", "mish", "clamp", "clamp_min", "clamp_max", "abs", "neg", "exp", "log", "sqrt", "rsqrt", "sin"),
    *("cos", "log1p", "expm1", "reciprocal", "square", "sign", "erf", "floor", "ceil", "round", "threshold"),
    *("log_sigmoid_forward", "celu", "selu", "softshrink", "hardshrink", "native_dropout", "bernoulli"),
    *("_to_copy", "clone", "alias", "detach", "contiguous", "lift_fresh", "positive", "empty_like", "zeros_like"),
    *("ones_like", "rand_like", "randn_like", "full_like", "fill", "zero", "nan_to_num", "logical_not", "trunc"),
    *("rrelu_with_noise", "asinh", "atan", "sinh", "cosh", "tan", "isnan", "log2", "log10", "_softmax_backward"),
)
_BINARY = (
    *("add", "sub", "rsub", "mul", "div", "pow", "maximum", "minimum", "where", "lerp", "addcmul", "addcdiv"),
    *("_prelu_kernel", "gt", "ge", "lt", "le", "eq", "ne", "logical_and", "logical_or", "fmod", "remainder"),
    *("atan2", "masked_fill", "true_divide", "floor_divide"),
)
_POOLS = (
    *(f"{kind}_pool{rank}d" for kind in ("avg", "_adaptive_avg", "adaptive_avg", "max") for rank in (1, 2, 3)),
    *(f"max_pool{rank}d_with_indices" for rank in (2, 3)),
    *(f"adaptive_max_pool{rank}d" for rank in (2, 3)),
)
_UPSAMPLING = (
    *("upsample_nearest2d", "upsample_bilinear2d", "upsample_bicubic2d", "_upsample_nearest_exact2d"),
    *("_upsample_bilinear2d_aa", "upsample_nearest1d", "upsample_linear1d"),
)
_REDUCTIONS = (
    *("mean", "sum", "amax", "amin", "max", "min", "var", "std", "prod", "logsumexp", "argmax", "argmin", "any"),
    *("all", "linalg_vector_norm", "var_mean", "norm"),
)
_NORMS = (
    *("native_batch_norm", "_native_batch_norm_legit_no_training", "_native_batch_norm_legit"),
    *("cudnn_batch_norm", "_batch_norm_with_update", "_batch_norm_no_update", "miopen_batch_norm"),
)
_MIXING = (
    *("native_group_norm", "native_layer_norm", "bmm", "baddbmm", "_scaled_dot_product_flash_attention_for_cpu"),
    *("_scaled_dot_product_attention_math", "_scaled_dot_product_efficient_attention", "_fused_rms_norm"),
)

IGNORED = frozenset({"sym_size", "is_same_size", "new_zeros", "new_ones", "new_empty", "new_full", "size"})
"""Operators that read no more of a tensor than its type, so that their result holds no channels."""

RULES: Mapping[str, Rule] = {
    **MOVES,
    **dict.fromkeys(_UNARY, same),
    **dict.fromkeys(_BINARY, elementwise),
    **dict.fromkeys(_POOLS, pool),
    **dict.fromkeys(_UPSAMPLING, pool),
    **dict.fromkeys(_REDUCTIONS, reduction),
    **dict.fromkeys(_NORMS, batch_norm),
    **dict.fromkeys(("_softmax", "_log_softmax", "cumsum", "_safe_softmax", "sort"), across),
    **dict.fromkeys(("addmm", "mm"), linear),
    **dict.fromkeys(_MIXING, mixing),
    "convolution": convolution,
    "_convolution": convolution,
}
"""Rules by the operator's name; `name_` is `name` in place."""

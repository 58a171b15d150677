"""Layers with parameters: convolutions, matrix products and batch norms bind their rows and columns to channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from enxuto.prune.channels.call import Call, ParameterView
from enxuto.prune.channels.names import core, spread

__all__ = ["LAYERS", "names_along"]


def _axis(view: ParameterView, axis: int) -> int:
    found = view.axes[axis]
    assert found is not None
    return found


def names_along(call: Call, names: Tensor, axis: int) -> Tensor:
    """The names along `axis`, one for each position; names that share a position are tied."""
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
        call.fix_all(_computed_reason(call, weight))
        return call.fixed_output_names(_computed_reason(call, weight))
    inputs = names_along(call, names, 1)
    if groups == 1:
        rows, columns = (1, 0) if transposed else (0, 1)
        call.book.bind(view.name, columns, inputs)
        outputs = call.book.rows(view.name, rows, weight.shape[rows])
    elif transposed or (weight.shape[1] > 1 and weight.shape[0] < groups):
        call.fix_all("a grouped transposed convolution reads it")
        return call.fixed_output_names("a grouped transposed convolution makes it")
    elif weight.shape[1] == 1:
        rows, outputs = 0, inputs.repeat_interleave(weight.shape[0] // groups)
        call.book.bind(view.name, 0, outputs)
        call.book.depthwise.add(view.name)
    else:
        rows, outputs = 0, _bind_groups(call, view.name, inputs, weight, groups)
    call.book.producers[view.name] = (view.name, rows)
    _bind_vector(call, bias, outputs)
    return spread(outputs, 1, call.output.shape)


def _bind_groups(call: Call, weight: str, inputs: Tensor, values: Tensor, groups: int) -> Tensor:
    """Each group reads its own part of the input; all groups must lose equally many inputs and outputs."""
    book = call.book
    first = weight not in book.grouped
    known = book.grouped.setdefault(weight, (groups, inputs))[1]
    outputs = book.rows(weight, 0, values.shape[0])
    book.tie(known, inputs)
    if first:
        book.balance(list(inputs.chunk(groups)), call.module_path)
        book.balance(list(outputs.chunk(groups)), call.module_path)
    return outputs


def linear(call: Call) -> Any:
    """addmm and mm with a parameter on the right; without one they are a product of activations."""
    bias, left, right = (None, *call.args[:2]) if call.name == "mm" else call.args[:3]
    names, view = call.names(left), call.parameter(right)
    if names is None or view is None or sorted(map(str, view.axes)) != ["0", "1"]:
        call.fix_all(_computed_reason(call, right))
        return call.fixed_output_names(_computed_reason(call, right))
    columns, rows = _axis(view, 0), _axis(view, 1)
    call.book.bind(view.name, columns, names_along(call, names, 1))
    outputs = call.book.rows(view.name, rows, right.shape[1])
    call.book.producers[view.name] = (view.name, rows)
    _bind_vector(call, bias, outputs)
    return spread(outputs, 1, call.output.shape)


def _bind_vector(call: Call, vector: object, names: Tensor) -> None:
    """A bias or a statistic: one number a channel."""
    view = call.parameter(vector)
    if view is not None:
        call.book.bind(view.name, 0, names)
    elif vector is not None:
        call.book.fix(names, f"its parameters are computed in {call.module_path}")


def _computed_reason(call: Call, weight: object) -> str:
    source = call.source(weight)
    return (
        "two activations are multiplied as matrices"
        if source is None
        else f"its weights are computed from {source}"
    )


def batch_norm(call: Call) -> Any:
    """Scale, shift and running statistics belong to the channels; so does the output."""
    names = call.first_names()
    channels = names_along(call, names, 1)
    for vector in call.args[1:5]:
        if isinstance(vector, Tensor):
            _bind_vector(call, vector, channels)
    return [names, *(None for _ in call.output[1:])]


_NORMS = (
    *("native_batch_norm", "_native_batch_norm_legit_no_training", "_native_batch_norm_legit"),
    *("cudnn_batch_norm", "_batch_norm_with_update", "_batch_norm_no_update", "miopen_batch_norm"),
)

LAYERS: Mapping[str, Callable[[Call], Any]] = {
    "convolution": convolution,
    "_convolution": convolution,
    "addmm": linear,
    "mm": linear,
    **dict.fromkeys(_NORMS, batch_norm),
}

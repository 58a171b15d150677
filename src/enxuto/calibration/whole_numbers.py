"""What lies behind an output of whole numbers: the real numbers that a Cast, a quantizer, a rounding or a choice took.

These are judged in the output's place: they tell small errors that rounding hides, and have gradients. Not here:
ArgMax, whose scores are classes (`output_kinds.behind_arg_max`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from enxuto.calibration.measured_model import measured_model
from enxuto.calibration.sensitivity import run_groups
from enxuto.data.samples import Group
from enxuto.errors import EnxutoError
from enxuto.onnx_model import Model, int_attribute

__all__ = ["Behind", "behind_whole_numbers"]

_ROUNDS = frozenset({"Round", "Floor", "Ceil"})
_KEEPS = frozenset(
    {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Clip", "Dropout"}
)
_MAKES_WHOLE = frozenset({"Cast", "CastLike", "QuantizeLinear"})
_COUNTS = frozenset({"Add", "Sub", "Mul", "Div", "Mod", "Min", "Max"})  # of whole numbers, with a constant
_COMPARES = frozenset({"Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not"})
_DEEPEST = 24  # nodes that are looked behind at most


@dataclass(frozen=True)
class Behind:
    """Real numbers behind an output: the value's name, its arrays by group of samples, and what took them.

    least: the axis along which an ArgMin picks the least of them; None where they are not picked so.
    """

    value: str
    pieces: list[np.ndarray]
    operator: str
    least: int | None = None


def behind_whole_numbers(model: Model, name: str, groups: Sequence[Group], threads: int) -> Behind | None:
    """Return the real numbers nearest to an output of whole numbers, before any rounding; None where there are none."""
    maker = {value: node for node in model.proto.graph.node for value in node.output if value}
    chain = _chain(model, maker, name)
    if not chain:
        return None
    try:
        found = run_groups(measured_model(model, chain), groups, threads=threads)
    except EnxutoError:  # a value that can be no output
        return None
    kinds = [found[0][number].dtype.kind for number in range(len(chain))]
    place = next((number for number, kind in enumerate(kinds) if kind in "fV"), None)
    if place is None:
        return None
    reader = maker[chain[place - 1] if place else name]
    chosen = place
    for number in range(place, len(chain) - 1):
        node = maker[chain[number]]
        if node.op_type in _ROUNDS:  # has no derivative, and hides what is smaller
            chosen = number + 1
        elif node.op_type not in _KEEPS:
            break
    return Behind(
        chain[chosen],
        [outputs[chosen] for outputs in found],
        reader.op_type,
        int_attribute(reader, "axis") if reader.op_type == "ArgMin" else None,
    )


def _chain(model: Model, maker: Mapping[str, NodeProto], name: str) -> list[str]:
    """Return the values that an output is made of one by one, nearest first."""
    found: list[str] = []
    node = maker.get(name)
    while node is not None and len(found) < _DEEPEST:
        kind = node.op_type
        if kind in _COUNTS | _COMPARES:
            computed = [value for value in node.input if _is_computed(model, maker, value)]
            behind = computed[0] if len(computed) == 1 else ""
        elif kind in _KEEPS | _MAKES_WHOLE | _ROUNDS | {"ArgMin"} or (
            kind == "TopK" and list(node.output).index(name) == 1
        ):
            behind = node.input[0]
        else:
            break
        if not _is_computed(model, maker, behind):
            break
        found.append(behind)
        name, node = behind, maker.get(behind)
    return found


def _is_computed(model: Model, maker: Mapping[str, NodeProto], value: str) -> bool:
    return value in maker and value not in model and maker[value].op_type != "Constant"

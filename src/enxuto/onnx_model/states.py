"""Inputs that are states of a recurrent model, and the outputs that give them back.

A state is told by its name (`state`, `h0`, `past_key_values.0.key`) or by its use (the initial state of an LSTM, GRU or
RNN), and by an output of the same type whose shape it may have.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, NodeProto, ValueInfoProto

from enxuto.errors import UsageError, did_you_mean
from enxuto.onnx_model.dtypes import numpy_dtype
from enxuto.onnx_model.model import Model
from enxuto.onnx_model.scopes import subgraphs

__all__ = ["State", "check_feedback", "find_states", "is_called_state"]

_NAMES = re.compile(
    r"(?<![a-z])(states?|hidden|cell|past|caches?|h_?[0n]|c_?[0n]|[hc]x|[hc]_?(in|prev)|initial_[hc])(?![a-z])"
)
_LETTERS = ("h", "c")  # states where an output's name begins so: hn, c_out
_GROWS = re.compile(r"(?<![a-z])(past|caches?)(?![a-z])")  # with every step: empty before the first
_CELLS = {"LSTM": (5, 6), "GRU": (5,), "RNN": (5,)}  # the places of initial states
_MOVES = frozenset(
    {"Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "Gather"}
)


@dataclass(frozen=True)
class State:
    """An input that holds a state.

    shape: of zeros before the first step. outputs: those that may give it back, the likeliest first.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    outputs: tuple[str, ...]

    def zeros(self) -> np.ndarray:
        """Return the state before the first step."""
        return np.zeros(self.shape, self.dtype)


def find_states(model: Model) -> dict[str, State]:
    """Return the model's inputs that are states, by name."""
    graph = model.proto.graph
    named = _begins(graph, {item.name for item in graph.input if item.name not in model})
    found: dict[str, State] = {}
    for item in graph.input:
        outputs = list(graph.output)
        letter = item.name in _LETTERS
        if letter and item.name not in named:
            outputs = [one for one in outputs if one.name.startswith(item.name)]
        if item.name in model or not (letter or item.name in named or is_called_state(item.name)):
            continue
        taken = {state.outputs[0] for state in found.values()}
        state = _state(item, _by_likeness(outputs, item, taken))
        if state.outputs and state.dtype.kind in "fV":
            found[item.name] = state
    return found if len(found) < sum(item.name not in model for item in graph.input) else {}


def is_called_state(name: str) -> bool:
    """Say whether the name of an input or output is that of a state, such as `out_cache0`."""
    return _NAMES.search(_words(name)) is not None


def check_feedback(model: Model, feedback: Mapping[str, str]) -> dict[str, State]:
    """Return the states that are fed back, by input.

    Args:
        model: what is run.
        feedback: by output's name the input that it is at the next step.

    Raises:
        UsageError: a name is none of the model's, an input is fed by two outputs, or type or shape do not fit.
    """
    graph = model.proto.graph
    inputs = {item.name: item for item in graph.input if item.name not in model}
    outputs = {item.name: item for item in graph.output}
    found: dict[str, State] = {}
    for output, name in feedback.items():
        for what, given, known in (("output", output, outputs), ("input", name, inputs)):
            if given not in known:
                raise UsageError(
                    f"feedback={output}={name}: the model has no {what} {given!r}{did_you_mean(given, known)}; it has "
                    f"{', '.join(known)}",
                    code="E021",
                )
        if name in found:
            raise UsageError(f"feedback= feeds {name!r} from two outputs; give one", code="E022")
        state = _state(inputs[name], [outputs[output]])
        if not state.outputs:
            raise UsageError(
                f"feedback={output}={name}: output {output!r} ({_text(outputs[output])}) cannot be input {name!r} "
                f"({_text(inputs[name])})",
                code="E044",
            )
        found[name] = state
    if found and len(found) == len(inputs):
        raise UsageError("feedback= feeds every input; give data for one at least", code="E022")
    return found


def _state(item: ValueInfoProto, outputs: list[ValueInfoProto]) -> State:
    grows = bool(_GROWS.search(_words(item.name)))
    sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in item.type.tensor_type.shape.dim]
    # The first size that is not fixed is that of the batch; others are 1, or 0 where a state grows.
    free = [number for number, size in enumerate(sizes) if size is None]
    shape = tuple(
        size if size is not None else int(number == free[0] or not grows) for number, size in enumerate(sizes)
    )
    dtype = numpy_dtype(item.type.tensor_type.elem_type) or np.dtype(np.float32)
    return State(item.name, shape, dtype, tuple(one.name for one in outputs if _may_be(one, item)))


def _may_be(output: ValueInfoProto, item: ValueInfoProto) -> bool:
    """Say whether an output has the type and may have the shape of an input."""
    one, other = output.type.tensor_type, item.type.tensor_type
    if one.elem_type != other.elem_type:
        return False
    if not one.HasField("shape"):
        return True
    if len(one.shape.dim) != len(other.shape.dim):
        return False
    pairs = zip(one.shape.dim, other.shape.dim, strict=True)
    return all(
        a.dim_value == b.dim_value for a, b in pairs if a.HasField("dim_value") and b.HasField("dim_value")
    )


def _by_likeness(
    outputs: Sequence[ValueInfoProto], item: ValueInfoProto, taken: Collection[str]
) -> list[ValueInfoProto]:
    """Return outputs sorted by how likely they give a state back: the likeliest first.

    Sizes that are known to be the same count most, then the words of names that both have, then whether another state
    has taken the output.
    """
    called = Counter(re.findall(r"[a-z]+|[0-9]+", _words(item.name)))

    def unlikeness(output: ValueInfoProto) -> tuple[int, int, bool]:
        pairs = zip(output.type.tensor_type.shape.dim, item.type.tensor_type.shape.dim, strict=False)
        same = sum(one == other and one.WhichOneof("value") is not None for one, other in pairs)
        words = Counter(re.findall(r"[a-z]+|[0-9]+", _words(output.name)))
        return -same, -(words & called).total(), output.name in taken

    return sorted(outputs, key=unlikeness)


def _begins(graph: GraphProto, names: set[str]) -> set[str]:
    """Return which of the names are the initial state of a recurrent cell, in this graph or one within it."""
    maker: dict[str, NodeProto] = {value: node for node in graph.node for value in node.output if value}
    found = set()
    for node in graph.node:
        for place in _CELLS.get(node.op_type, ()):
            value = node.input[place] if place < len(node.input) else ""
            while value in maker and maker[value].op_type in _MOVES:
                value = maker[value].input[0]
            found |= {value} & names
        for _, inner in subgraphs(node):
            found |= _begins(inner, names)
    return found


def _words(name: str) -> str:
    """Return a name in small letters, its words apart: `hiddenState` as `hidden_state`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _text(item: ValueInfoProto) -> str:
    kind = numpy_dtype(item.type.tensor_type.elem_type)
    sizes = (
        str(dim.dim_value) if dim.HasField("dim_value") else "any" for dim in item.type.tensor_type.shape.dim
    )
    return f"{'no numbers' if kind is None else kind.name} ({', '.join(sizes)})"

"""Follow weights forward to the operators that use them, keeping track of where each axis comes from.

A weight is followed through nodes that move or rename it (`movements`), into functions and subgraphs, and out of the
branches of an If. Through a Loop or Scan it is followed where every round sees the same values: names from outside,
states that the body hands on unchanged, and inputs that Scan cuts into slices.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto

from enxuto.onnx_model.attributes import has_attribute, ints_attribute
from enxuto.onnx_model.movements import ELEMENTWISE, JOINED, MOVERS, Moved, move
from enxuto.onnx_model.scopes import STANDARD_DOMAINS, Slot, scopes, subgraphs

__all__ = ["Reader", "Tracer", "Use"]

_LARGEST_CONSTANT = 64  # elements; axes and shapes are far smaller

Reader = tuple[str, NodeProto, int]
"""The path of a scope, a node there, and which of its inputs is meant."""


@dataclass(frozen=True)
class Use:
    """`node` reads a weight as input `index`, in `shape`; axis i of that is axis `axes[i]` of the weight.

    path: of the scope that the node is in. Where the node reads a part of the weight, or several weights joined, the
    sizes in `shape` may be those of the whole weight. Their number is right.
    """

    node: NodeProto
    index: int
    shape: tuple[int, ...]
    axes: tuple[int | None, ...]
    path: str = ""


@dataclass(frozen=True)
class _Value:
    """A name in a scope that holds the weight, perhaps transposed, reshaped or cut."""

    scope_path: str
    name: str
    moved: Moved


class Tracer:
    """Who reads which name in which scope; made once per model. `functions`: scopes by domain and name."""

    def __init__(
        self, proto: ModelProto, slots: Mapping[str, Slot], load: Callable[[str], np.ndarray]
    ) -> None:
        self._slots = slots
        self._load = load
        self._scopes = {scope.path: scope for scope in scopes(proto)}
        self._made = {path: _defined_names(scope.body) for path, scope in self._scopes.items()}
        self.functions = {
            (scope.body.domain, scope.body.name): scope
            for scope in self._scopes.values()
            if isinstance(scope.body, FunctionProto)
        }
        self._readers: dict[tuple[str, str], list[Reader]] = defaultdict(list)
        self._makers: dict[tuple[str, str], NodeProto] = {}
        self._calls: dict[str, list[tuple[str, NodeProto]]] = defaultdict(list)
        self._exits: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
        self._constant: dict[tuple[str, str], bool] = {}
        for path, scope in self._scopes.items():
            for node in scope.body.node:
                for index, name in enumerate(node.input):
                    if name:
                        self._readers[self._defining_path(path, name), name].append((path, node, index))
                self._makers.update({(path, name): node for name in node.output})
                self._note_exits(path, node)

    def readers(self, path: str, name: str) -> Sequence[Reader]:
        """Who reads what is called `name` in the scope at `path`, where it is made."""
        return self._readers.get((path, name), ())

    def maker(self, path: str, name: str) -> NodeProto | None:
        """Return the node that makes what is called `name` in the scope at `path`; None for inputs and weights."""
        return self._makers.get((self._defining_path(path, name), name))

    def follow(self, slot: Slot) -> Iterator[Use]:
        """All operators that read a weight, seen through those that only move or rename it."""
        whole = Moved.whole(tuple(slot.tensor.dims))
        waiting = [_Value(slot.scope_path, slot.local_name, whole)]
        seen: set[tuple[str, str]] = set()
        while waiting:
            value = waiting.pop()
            if (value.scope_path, value.name) in seen:
                continue
            seen.add((value.scope_path, value.name))
            for path, node, index in self.readers(value.scope_path, value.name):
                passed = self._follow_through(value, path, node, index)
                if passed is None:
                    yield Use(node, index, value.moved.shape, value.moved.axes, path)
                else:
                    waiting.extend(passed)
            for path, name in self._exits.get((value.scope_path, value.name), ()):
                waiting.append(_Value(path, name, value.moved))

    def _note_exits(self, path: str, node: NodeProto) -> None:
        """Remember under which names a node gives out what its branches or its function end with."""
        function = self.functions.get((node.domain, node.op_type))
        if function is not None:
            self._calls[function.path].append((path, node))
            bodies = [(function.path, list(function.body.output))]
        elif node.op_type == "If" and node.domain in STANDARD_DOMAINS:
            bodies = [(path + step, [item.name for item in graph.output]) for step, graph in subgraphs(node)]
        else:
            return
        for inner, names in bodies:
            for inside, outside in zip(names, node.output, strict=False):
                self._exits[self._defining_path(inner, inside), inside].append((path, outside))

    def _defining_path(self, path: str, name: str) -> str:
        """Path of the innermost scope around `path` that makes `name`; subgraphs see names from outside."""
        inner: str | None = path
        while inner is not None:
            if name in self._made[inner]:
                return inner
            inner = self._scopes[inner].parent
        return path

    def _follow_through(self, value: _Value, path: str, node: NodeProto, index: int) -> list[_Value] | None:
        """The values that a node only hands on, or None for a node that uses it."""
        function = self.functions.get((node.domain, node.op_type))
        if function is not None and index < len(function.body.input):
            return [_Value(function.path, str(function.body.input[index]), value.moved)]
        if not node.output or node.domain not in STANDARD_DOMAINS:
            return None
        if node.op_type in {"Loop", "Scan"}:
            return _into_rounds(value, path, node, index)
        if not self._hands_on(value, path, node, index):
            return None
        second = "shape" if node.op_type in {"Reshape", "Expand"} else "axes"
        moved = move(node, self._argument(node, path, second), value.moved)
        return None if moved is None else [_Value(path, name, moved) for name in node.output if name]

    def _hands_on(self, value: _Value, path: str, node: NodeProto, index: int) -> bool:
        """Say whether what a node gives out is the weight, or the weight with other constants."""
        if node.op_type in ELEMENTWISE and not value.moved.is_wide:
            return False
        if node.op_type in JOINED:
            return all(self._is_constant(path, name) for name in node.input if name)
        return index == 0 and node.op_type in MOVERS

    def _is_constant(self, path: str, name: str) -> bool:
        """Say whether a value follows from weights alone, by nodes that move and join them."""
        place = self._defining_path(path, name), name
        if place[0] + name in self._slots:
            return True
        if place not in self._constant:
            self._constant[place] = False  # of a circle nothing is known
            maker = self._makers.get(place)
            if maker is None:
                self._constant[place] = self._is_given_constants(*place)
            elif maker.domain in STANDARD_DOMAINS and (maker.op_type in MOVERS or maker.op_type in JOINED):
                self._constant[place] = all(self._is_constant(place[0], item) for item in maker.input if item)
        return self._constant[place]

    def _is_given_constants(self, path: str, name: str) -> bool:
        """Say whether a name is a function's input for which every call gives a constant."""
        calls = self._calls.get(path, [])
        if not calls:
            return False
        index = (
            list(self._scopes[path].body.input).index(name) if name in self._scopes[path].body.input else -1
        )
        return all(
            0 <= index < len(node.input) and self._is_constant(caller, node.input[index])
            for caller, node in calls
        )

    def _argument(self, node: NodeProto, path: str, name: str) -> list[int] | None:
        """Integers given by an attribute (older opsets) or by a constant second input."""
        if has_attribute(node, name):
            return list(ints_attribute(node, name))
        if len(node.input) < 2 or not node.input[1]:
            return None
        slot = self._slots.get(self._defining_path(path, node.input[1]) + node.input[1])
        if slot is None or math.prod(slot.tensor.dims) > _LARGEST_CONSTANT:
            return None
        values = self._load(slot.name)
        return [int(value) for value in values.reshape(-1)] if values.dtype.kind in "iu" else None


def _into_rounds(value: _Value, path: str, node: NodeProto, index: int) -> list[_Value] | None:
    """The value that the body of a Loop or Scan sees in every round, or None where rounds change it."""
    found = next(iter(subgraphs(node)), None)
    if found is None or index >= len(found[1].input):
        return None
    step, body = found
    name = body.input[index].name
    sliced = len(body.input) if node.op_type == "Loop" else len(body.input) - _scan_inputs(node)
    if index >= sliced:  # Scan takes a slice a round, along the first axis or the one that it names
        axes = ints_attribute(node, "scan_input_axes")
        moved = value.moved.without(axes[index - sliced] if index - sliced < len(axes) else 0)
        return None if moved is None else [_Value(path + step, name, moved)]
    output = index - 1 if node.op_type == "Loop" else index  # a Loop's body reads the round too
    if not 0 <= output < len(body.output):
        return None
    source, makers = body.output[output].name, {n.output[0]: n for n in body.node if n.op_type == "Identity"}
    for _ in range(len(makers)):
        source = makers[source].input[0] if source in makers else source
    return [_Value(path + step, name, value.moved)] if source == name else None


def _scan_inputs(node: NodeProto) -> int:
    return next((int(item.i) for item in node.attribute if item.name == "num_scan_inputs"), 0)


def _defined_names(body: GraphProto | FunctionProto) -> set[str]:
    made = {name for node in body.node for name in node.output}
    if isinstance(body, FunctionProto):
        return made | set(body.input)
    return made | {item.name for item in body.input} | {item.name for item in body.initializer}

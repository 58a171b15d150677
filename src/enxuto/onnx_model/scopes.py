"""Walk a model's graphs and find its weights, in one fixed order.

A *scope* is the main graph, a subgraph (a branch of If, the body of Loop or Scan), or a model-local
function. Order: the main graph, then its subgraphs breadth first in node order, then the functions, each
followed by its subgraphs; in a scope first the initializers, then the Constant nodes. Names: in the main
graph the tensor's own name (for a Constant node, its output's); elsewhere with the path in front,
`<node output>.<attribute>/` for a subgraph and `<domain>:<function>[:<overload>]/` for a function, so
`y.then_branch/w`. Nothing else goes into names and order, so that a skeleton has the same as the model it
came from.

A name holds its whole path, so that a few bytes could make names of any length (a long label over thousands of
subgraphs). A model whose paths together are longer than `8 · its bytes + 2**24` is refused, each path
counted once for its graph and once for each node and initializer in it.

Left out: strings and element types without a numpy counterpart, sparse initializers, `value_float(s)` and
`value_int(s)` of Constant, tensors in other attributes, training information, and tensors without a name or
with a name used earlier in the same scope. All those stay in the graph as they are.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto

from enxuto.errors import ModelError
from enxuto.onnx_model.attributes import attribute
from enxuto.onnx_model.dtypes import numpy_dtype

__all__ = [
    "FREE_INITIALIZERS",
    "STANDARD_DOMAINS",
    "Location",
    "Scope",
    "Slot",
    "read_counts",
    "reads_of",
    "scopes",
    "subgraphs",
    "weight_slots",
]

Location = Literal["initializer", "constant"]
STANDARD_DOMAINS = frozenset({"", "ai.onnx"})
_FREE_PATHS = 1 << 24  # characters
_PATHS_PER_BYTE = 8
FREE_INITIALIZERS = 4  # the IR version from which initializers need not be listed as inputs


@dataclass(frozen=True)
class Scope:
    """One graph or function; `path` precedes its weights' names, `parent` is that of the graph around."""

    path: str
    body: GraphProto | FunctionProto
    parent: str | None = None


@dataclass(frozen=True)
class Slot:
    """One weight: its unique name, the scope it lives in, and its name there."""

    name: str
    local_name: str
    scope_path: str
    tensor: TensorProto
    location: Location


def scopes(proto: ModelProto) -> Iterator[Scope]:
    """All scopes of a model in the order of the head of this file; `ModelError` where paths are too long for it."""
    paths = _Paths(proto)
    yield from _with_subgraphs(Scope("", proto.graph), paths)
    for function in proto.functions:
        overload = f":{function.overload}" if function.overload else ""
        first = Scope(f"{function.domain}:{function.name}{overload}/", function)
        paths.count(first)
        yield from _with_subgraphs(first, paths)


def subgraphs(node: NodeProto) -> Iterator[tuple[str, GraphProto]]:
    """(path element, graph) of the graphs in a node's attributes."""
    for item in node.attribute:
        if item.type == AttributeProto.GRAPH:
            yield f"{_label(node)}.{item.name}/", item.g
        elif item.type == AttributeProto.GRAPHS:
            for index, graph in enumerate(item.graphs):
                yield f"{_label(node)}.{item.name}.{index}/", graph


def weight_slots(proto: ModelProto) -> dict[str, Slot]:
    """All weights of a model by unique name, in order."""
    found: dict[str, Slot] = {}
    for scope in scopes(proto):
        for local_name, tensor, location in _tensors(scope.body):
            name = scope.path + local_name
            if local_name and name not in found and numpy_dtype(tensor.data_type) is not None:
                found[name] = Slot(name, local_name, scope.path, tensor, location)
    return found


class _Paths:
    """Counts the characters that paths take, against what the model's bytes pay for."""

    def __init__(self, proto: ModelProto) -> None:
        self._proto = proto
        self._spent = 0
        self._most: int | None = None

    def count(self, scope: Scope) -> None:
        """Count a scope's path for itself and for whatever may be named in it."""
        body = scope.body
        inside = len(body.node) + (len(body.initializer) if isinstance(body, GraphProto) else 0)
        self._spent += len(scope.path) * (1 + inside)
        if self._spent <= _FREE_PATHS:
            return
        if self._most is None:  # only now, as it takes as long as writing the model
            self._most = _FREE_PATHS + _PATHS_PER_BYTE * self._proto.ByteSize()
        if self._spent > self._most:
            raise ModelError(
                "the names that lead to its subgraphs are too long for a model of its size; it was made to hurt",
                code="E031",
            )


def reads_of(node: NodeProto) -> list[str]:
    """Return all names that a node reads of its graph: its inputs, and what its subgraphs read from outside."""
    found = [name for name in node.input if name]
    for _, graph in subgraphs(node):
        made = {name for inner in graph.node for name in inner.output}
        made |= {item.name for item in (*graph.input, *graph.initializer)}
        inside = [name for inner in graph.node for name in reads_of(inner)]
        inside.extend(item.name for item in graph.output)
        found.extend(name for name in inside if name not in made)
    return found


def read_counts(proto: ModelProto) -> Counter[str]:
    """How often each name is read: by nodes of all graphs, and as an output of any graph."""
    found: Counter[str] = Counter()
    for scope in scopes(proto):
        found.update(name for node in scope.body.node for name in node.input)
        if isinstance(scope.body, GraphProto):
            found.update(item.name for item in scope.body.output)
    return found


def _with_subgraphs(first: Scope, paths: _Paths) -> Iterator[Scope]:
    waiting = deque([first])
    while waiting:
        scope = waiting.popleft()
        yield scope
        for node in scope.body.node:
            for step, graph in subgraphs(node):
                inner = Scope(scope.path + step, graph, scope.path)
                paths.count(inner)
                waiting.append(inner)


def _tensors(body: GraphProto | FunctionProto) -> Iterator[tuple[str, TensorProto, Location]]:
    if isinstance(body, GraphProto):
        for tensor in body.initializer:
            yield tensor.name, tensor, "initializer"
    for node in body.node:
        if node.op_type == "Constant" and node.domain in STANDARD_DOMAINS and len(node.output) == 1:
            value = attribute(node, "value")
            if value is not None and value.HasField("t"):
                yield node.output[0], value.t, "constant"


def _label(node: NodeProto) -> str:
    """What a node is called in paths: its first named output, which is unique in a graph."""
    return next((name for name in node.output if name), node.name or node.op_type)

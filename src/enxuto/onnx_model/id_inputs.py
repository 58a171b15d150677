"""Which inputs of a model are ids, and which are masks beside them: read from what the graph does with them.

Ids point: a Gather or the like picks by them, through moves, casts, parts of them (Slice, Split, Gather), constants
added to them, and what libraries do so that negative ids count from the end (Less, Where, Mul, Add). What points
nowhere, beside an input of the same rank that does, is a mask. Left out: ids within subgraphs and operators of other
domains, of which nothing is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, TensorProto

from enxuto.onnx_model.attributes import int_attribute
from enxuto.onnx_model.id_limits import id_limits
from enxuto.onnx_model.model import Model
from enxuto.onnx_model.scopes import STANDARD_DOMAINS, reads_of, subgraphs

__all__ = ["IdInputs", "find_id_inputs"]

_MOVES = frozenset(
    {
        "Cast", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Expand", "Tile", "Slice",
        "Split", "Gather", "GatherElements", "GatherND",
    }
)  # fmt: skip
_COMPARES = frozenset(
    {"Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal", "Not", "And", "Or", "Xor"}
)
_SHAPES = frozenset({"Shape", "Size"})
_CHANGES = frozenset(
    {"Sub", "Mul", "Div", "Mod", "Clip", "Min", "Max", "Neg", "Abs", "Floor", "Ceil", "Round"}
)
_PICKS = {
    "Gather": 1, "GatherElements": 1, "GatherND": 1, "Scatter": 1, "ScatterElements": 1, "ScatterND": 1, "OneHot": 0,
}  # fmt: skip
_TABLE_MOVES = frozenset({"Cast", "Identity", "DequantizeLinear"})  # which keep rows
_WHOLE = frozenset(
    {
        TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64,
        TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64,
    }
)  # fmt: skip
_REAL = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16})
_LEAST_RANK = 2  # of masks: single numbers beside ids may be times or lengths
_MOST_ADDED = 1 << 16  # numbers of a constant that is added to ids

_Held = Mapping[str, int | None]
"""By input whose values a tensor holds, what was added to them; None where they were changed in other ways."""


@dataclass(frozen=True)
class IdInputs:
    """What a graph says of the whole numbers that it is fed.

    limits: by input, a number that ids are to stay below so that they fit each table that some of them point into.
    exact: those of them that hold for all of an input's ids (`id_limits`). real: inputs of real numbers of which
    nothing but ids is made. masks: inputs of whole numbers that point nowhere, beside ids of the same rank.
    """

    limits: Mapping[str, int]
    exact: Mapping[str, int]
    real: frozenset[str] = frozenset()
    masks: frozenset[str] = frozenset()


def find_id_inputs(model: Model) -> IdInputs:
    """Return which inputs of a model are ids and masks, and how large ids may be."""
    fed = [item for item in model.proto.graph.input if item.name not in model]
    kinds = {item.name: item.type.tensor_type.elem_type for item in fed}
    ranks = {item.name: len(item.type.tensor_type.shape.dim) for item in fed}
    follower = _Follower(model, kinds)
    for node in model.proto.graph.node:
        follower.follow(node)
    real = {name for name in follower.limits if kinds[name] in _REAL} - follower.mixed
    ids = {ranks[name] for name in follower.pointing if kinds[name] in _WHOLE or name in real}
    masks = {
        name
        for name in follower.used - follower.pointing - follower.unknown
        if kinds[name] in _WHOLE and ranks[name] >= _LEAST_RANK and ranks[name] in ids
    }
    exact = id_limits(model)
    return IdInputs({**follower.limits, **exact}, exact, frozenset(real), frozenset(masks))


class _Follower:
    """Follows the values of inputs through a graph, node by node.

    limits: as in `IdInputs`. pointing: inputs that something is picked by. used: those that anything reads. unknown:
    those read where nothing is followed. mixed: those of real numbers that are not only made whole.
    """

    def __init__(self, model: Model, kinds: Mapping[str, int]) -> None:
        self.limits: dict[str, int] = {}
        self.pointing: set[str] = set()
        self.used: set[str] = set()
        self.unknown: set[str] = set()
        self.mixed: set[str] = set()
        self._model = model
        self._held: dict[str, _Held] = {name: {name: 0} for name in kinds}
        self._real = {name for name, kind in kinds.items() if kind in _REAL}
        self._rows = {name: model.info(name).shape for name in model.weight_names}
        self._yes: set[str] = set()  # values of yes or no, also as numbers
        self._kept: set[str] = set()  # ids times yes or no

    def follow(self, node: NodeProto) -> None:
        """Follow the inputs through one node, whose own inputs were made before."""
        reads = [name for name in reads_of(node) if name in self._held]
        self.used.update(one for name in reads for one in self._held[name])
        if any(subgraphs(node)) or node.domain not in STANDARD_DOMAINS:
            self.unknown.update(one for name in reads for one in self._held[name])
            self.mixed.update(one for name in reads for one in self._held[name])
            return
        self._note_real(node)
        self._note_pick(node)
        if node.op_type in _TABLE_MOVES and node.input[0] in self._rows:
            self._rows[node.output[0]] = self._rows[node.input[0]]
        if node.op_type in _COMPARES:
            self._yes.update(node.output)
            return
        held = self._result(node)
        for name in node.output if held else ():
            self._held[name] = held

    def _note_real(self, node: NodeProto) -> None:
        """Note what becomes of real numbers: whole ones, the same elsewhere, or anything else."""
        for place, name in enumerate(node.input):
            if name not in self._real:
                continue
            moved = (node.op_type in _MOVES and place == 0) or node.op_type == "Concat"
            if moved and not (node.op_type == "Cast" and int_attribute(node, "to") in _WHOLE):
                self._real.update(node.output)
            elif not moved and node.op_type not in _SHAPES:
                self.mixed.update(self._held[name])

    def _note_pick(self, node: NodeProto) -> None:
        place = _PICKS.get(node.op_type)
        if place is None or node.input[place] not in self._held:
            return
        held = self._held[node.input[place]]
        self.pointing.update(held)
        shape, axis = self._rows.get(node.input[0]), int_attribute(node, "axis")
        if node.op_type != "Gather" or not shape or not -len(shape) <= axis < len(shape):
            return
        for name, added in held.items():
            if added is not None:
                most = max(1, shape[axis] - added)
                self.limits[name] = min(most, self.limits.get(name, most))

    def _result(self, node: NodeProto) -> _Held:
        """Return what a node's outputs hold of inputs; nothing where they hold none."""
        kind, given = node.op_type, node.input
        if kind in _MOVES:
            for known in (self._yes, self._kept):
                if given[0] in known:
                    known.update(node.output)
            return self._held.get(given[0], {})
        held = [self._held[name] for name in given if name in self._held]
        if kind in ("Concat", "Where"):
            return _nearest(held)
        if kind == "Mul" and len(held) == 1 and not self._yes.isdisjoint(given):
            self._kept.update(node.output)
            return held[0]
        if kind == "Add" and len(held) == 1:
            added = self._largest(given[1] if given[0] in self._held else given[0])
            return {
                name: None if added is None or before is None else before + added
                for name, before in held[0].items()
            }
        if kind == "Add" and self._kept.issuperset(given):
            return _nearest(held)
        return {name: None for one in held for name in one} if kind == "Add" or kind in _CHANGES else {}

    def _largest(self, name: str) -> int | None:
        """Return the largest number of a constant, None for what is none or has no whole numbers."""
        if name not in self._model or not 0 < self._model.info(name).elements <= _MOST_ADDED:
            return None
        values = np.asarray(self._model.load(name), np.float64)
        most = float(values.max())
        return int(most) if np.isfinite(values).all() and most.is_integer() else None


def _nearest(several: list[_Held]) -> _Held:
    """Return what is held where one of several is chosen: ids as they are, if they are among it.

    Where negative ids count from the end, a table's rows are added to those alone.
    """
    found: dict[str, int | None] = {}
    for held in several:
        for name, added in held.items():
            before = found.get(name)
            known = [one for one in (before, added) if one is not None]
            found[name] = min(known, key=abs) if known else None
    return found

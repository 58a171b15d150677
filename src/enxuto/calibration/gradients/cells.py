"""Recurrent cells written out as products, sums and sigmoids, step by step, so that gradients flow through them.

`unroll_cells` replaces every LSTM, GRU and RNN by its equations as ONNX's operators define them, for sequences of a
known length. What the input adds to all gates of all steps is one value, `gates_name(node)` (steps, directions, batch,
gates × hidden): the gradient there is that of the gates before their activation, for the input's weights as for the
hidden state's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from enxuto.calibration.gradients.graph import UnsupportedError
from enxuto.onnx_model import STANDARD_DOMAINS, Model, has_attribute, int_attribute, text_attribute
from enxuto.onnx_model.tensors import InMemory, clear_bytes

__all__ = ["CELLS", "gates_name", "is_cell", "unroll_cells"]

CELLS: Mapping[str, int] = {"LSTM": 4, "GRU": 3, "RNN": 1}
"""Operators, and how many gates each has."""

_MOST_STEPS = 96  # written out: each takes some fifteen nodes forwards and twice as many backwards
_AXES_ARE_INPUTS = 13  # the opset from which Split and Unsqueeze take sizes and axes as inputs
_OWN_FORMS = ("activation_alpha", "activation_beta", "clip", "input_forget")


def is_cell(node: NodeProto) -> bool:
    """Say whether a node is a recurrent cell."""
    return node.op_type in CELLS and node.domain in STANDARD_DOMAINS


def gates_name(node: NodeProto) -> str:
    """Return the name of what a cell's input adds to its gates, which the unrolled model has."""
    return f"gates of {next(name for name in node.output if name)}"


def unroll_cells(model: Model, read: Mapping[str, np.ndarray]) -> Model:
    """Return the model with its recurrent cells written out, in float32 whatever floats they compute with.

    read: the cells' inputs X, by name, of which shapes and types count. Raises `UnsupportedError` for cells of other
    forms than the usual ones (activations of their own, clipping, peepholes, sequences of several lengths, batch first)
    and for long sequences.
    """
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    del proto.graph.node[:]
    writer = _Writer(
        max((item.version for item in proto.opset_import if item.domain in STANDARD_DOMAINS), default=1)
    )
    for node in model.proto.graph.node:
        if not is_cell(node):
            writer.nodes.append(node)
            continue
        given = read[node.input[0]]
        _check(node, len(given))
        _Cell(writer, node, len(given), helper.np_dtype_to_tensor_dtype(given.dtype)).write()
    proto.graph.node.extend(writer.nodes)
    for name, array in writer.constants.items():
        tensor = numpy_helper.from_array(array, name)
        clear_bytes(tensor)
        proto.graph.initializer.append(tensor)
    data = {name: InMemory(array) for name, array in writer.constants.items()}
    return model.with_proto(proto, data)


def _check(node: NodeProto, steps: int) -> None:
    own = [name for name in _OWN_FORMS if has_attribute(node, name)]
    if own or _own_activations(node) or int_attribute(node, "layout", 0) or _unusual(node):
        raise UnsupportedError(f"no gradient is known here for this form of {node.op_type}")
    if not 0 < steps <= _MOST_STEPS:
        raise UnsupportedError(
            f"no gradient is known here for {node.op_type} of {steps} steps, more than {_MOST_STEPS}"
        )


def _own_activations(node: NodeProto) -> bool:
    """Say whether a cell's functions are others than those of the operator's definition."""
    given = next((list(item.strings) for item in node.attribute if item.name == "activations"), [])
    usual = {"LSTM": [b"Sigmoid", b"Tanh", b"Tanh"], "GRU": [b"Sigmoid", b"Tanh"], "RNN": [b"Tanh"]}[
        node.op_type
    ]
    return bool(given) and given != usual * (len(given) // len(usual))


def _unusual(node: NodeProto) -> list[int]:
    """Return the places of inputs that are given and not written out: lengths of sequences, and peepholes."""
    return [place for place in (4, 7) if len(node.input) > place and node.input[place]]


@dataclass
class _Writer:
    """Collects nodes and constants."""

    opset: int
    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    def op(self, stem: str, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; return its output's name."""
        name = f"{stem} {len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def split(self, stem: str, value: str, sizes: Sequence[int], axis: int) -> list[str]:
        """Return the parts of a value along an axis."""
        if len(sizes) == 1:
            return [value]
        names = [f"{stem} {len(self.nodes)} part {number}" for number in range(len(sizes))]
        if self.opset < _AXES_ARE_INPUTS:
            self.nodes.append(helper.make_node("Split", [value], names, axis=axis, split=list(sizes)))
        else:
            given = self.constant(f"{stem} sizes {len(self.nodes)}", np.asarray(sizes, np.int64))
            self.nodes.append(helper.make_node("Split", [value, given], names, axis=axis))
        return names

    def axis(self, stem: str, kind: str, value: str, axis: int, output: str = "") -> str:
        """Add a Squeeze or Unsqueeze of one axis."""
        name = output or f"{stem} {len(self.nodes)}"
        if self.opset < _AXES_ARE_INPUTS:
            self.nodes.append(helper.make_node(kind, [value], [name], axes=[axis]))
        else:
            given = self.constant(f"{stem} axis {len(self.nodes)}", np.asarray([axis], np.int64))
            self.nodes.append(helper.make_node(kind, [value, given], [name]))
        return name

    def constant(self, name: str, array: np.ndarray) -> str:
        """Add a constant."""
        self.constants[name] = array
        return name


@dataclass
class _Cell:
    """One cell that is written out. All values have the axes (steps, directions, batch, width).

    kind: the type of its inputs. What is written out is float32: around each of hundreds of nodes for halves ONNX
    Runtime would put casts, and crashes on some such graphs.
    """

    writer: _Writer
    node: NodeProto
    steps: int
    kind: int = TensorProto.FLOAT

    def write(self) -> None:
        """Add the nodes that give the cell's outputs."""
        node, writer = self.node, self.writer
        self.stem = f"unrolled {next(name for name in node.output if name)}"
        self.hidden = int_attribute(node, "hidden_size")
        directions = {"forward": [1], "reverse": [-1], "bidirectional": [1, -1]}[
            text_attribute(node, "direction") or "forward"
        ]
        count = CELLS[node.op_type]
        self.inputs = [
            name
            if not name or self.kind == TensorProto.FLOAT
            else writer.op(self.stem, "Cast", name, to=TensorProto.FLOAT)
            for name in node.input
        ]
        x = writer.axis(self.stem, "Unsqueeze", self.inputs[0], 1)
        weights = writer.op(self.stem, "Transpose", self.inputs[1], perm=[0, 2, 1])  # d i (g h)
        gates = gates_name(node)
        writer.nodes.append(helper.make_node("MatMul", [x, weights], [gates]))
        self.state_weights = self._by_direction(
            writer.op(self.stem, "Transpose", self.inputs[2], perm=[0, 2, 1]), len(directions), 0
        )
        biases = self._biases(len(directions), count)
        by_direction = self._by_direction(gates, len(directions), 1)
        starts = [self._start(place, len(directions), x) for place in (5, 6)]
        found = []
        for number, way in enumerate(directions):
            parts = writer.split(self.stem, by_direction[number], [1] * self.steps, 0)
            state = [starts[0][number], starts[1][number]]
            made = []
            for part in parts[::way]:
                state = self._step(part, state, number, biases[number])
                made.append(state[0])
            found.append((made[::way], state))
        self._outputs(found)

    def _by_direction(self, value: str, directions: int, axis: int) -> list[str]:
        return self.writer.split(self.stem, value, [1] * directions, axis)

    def _biases(self, directions: int, count: int) -> list[tuple[str, str]]:
        """Return the biases of inputs and of states of each direction; "" where there are none."""
        if len(self.inputs) < 4 or not self.inputs[3]:
            return [("", "")] * directions
        found = []
        for one in self._by_direction(self.inputs[3], directions, 0):
            first, second = self.writer.split(self.stem, one, [count * self.hidden] * 2, 1)
            found.append((first, second))
        return found

    def _start(self, place: int, directions: int, x: str) -> list[str]:
        """Return the first states by direction: given, or zeros."""
        if self.node.op_type != "LSTM" and place == 6:
            return [""] * directions
        if len(self.inputs) > place and self.inputs[place]:
            given = self.writer.axis(self.stem, "Unsqueeze", self.inputs[place], 0)
            return self._by_direction(given, directions, 1)
        first = self.writer.split(self.stem, gates_name(self.node), [1] * self.steps, 0)[0]
        one = self._by_direction(first, directions, 1)[0]
        width = CELLS[self.node.op_type] * self.hidden
        nothing = self.writer.constant(
            f"{self.stem} nothing {place}", np.zeros((width, self.hidden), np.float32)
        )
        # A product with zeros has the batch's size, whatever it is.
        return [self.writer.op(self.stem, "MatMul", one, nothing)] * directions

    def _step(self, part: str, state: list[str], number: int, biases: tuple[str, str]) -> list[str]:
        """Return the next hidden state (and cell state) from what the input adds to the gates."""
        op, stem = self.writer.op, self.stem
        given = self._plus(part, biases[0])
        if self.node.op_type == "GRU":
            return [self._gru_step(given, state[0], number, biases[1]), ""]
        fed_back = self._plus(op(stem, "MatMul", state[0], self.state_weights[number]), biases[1])
        total = op(stem, "Add", given, fed_back)
        if self.node.op_type == "RNN":
            return [op(stem, "Tanh", total), ""]
        into, out, forget, new = self.writer.split(stem, total, [self.hidden] * 4, 3)
        kept = op(stem, "Mul", op(stem, "Sigmoid", forget), state[1])
        added = op(stem, "Mul", op(stem, "Sigmoid", into), op(stem, "Tanh", new))
        cell = op(stem, "Add", kept, added)
        return [op(stem, "Mul", op(stem, "Sigmoid", out), op(stem, "Tanh", cell)), cell]

    def _gru_step(self, given: str, state: str, number: int, bias: str) -> str:
        op, stem, width = self.writer.op, self.stem, self.hidden
        late = bool(int_attribute(self.node, "linear_before_reset", 0))
        update_in, reset_in, new_in = self.writer.split(stem, given, [width] * 3, 3)
        matrices = self.writer.split(stem, self.state_weights[number], [width] * 3, 2)
        biases = self.writer.split(stem, bias, [width] * 3, 1) if bias else ["", "", ""]
        fed_back = [
            self._plus(op(stem, "MatMul", state, matrices[gate]), biases[gate])
            for gate in range(3 if late else 2)
        ]
        update = op(stem, "Sigmoid", op(stem, "Add", update_in, fed_back[0]))
        reset = op(stem, "Sigmoid", op(stem, "Add", reset_in, fed_back[1]))
        if late:
            back = op(stem, "Mul", reset, fed_back[2])
        else:
            back = self._plus(op(stem, "MatMul", op(stem, "Mul", reset, state), matrices[2]), biases[2])
        new = op(stem, "Tanh", op(stem, "Add", new_in, back))
        # (1 − z)·n + z·h = n + z·(h − n)
        return op(stem, "Add", new, op(stem, "Mul", update, op(stem, "Sub", state, new)))

    def _plus(self, value: str, bias: str) -> str:
        return self.writer.op(self.stem, "Add", value, bias) if bias else value

    def _outputs(self, found: Sequence[tuple[list[str], list[str]]]) -> None:
        """Add the nodes that put all steps' states together, and give out the last ones."""
        writer, stem, outputs = self.writer, self.stem, [*self.node.output, "", ""]
        made: list[tuple[str, str]] = []
        if outputs[0]:
            rows = [writer.op(stem, "Concat", *states, axis=0) for states, _ in found]
            made.append((writer.op(stem, "Concat", *rows, axis=1), outputs[0]))
        for place in (1, 2):
            if outputs[place] and found[0][1][place - 1]:
                last = writer.op(stem, "Concat", *(state[place - 1] for _, state in found), axis=1)
                made.append((writer.axis(stem, "Squeeze", last, 0), outputs[place]))
        for value, output in made:
            how = {} if self.kind == TensorProto.FLOAT else {"to": self.kind}
            writer.nodes.append(helper.make_node("Cast" if how else "Identity", [value], [output], **how))

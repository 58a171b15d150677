"""`GraphMaker`: an ONNX graph put together node by node, over values and weights of another model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from enxuto.errors import ModelError
from enxuto.onnx_model import Model

__all__ = ["Found", "GraphMaker", "Rule", "UnsupportedError", "plain", "scattered"]

_OPSET = 18
_IR_VERSION = 9


class UnsupportedError(ModelError):
    """An operator that no rule covers stands between a layer and the scores."""

    code = "E032"


def plain(name: str) -> str:
    """Return what a value of the model is called in the new graph."""
    return f"value {name}"


@dataclass
class GraphMaker:
    """Collects the nodes of the backward graph.

    shapes: of the model's values for the example batch; static: those values that follow from weights alone.
    """

    source: Model
    shapes: dict[str, tuple[int, ...]]
    static: dict[str, np.ndarray] = field(default_factory=dict)
    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)
    forward: set[str] = field(default_factory=set)
    integers: set[str] = field(default_factory=set)
    _count: int = 0

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; return the output's name."""
        self._count += 1
        name = f"t{self._count}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        """Add a constant; return its name."""
        self._count += 1
        name = f"c{self._count}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def value(self, name: str) -> str:
        """Return the name under which a value or weight of the model is known here."""
        if self.is_constant(name):
            return self.constant(self.load(name))
        self.forward.add(name)
        return plain(name)

    def is_constant(self, name: str) -> bool:
        """Say whether a value is a weight of the model, or follows from weights alone."""
        return name in self.source or name in self.static

    def load(self, name: str) -> np.ndarray:
        """Return a constant value; floats as float32, whatever the model has."""
        array = self.source.load(name) if name in self.source else self.static[name]
        return array if array.dtype.kind in "iub" else array.astype(np.float32, copy=False)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a value for the example batch, or of a weight."""
        return self.source.info(name).shape if name in self.source else self.shapes[name]

    def opset(self) -> int:
        """Return the version of the standard operators that the model's own nodes are of."""
        return next((o.version for o in self.source.proto.opset_import if o.domain in ("", "ai.onnx")), 1)

    def resized(self, gradient: str, name: str) -> str:
        """Reshape a gradient to the shape of value `name`, whatever the batch."""
        return self.op("Reshape", gradient, self.constant([-1, *self.shape(name)[1:]], np.int64))

    def model(self, outputs: Sequence[str]) -> Model:
        """Return the whole graph as a model."""
        float_input = helper.make_tensor_value_info("cotangent", TensorProto.FLOAT, None)
        inputs = [float_input]
        for name in sorted(self.forward):
            kind = TensorProto.INT64 if name in self.integers else TensorProto.FLOAT
            inputs.append(helper.make_tensor_value_info(plain(name), kind, None))
        graph = helper.make_graph(
            self.nodes,
            "backward",
            inputs,
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            self.constants,
        )
        proto = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION
        )
        return Model.from_proto(proto)


Found: TypeAlias = list[tuple[str, str]]
"""Names of values and of what arrives at them."""
Rule: TypeAlias = Callable[[GraphMaker, NodeProto, str, set[str]], Found]


def scattered(maker: GraphMaker, where: str, flat: str, x: str) -> str:
    """Add gradients (n,) to zeros of x's shape at flat places (n,)."""
    shape = maker.op("Shape", x)
    size = maker.op("Reshape", maker.op("Size", x), maker.constant([1], np.int64))
    zeros = maker.op("Expand", maker.constant([0.0]), size)
    return maker.op(
        "Reshape", maker.op("ScatterElements", zeros, where, flat, axis=0, reduction="add"), shape
    )

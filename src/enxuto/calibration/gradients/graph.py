"""`GraphMaker`: the backward graph, put together node by node over values and weights of the model.

Shapes are those of the example batch. One axis of a value may follow the number of images; it is −1 in `template`, so
that the backward graph takes other batches, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from enxuto.errors import ModelError
from enxuto.onnx_model import Model

__all__ = ["Contributions", "GraphMaker", "Operand", "Rule", "UnsupportedError", "feed_name"]

_BELOW_INFINITY = 3e38
_OPSET = 18
_IR_VERSION = 9

Operand: TypeAlias = "str | float | Sequence[int]"
"""A name; or a float, which becomes a float32 constant; or integers, which become an int64 vector."""


class UnsupportedError(ModelError):
    """An operator without a rule for it stands between a layer and the scores."""

    code = "E032"


def feed_name(name: str) -> str:
    """Return the name of the backward graph's input that takes a value of the model."""
    return f"value {name}"


@dataclass
class GraphMaker:
    """Collects the nodes of the backward graph.

    source: the model. shapes: of its values for the example batch; single: for one image of it, empty where the example
    is one image. static: values that follow from weights alone. dtypes: of values that are not float. alone: whether
    samples are only ever run one by one, so that no axis follows their number.
    """

    source: Model
    shapes: Mapping[str, tuple[int, ...]]
    single: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    static: Mapping[str, np.ndarray] = field(default_factory=dict)
    dtypes: Mapping[str, np.dtype] = field(default_factory=dict)
    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)
    forward: set[str] = field(default_factory=set)
    alone: bool = False
    _count: int = 0

    def op(self, kind: str, *inputs: Operand, **attributes: Any) -> str:
        """Add a node with one output; return the output's name."""
        names = [self._operand(value) for value in inputs]
        name = self.new_name("t")
        self.nodes.append(helper.make_node(kind, names, [name], **attributes))
        return name

    def second_output(self) -> str:
        """Give the node that was added last a second output; return its name."""
        name = self.new_name("t")
        self.nodes[-1].output.append(name)
        return name

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        """Add a constant; return its name."""
        name = self.new_name("c")
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def new_name(self, stem: str) -> str:
        """Return a name that the graph does not have yet."""
        self._count += 1
        return f"{stem}{self._count}"

    def value(self, name: str) -> str:
        """Return the name under which a value or weight of the model is known here; floats are float32."""
        if self.is_constant(name):
            array = self.load(name)
            return self.constant(array, array.dtype)
        self.forward.add(name)
        return feed_name(name)

    def integers(self, name: str) -> str:
        """Return the name of a value or weight as int64."""
        if self.is_constant(name):
            return self.constant(self.load(name), np.int64)
        value = self.value(name)
        is_int64 = self.dtypes.get(name) == np.int64
        return value if is_int64 else self.op("Cast", value, to=TensorProto.INT64)

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

    def batch_axis(self, name: str) -> int | None:
        """Return the axis whose size follows the number of images, None where no size does."""
        shape = self.shape(name)
        if self.is_constant(name) or not shape or self.alone:
            return None
        if not self.single:
            return 0
        one = self.single[name]
        axes = [axis for axis, size in enumerate(shape) if len(one) != len(shape) or size != one[axis]]
        if len(axes) > 1:
            raise UnsupportedError(
                f"no gradient is known here where axes {axes} of {name!r} follow the batch"
            )
        return axes[0] if axes else None

    def template(self, name: str) -> list[int]:
        """Return the shape of a value with −1 where it follows the number of images."""
        batch = self.batch_axis(name)
        return [-1 if axis == batch else size for axis, size in enumerate(self.shape(name))]

    def opset(self) -> int:
        """Return the version of the standard operators that the model's own nodes are of."""
        return next((o.version for o in self.source.proto.opset_import if o.domain in ("", "ai.onnx")), 1)

    def reshape_like(self, gradient: str, name: str) -> str:
        """Reshape a gradient to the shape of value `name`, whatever the batch."""
        return self.op("Reshape", gradient, self.template(name))

    def finite(self, slope: str) -> str:
        """Return a slope with 0 where it is infinite or no number: roots, logarithms and the like at their edge.

        What stands there is mostly a rectifier's zero, which small errors do not move, and 0 · ∞ would spoil all layers
        before it.
        """
        inside = self.op("Less", self.op("Abs", slope), _BELOW_INFINITY)
        return self.op("Where", inside, slope, 0.0)

    def sum_to(self, gradient: str, name: str, output: str) -> str:
        """Sum a gradient of `output`'s shape over the axes along which `name` was broadcast."""
        small, large = self.template(name), self.template(output)
        offset = len(large) - len(small)
        axes = [
            axis
            for axis, size in enumerate(large)
            if axis < offset or (small[axis - offset] == 1 and size != 1)
        ]
        if not axes:
            return gradient
        return self.op("Reshape", self.op("ReduceSum", gradient, axes, keepdims=1), small)

    def number_positions(self, name: str) -> str:
        """Return int64 of the shape of value `name`, counting its elements from 0."""
        value = self.value(name)
        zero, one = self.constant(0, np.int64), self.constant(1, np.int64)
        numbers = self.op("Range", zero, self.op("Size", value), one)
        return self.op("Reshape", numbers, self.op("Shape", value))

    def scatter(self, positions: str, gradient: str, name: str) -> str:
        """Add a gradient to zeros of the shape of `name`, each element at its position in the flattened value."""
        value = self.value(name)
        size = self.op("Reshape", self.op("Size", value), [1])
        zeros = self.op("Expand", self.constant([0.0]), size)
        flat = [self.op("Reshape", each, [-1]) for each in (positions, gradient)]
        sums = self.op("ScatterElements", zeros, *flat, axis=0, reduction="add")
        return self.op("Reshape", sums, self.op("Shape", value))

    def model(self, outputs: Sequence[str], cotangents: Sequence[str] = ("cotangent",)) -> Model:
        """Return the whole graph as a model."""
        inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in cotangents]
        for name in sorted(self.forward):
            dtype = self.dtypes.get(name, np.dtype(np.float32))
            kind = helper.np_dtype_to_tensor_dtype(dtype)
            inputs.append(helper.make_tensor_value_info(feed_name(name), kind, None))
        graph = helper.make_graph(
            self.nodes,
            "backward",
            inputs,
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            self.constants,
        )
        opset = helper.make_opsetid("", _OPSET)
        return Model.from_proto(helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION))

    def _operand(self, value: Operand) -> str:
        if isinstance(value, str):
            return value
        return self.constant(value) if isinstance(value, float) else self.constant(list(value), np.int64)


Contributions: TypeAlias = list[tuple[str, str]]
"""Names of a node's inputs, each with the name of the gradient that arrives there from this node."""

Rule: TypeAlias = Callable[[GraphMaker, NodeProto, str, set[str]], Contributions]
"""From the graph, a node, the gradient at its first output and the values that need gradients to its contributions."""

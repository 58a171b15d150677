"""Small ONNX graphs for the tests of this folder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper


def initializer(name: str, array: np.ndarray) -> TensorProto:
    return numpy_helper.from_array(array, name)


def constant(name: str, array: np.ndarray) -> NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array))


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def model_of(
    nodes: Sequence[NodeProto],
    initializers: Sequence[TensorProto] = (),
    *,
    inputs: dict[str, Sequence[object]] | None = None,
    outputs: dict[str, Sequence[object] | None] | None = None,
    ir_version: int = 8,
    opset: int = 17,
) -> ModelProto:
    """A float32 model; `inputs` gives shapes by name."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in (inputs or {"x": ["n", 4]}).items()
        ],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in (outputs or {"y": ["n", None]}).items()
        ],
        list(initializers),
    )
    return helper.make_model(graph, ir_version=ir_version, opset_imports=[helper.make_opsetid("", opset)])


def small_network(seed: int = 0) -> ModelProto:
    """Conv → Relu → GlobalAveragePool → Flatten → Gemm, with a Constant-node kernel; input (n, 3, 8, 8)."""
    return model_of(
        [
            constant("w", floats(5, 3, 3, 3, seed=seed)),
            helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("GlobalAveragePool", ["r"], ["p"]),
            helper.make_node("Flatten", ["p"], ["f"]),
            helper.make_node("Gemm", ["f", "fc.w", "fc.b"], ["y"], transB=1),
        ],
        [
            initializer("b", floats(5, seed=seed + 1)),
            initializer("fc.w", floats(7, 5, seed=seed + 2)),
            initializer("fc.b", floats(7, seed=seed + 3)),
        ],
        inputs={"x": ["n", 3, 8, 8]},
    )


def with_branches() -> ModelProto:
    """An If whose two branches each have an initializer called `w`, as has the main graph."""

    def branch(name: str, value: float) -> GraphProto:
        return helper.make_graph(
            [
                helper.make_node("Mul", ["x", "w_"], [f"{name}_out"]),
                constant("k", np.array([1, 2], np.int64)),
            ],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None)],
            [initializer("w_", np.full(4, value, np.float32))],
        )

    node = helper.make_node(
        "If", ["yes"], ["t"], then_branch=branch("then", 2), else_branch=branch("else", 3)
    )
    return model_of(
        [node, helper.make_node("Add", ["t", "w_main"], ["y"])],
        [initializer("yes", np.array(True)), initializer("w_main", floats(4))],
    )

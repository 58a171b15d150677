"""Sizes of inputs that are open in the graph and follow from the weights that read them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from onnx import NodeProto, helper
from onnx_graphs import floats, initializer, model_of

from enxuto.onnx_model import Model, read_sizes

node = helper.make_node
WEIGHTS = {
    "matrix": floats(12, 5), "turned": floats(5, 12), "row": floats(12), "kernel": floats(6, 3, 3, 3),
    "wide": floats(4, 1, 3, 5), "cell": floats(1, 20, 7), "hidden": floats(1, 20, 5), "behind": floats(24, 5),
    "flat": np.array([-1, 24]), "same": np.array([0, 0, 12]), "rows": np.array([-1, 12]), "first": np.array([0]),
    "second": np.array([1]), "third": np.array([2]), "far": np.array([2**31]), "minus": np.array([-2]),
    "one": floats(1), "third plus": np.array([3]), "nothing": np.array([], np.int64),
}  # fmt: skip
CONVOLVED = [
    node("Unsqueeze", ["x", "first"], ["u"]),
    node("Unsqueeze", ["u", "first"], ["v"]),
    node("Conv", ["v", "wide"], ["c"], pads=[1, 0, 1, 0]),
    node("MaxPool", ["c"], ["p"], kernel_shape=[1, 3], strides=[1, 3]),
]
BY_STEPS = [  # (1, channels, steps, bins) to (steps, channels · bins)
    *CONVOLVED,
    node("Squeeze", ["p", "first"], ["s"]),
    node("Transpose", ["s"], ["t"], perm=[1, 0, 2]),
    node("Reshape", ["t", "flat"], ["r"]),
    node("MatMul", ["r", "behind"], ["y"]),
]
Case = tuple[list[NodeProto], Sequence[object], dict[int, int]]
CASES: dict[str, Case] = {
    "a matrix": ([node("MatMul", ["x", "matrix"], ["y"])], ["T", "F"], {1: 12}),
    "a turned matrix": ([node("Gemm", ["x", "turned"], ["y"], transB=1)], ["N", "F"], {1: 12}),
    "features first": (
        [node("Transpose", ["x"], ["t"]), node("MatMul", ["t", "matrix"], ["y"])], ["F", "T"], {0: 12},
    ),
    "a mean to take away": ([node("Sub", ["x", "row"], ["y"])], ["N", "T", "F"], {2: 12}),
    "channels": ([node("Conv", ["x", "kernel"], ["y"])], ["N", "C", "H", "W"], {1: 3}),
    "groups of channels": ([node("Conv", ["x", "kernel"], ["y"], group=2)], ["N", "C", "H", "W"], {1: 6}),
    "a normalisation": ([node("LayerNormalization", ["x", "row"], ["y"])], ["N", "T", "F"], {2: 12}),
    "a recurrent cell": (
        [node("Unsqueeze", ["x", "second"], ["u"]), node("GRU", ["u", "cell", "hidden"], ["y"], hidden_size=5)],
        ["T", "F"], {1: 7},
    ),
    "behind convolutions and pools": (BY_STEPS, ["T", "F"], {1: 22}),
    "two together": ([node("Concat", ["x", "x"], ["d"], axis=1), node("MatMul", ["d", "matrix"], ["y"])],
                     ["N", "F"], {1: 6}),
    "a part": (
        [node("Slice", ["x", "third", "far", "second"], ["d"]), node("MatMul", ["d", "matrix"], ["y"])],
        ["N", "F"], {1: 14},
    ),
    "all but the last": (
        [node("Slice", ["x", "first", "minus", "second"], ["d"]), node("MatMul", ["d", "matrix"], ["y"])],
        ["N", "F"], {1: 14},
    ),
    "what two weights read": (
        [node("MatMul", ["x", "matrix"], ["a"]), node("Add", ["x", "row"], ["b"]),
         node("MatMul", ["b", "matrix"], ["c"]), node("Add", ["a", "c"], ["y"])], ["N", "F"], {1: 12},
    ),
}  # fmt: skip
NOTHING: dict[str, Case] = {
    "a size that is fixed": ([node("MatMul", ["x", "matrix"], ["y"])], ["N", 12], {}),
    "no weight": ([node("Relu", ["x"], ["y"])], ["N", "F"], {}),
    "a mean over the axis": (
        [node("ReduceMean", ["x"], ["m"], axes=[2], keepdims=1), node("Mul", ["m", "row"], ["y"])],
        ["N", "T", "F"], {},
    ),
    "samples and steps in one axis": (
        [node("Reshape", ["x", "rows"], ["r"]), node("MatMul", ["r", "matrix"], ["y"])], ["N", "T", 12], {},
    ),
    "weights that contradict each other": (
        [node("MatMul", ["x", "matrix"], ["a"]), node("MatMul", ["x", "behind"], ["c"]),
         node("Add", ["a", "c"], ["y"])],
        ["N", "F"], {},
    ),
    "a scale of several axes": (
        [node("LayerNormalization", ["x", "wide"], ["y"], axis=-2)], ["N", 1, 3, "F"], {3: 5},
    ),
    "a scale of one number": ([node("LayerNormalization", ["x", "one"], ["y"])], ["N", "F"], {}),
    "a flattening from behind": (
        [node("Flatten", ["x"], ["f"], axis=-1), node("MatMul", ["f", "matrix"], ["y"])], ["N", 3, "F"], {2: 12},
    ),
    "a single number": (
        [node("ReduceMean", ["x"], ["m"]), node("Reshape", ["m", "nothing"], ["y"])], ["N", "F"], {},
    ),
    "what is not followed": (
        [node("Gather", ["x", "first"], ["g"], axis=1), node("MatMul", ["g", "matrix"], ["y"])], ["N", "F"], {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", [*CASES, *NOTHING])
def test_open_sizes_are_those_that_weights_take(case: str) -> None:
    nodes, shape, expected = {**CASES, **NOTHING}[case]
    used = {name for one in nodes for name in one.input}
    proto = model_of(
        nodes,
        [initializer(name, value) for name, value in WEIGHTS.items() if name in used],
        inputs={"x": shape},
        outputs={"y": None},
    )
    assert read_sizes(Model.from_proto(proto)) == {("x", axis): size for axis, size in expected.items()}


@pytest.mark.parametrize(
    ("count", "operator", "found"),
    [(1000, "window", {}), (60, "doubled", {}), (60, "wrapped", {}), (1000, "joined", {("x", 1): 12})],
)
def test_deep_graphs_are_followed_as_far_as_it_is_cheap(count: int, operator: str, found: object) -> None:
    """Many windows one behind the other, a size doubled or padded by its own ends, channels joined."""
    nodes, last = [node("Unsqueeze", ["x", "first"], ["u"]), node("Unsqueeze", ["u", "first"], ["v"])], "v"
    for number in range(count):
        made = f"n{number}"
        if operator == "wrapped":
            nodes.append(node("Slice", [last, "minus", "far", "third plus"], [f"{made} end"]))
        nodes.append({
            "window": node("MaxPool", [last], [made], kernel_shape=[1, 1]),
            "doubled": node("Concat", [last, last], [made], axis=3),
            "wrapped": node("Concat", [f"{made} end", last], [made], axis=3),
            "joined": node("Concat", [last, "v"], [made], axis=1),
        }[operator])  # fmt: skip
        last = made
    proto = model_of(
        [*nodes, node("MatMul", [last, "matrix"], ["y"])],
        [initializer(name, WEIGHTS[name]) for name in ("first", "matrix", "minus", "far", "third plus")],
        inputs={"x": ["T", "F"]},
        outputs={"y": None},
    )
    assert read_sizes(Model.from_proto(proto)) == found

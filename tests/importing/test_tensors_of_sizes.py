"""Tensors made of sizes and weights alone, such as zeros for every image: beside ONNX Runtime, exported, pruned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper
from torch import nn
from torch.overrides import TorchFunctionMode

from enxuto.export import export_onnx
from enxuto.importing import load_module
from enxuto.onnx_model import Model
from enxuto.prune import remove, trace
from enxuto.runtime import Runner
from rule_forms import PLANE, floats, graph, integers, made, node

SIZES = [made("Shape", ["h"], ["z"]), made("Slice", ["z", "zero", "one"], ["n"])]
WHOLE = [*SIZES, made("Concat", ["n", "rest"], ["t"], axis=0)]
HELD: dict[str, Any] = {
    "zero": integers(0), "one": integers(1), "rest": integers(*PLANE), "number": np.float32(0.3),
    "three": np.int64(3), "two": np.int64(2), "first": np.int64(0), "last": np.int64(-1), "step": np.int64(1),
    "plane": floats(3, 1, 6), "image": floats(1, *PLANE), "table": floats(9, 6), "six": np.float32(6),
    "exponent": np.float32(-0.5), "half": np.float32(0.5), "truth": np.array([[[True]], [[False]], [[True]]]),
    "ones": integers(1, 1, 1), "ints": np.array(2), "kernel": floats(6, 6),
}  # fmt: skip
MAKERS: dict[str, list[NodeProto]] = {
    "Expand": [*WHOLE, made("Expand", ["number", "t"], ["c"])],
    "Expand of a weight": [*WHOLE, made("Expand", ["plane", "t"], ["c"])],
    "ConstantOfShape": [
        *WHOLE,
        made("ConstantOfShape", ["t"], ["c"], value=numpy_helper.from_array(np.array([0.7], np.float32))),
    ],
    "ConstantOfShape of zeros": [*WHOLE, made("ConstantOfShape", ["t"], ["c"])],
    "Tile": [*SIZES, made("Concat", ["n", "ones"], ["r"], axis=0), made("Tile", ["image", "r"], ["c"])],
    "arithmetic": [
        *WHOLE, made("Expand", ["number", "t"], ["e"]), made("Mul", ["e", "plane"], ["m"]),
        made("Sqrt", ["e"], ["s"]), made("Add", ["m", "s"], ["c"]),
    ],
    "a size in a shape": [
        *WHOLE, made("Gather", ["z", "three"], ["w"]), made("Expand", ["w", "t"], ["e"]),
        made("Cast", ["e"], ["c"], to=TensorProto.FLOAT),
    ],
}  # fmt: skip
READERS: dict[str, list[NodeProto]] = {
    "Concat": [node("Concat", "h", "c", axis=1)],
    "Concat in front": [node("Concat", "c", "h", axis=1)],
    **{op: [node(op, "h", "c")] for op in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean")},
    "Sub from it": [node("Sub", "c", "h")],
    "Where": [made("Greater", ["h", "c"], ["g"]), node("Where", "g", "h", "c")],
    "Where of a constant": [node("Where", "truth", "h", "c")],
    "MatMul": [made("Transpose", ["c"], ["q"], perm=[0, 1, 3, 2]), node("MatMul", "h", "q")],
    "Pow": [made("Abs", ["h"], ["positive"]), node("Pow", "positive", "c")],
}
NUMBERS: dict[str, list[NodeProto]] = {
    "a power": [
        made("Gather", ["z", "last"], ["w"]), made("Cast", ["w"], ["f"], to=1), made("Pow", ["f", "exponent"], ["p"]),
        node("Mul", "h", "p"),
    ],
    "a root": [
        made("Gather", ["z", "last"], ["w"]), made("Cast", ["w"], ["f"], to=1), made("Sqrt", ["f"], ["s"]),
        made("Reciprocal", ["s"], ["p"]), node("Mul", "h", "p"),
    ],
    "a quotient of sizes": [
        made("Gather", ["z", "last"], ["w"]), made("Cast", ["w"], ["f"], to=1), made("Gather", ["z", "three"], ["v"]),
        made("Cast", ["ints"], ["i"], to=1), made("Div", ["i", "f"], ["p"]), node("Add", "h", "p"),
    ],
    "the batch": [
        made("Gather", ["z", "first"], ["w"]), made("Cast", ["w"], ["f"], to=1), made("Div", ["h", "f"], ["d"]),
        made("Sqrt", ["f"], ["s"]), made("Mul", ["d", "s"], ["m"]), node("Mul", "m", "s"),
    ],
    "rows of a table": [
        made("Gather", ["z", "two"], ["w"]), made("Range", ["first", "w", "step"], ["r"]),
        made("Gather", ["table", "r"], ["p"]), made("MatMul", ["h", "kernel"], ["k"]),
        made("MatMul", ["p", "kernel"], ["e"]),
        node("Add", "k", "e"),
    ],
    "a part of a table": [
        made("Slice", ["z", "a", "b"], ["w"]), made("Slice", ["table", "zero", "w"], ["p"]), node("Add", "h", "p"),
    ],
    "numbers in their order": [
        made("Gather", ["z", "three"], ["w"]), made("Range", ["first", "w", "step"], ["r"]),
        made("Cast", ["r"], ["f"], to=1), node("Add", "h", "f"),
    ],
    "a number for each image": [
        made("Gather", ["z", "first"], ["w"]), made("Range", ["first", "w", "step"], ["r"]),
        made("Cast", ["r"], ["f"], to=1), made("Unsqueeze", ["f", "axes"], ["u"]), node("Add", "h", "u"),
    ],
}  # fmt: skip
HELD |= {"a": integers(2), "b": integers(3), "axes": integers(1, 2, 3)}
FORMS: dict[str, list[NodeProto]] = {
    **{f"{maker} read by Add": [*nodes, node("Add", "h", "c")] for maker, nodes in MAKERS.items()},
    **{f"Expand read by {reader}": [*MAKERS["Expand"], *nodes] for reader, nodes in READERS.items()},
    **{f"ConstantOfShape read by {reader}": [*MAKERS["ConstantOfShape"], *nodes] for reader, nodes in READERS.items()},
    **{name: [SIZES[0], *nodes] for name, nodes in NUMBERS.items()},
}  # fmt: skip


def model_of(nodes: list[NodeProto]) -> ModelProto:
    read = {name for item in nodes for name in item.input}
    return graph(nodes, {key: array for key, array in HELD.items() if key in read}, PLANE, 17)


@pytest.mark.parametrize("name", FORMS)
def test_every_batch_gives_what_onnx_runtime_gives(name: str) -> None:
    proto = model_of(FORMS[name])
    network = load_module(Model.from_proto(proto))
    assert_same(network, Runner(Model.from_proto(proto), threads=1))


@pytest.mark.parametrize("name", [*(f"{maker} read by Add" for maker in MAKERS), *NUMBERS])
def test_exported_again_the_batch_stays_open(name: str, tmp_path: Path) -> None:
    network = load_module(Model.from_proto(model_of(FORMS[name])))
    export_onnx(network, tmp_path / "again.onnx", input_shape=PLANE)
    assert_same(network, Runner(tmp_path / "again.onnx", threads=1))


def assert_same(network: nn.Module, runner: Runner) -> None:
    for batch in (1, 2, 5):
        x = np.random.default_rng(batch).standard_normal((batch, *PLANE)).astype(np.float32)
        with torch.no_grad():
            found = network(torch.from_numpy(x)).numpy()
        expected = runner.scores(x)
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["Expand of a weight read by Add", "rows of a table", "a part of a table"])
def test_a_weight_that_only_sizes_are_beside_is_trained(name: str) -> None:
    network = load_module(Model.from_proto(model_of(FORMS[name])))
    network(torch.randn(3, *PLANE)).square().sum().backward()
    assert all(
        weight.grad is not None and bool(weight.grad.abs().sum() > 0) for weight in network.parameters()
    )
    assert {"plane", "table"} & set(dict(network.named_parameters()))


@pytest.mark.parametrize("own", [False, True], ids=["a number", "the tensor's own"])
@pytest.mark.parametrize("operator", ["Expand", "ConstantOfShape"])
def test_channels_are_followed_through_zeros_that_are_appended(operator: str, own: bool) -> None:
    sizes = [made("Shape", ["a"], ["z"])]
    if not own:
        sizes = [
            *sizes,
            made("Slice", ["z", "zero", "one"], ["n"]),
            made("Concat", ["n", "rest"], ["t"], axis=0),
        ]
    maker = made("Expand", ["nothing", "z" if own else "t"], ["c"])
    if operator == "ConstantOfShape":
        maker = made("ConstantOfShape", ["z" if own else "t"], ["c"])
    nodes = [
        made("Conv", ["h", "first"], ["a"], pads=[1] * 4), made("Conv", ["a", "inner"], ["i"], pads=[1] * 4),
        made("Relu", ["i"], ["r"]), made("Conv", ["r", "wide"], ["w"], pads=[1] * 4), *sizes, maker,
        made("Concat", ["a", "c"], ["j"], axis=1), made("Add", ["j", "w"], ["s"]),
        made("GlobalAveragePool", ["s"], ["p"]),
        made("Flatten", ["p"], ["f"]), node("Gemm", "f", "last"),
    ]  # fmt: skip
    held = {
        "first": floats(6, 3, 3, 3), "inner": floats(6, 6, 3, 3), "wide": floats(12, 6, 3, 3), "last": floats(12, 5),
        "nothing": np.float32(0), "zero": integers(0), "one": integers(1), "rest": integers(6, *PLANE[1:]),
    }  # fmt: skip
    read = {name for item in nodes for name in item.input}
    network = load_module(
        Model.from_proto(graph(nodes, {k: v for k, v in held.items() if k in read}, PLANE, 17))
    )
    channels = trace(network, torch.zeros(2, *PLANE))
    inner = [group.number for group in channels.groups if "inner" in group.filters]
    assert len(inner) == 6
    smaller = remove(network, channels, channels.without_groups(inner[:3]))  # compared with zeroed filters
    assert smaller(torch.randn(4, *PLANE)).shape == (4, 5)
    groups = [group.number for group in channels.groups]
    assert all(remove(network, channels, channels.without_groups([number])) for number in groups)


@pytest.mark.parametrize("order", [("h", "plane"), ("plane", "h")])
def test_a_part_made_for_one_image_takes_the_same_calls_in_every_batch(order: tuple[str, str]) -> None:
    """Refitting finds again by its number what a run on one image has shown."""
    held = {"plane": floats(1, 2, *PLANE[1:])}
    proto = graph([node("Concat", *order, axis=1)], held, PLANE, 17)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    network = load_module(Model.from_proto(proto))
    counts = []
    for batch in (1, 2, 5):
        x = torch.randn(batch, *PLANE)
        with _Counting() as counter, torch.no_grad():
            found = network(x)
        counts.append(counter.calls)
        plane = torch.from_numpy(held["plane"]).expand(batch, -1, -1, -1)
        parts = [x if name == "h" else plane for name in order]
        torch.testing.assert_close(found, torch.cat(parts, 1).flatten(1))
    assert len(set(counts)) == 1


class _Counting(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        return func(*args, **(kwargs or {}))

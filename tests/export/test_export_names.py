"""What `export_onnx` calls the parts of a network that was loaded from a graph: as the graph did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import NodeProto, numpy_helper
from torch import nn

from enxuto.errors import ModelError
from enxuto.export import export_onnx
from enxuto.importing import load_module
from enxuto.importing.checkpoint import save_module
from enxuto.onnx_model import Model
from enxuto.prune import remove, trace
from enxuto.runtime import Runner
from rule_forms import floats, graph, made, node

SHAPE = (3, 8, 8)
FORMS: dict[str, tuple[list[NodeProto], dict[str, Any]]] = {
    # torch numbers its own values so, and these would get each other's names.
    "matrices called as torch calls values": (
        [made("MatMul", ["h", "val_4"], ["a"]), made("Relu", ["a"], ["b"]), made("MatMul", ["b", "val_0"], ["c"]),
         made("Relu", ["c"], ["d"]), made("MatMul", ["d", "val_2"], ["e"]), node("Mul", "e", "val_1")],
        {"val_4": floats(8, 8), "val_0": floats(8, 8), "val_2": floats(8, 8), "val_1": np.float32(2.5)},
    ),
    "a matrix and a bias": (
        [made("MatMul", ["h", "w"], ["a"]), node("Add", "a", "b")], {"w": floats(8, 4), "b": floats(4)},
    ),
    "a matrix on two axes": ([made("Flatten", ["h"], ["f"]), node("MatMul", "f", "w")], {"w": floats(192, 192)}),
    "a matrix too large to be folded": (
        [made("MatMul", ["h", "wide"], ["a"]), made("Relu", ["a"], ["b"]), node("MatMul", "b", "tall")],
        {"wide": floats(8, 70000), "tall": floats(70000, 8)},
    ),
    "Gemm": ([made("Flatten", ["h"], ["f"]), node("Gemm", "f", "w", "b")], {"w": floats(192, 5), "b": floats(5)}),
    "Gemm, transposed": (
        [made("Flatten", ["h"], ["f"]), node("Gemm", "f", "w", "b", transB=1)], {"w": floats(5, 192), "b": floats(5)},
    ),
    "a matrix that the graph transposes": (
        [made("Transpose", ["w"], ["t"], perm=[1, 0]), node("MatMul", "h", "t")], {"w": floats(8, 8)},
    ),
    "one matrix, two readers": (
        [made("MatMul", ["h", "w"], ["a"]), made("Relu", ["a"], ["b"]), node("MatMul", "b", "w")],
        {"w": floats(8, 8)},
    ),
    "slopes": (
        [made("PRelu", ["h", "onnx::PRelu_1"], ["a"]), node("PRelu", "a", "val_1")],
        {"onnx::PRelu_1": floats(3, 1, 1) ** 2, "val_1": floats(3, 1, 1) ** 2},
    ),
    "one bias of zeros for two layers": (
        [made("Conv", ["h", "a.weight", "z"], ["a"]), node("Conv", "a", "b.weight", "z")],
        {"a.weight": floats(3, 3, 1, 1), "b.weight": floats(3, 3, 1, 1), "z": np.zeros(3, np.float32)},
    ),
    "names in turns": (
        [made("Conv", ["h", "a.weight", "b.weight"], ["x1"]), node("Conv", "x1", "b", "a.bias")],
        {"a.weight": floats(3, 3, 1, 1), "b.weight": floats(3), "b": floats(3, 3, 1, 1), "a.bias": floats(3)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", ["loaded", "from a checkpoint"])
@pytest.mark.parametrize("name", FORMS)
def test_every_tensor_has_the_name_and_the_meaning_that_it_had(name: str, way: str, tmp_path: Path) -> None:
    nodes, held = FORMS[name]
    proto = graph(nodes, held, SHAPE, 16)
    network = load_module(Model.from_proto(proto))
    if way == "from a checkpoint":
        save_module(tmp_path / "module.pt", network)
        network = load_module(tmp_path / "module.pt")
    export_onnx(network, tmp_path / "again.onnx", input_shape=SHAPE)
    again = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in onnx.load(tmp_path / "again.onnx").graph.initializer
    }
    state = set(network.initializers.values())
    assert state == {key for key, array in held.items() if np.size(array) > 1}
    assert state <= set(again)
    for key in set(held) & set(again):
        given = np.asarray(held[key])
        assert np.array_equal(np.squeeze(again[key]), np.squeeze(given)), key
    x = np.random.default_rng(0).standard_normal((3, *SHAPE)).astype(np.float32)
    expected = Runner(Model.from_proto(proto), threads=1).scores(x)
    found = Runner(tmp_path / "again.onnx", threads=1).scores(x)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def small() -> onnx.ModelProto:
    nodes = [
        made("Conv", ["h", "first.weight"], ["a"]), made("Relu", ["a"], ["b"]), made("GlobalAveragePool", ["b"], ["p"]),
        made("Flatten", ["p"], ["f"]), node("MatMul", "f", "last"),
    ]  # fmt: skip
    return graph(nodes, {"first.weight": floats(6, 3, 3, 3), "last": floats(6, 6)}, SHAPE, 16)


@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("batch", ["N", "my batch", 1])
@pytest.mark.parametrize(
    ("given", "made_as"),
    [("input", "output"), ("x", "logits"), ("logits", "input"), ("relu", "val_1"), ("a/b:0", "first.bias")],
)
def test_inputs_outputs_and_the_open_batch_are_called_as_in_the_graph(
    given: str, made_as: str, batch: str | int, pruned: bool, tmp_path: Path
) -> None:
    proto = small()
    proto.graph.input[0].name = proto.graph.node[0].input[0] = given
    proto.graph.output[0].name = proto.graph.node[-1].output[0] = made_as
    size = proto.graph.input[0].type.tensor_type.shape.dim[0]
    if isinstance(batch, str):
        size.dim_param = batch
    else:
        size.dim_value = batch
    network: nn.Module = load_module(Model.from_proto(proto))
    if pruned:
        channels = trace(network, torch.zeros(1, *SHAPE))
        network = remove(network, channels, channels.without_groups([1, 4]))
    export_onnx(network, tmp_path / "again.onnx", input_shape=SHAPE)
    again = onnx.load(tmp_path / "again.onnx").graph
    assert [item.name for item in again.input] == [given]
    assert [item.name for item in again.output] == [made_as]
    for item in (*again.input, *again.output):
        name = item.type.tensor_type.shape.dim[0].dim_param
        assert name == batch if isinstance(batch, str) else name
    sizes = {tensor.name: list(tensor.dims) for tensor in again.initializer}
    assert sizes["last"] == [4 if pruned else 6, 6]  # (inputs, outputs), as in the graph
    onnx.checker.check_model(str(tmp_path / "again.onnx"), full_check=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("key", ["0.weight", "0.bias", "1.running_var"])
def test_weights_that_are_not_finite_are_named_before_anything_is_exported(
    key: str, value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    module.state_dict()[key].view(-1)[2] = value
    monkeypatch.setattr(torch.onnx, "export", None)
    with pytest.raises(ModelError, match=rf"not finite: '{key}'") as caught:
        export_onnx(module, tmp_path / "model.onnx", input_shape=SHAPE)
    assert caught.value.code == "E033"
    assert not list(tmp_path.iterdir())


def test_infinities_of_a_mask_are_exported(tmp_path: Path) -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(192, 4)
            self.register_buffer("mask", torch.tensor([0.0, -torch.inf, 0.0, 0.0]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.softmax(self.layer(x.flatten(1)) + self.mask, 1)

    assert export_onnx(Masked().eval(), tmp_path / "model.onnx", input_shape=SHAPE).outputs == 4


@pytest.mark.parametrize(
    ("nodes", "weight"),
    [
        ([made("Transpose", ["w"], ["t"], perm=[1, 0]), made("Reshape", ["t", "four"], ["k"]), node("Conv", "h", "k")],
         floats(3, 5)),
        ([made("Transpose", ["w"], ["t"], perm=[1, 0]), made("Reshape", ["t", "three"], ["k"]), node("Mul", "h", "k")],
         floats(1, 3)),
        ([made("Transpose", ["w"], ["t"], perm=[1, 0]), made("Reshape", ["t", "one"], ["k"]),
          node("Conv", "h", "v", "k")], floats(1, 3)),
    ],
    ids=["kernel", "factors", "bias"],
)  # fmt: skip
def test_matrices_that_are_transposed_and_reshaped_export(
    nodes: list[NodeProto], weight: np.ndarray, tmp_path: Path
) -> None:
    shapes = {"four": [5, 3, 1, 1], "three": [3, 1, 1], "one": [3]}
    used = {name for one in nodes for name in one.input}
    tensors = {name: np.array(sizes) for name, sizes in shapes.items() if name in used}
    if "v" in used:
        tensors["v"] = floats(3, 3, 1, 1)
    proto = graph(nodes, {"w": weight, **tensors}, SHAPE, 16)
    export_onnx(load_module(Model.from_proto(proto)), tmp_path / "again.onnx", input_shape=SHAPE)
    x = np.random.default_rng(0).standard_normal((3, *SHAPE)).astype(np.float32)
    expected = Runner(Model.from_proto(proto), threads=1).scores(x)
    found = Runner(tmp_path / "again.onnx", threads=1).scores(x)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())

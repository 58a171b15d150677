"""Networks made from graphs: their names, their training, their files, their way through pruning and export."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import nn

import enxuto
from enxuto.archive import read_archive
from enxuto.errors import FormatError, ModelError, UsageError
from enxuto.export import export_onnx
from enxuto.importing.checkpoint import save_module
from enxuto.importing.load import _is_same
from enxuto.importing.network import OnnxNetwork
from enxuto.onnx_model import Model
from enxuto.prune import remove, trace
from enxuto.runtime import Runner
from rule_forms import floats, integers, made

SHAPE = (3, 8, 8)


def network_proto(
    batch: int | str = "n", names: tuple[str, str] = ("stem.weight", "stem.bias")
) -> ModelProto:
    """Conv, norm, ReLU, residual block, pool, flatten by a computed shape, linear: 4 filters, 5 classes."""
    kernel, bias = names
    nodes = [
        made("Conv", ["images", kernel, bias], ["c"], pads=[1] * 4, strides=[2, 2]),
        made("BatchNormalization", ["c", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"], ["b"],
             momentum=0.9),
        made("Relu", ["b"], ["r"]),
        made("Conv", ["r", "block.weight"], ["d"], pads=[1] * 4),
        made("Mul", ["d", "scale"], ["s"]),
        made("Add", ["s", "r"], ["e"]),
        made("GlobalAveragePool", ["e"], ["p"]),
        made("Reshape", ["p", "target"], ["f"]),
        made("Gemm", ["f", "head.weight", "head.bias"], ["scores"], transB=1),
    ]  # fmt: skip
    held = {
        kernel: floats(4, 3, 3, 3), bias: floats(4), "norm.weight": floats(4) + 1, "norm.bias": floats(4),
        "norm.running_mean": floats(4), "norm.running_var": floats(4) ** 2 + 0.5, "block.weight": floats(4, 4, 3, 3),
        "scale": floats(1, 4, 1, 1), "target": integers(-1 if batch == "n" else batch, 4),
        "head.weight": floats(5, 4), "head.bias": floats(5),
    }  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, *SHAPE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, 5])],
        [numpy_helper.from_array(array, name) for name, array in held.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.from_proto(network_proto())


@pytest.fixture
def network(model: Model) -> OnnxNetwork:
    return enxuto.load_module(model)


def images(count: int = 6) -> torch.Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(1))


def test_state_keys_are_the_initializers_names(network: OnnxNetwork, model: Model) -> None:
    keys = set(network.state_dict()) - {"norm.num_batches_tracked"}
    assert keys == set(model.weight_names) - {"target"}
    assert network.initializers == {key: key for key in keys}
    kinds = {path: type(part) for path, part in network.named_modules()}
    assert kinds["stem"] is nn.Conv2d
    assert kinds["norm"] is nn.BatchNorm2d
    assert kinds["head"] is nn.Linear
    for key in keys:
        np.testing.assert_array_equal(network.state_dict()[key].numpy(), model.load(key))


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (("onnx::Conv_1", "onnx::Conv_2"), ("onnx::Conv_1.weight", "onnx::Conv_1.bias")),
        (("stem.w", "stem.b"), ("stem.w.weight", "stem.w.bias")),
        (("a/b.weight", "a/b.weight_bias"), ("a/b.weight", "a/b.bias")),
        (("..weight", "x"), ("_._.weight", "_._.bias")),
        (("type.half.weight", "x"), ("type_.half_.weight", "type_.half_.bias")),
        (("norm.weight.weight", "x"), ("norm.weight_.weight", "norm.weight_.bias")),
        (("steps", "x"), ("steps_.weight", "steps_.bias")),
        (("Relu_0.weight", "x"), ("Relu_0.weight", "Relu_0.bias")),
        (("größe weight", "x"), ("größe weight.weight", "größe weight.bias")),
    ],
)
def test_names_that_pytorch_cannot_have_are_changed_and_remembered(
    names: tuple[str, str], keys: tuple[str, str], model: Model, tmp_path: Path
) -> None:
    network = enxuto.load_module(Model.from_proto(network_proto(names=names)))
    assert [network.initializers[key] for key in keys] == list(names)
    expected = Runner(model, threads=1).scores(images().numpy())
    np.testing.assert_allclose(network(images()).detach().numpy(), expected, rtol=1e-5, atol=1e-5)
    again = copy.deepcopy(network)
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(images()), network(images()))


def test_export_gives_the_same_names_and_outputs(tmp_path: Path) -> None:
    proto = network_proto(names=("onnx::Conv_1", "onnx::Conv_2"))
    network = enxuto.load_module(Model.from_proto(proto))
    export_onnx(network, tmp_path / "again.onnx", input_shape=network.input_shape)
    names = {tensor.name for tensor in onnx.load(tmp_path / "again.onnx").graph.initializer}
    assert {tensor.name for tensor in proto.graph.initializer} - {"target"} <= names
    batch = images().numpy()
    expected = Runner(Model.from_proto(proto), threads=1).scores(batch)
    np.testing.assert_allclose(
        Runner(tmp_path / "again.onnx", threads=1).scores(batch), expected, rtol=1e-5, atol=1e-5
    )


def test_training_takes_the_batchs_statistics_and_moves_all_parameters(network: OnnxNetwork) -> None:
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(images(6)), torch.arange(6) % 5)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    after = network.state_dict()
    assert all(not torch.equal(before[key], after[key]) for key in before if key != "stem.bias")
    whole = enxuto.load_module(Model.from_proto(network_proto())).train()
    whole(images())
    stem = nn.functional.conv2d(images(), before["stem.weight"], before["stem.bias"], stride=2, padding=1)
    moved = 0.9 * before["norm.running_mean"] + 0.1 * stem.mean((0, 2, 3))
    torch.testing.assert_close(whole.state_dict()["norm.running_mean"], moved)


def test_a_fixed_batch_size_is_freed(model: Model) -> None:
    network = enxuto.load_module(Model.from_proto(network_proto(batch=1)))
    expected = Runner(model, threads=1).scores(images().numpy())
    np.testing.assert_allclose(network(images()).detach().numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("other", "same"),
    [([2e6, 0.15], True), ([2e6, 900.0], False), ([2.1e6, 0.1], False), ([float("nan"), 0.1], False)],
)
def test_scores_are_compared_by_the_largest(other: list[float], same: bool) -> None:
    assert _is_same(torch.tensor([2e6, 0.1]), torch.tensor(other)) == same


def test_readers_of_one_initializer_share_a_parameter() -> None:
    proto = network_proto()
    proto.graph.node[3].input[1] = "stem.again"
    proto.graph.node.insert(0, made("Identity", ["twin.weight"], ["stem.again"]))
    proto.graph.initializer.append(numpy_helper.from_array(floats(4, 4, 3, 3), "twin.weight"))
    proto.graph.node.insert(5, made("Conv", ["d", "twin.weight"], ["d2"], pads=[1] * 4))
    proto.graph.node[6].input[0] = "d2"
    network = enxuto.load_module(Model.from_proto(proto))
    assert [step.module for step in network.steps].count("twin") == 2
    assert sum("twin" in name for name, _ in network.named_parameters()) == 1


def test_pruned_it_equals_the_original_with_the_removed_filters_zero(network: OnnxNetwork) -> None:
    channels = trace(network, torch.zeros(1, *SHAPE))
    assert len(channels.groups) == 4
    assert channels.widths == {"stem": 4, "block": 4, "head": 5}
    smaller = remove(network, channels, channels.without_groups([1, 3]))  # compares by itself
    assert smaller.get_submodule("stem").out_channels == 2
    assert smaller.state_dict()["scale"].shape == (1, 2, 1, 1)
    assert network.get_submodule("stem").out_channels == 4


def test_a_checkpoint_loads_by_itself(network: OnnxNetwork, tmp_path: Path) -> None:
    with torch.no_grad():
        network.get_parameter("head.bias").add_(1)
    save_module(tmp_path / "module.pt", network)
    again = enxuto.load_module(tmp_path / "module.pt")
    assert torch.equal(again(images()), network(images()))
    assert len(network.graph) < 3000  # its tensors are in the state alone
    save_module(tmp_path / "twice.pt", again)
    assert enxuto.load_module(tmp_path / "twice.pt").graph == network.graph


@pytest.mark.parametrize(
    ("part", "value", "error"),
    [
        ("graph", b"no graph", FormatError),
        ("graph", "text", FormatError),
        ("input_shape", [3, 10**9, 10**9], FormatError),
        ("input_shape", "3,8,8", FormatError),
        ("model", {"stem.weight": torch.zeros(1)}, FormatError),
        ("model", {"stem.weight": 1}, FormatError),
        ("metadata", None, FormatError),
        ("version", 9, FormatError),
        ("digest", "0", FormatError),
        ("format", "enxuto checkpoint", UsageError),
    ],
)
def test_damaged_checkpoints_are_refused(
    part: str, value: object, error: type[Exception], network: OnnxNetwork, tmp_path: Path
) -> None:
    from enxuto.archive import digest

    save_module(tmp_path / "module.pt", network)
    contents = dict(read_archive(tmp_path / "module.pt"))  # type: ignore[call-overload]
    contents[part] = value
    if part in ("graph", "input_shape", "metadata", "model"):
        contents["digest"] = digest(
            {name: contents[name] for name in ("graph", "input_shape", "metadata", "model")}
        )
    torch.save(contents, tmp_path / "damaged.pt")
    with pytest.raises(error):
        enxuto.load_module(tmp_path / "damaged.pt")


def test_a_graph_that_declares_more_than_came_is_refused_before_it_is_built(
    network: OnnxNetwork, tmp_path: Path
) -> None:
    from enxuto.importing.checkpoint import check_graph_size

    check_graph_size(network.graph, 300)
    huge = ModelProto.FromString(network.graph)
    for tensor in huge.graph.initializer:
        if tensor.name == "stem.weight":
            tensor.dims[0] = 10**7
    with pytest.raises(FormatError, match="far more numbers"):
        check_graph_size(huge.SerializeToString(), 300)


def test_open_sizes_need_an_input_shape() -> None:
    proto = network_proto()
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    model = Model.from_proto(proto)
    with pytest.raises(UsageError, match="input_shape") as caught:
        enxuto.load_module(model)
    assert caught.value.code == "E023"
    assert enxuto.load_module(model, input_shape=(3, 16, 8)).input_shape == (3, 16, 8)
    with pytest.raises(UsageError, match="3×8×9") as caught:
        enxuto.load_module(model, input_shape=(3, 8, 9))
    assert caught.value.code == "E044"


def test_files_of_both_kinds(model: Model, tmp_path: Path) -> None:
    model.write(tmp_path / "model.onnx")
    enxuto.compress(model).save(tmp_path / "model.enx")
    whole = enxuto.load_module(tmp_path / "model.onnx")
    coded = enxuto.load_module(tmp_path / "model.enx")
    expected = Runner(enxuto.CompressedModel.read(tmp_path / "model.enx").to_model(), threads=1).scores(
        images().numpy()
    )
    np.testing.assert_allclose(coded(images()).detach().numpy(), expected, rtol=1e-5, atol=1e-5)
    assert list(whole.state_dict()) == list(coded.state_dict())
    with pytest.raises(UsageError):
        enxuto.load_module(tmp_path / "missing.pt")


def test_an_output_that_no_image_changes_is_refused() -> None:
    proto = network_proto()
    proto.graph.output[0].name = "head.bias"
    with pytest.raises(ModelError, match=r"head\.bias"):
        enxuto.load_module(Model.from_proto(proto))

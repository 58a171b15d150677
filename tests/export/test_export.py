"""Export: every network of the zoo as ONNX, compared with torch, with its layer table, and through `compress`."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import enxuto.export.network as network_file
from enxuto import zoo
from enxuto.compression.data_free import compress
from enxuto.data import Preprocess
from enxuto.enx.file import CompressedModel
from enxuto.enx.table import LevelsRow
from enxuto.errors import FormatError, ModelError, UsageError
from enxuto.export import NETWORK_KEY, OPSET, TOLERANCE, export_onnx
from enxuto.onnx_model import Model
from enxuto.runtime import Runner
from enxuto.summary import summarize_network, summarize_onnx
from enxuto.zoo.blocks import LocalResponseNorm

# A few seconds each. Local response norm is in `Tiny` below.
SMALL = ("lenet5", "resnet20-cifar", "squeezenet-dsc", "effnet")
BIG = [name for name in zoo.names() if name not in SMALL]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", SMALL)
def test_small_networks_export_summarize_and_compress(
    name: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    record_property: Callable[[str, object], None],
) -> None:
    record_property("relative_difference", _goes_all_the_way(name, tmp_path, capfd))


@pytest.mark.acceptance
@pytest.mark.parametrize("name", BIG)
def test_all_networks_export_summarize_and_compress(
    name: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    record_property: Callable[[str, object], None],
) -> None:
    record_property("relative_difference", _goes_all_the_way(name, tmp_path, capfd))


def _goes_all_the_way(name: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> float:
    path = folder / "model.onnx"
    done = export_onnx(name, path, seed=3)
    assert capfd.readouterr() == ("", "")
    assert done.difference is not None
    assert done.outputs == zoo.entry(name).classes
    assert done.bytes == path.stat().st_size
    onnx.checker.check_model(str(path), full_check=True)
    model = Model.read(path)
    _agrees_with_torch(name, model)
    _has_torch_s_layer_table(name, model)
    _survives_compression(model, folder / "model.enx")
    return done.difference


def _images(model: Model, batch: int) -> np.ndarray:
    return Runner(model).random_feeds(batch, seed=5)["input"]


def _agrees_with_torch(name: str, model: Model) -> None:
    """Once more than the export's own check: other images, other batch sizes, torch built anew."""
    runner = Runner(model)
    network = zoo.build(name, seed=3).eval()
    for batch in (3, 1):
        images = _images(model, batch)
        with torch.no_grad():
            expected = network(torch.from_numpy(images)).numpy()
        gap = np.abs(runner.scores(images) - expected).max()
        assert gap <= TOLERANCE * max(1.0, np.abs(expected).max())


def _has_torch_s_layer_table(name: str, model: Model) -> None:
    from_graph, from_torch = summarize_onnx(model), summarize_network(name)
    assert from_graph.parameters == from_torch.parameters == zoo.entry(name).counts[zoo.entry(name).classes]
    assert from_graph.weights == from_torch.weights
    assert from_graph.macs == from_torch.macs == zoo.entry(name).macs
    assert from_graph.activations("lecture") == from_torch.activations("lecture")
    rows = [
        {
            (
                *(row.name, row.operator, row.output, row.kernel, row.stride, row.padding, row.groups),
                *(row.macs, row.weights, row.biases, row.reach),
            )
            for row in table.layers
            if row.macs or row.parameters or "Pool" in row.operator
        }
        for table in (from_graph, from_torch)
    ]
    assert rows[0] == rows[1]


def _survives_compression(model: Model, path: Path) -> None:
    """Through the file and back: the outputs are those of the original with its weights dequantized, bit by bit."""
    small = compress(model, threads=1)
    small.save(path)
    read = CompressedModel.read(path)
    assert read.to_bytes() == small.to_bytes() == path.read_bytes()
    dequantized = {
        name: tensor.reconstruct().astype(model.info(name).dtype)
        for part in small.payloads
        if isinstance(part.row, LevelsRow)
        for name, tensor in part.levels().items()
    }
    assert dequantized
    expected = model.replace_weights(dequantized)
    restored = read.to_model()
    for name in model.weight_names:
        np.testing.assert_array_equal(restored.load(name), expected.load(name))
    images = _images(model, 2)
    np.testing.assert_array_equal(Runner(restored).scores(images), Runner(expected).scores(images))


class Tiny(nn.Module):
    """A convolution without bias, the zoo's LRN, batch norm with a shift of zeros, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.lrn = LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(8 * 6 * 6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        planes = self.lrn(self.norm(self.conv(x)).relu())
        logits: torch.Tensor = self.fc(self.drop(planes.flatten(1)))
        return logits


@pytest.fixture(scope="module")
def tiny() -> nn.Module:
    torch.manual_seed(0)
    return Tiny()


@pytest.fixture(scope="module")
def exported(tiny: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "tiny.onnx"
    tiny.train()
    tiny.norm.eval()
    export_onnx(
        tiny, path, input_shape=(3, 8, 8), preprocess=Preprocess(mean=(0.5,)), labels=["á", "b", "c", "d"]
    )
    return path


def test_the_graph_is_plain(exported: Path) -> None:
    proto = onnx.load(exported)
    kinds = [node.op_type for node in proto.graph.node]
    assert kinds == ["Conv", "BatchNormalization", "Relu", "LRN", "Reshape", "Gemm"]
    assert [node.name for node in proto.graph.node][:2] == ["/conv/Conv", "/norm/BatchNormalization"]
    assert [item.version for item in proto.opset_import] == [OPSET]
    batch = proto.graph.input[0].type.tensor_type.shape.dim[0]
    assert (proto.graph.input[0].name, batch.dim_param) == ("input", "batch")
    assert [item.name for item in proto.graph.output] == ["logits"]
    assert not any(node.doc_string or node.metadata_props for node in proto.graph.node)
    assert b"Traceback" not in exported.read_bytes()
    assert str(Path(__file__).parent).encode() not in exported.read_bytes()


def test_all_parameters_are_there_by_name_and_no_others(exported: Path, tiny: nn.Module) -> None:
    held = {tensor.name: tuple(tensor.dims) for tensor in onnx.load(exported).graph.initializer}
    own = {name: tuple(p.shape) for name, p in tiny.named_parameters()}
    statistics = {"norm.running_mean", "norm.running_var"}
    assert {name: shape for name, shape in held.items() if name in own} == own
    assert set(held) - set(own) == statistics | {"shape_288"}


def test_preprocessing_labels_and_name_are_in_the_metadata(exported: Path) -> None:
    held = {item.key: item.value for item in onnx.load(exported).metadata_props}
    assert Preprocess.from_dict(json.loads(held["enxuto.preprocess"])) == Preprocess(mean=(0.5,))
    assert json.loads(held["enxuto.labels"]) == ["á", "b", "c", "d"]
    assert held[NETWORK_KEY] == "Tiny"


def test_the_module_is_left_as_it_was(tiny: nn.Module, exported: Path) -> None:
    assert tiny.training
    assert not tiny.norm.training


def test_the_same_network_gives_the_same_bytes(exported: Path, tiny: nn.Module, tmp_path: Path) -> None:
    again = tmp_path / "again.onnx"
    export_onnx(
        tiny, again, input_shape=(3, 8, 8), preprocess=Preprocess(mean=(0.5,)), labels=["á", "b", "c", "d"]
    )
    assert again.read_bytes() == exported.read_bytes()


def test_loggers_and_warnings_are_as_before(exported: Path) -> None:
    assert logging.getLogger("torch.onnx").level == logging.NOTSET
    with pytest.warns(UserWarning, match="heard"):
        warnings.warn("heard", UserWarning, stacklevel=1)


def test_a_checkpoint_s_weights_are_exported(tmp_path: Path) -> None:
    trained = zoo.build("lenet5", classes=4, seed=9)
    checkpoint = tmp_path / "best.pt"
    torch.save({"epoch": 3, "model": trained.state_dict()}, checkpoint)
    done = export_onnx("lenet5", tmp_path / "model.onnx", classes=4, weights=checkpoint)
    assert done.outputs == 4
    written = Model.read(done.path).load("features.c1.weight")
    np.testing.assert_array_equal(written, trained.state_dict()["features.c1.weight"].numpy())


def test_a_checkpoint_that_does_not_fit_is_one_line(tmp_path: Path) -> None:
    checkpoint, out = tmp_path / "best.pt", tmp_path / "model.onnx"
    torch.save(zoo.build("lenet5", classes=4).state_dict(), checkpoint)
    with pytest.raises(ModelError, match=r"classifier\.output\.(weight|bias).* in the checkpoint"):
        export_onnx("lenet5", out, weights=checkpoint)
    torch.save({"a": torch.zeros(1)}, checkpoint)
    with pytest.raises(ModelError, match="E071"):
        export_onnx("lenet5", out, weights=checkpoint)
    torch.save([1, 2], checkpoint)
    with pytest.raises(FormatError, match="no state dict"):
        export_onnx("lenet5", out, weights=checkpoint)
    checkpoint.write_bytes(b"not a checkpoint")
    with pytest.raises(FormatError, match=r"no checkpoint|more than tensors"):
        export_onnx("lenet5", out, weights=checkpoint)
    with pytest.raises(UsageError, match="E010"):
        export_onnx("lenet5", out, weights=tmp_path / "none.pt")
    assert not out.exists()


class Evil:
    """Would leave a mark if a checkpoint were unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("unpickled"),)  # type: ignore[return-value]


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(FormatError, match=r"no checkpoint|more than tensors"):
        export_onnx("lenet5", tmp_path / "model.onnx", weights=tmp_path / "evil.pt")
    assert not Path("unpickled").exists()


def test_settings_that_do_not_fit(tmp_path: Path, tiny: nn.Module) -> None:
    out = tmp_path / "model.onnx"
    with pytest.raises(UsageError, match="E022"):
        export_onnx(tiny, out)
    with pytest.raises(UsageError, match="E042"):
        export_onnx(tiny, out, input_shape=(3, 8, 8), labels=["a", "b", "c"])
    with pytest.raises(UsageError, match="opset"):
        export_onnx(tiny, out, input_shape=(3, 8, 8), opset=9)
    with pytest.raises(ModelError, match="does not run on images of 3×9×9"):
        export_onnx(tiny, out, input_shape=(3, 9, 9))
    with pytest.raises(UsageError, match="E021"):
        export_onnx("lenet", out)
    assert not out.exists()


def test_a_file_that_computes_something_else_is_not_written(
    tmp_path: Path, tiny: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = network_file._to_onnx

    def wrong(module: nn.Module, batch: torch.Tensor, name: str, opset: int) -> onnx.ModelProto:
        proto = honest(module, batch, name, opset)
        for node in proto.graph.node:
            if node.op_type == "Relu":
                node.op_type = "Neg"
        return proto

    monkeypatch.setattr(network_file, "_to_onnx", wrong)
    with pytest.raises(ModelError, match="E037"):
        export_onnx(tiny, tmp_path / "model.onnx", input_shape=(3, 8, 8))
    assert not list(tmp_path.iterdir())
    assert export_onnx(tiny, tmp_path / "model.onnx", input_shape=(3, 8, 8), check=False).difference is None


@pytest.mark.parametrize("frozen", [False, True])
def test_frozen_parameters_are_counted(frozen: bool, tmp_path: Path) -> None:
    """What a file holds does not depend on what would be trained of it."""
    layer = nn.Linear(12, 4)
    network = nn.Sequential(nn.Flatten(), layer.requires_grad_(not frozen))
    assert export_onnx(network, tmp_path / "a.onnx", input_shape=(3, 2, 2)).parameters == 12 * 4 + 4

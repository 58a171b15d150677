"""Open either kind of file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import enxuto
from enx_samples import DEMO, Taken, small_model, small_proto, weights_of
from enxuto import opening as api
from enxuto.compression.data_free import compress
from enxuto.data import Preprocess, preset
from enxuto.errors import DataError, EnxutoError, FormatError, ModelError, UsageError
from enxuto.onnx_model import Model


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    path = tmp_path / "m.enx"
    metadata = {"preprocess": preset("resnet-cifar").to_dict(), "labels": ["a", "é"]}
    compress(small_model(), metadata=metadata).save(path)
    return path


def test_load_reads_both_kinds(packed: Path, tmp_path: Path) -> None:
    model = enxuto.load(packed)
    model.write(tmp_path / "m.onnx")
    assert weights_of(enxuto.load(tmp_path / "m.onnx")) == weights_of(model)
    assert weights_of(enxuto.load(packed, threads=1)) == weights_of(model)
    assert isinstance(model, Model)


def test_session_runs_what_was_saved(packed: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(0, 1, (3, 2, 4, 4)).astype(np.float32)
    enxuto.load(packed).write(tmp_path / "m.onnx")
    outputs = [enxuto.session(p, threads=1).run(None, {"x": x})[0] for p in (packed, tmp_path / "m.onnx")]
    assert outputs[0].tobytes() == outputs[1].tobytes()
    assert outputs[0].shape == (3, 5)


def test_metadata_travel_through_both_kinds(packed: Path, tmp_path: Path) -> None:
    _, facts = api.load_with_metadata(packed)
    assert facts["labels"] == ["a", "é"]
    assert api.preprocess_of(facts) == preset("resnet-cifar")
    enxuto.CompressedModel.read(packed).write_onnx(tmp_path / "m.onnx")
    _, onnx_facts = api.load_with_metadata(tmp_path / "m.onnx")
    assert onnx_facts == {"preprocess": facts["preprocess"], "labels": facts["labels"]}
    keys = [prop.key for prop in Model.read(tmp_path / "m.onnx").proto.metadata_props]
    assert keys == [api.PREPROCESS_KEY, api.LABELS_KEY]


def test_what_the_original_carries_is_known_of_a_file_made_without_metadata(tmp_path: Path) -> None:
    compress(enxuto.load(DEMO), bits=3).save(tmp_path / "m.enx")
    _, facts = api.load_with_metadata(tmp_path / "m.enx")
    assert api.preprocess_of(facts) == api.preprocess_of(api.load_with_metadata(DEMO)[1])
    assert api.preprocess_of(facts) is not None


@pytest.mark.parametrize(
    "stored",
    [None, 1, "resnet", [], {}, {"size": "x"}, {"unknown": 1}, {"mean": [1, 2, "a"]}, {"mean": None, "std": 0},
     {"resize": -1}, {"resize": {}}, {"crop": [[]]}, {"divide_by": 0}, {"channels": 3}, {"layout": []}],
    ids=repr,
)  # fmt: skip
def test_damaged_preprocessing_counts_as_none(stored: object) -> None:
    found = api.preprocess_of({"preprocess": stored})
    assert found is None or isinstance(found, Preprocess)
    assert api.preprocess_of({}) is None


def test_damaged_metadata_of_onnx_files_are_left_out() -> None:
    for value in ("{", "[" * 100_000, "\x00", ""):
        proto = small_proto()
        proto.metadata_props.add(key=api.PREPROCESS_KEY, value=value)
        proto.metadata_props.add(key=api.LABELS_KEY, value='["a"]')
        assert api.onnx_metadata(Model.from_proto(proto)) == {"labels": ["a"]}


def test_errors_say_what_is_wrong(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(EnxutoError, match="exist"):
        enxuto.load(tmp_path / "missing.onnx")
    with pytest.raises(EnxutoError):
        enxuto.load(tmp_path)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ModelError):
        enxuto.load(tmp_path / "text")
    packed.write_bytes(packed.read_bytes()[:-1])
    with pytest.raises(FormatError, match="cut off"):
        enxuto.load(packed)
    assert issubclass(DataError, EnxutoError)


def test_metadata_that_are_no_text_in_the_graph(packed: Path) -> None:
    """A file may hold any JSON as labels; the way back to ONNX must not break on it."""
    taken = Taken.apart(packed.read_bytes())
    taken.table["metadata"] = {"labels": {"a": [None, 1.5]}, "preprocess": "x"}
    packed.write_bytes(taken.to_bytes())
    model = enxuto.CompressedModel.read(packed).to_model()
    assert json.loads(model.proto.metadata_props[1].value) == {"a": [None, 1.5]}


def test_the_demo_network_is_read() -> None:
    assert enxuto.load(DEMO).weight_names


def test_sessions_take_providers_and_options(packed: Path) -> None:
    assert enxuto.session(packed, providers=["CPUExecutionProvider"]).get_providers() == [
        "CPUExecutionProvider"
    ]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    assert enxuto.session(packed, options=options).get_session_options().intra_op_num_threads == 1
    with pytest.raises(UsageError, match="E091") as caught:
        enxuto.session(packed, providers=["CPUExecutionProvide"])
    assert "did you mean 'CPUExecutionProvider'" in str(caught.value)
    with pytest.raises(UsageError, match="E022"):
        enxuto.session(packed, options=options, threads=2)
    with pytest.raises(UsageError, match="threads="):
        enxuto.session(packed, threads=-1)


WRONG_TYPES = {
    "load": lambda: enxuto.load(3),
    "session": lambda: enxuto.session(3),
    "open_dataset": lambda: enxuto.open_dataset(3),
    "verify": lambda: enxuto.verify(3),
    "verify the original": lambda: enxuto.verify(enxuto.compress(DEMO).compressed, 3),
    "inspect": lambda: enxuto.inspect(3),
    "Model.read": lambda: Model.read(3),
    "Model.write": lambda: Model.read(DEMO).write(3),
    "CompressedModel.read": lambda: enxuto.CompressedModel.read(3),
    "save": lambda: enxuto.compress(DEMO).save(3),
    "write_onnx": lambda: enxuto.compress(DEMO).write_onnx(3),
    "bytes": lambda: enxuto.load(b"model.enx"),
    "NUL": lambda: enxuto.load("a\0b"),
    "predict": lambda: enxuto.load(DEMO).predict(3),
    "predict None": lambda: enxuto.load(DEMO).predict(None),
    "predict a list": lambda: enxuto.load(DEMO).predict([3]),
    "top": lambda: enxuto.load(DEMO).predict(np.zeros((8, 8), np.uint8), top="2"),
    "progress": lambda: enxuto.compress(DEMO, progress=3),
    "threads": lambda: enxuto.load(DEMO, threads="2"),
    "threads below 0": lambda: enxuto.load(DEMO, threads=-1),
    "options": lambda: enxuto.session(DEMO, options=3),
    "step": lambda: enxuto.quantize.DeadZone("a"),
    "metadata": lambda: enxuto.compress(DEMO, metadata=[1]),
    "cache": lambda: enxuto.compress(DEMO, cache=3),
}


@pytest.mark.parametrize("call", WRONG_TYPES.values(), ids=WRONG_TYPES)
def test_wrong_types_are_refused_in_one_line(call: Taken) -> None:
    with pytest.raises(UsageError) as caught:
        call()
    assert caught.value.code == "E020"
    assert "\n" not in str(caught.value)


def test_each_kind_of_file_in_the_others_place_is_named(packed: Path) -> None:
    for read in (Model.read, enxuto.compress, enxuto.Runner):
        with pytest.raises(ModelError, match=r"m\.enx.* is an \.enx file already; decompress") as caught:
            read(packed)
        assert caught.value.code == "E030"
    with pytest.raises(FormatError, match="an ONNX model; compress makes"):
        enxuto.CompressedModel.read(DEMO)
    assert "an ONNX model" in enxuto.verify(DEMO).problems[0]


def test_inspect_takes_what_is_loaded(packed: Path) -> None:
    for file, kinds in ((packed, (enxuto.CompressedModel.read,)), (DEMO, (Model.read, enxuto.load))):
        expected = enxuto.inspect(file)
        for kind in kinds:
            found = enxuto.inspect(kind(file))
            assert (found.parameters, found.tensors) == (expected.parameters, expected.tensors)
            assert repr(found).startswith(f"<Inspection of {type(kind(file)).__name__}: ")
    assert enxuto.inspect(enxuto.CompressedModel.read(packed)).bytes == packed.stat().st_size

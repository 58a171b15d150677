"""Reading and writing files: external data, refusals, documentation, atomic replacement."""

from __future__ import annotations

import filecmp
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_graphs import floats, initializer, model_of, small_network, with_branches

from enxuto.errors import FormatError, ModelError, UsageError
from enxuto.onnx_model import Model, files, fill, skeleton, total_bytes, write_streaming
from enxuto.onnx_model.write import write_model


def external(tmp_path: Path, proto: onnx.ModelProto, **changes: str) -> Path:
    """Save with all weights in `w.bin`; `changes` overwrite fields of the first tensor's external data."""
    path = tmp_path / "m.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    if changes:
        saved = onnx.load(path, load_external_data=False)
        entries = {entry.key: entry.value for entry in saved.graph.initializer[0].external_data} | changes
        del saved.graph.initializer[0].external_data[:]
        for key, value in entries.items():
            saved.graph.initializer[0].external_data.add(key=key, value=value)
        path.write_bytes(saved.SerializeToString())
    return path


def test_external_data_is_read_lazily_and_equals_the_inline_model(tmp_path: Path) -> None:
    proto = small_network()
    path = external(tmp_path, proto)
    model, inline = Model.read(path), Model.from_proto(small_network())
    assert model.info("fc.w").external
    assert not inline.info("fc.w").external
    assert model.to_bytes() == inline.to_bytes()
    assert files(path) == [path, tmp_path / "w.bin"]
    assert total_bytes(path) == path.stat().st_size + (tmp_path / "w.bin").stat().st_size
    (tmp_path / "w.bin").write_bytes(b"short")
    with pytest.raises(ModelError, match=r"w\.bin has become shorter than tensor 'fc.w'"):
        model.load("fc.w")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"location": "/etc/passwd"}, "only files beside the model"),
        ({"location": "C:\\w.bin"}, "only files beside the model"),
        ({"location": "\\\\host\\w.bin"}, "only files beside the model"),
        ({"location": ""}, "only files beside the model"),
        ({"location": "w\0.bin"}, "only files beside the model"),
        ({"location": "../w.bin"}, "outside the model's folder"),
        ({"location": "a\\..\\..\\w.bin"}, "outside the model's folder"),
        ({"location": "link.bin"}, "a link out of the model's folder"),
        ({"location": "gone.bin"}, "does not exist"),
        ({"location": "folder"}, "not a file"),
        ({"location": "loop"}, "cannot be read"),
        ({"offset": "1000000"}, "cut short"),
        ({"offset": "-4"}, "offset '-4', which is not a number"),
        ({"offset": "9" * 30}, "not a number"),
        ({"length": "8"}, "needs 20 bytes but 'w.bin' is said to hold 8"),
        ({"length": "x"}, "length 'x', which is not a number"),
    ],
)
def test_hostile_external_data_is_refused_by_tensor_and_place(
    tmp_path: Path, changes: Any, message: Any
) -> None:
    folder = tmp_path / "model"
    (folder / "folder").mkdir(parents=True)
    (tmp_path / "w.bin").write_bytes(bytes(4096))
    (folder / "link.bin").symlink_to(tmp_path / "w.bin")
    (folder / "loop").symlink_to(folder / "loop")
    path = external(folder, small_network(), **changes)
    with pytest.raises(ModelError, match="tensor 'b'") as caught:
        Model.read(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_link_within_the_folder_is_fine(tmp_path: Path) -> None:
    path = external(tmp_path, small_network(), location="alias.bin")
    (tmp_path / "alias.bin").symlink_to(tmp_path / "w.bin")
    assert Model.read(path).to_bytes() == Model.from_proto(small_network()).to_bytes()


def test_external_data_needs_a_file() -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    proto = model_of([helper.make_node("Relu", ["x"], ["y"])], [tensor])
    with pytest.raises(ModelError, match="does not say where"):
        Model.from_proto(proto)
    tensor = proto.graph.initializer[0]
    tensor.external_data.add(key="location", value="w.bin")
    with pytest.raises(ModelError, match="read this model from its file"):
        Model.from_bytes(proto.SerializeToString())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"hello world, this is no model", "not an ONNX model"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not an ONNX model"),
        (onnx.ModelProto(ir_version=8).SerializeToString(), "no graph"),
        (helper.make_model(onnx.GraphProto(name="g")).SerializeToString(), "empty"),
        (small_network().SerializeToString()[:-30], "not an ONNX model, or cut short"),
    ],
)
def test_files_that_are_no_models(tmp_path: Path, content: Any, message: Any) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        Model.read(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_places_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="E010"):
        Model.read(tmp_path / "nothing.onnx")
    with pytest.raises(ModelError, match="E011"):
        Model.read(tmp_path)


def test_documentation_is_left_out_by_default_and_kept_with_the_flag() -> None:
    proto = with_branches()
    proto.doc_string = "made by /home/ana/train.py"
    proto.graph.doc_string = "g"
    proto.graph.input[0].doc_string = "v"
    proto.graph.initializer[0].doc_string = "t"
    proto.graph.node[0].doc_string = 'File "/home/ana/model.py", line 3'
    proto.graph.node[0].attribute[0].g.node[0].doc_string = "inner"
    proto.graph.node[1].metadata_props.add(key="stack", value="/home/ana")
    proto.graph.value_info.append(helper.make_tensor_value_info("t", TensorProto.FLOAT, None))
    for key, value in {
        "names": '{"0": "cat"}',
        "trace": 'Traceback (most recent call last):\n  File "a.py", line 1',
        "source": "/Users/ana/model.pt",
        "note": "trained on /data/cats, see /home/ana for more",
    }.items():
        proto.metadata_props.add(key=key, value=value)
    full = Model.from_proto(proto, keep_docs=True, keep_value_info=True)
    assert full.stripped_bytes == 0
    lean = Model.from_proto(proto)
    text = lean.to_bytes()
    assert all(word not in text for word in (b"model.py", b"inner", b"Traceback", b"model.pt", b"train.py"))
    assert {prop.key for prop in lean.to_proto().metadata_props} == {"names", "note"}
    # Fewer bytes inside make length prefixes shorter too, by a byte or so.
    assert lean.stripped_bytes == pytest.approx(len(full.to_bytes()) - len(text), abs=4)
    assert lean.stripped_bytes > 100
    assert b"inner" in full.to_bytes()
    assert len(full.to_proto().graph.value_info) == 1


def test_types_of_intermediates_stay_where_an_operator_is_not_standard() -> None:
    proto = model_of(
        [
            helper.make_node("Mystery", ["x"], ["h"], domain="com.example"),
            helper.make_node("Relu", ["h"], ["y"]),
        ]
    )
    proto.graph.value_info.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, ["n", 4]))
    assert len(Model.from_proto(proto).to_proto().graph.value_info) == 1
    proto.graph.node[0].domain = ""
    assert len(Model.from_proto(proto).to_proto().graph.value_info) == 0


def test_reading_changes_neither_the_message_nor_the_file(tmp_path: Path) -> None:
    proto = small_network()
    proto.doc_string = "keep me"
    before = proto.SerializeToString()
    Model.from_proto(proto).replace_weights({"b": np.zeros(5, np.float32)}).to_bytes()
    assert proto.SerializeToString() == before


def test_large_models_go_to_two_files_that_onnx_reads(tmp_path: Path) -> None:
    big = floats(64, 64)
    proto = model_of(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Add", ["h", "b"], ["y"])],
        [initializer("w", big), initializer("v", big), initializer("b", floats(64))],
        inputs={"x": ["n", 64]},
        outputs={"y": ["n", 64]},
    )
    model, path = Model.from_proto(proto), tmp_path / "m.onnx"
    write_model(model, path, limit=20_000)
    assert sorted(os.listdir(tmp_path)) == ["m.onnx", "m.onnx.data"]
    onnx.checker.check_model(str(path))
    loaded = onnx.load(path)
    assert loaded.graph.initializer[1].raw_data == big.tobytes()
    assert Model.read(path).to_bytes() == model.to_bytes()
    places = [
        {entry.key: entry.value for entry in tensor.external_data}
        for tensor in onnx.load(path, load_external_data=False).graph.initializer
    ]
    assert [place.get("offset") for place in places] == ["0", "16384", None]


def test_overwriting_a_two_file_model_keeps_it_whole_until_the_end(tmp_path: Path) -> None:
    def network(seed: int) -> Model:
        return Model.from_proto(
            model_of(
                [helper.make_node("MatMul", ["x", "w"], ["y"])],
                [initializer("w", floats(4, 2000, seed=seed))],
            )
        )

    path = tmp_path / "m.onnx"
    write_model(network(1), path, limit=100)
    lazy = Model.read(path)
    write_model(network(2), path, limit=100)
    assert sorted(os.listdir(tmp_path)) == ["m.onnx", "m.onnx.1.data"]
    assert np.array_equal(Model.read(path).load("w"), floats(4, 2000, seed=2))
    with pytest.raises(ModelError, match="E011"):
        lazy.load("w")
    again = Model.read(path)
    write_model(again, path, limit=100)
    assert np.array_equal(again.load("w"), floats(4, 2000, seed=2)), "its own data must not be taken away"
    Model.read(path).write(path)
    assert len(files(path)) == 1


def test_a_failing_source_leaves_the_old_file(tmp_path: Path) -> None:
    model, path = Model.from_proto(small_network()), tmp_path / "m.onnx"
    model.write(path)
    before = path.read_bytes()
    data = skeleton(model, ["fc.w"])

    def broken(name: str) -> np.ndarray:
        raise FormatError(f"checksum of {name}")

    with pytest.raises(FormatError, match="checksum"):
        write_streaming(path, data, broken)
    with pytest.raises(FormatError, match=r"weight 'fc.w' must be float32 \[7, 5\]"):
        write_streaming(path, data, lambda name: floats(5, 7))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.onnx"]


@pytest.mark.parametrize("limit", [100, 2**31 - 1])
def test_streaming_writes_what_fill_gives(tmp_path: Path, limit: Any) -> None:
    model = Model.from_proto(with_branches())
    data = skeleton(model, model.weight_names)
    write_streaming(tmp_path / "m.onnx", data, model.load, limit=limit)
    arrays = {name: model.load(name) for name in model.weight_names}
    assert Model.read(tmp_path / "m.onnx").to_bytes() == fill(data, arrays).to_bytes()


_STREAM_LARGE = """
import resource, sys
from enxuto.onnx_model import Model, skeleton, write_streaming
model = Model.read(sys.argv[1])
write_streaming(sys.argv[2], skeleton(model, model.weight_names), model.load)
sys.stdout.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
"""


@pytest.mark.acceptance
def test_above_2_gb_one_tensor_is_in_memory_at_a_time(tmp_path: Path) -> None:
    side, count = 8192, 9
    proto = model_of([helper.make_node("Relu", ["x"], ["y"])])
    with open(tmp_path / "w.bin", "wb") as file:
        for index in range(count):
            tensor = proto.graph.initializer.add(
                name=f"w{index}", data_type=TensorProto.FLOAT, dims=[side, side]
            )
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="w.bin")
            tensor.external_data.add(key="offset", value=str(file.tell()))
            file.write(np.full(side * side, index, np.float32).data)
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    paths = [str(tmp_path / "m.onnx"), str(tmp_path / "o.onnx")]
    done = subprocess.run(
        [sys.executable, "-c", _STREAM_LARGE, *paths], check=True, capture_output=True, text=True
    )
    assert int(done.stdout) < 2 * side * side * 4
    assert total_bytes(paths[1]) > 2**31
    assert filecmp.cmp(tmp_path / "w.bin", tmp_path / "o.onnx.data", shallow=False)


def test_writing_where_it_cannot_be_done(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write"):
        Model.from_proto(small_network()).write(tmp_path / "no" / "m.onnx")

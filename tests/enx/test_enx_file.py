"""The file: its bytes, what comes back, and what a reader of a later version is told."""

from __future__ import annotations

import json
import lzma
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from enx_samples import DEMO, MAGIC, Taken, small_model, weights_of, with_prefix
from enxuto.compression.data_free import compress
from enxuto.enx.file import FORMAT_VERSION, CompressedModel
from enxuto.enx.payload import Payload, most_elements
from enxuto.enx.signature import is_enx
from enxuto.enx.table import TensorEntry
from enxuto.errors import DataError, FormatError, UsageError
from enxuto.quantize.scalar import DeadZone, Half, Minifloat, MuLaw, Quantizer
from enxuto.quantize.schemes import RangeSteps, SameQuantizer, Scheme

SCHEMES: list[Scheme | None] = [
    None,
    SameQuantizer(DeadZone(0.01, 0.4)),
    RangeSteps(6, "channel", delta=0.0),
    SameQuantizer(MuLaw(256, 255.0)),
    SameQuantizer(Minifloat(4, 3)),
    SameQuantizer(Half()),
]


@pytest.fixture(scope="module")
def compressed() -> CompressedModel:
    return compress(small_model(), rounding="nearest", metadata={"labels": ["ä", "b"]})


def test_every_byte_of_the_prefix(compressed: CompressedModel) -> None:
    data = compressed.to_bytes()
    assert data[:8] == bytes.fromhex("89454e580d0a1a0a")
    coders = {row["coder"] for row in Taken.apart(data).table["parts"]}
    assert int.from_bytes(data[8:10], "little") == (2 if "contexts" in coders else 1)
    assert FORMAT_VERSION == 4
    method = int.from_bytes(data[10:12], "little")
    assert method == 1
    assert int.from_bytes(data[12:20], "little") == len(data)
    stored, json_bytes, graph_bytes, crc = struct.unpack("<IIII", data[20:36])
    assert crc == zlib.crc32(data[:32] + data[36 : 36 + stored])
    plain = lzma.decompress(
        data[36 : 36 + stored],
        lzma.FORMAT_RAW,
        filters=[{"id": lzma.FILTER_LZMA1, "dict_size": 4096, "lc": 1, "lp": 0, "pb": 0}],
    )
    assert len(plain) == json_bytes + graph_bytes
    assert plain[json_bytes:] == compressed.skeleton
    rows = json.loads(plain[:json_bytes])["parts"]
    assert 36 + stored + sum(row["bytes"] for row in rows) == len(data)


def test_the_table_says_what_the_format_says(compressed: CompressedModel) -> None:
    taken = Taken.apart(compressed.to_bytes())
    assert set(taken.table) == {"metadata", "parts"}
    assert taken.table["metadata"]["labels"] == ["ä", "b"]
    assert taken.table["metadata"]["made_by"].startswith("enxuto ")
    quantized = {row["tensors"][0]["name"] for row in taken.table["parts"] if row["coder"] != "planes"}
    assert quantized == {"conv.w", "fc.w"}
    for row in taken.table["parts"]:
        assert set(row) <= {"tensors", "bytes", "crc32", "coder", "quantizer", "steps_bytes"}
        assert all(set(tensor) == {"name", "shape", "type"} for tensor in row["tensors"])
    exact = [
        tensor["name"]
        for row in taken.table["parts"]
        if row["coder"] == "planes"
        for tensor in row["tensors"]
    ]
    assert exact == ["conv.b", "bn.scale", "bn.shift", "bn.mean", "bn.var", "fc.b"]


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_saved_and_read_is_the_same(scheme: Scheme | None, tmp_path: Path) -> None:
    made = compress(small_model(), scheme)
    path = tmp_path / "m.enx"
    length = made.save(path)
    assert length == path.stat().st_size == made.file_bytes
    assert path.read_bytes() == made.to_bytes()
    read = CompressedModel.read(path)
    assert (read.skeleton, read.metadata) == (made.skeleton, made.metadata)
    assert [part.row for part in read.payloads] == [part.row for part in made.payloads]
    assert [part.data for part in read.payloads] == [part.data for part in made.payloads]
    assert read.to_bytes() == made.to_bytes()
    assert read.file_bytes == length
    assert read.head_bytes + sum(part.row.bytes for part in read.payloads) == length
    assert weights_of(read.to_model()) == weights_of(made.to_model(threads=1))


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_decoded_weights_are_the_dequantized_ones(scheme: Scheme | None) -> None:
    model = small_model()
    made = compress(model, scheme, rounding="nearest")
    back = made.to_model()
    assert back.weight_names == model.weight_names
    quantized: dict[str, Quantizer] = {}
    for part in made.payloads:
        if part.row.coder != "planes":
            quantized |= {name: tensor.quantizer for name, tensor in part.levels().items()}
    assert set(quantized) == {"conv.w", "fc.w"}
    for name in model.weight_names:
        original = model.load(name)
        if name in quantized:
            original = quantized[name].reconstruct(quantized[name].quantize(original))
        assert np.array_equal(back.load(name), original)
        assert back.load(name).dtype == original.dtype


def test_the_same_input_gives_the_same_bytes_whatever_the_threads() -> None:
    once = compress(DEMO, threads=1).to_bytes()
    assert compress(DEMO, threads=1).to_bytes() == once
    assert compress(DEMO, threads=3).to_bytes() == once


def test_an_uncompressed_head_is_read(compressed: CompressedModel, tmp_path: Path) -> None:
    taken = Taken.apart(compressed.to_bytes())
    taken.method = 0
    path = tmp_path / "m.enx"
    path.write_bytes(taken.to_bytes())
    read = CompressedModel.read(path)
    assert weights_of(read.to_model()) == weights_of(compressed.to_model())
    assert read.to_bytes() == compressed.to_bytes()


def test_padding_where_a_payload_stands_for_many_elements(tmp_path: Path) -> None:
    size = 3_000_000
    entry = TensorEntry(name="zeros", shape=(size,), type=1)
    part = Payload.levels_of([entry], DeadZone(1.0), np.zeros(size, np.int32))
    assert part.row.padding > 0
    assert part.data[-part.row.padding :] == bytes(part.row.padding)
    assert size <= most_elements(part.row.bytes) < size + 4096
    assert not part.arrays()["zeros"].any()
    exact = Payload.exact_of([entry], bytes(4 * size))
    assert exact.row.padding > 0
    assert not exact.arrays()["zeros"].any()


def test_padding_is_zero() -> None:
    entry = TensorEntry(name="zeros", shape=(300_000,), type=1)
    part = Payload.levels_of([entry], DeadZone(1.0), np.full(300_000, 3, np.int32))
    payload = part.data[:-1] + b"\x55"
    other = Payload(part.row.model_copy(update={"crc32": f"{zlib.crc32(payload):08x}"}), payload)
    assert part.row.padding > 1
    with pytest.raises(FormatError, match="padding"):
        other.arrays()


def variants(taken: Taken) -> dict[str, tuple[bytes, str]]:
    """Files of the future, each with its checksums in order: name → (bytes, what the message speaks of)."""

    def changed(**fields: object) -> bytes:
        again = Taken(json.loads(json.dumps(taken.table)), taken.graph, taken.payloads, taken.method)
        for key, value in fields.items():
            target, *path, last = [again.table, *key.split("__")]
            for step in path:
                target = target[int(step) if step.isdigit() else step]
            target[last] = value
        return again.to_bytes()

    head = taken.to_bytes()
    stored = int.from_bytes(head[20:24], "little")
    pieces = (
        head[36 : 36 + stored],
        int.from_bytes(head[24:28], "little"),
        len(taken.graph),
        b"".join(taken.payloads),
    )
    return {
        "version 0": (with_prefix(*pieces, 1, version=0), "version 0"),
        "version 5": (with_prefix(*pieces, 1, version=5), "version 5"),
        "method 2": (with_prefix(*pieces, 2), "method 2"),
        "coder": (changed(parts__0__coder="order1"), "parts.0"),
        "no coder": (changed(parts__0__coder=None), "parts.0"),
        "quantizer": (changed(parts__0__quantizer__kind="vector"), "quantizer"),
        "key of the table": (changed(checks=1), "checks"),
        "key of a row": (changed(parts__0__transform="dct"), "transform"),
        "key of a tensor": (changed(parts__0__tensors__0__layout="nhwc"), "layout"),
        "key of a quantizer": (changed(parts__0__quantizer__rounding="up"), "rounding"),
        "element type": (changed(parts__0__tensors__0__type=99), "type 99"),
        "integers as levels": (changed(parts__0__tensors__0__type=7), "type 7"),
        "delta": (changed(parts__0__quantizer__delta="half"), "delta"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["version 0", "version 5", "method 2", "coder", "no coder", "quantizer", "key of the table", "key of a row",
     "key of a tensor", "key of a quantizer", "element type", "integers as levels", "delta"],
)  # fmt: skip
def test_what_is_not_known_is_a_format_error_that_names_it(
    name: str, compressed: CompressedModel, tmp_path: Path
) -> None:
    cases = variants(Taken.apart(compressed.to_bytes()))
    data, words = cases[name]
    path = tmp_path / "future.enx"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=words) as caught:
        CompressedModel.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing\.enx does not exist"):
        CompressedModel.read(tmp_path / "missing.enx")
    with pytest.raises(DataError, match="folder"):
        CompressedModel.read(tmp_path)
    other = tmp_path / "m.onnx"
    other.write_bytes(DEMO.read_bytes())
    with pytest.raises(FormatError, match=r"not an \.enx file"):
        CompressedModel.read(other)
    empty = tmp_path / "empty.enx"
    empty.write_bytes(b"")
    with pytest.raises(FormatError):
        CompressedModel.read(empty)
    assert not is_enx(other)
    assert not is_enx(empty)
    assert not is_enx(tmp_path / "missing.enx")
    signed = tmp_path / "signed"
    signed.write_bytes(MAGIC + b"x")
    assert is_enx(signed)


def test_a_large_file_is_read_piece_by_piece(
    compressed: CompressedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.enx"
    compressed.save(path)
    monkeypatch.setattr("enxuto.enx.file._IN_MEMORY", 10)
    read = CompressedModel.read(path)
    assert weights_of(read.to_model()) == weights_of(compressed.to_model())
    assert read.to_bytes() == compressed.to_bytes()
    read.save(path)  # over itself
    assert path.read_bytes() == compressed.to_bytes()
    path.write_bytes(path.read_bytes()[:-1] + b"\x55")
    with pytest.raises(FormatError, match="checksum"):
        read.to_model()
    path.unlink()
    with pytest.raises(DataError, match="any more"):
        read.to_model()


def test_writing_in_pieces_gives_the_same_model(
    compressed: CompressedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compressed.write_onnx(tmp_path / "a.onnx")
    monkeypatch.setattr("enxuto.enx.file._LIMIT", 10)
    compressed.write_onnx(tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


CIRCLE: dict[str, object] = {}
CIRCLE["self"] = CIRCLE


def nested(depth: int) -> object:
    return [nested(depth - 1)] if depth else 1


@pytest.mark.parametrize(
    "metadata",
    [{"a": {1, 2}}, {"a": np.float32(1)}, {"a": float("nan")}, {"a": float("inf")}, {1: "a"}, {"a": b"b"},
     {"a": "\ud800"}, {"a": nested(300)}, CIRCLE, {"a": 10**5000}, {"a": object()}],
    ids=["set", "numpy", "nan", "inf", "number as key", "bytes", "surrogate", "nested", "circle", "huge", "object"],
)  # fmt: skip
def test_metadata_that_cannot_be_written(metadata: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="metadata"):
        compress(small_model(), metadata=metadata)
    made = CompressedModel(compress(small_model()).skeleton, compress(small_model()).payloads, metadata)
    with pytest.raises(UsageError, match="metadata"):
        made.save(tmp_path / "m.enx")
    assert list(tmp_path.iterdir()) == []


def test_metadata_come_back(tmp_path: Path) -> None:
    metadata = {
        "a": None,
        "b": {"c": None, "d": [1, 2.5, True, 'é\n\x00"\\', {}, []]},
        "big": 2**200,
        "tiny": 5e-324,
    }
    made = compress(small_model(), metadata=metadata)
    made.save(tmp_path / "m.enx")
    read = CompressedModel.read(tmp_path / "m.enx")
    assert {key: read.metadata[key] for key in metadata} == metadata


def test_payloads_put_aside_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model(40)
    plain = compress(model)
    with monkeypatch.context() as patch:
        patch.setattr("enxuto.enx.payload.Spool.__init__.__defaults__", (500,))
        aside = compress(model)
    assert any(not isinstance(part._data, bytes) for part in aside.payloads)
    assert aside.to_bytes() == plain.to_bytes()
    assert weights_of(aside.to_model(threads=4)) == weights_of(plain.to_model())
    with monkeypatch.context() as patch:
        patch.setattr("enxuto.enx.payload.Spool.__init__.__defaults__", (0,))
        patch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
        in_memory = compress(model)
    assert all(isinstance(part._data, bytes) for part in in_memory.payloads)
    assert in_memory.to_bytes() == plain.to_bytes()

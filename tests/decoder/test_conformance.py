"""The conformance pack (`tests/conformance/`, made by `make_conformance.py`): every reader passes it."""

from __future__ import annotations

import ctypes
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from c_decoder import CODES, Decoder, compiled, plain_object, shared_folder
from decoders_agree import loops_only
from enxuto.enx.file import CompressedModel
from enxuto.errors import FormatError
from enxuto.onnx_model import array_bytes
from make_conformance import FOLDER, MOST_LEVELS, load_example, sha256

EXPECTED: dict[str, Any] = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
SOUND: dict[str, Any] = EXPECTED["sound"]
DAMAGED: dict[str, str] = EXPECTED["damaged"]
example = load_example()


def data_of(kind: str, name: str) -> bytes:
    return (FOLDER / kind / name).read_bytes()


def shortened(levels: np.ndarray | list[int]) -> list[int] | str:
    flat = np.asarray(levels, "<i4").reshape(-1)
    return flat.tolist() if len(flat) <= MOST_LEVELS else sha256(flat.tobytes())


def test_the_pack_has_every_kind() -> None:
    for kind, names in EXPECTED.items():
        assert sorted(path.name for path in (FOLDER / kind).iterdir()) == sorted(names)
    rows = [row for name in SOUND for row in example.read_head(data_of("sound", name))[0]["parts"]]
    kept = [row for row in rows if "quantizer" not in row]
    quantized = [row for row in rows if "quantizer" in row]
    assert {data_of("sound", name)[8] for name in SOUND} == {1, 2, 3, 4}
    assert {row["coder"] for row in rows} == {"planes", "order0", "contexts", "trellis", "trellis-32"}
    assert {row["quantizer"]["kind"] for row in quantized} == set(example.QUANTIZERS)
    assert {t["type"] for row in quantized for t in row["tensors"]} == {1, 10, 11, 16}
    assert {t["type"] for row in kept for t in row["tensors"]} == {
        k for k, code in example.CODES.items() if code != "-"
    }
    assert set(DAMAGED.values()) == {*CODES} - {"OK", "NO_MEMORY", "ARGUMENT"}


@pytest.mark.parametrize("name", SOUND)
def test_package_and_example_find_what_is_expected(name: str) -> None:
    wanted, tensors = SOUND[name], example.decode(data_of("sound", name))
    assert sha256(example.restore(data_of("sound", name))) == wanted["onnx_sha256"]
    assert list(tensors) == list(wanted["tensors"])
    found = {}
    for part in CompressedModel.read(FOLDER / "sound" / name).payloads:
        with loops_only():
            levels = part.levels() if part.row.coder != "planes" else {}
            arrays = part.arrays()
        for entry, array in zip(part.row.tensors, arrays.values(), strict=True):
            found[entry.name] = bytes(array_bytes(array, entry.data_type))
            if entry.name in levels:
                assert shortened(levels[entry.name].levels) == wanted["tensors"][entry.name]["levels"]
                assert shortened(list(tensors[entry.name].levels)) == wanted["tensors"][entry.name]["levels"]
    for key, tensor in tensors.items():
        assert found[key] == tensor.data
        assert sha256(tensor.data) == wanted["tensors"][key]["sha256"]
        assert (tensor.type, list(tensor.shape)) == (
            wanted["tensors"][key]["type"],
            wanted["tensors"][key]["shape"],
        )


@pytest.mark.parametrize("name", DAMAGED)
def test_package_and_example_refuse_what_is_damaged(name: str) -> None:
    with pytest.raises(FormatError), loops_only():
        CompressedModel.read(FOLDER / "damaged" / name).to_model(threads=1)
    with pytest.raises(ValueError):
        example.restore(data_of("damaged", name))


def test_the_c_decoder_gives_the_expected_models(decoder: Decoder) -> None:
    for name, verdict in zip(SOUND, decoder.decode(data_of("sound", n) for n in SOUND), strict=True):
        assert verdict.code == "OK", name
        assert sha256(verdict.model) == SOUND[name]["onnx_sha256"], name


def test_the_c_decoder_gives_the_expected_codes(decoder: Decoder) -> None:
    verdicts = decoder.decode(data_of("damaged", name) for name in DAMAGED)
    assert {name: verdict.code for name, verdict in zip(DAMAGED, verdicts, strict=True)} == DAMAGED


class TensorInfo(ctypes.Structure):
    """`enx_tensor_info` of decoder/enx.h."""

    _fields_ = (
        ("name", ctypes.c_void_p), ("name_size", ctypes.c_size_t), ("type", ctypes.c_int), ("rank", ctypes.c_size_t),
        ("shape", ctypes.POINTER(ctypes.c_uint64)), ("elements", ctypes.c_uint64), ("bytes", ctypes.c_uint64),
        ("row", ctypes.c_size_t), ("exact", ctypes.c_int),
    )  # fmt: skip


def test_the_c_decoder_gives_the_expected_tensors(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Through the functions for single rows: names, types, shapes, bytes and integers."""
    made = plain_object(shared_folder(tmp_path_factory))
    library = ctypes.CDLL(str(compiled(tmp_path / "enx.so", "-shared", made)))
    for function in ("enx_row_offset", "enx_row_size"):
        getattr(library, function).restype = ctypes.c_uint64
    for function in ("enx_rows", "enx_row_first", "enx_row_tensors"):
        getattr(library, function).restype = ctypes.c_size_t
    for name, wanted in SOUND.items():
        data, file = data_of("sound", name), ctypes.c_void_p()
        assert library.enx_open(ctypes.byref(file), data, ctypes.c_size_t(len(data)), None) == 0
        found: dict[str, Any] = {}
        for index in range(library.enx_rows(file)):
            row = ctypes.c_size_t(index)
            offset = library.enx_row_offset(file, row)
            payload = data[offset : offset + library.enx_row_size(file, row)]
            infos = []
            for number in range(library.enx_row_tensors(file, row)):
                info = TensorInfo()
                place = ctypes.c_size_t(library.enx_row_first(file, row) + number)
                assert library.enx_tensor(file, place, ctypes.byref(info)) == 0
                infos.append(info)
            buffers = [ctypes.create_string_buffer(max(1, info.bytes)) for info in infos]
            pointers = (ctypes.c_void_p * len(infos))(*map(ctypes.addressof, buffers))
            assert library.enx_decode(file, row, payload, pointers) == 0
            levels = np.zeros(sum(info.elements for info in infos), np.int32)
            place_of = levels.ctypes.data_as(ctypes.c_void_p)
            assert library.enx_levels(file, row, payload, place_of) == (10 if infos[0].exact else 0)
            start = 0
            for info, buffer in zip(infos, buffers, strict=True):
                key = ctypes.string_at(info.name, info.name_size).decode()
                found[key] = {
                    "type": info.type,
                    "shape": [info.shape[i] for i in range(info.rank)],
                    "sha256": hashlib.sha256(buffer.raw[: info.bytes]).hexdigest(),
                }
                if not info.exact:
                    found[key]["levels"] = shortened(levels[start : start + info.elements])
                    start += info.elements
        assert found == wanted["tensors"], name
        library.enx_close(file)

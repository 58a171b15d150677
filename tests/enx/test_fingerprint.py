"""The hash of the weights that a file was made from: worked out by hand, and whatever is not that model is refused."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner, Result

from enx_samples import noise, small_model
from enxuto.calibration.calibrate import calibrate
from enxuto.cli import app
from enxuto.compression.at_price import compress_at
from enxuto.compression.data_free import compress
from enxuto.enx.file import CompressedModel
from enxuto.enx.table import LevelsRow
from enxuto.enx.verify import verify
from enxuto.onnx_model import Model, fold_batch_norm
from enxuto.quantize.scalar import DeadZone
from enxuto.quantize.schemes import SameQuantizer

MODEL = small_model(40)
IMAGES = noise(24, 2, 4, 4, seed=9, scale=1.0)


def calibrated(model: Model = MODEL, price: float = 1e-5) -> CompressedModel:
    return compress_at(calibrate(model, IMAGES, threads=1), price).model


@pytest.fixture(scope="module")
def files() -> dict[str, CompressedModel]:
    return {
        "plain": compress(MODEL),
        "folded": compress(MODEL, fold_bn=True),
        "by rate": compress(MODEL, SameQuantizer(DeadZone(0.05)), rounding="rate"),
        "all roles": compress(MODEL, roles=["kernel", "matrix", "bias", "norm"]),
        "calibrated": calibrated(),
        "calibrated coarsely": calibrated(price=1e-2),
    }


FILES = ("plain", "folded", "by rate", "all roles", "calibrated", "calibrated coarsely")


def by_hand(arrays: list[np.ndarray], types: list[int]) -> str:
    """The text of `docs/format.md`, from numpy and the standard library."""
    digests = []
    for array, kind in zip(arrays, types, strict=True):
        head = struct.pack(f"<{2 + array.ndim}q", kind, array.ndim, *array.shape)
        little = array.astype(array.dtype.newbyteorder("<")) if array.dtype.kind in "fiu" else array
        digests.append(hashlib.sha256(head + little.tobytes()).digest())
    whole = hashlib.sha256(b"".join(digests)).digest()[:8] + b"".join(one[:2] for one in digests)
    return base64.b64encode(whole).decode().rstrip("=")


@pytest.mark.parametrize("which", FILES)
def test_the_hash_is_the_pages(which: str, files: dict[str, CompressedModel]) -> None:
    made = files[which]
    original = fold_batch_norm(MODEL)[0] if made.metadata.get("folded") else MODEL
    rows = [part.row for part in made.payloads if isinstance(part.row, LevelsRow) or "calibrated" in which]
    names = [entry.name for row in rows for entry in row.tensors]
    assert names
    assert made.metadata["weights"] == by_hand([original.load(name) for name in names], [1] * len(names))


@pytest.mark.parametrize("which", FILES)
def test_the_original_is_known_again(which: str, files: dict[str, CompressedModel], tmp_path: Path) -> None:
    files[which].save(tmp_path / "m.enx")
    result = verify(CompressedModel.read(tmp_path / "m.enx"), MODEL)
    assert result.problems == ()
    assert all(check.same for check in result.checks if not check.exact)
    assert json.dumps(result.to_dict(), allow_nan=False)


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "zeros": np.zeros_like,
    "permuted": lambda a: np.random.default_rng(0).permutation(a.ravel()).reshape(a.shape),
    "channels reversed": lambda a: a[::-1].copy(),
    "negated": lambda a: -a,
    "one bit of one": lambda a: (a.view(np.uint32) ^ (np.arange(a.size) == 3).reshape(a.shape)).view(a.dtype),
    "other numbers": lambda a: noise(*a.shape, seed=77, scale=float(a.std())),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["conv.w", "fc.w", "fc.b"])
@pytest.mark.parametrize("which", FILES)
def test_another_original_is_refused_and_its_tensor_named(
    which: str, name: str, change: str, files: dict[str, CompressedModel]
) -> None:
    other = MODEL.replace_weights({name: CHANGES[change](MODEL.load(name))})
    result = verify(files[which], other)
    assert [check.name for check in result.checks if not check.ok] == [name]
    assert len(result.problems) == 1
    assert f"'{name}'" in result.problems[0]


def test_what_was_decoded_is_not_the_original(files: dict[str, CompressedModel]) -> None:
    """Within every bound, and yet another model."""
    assert not verify(files["plain"], files["plain"].to_model()).ok


def test_files_without_a_hash_are_judged_by_what_they_have(files: dict[str, CompressedModel]) -> None:
    def older(which: str) -> CompressedModel:
        made = files[which]
        return replace(made, metadata={k: v for k, v in made.metadata.items() if k != "weights"})

    assert verify(older("plain"), MODEL).ok
    (problem,) = verify(older("calibrated"), MODEL).problems
    assert "cannot be compared" in problem
    assert verify(older("calibrated")).ok  # without an original there is nothing to compare


@pytest.mark.parametrize("text", ["", "AAAA", "!!", "é" * 20, 5, None, ["x"], "A" * 1000])
def test_a_damaged_hash_is_a_problem(text: object, files: dict[str, CompressedModel]) -> None:
    for which in ("plain", "calibrated"):
        made = replace(files[which], metadata={**files[which].metadata, "weights": text})
        result = verify(made, MODEL)
        if text is not None or which == "calibrated":
            assert len(result.problems) == 1
            assert "hash" in result.problems[0]


def test_a_hash_that_agrees_in_each_tensor_alone_is_not_enough(files: dict[str, CompressedModel]) -> None:
    text = files["calibrated"].metadata["weights"]
    other = ("B" if text[0] == "A" else "A") + text[1:]
    made = replace(files["calibrated"], metadata={**files["calibrated"].metadata, "weights": other})
    assert verify(made, MODEL).problems == (
        "the weights are not those that were compressed: their hash is another",
    )


def test_metadata_of_another_file_bring_no_hash_along(files: dict[str, CompressedModel]) -> None:
    handed_on = {key: value for key, value in files["plain"].metadata.items() if key != "made_by"}
    other = MODEL.replace_weights({"fc.w": -MODEL.load("fc.w")})
    assert verify(compress(other, metadata=handed_on), other).ok


@pytest.mark.recent
@pytest.mark.parametrize("kind", [np.float64, np.float16, np.dtype(ml_dtypes.bfloat16)], ids=str)
def test_other_types(kind: np.dtype) -> None:
    values = noise(40, 50, scale=1).astype(kind)
    graph = helper.make_graph(
        [helper.make_node("Cast", ["w"], ["f"], to=1), helper.make_node("MatMul", ["x", "f"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 40])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, "w")],
    )
    model = Model.from_proto(
        helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    )
    made = compress(model, SameQuantizer(DeadZone(0.03)))
    assert made.metadata["weights"] == by_hand([values], [model.info("w").data_type])
    assert verify(made, model).ok
    assert not verify(made, model.replace_weights({"w": values[::-1].copy()})).ok


def test_biases_too_few_for_a_payload_are_not_taken_for_another_model() -> None:
    """Corrected biases of 16 bytes stayed in the graph, which is compared with the original's."""
    weights = {"w": noise(3, 64, seed=1, scale=0.5), "b": noise(3, seed=2)}
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = Model.from_proto(
        helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    )
    images = noise(32, 64, seed=3, scale=1.0) + 1
    for price in (1e-6, 1e-3, 1e-2):
        made = compress_at(calibrate(model, images, threads=1), price).model
        assert verify(made, model).problems == ()
        assert not verify(made, model.replace_weights({"b": -weights["b"]})).ok


def invoke(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_verb_says_so_and_ends_with_1(files: dict[str, CompressedModel], tmp_path: Path) -> None:
    files["calibrated"].save(tmp_path / "m.enx")
    MODEL.write(tmp_path / "m.onnx")
    zeros = {n: np.zeros_like(MODEL.load(n)) for n in MODEL.weight_names if MODEL.load(n).dtype.kind == "f"}
    MODEL.replace_weights(zeros).write(tmp_path / "zero.onnx")
    sound = invoke("verify", tmp_path / "m.enx", tmp_path / "m.onnx", "--run", 20)
    assert sound.exit_code == 0, sound.output
    assert "made from these weights, by their hash" in sound.stdout
    assert "outputs on 20 random inputs, seed 0" in sound.stdout
    result = invoke("verify", tmp_path / "m.enx", tmp_path / "zero.onnx")
    assert result.exit_code == 1
    assert "sound" not in result.output
    assert "'fc.w' was not made from these weights" in result.stdout

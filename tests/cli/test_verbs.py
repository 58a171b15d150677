"""The verbs of the main path, as a user calls them: what they print, write and exit with."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import Result

import enxuto
from enxuto.enx.file import CompressedModel
from enxuto.enx.table import LevelsRow
from enxuto.onnx_model import Model

Invoke = Callable[..., Result]


def printed(result: Any) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def one_line_error(result: Any, code: int = 2) -> str:
    """The error as one line on stderr, nothing on stdout, and the exit code."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    assert "internal error" not in lines[0]
    return lines[0]


def test_compress_decompress_evaluate(invoke: Invoke, digits: Path, images: Path) -> None:
    made = printed(invoke("compress", digits, "--bits", 4, "--json"))
    small = digits.with_suffix(".enx")
    rows = {row["name"]: row for row in made["rows"]}
    assert rows[".enx file"]["bytes"] == small.stat().st_size
    assert rows["ONNX file"]["bytes"] == digits.stat().st_size
    assert rows[".enx file"]["bits_per_parameter"] <= 4
    assert not rows["order-0 entropy of levels + exact values"]["measured"]

    restored = digits.with_name("restored.onnx")
    assert printed(invoke("decompress", small, "-o", restored, "--json"))["bytes"] == restored.stat().st_size
    onnx.checker.check_model(str(restored), full_check=True)
    # The preprocessing and labels came along, in both directions.
    assert Model.read(restored).proto.metadata_props

    scores = printed(invoke("evaluate", restored, "--data", images, "--reference", digits, "--json"))
    direct = printed(invoke("evaluate", small, "--data", images, "--reference", digits, "--json"))
    assert scores["samples"] == 360
    assert scores["metrics"] == direct["metrics"]
    assert scores["agreement"] >= 0.99
    assert scores["preprocess"]["channels"] == "L"


def test_same_input_and_options_give_the_same_file(invoke: Invoke, digits: Path) -> None:
    first, second = digits.with_name("a.enx"), digits.with_name("b.enx")
    for target in (first, second):
        assert (
            invoke("compress", digits, "-o", target, "--threads", 1 if target == first else 2).exit_code == 0
        )
    assert first.read_bytes() == second.read_bytes()


def test_ledger_and_tables_are_readable(invoke: Invoke, digits: Path) -> None:
    shown = invoke("compress", digits, "--rounding", "nearest")
    assert shown.exit_code == 0
    assert "280,405 B" in shown.stdout
    assert "ONNX file, xz" in shown.stdout
    inspected = invoke("inspect", digits.with_suffix(".enx"))
    assert inspected.exit_code == 0
    assert "dead-zone δ=0.5" in inspected.stdout
    assert "exact" in inspected.stdout
    weights = invoke("inspect", digits)
    assert weights.exit_code == 0
    assert "kernel" in weights.stdout
    assert "bias" in weights.stdout


def test_inspect_json_adds_up(invoke: Invoke, digits: Path) -> None:
    invoke("compress", digits)
    facts = printed(invoke("inspect", digits.with_suffix(".enx"), "--json"))
    parts = CompressedModel.read(digits.with_suffix(".enx")).payloads
    file_row = next(row for row in facts["rows"] if row["name"] == ".enx file")
    assert facts["head_bytes"] + sum(part.row.bytes for part in parts) == file_row["bytes"]
    weights = [tensor for tensor in facts["tensors"] if tensor["entropy"] is not None]
    assert len(weights) == 5
    assert {tensor["coder"] for tensor in facts["tensors"]} <= {"trellis-32", "order0", "planes"}
    assert all(0.8 * tensor["entropy"] < tensor["bits"] for tensor in weights)


@pytest.mark.parametrize(
    "options",
    [
        ("--quantizer", "midrise", "--levels", "8"),
        ("--quantizer", "midtread", "--levels", "8", "--range", "-0.5,0.5"),
        ("--delta", "0.25", "--levels", "7"),
        ("--delta", "0.7", "--step", "0.01"),
        ("--levels", "6", "--per", "tensor"),
        ("--levels", "6", "--per", "channel"),
        ("--step", "0.1", "--per", "channel"),
        ("--quantizer", "mu-law", "--levels", "8", "--mu", "255"),
        ("--quantizer", "mu-law", "--levels", "8", "--per", "tensor"),
        ("--quantizer", "minifloat", "--minifloat", "4,3"),
        ("--quantizer", "minifloat", "--minifloat", "2,3", "--per", "tensor"),
        ("--quantizer", "half"),
        ("--quantize-roles", "bias", "--bits", "5"),
        ("--keep-exact", "0.*", "--per", "network"),
        ("--levels", "5", "--range", "-0.1,0.1", "--clip"),
    ],
    ids=" ".join,
)
def test_every_quantizer_goes_through(invoke: Invoke, digits: Path, options: tuple[str, ...]) -> None:
    small = digits.with_suffix(".enx")
    result = invoke("compress", digits, *options, "--json")
    assert printed(result)["rows"][-1]["ratio"] > 1.5
    decoded = enxuto.load(small)
    original = Model.read(digits)
    assert decoded.weight_names == original.weight_names
    verified = invoke("verify", small, digits)
    # Clipped weights lie outside their bins, and verify says so.
    assert verified.exit_code == (1 if "--clip" in options else 0), verified.output


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ((), "grid"),
        (("--steps", "measured", "--no-fold-bn"), "grid"),
        (("--per", "tensor", "--bits", "4"), "grid"),
        (("--levels", "8"), "dead-zone"),
        (("--delta", "0.4", "--bits", "4"), "dead-zone"),
        (("--rounding", "nearest"), "dead-zone"),
        (("--rounding", "rate", "--bits", "4"), "dead-zone"),
        (("--levels", "8", "--rounding", "trellis"), "grid"),
    ],
)
def test_levels_lie_on_a_trellis_unless_the_user_says_what_they_are(
    invoke: Invoke, digits: Path, options: tuple[str, ...], kind: str
) -> None:
    assert invoke("compress", digits, *options).exit_code == 0
    parts = CompressedModel.read(digits.with_suffix(".enx")).payloads
    quantized = [part for part in parts if isinstance(part.row, LevelsRow)]
    # Biases, which measured steps round too, have no rows for a trellis.
    assert {part.quantizer().kind for part in quantized if len(part.row.tensors[0].shape) > 1} == {kind}
    assert invoke("verify", digits.with_suffix(".enx"), digits).exit_code == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--steps", "equal"), "steps are checked or balanced or measured, not 'equal'"),
        (("--steps", "measured", "--levels", "8"), "chooses the steps of a dead-zone quantizer itself"),
        (("--rounding", "up"), "rounding is nearest, rate, trellis, not 'up'"),
        (("--rounding", "rate", "--synthetic"), "chooses its own quantizers and levels"),
        (("--rounding", "trellis", "--quantizer", "half"), "needs quantizer dead-zone"),
    ],
)
def test_roundings_that_do_not_go(invoke: Invoke, digits: Path, options: tuple[str, ...], said: str) -> None:
    assert said in one_line_error(invoke("compress", digits, *options))
    assert not digits.with_suffix(".enx").exists()


def test_verify_finds_damage_and_another_model(invoke: Invoke, digits: Path) -> None:
    invoke("compress", digits)
    small = digits.with_suffix(".enx")
    assert invoke("verify", small).exit_code == 0
    whole = small.read_bytes()
    small.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    damaged = invoke("verify", small, "--json")
    assert damaged.exit_code == 1
    assert "checksum" in json.loads(damaged.stdout)["problems"][0]
    assert "checksum" in one_line_error(invoke("decompress", small, "-o", digits.with_name("x.onnx")))
    assert not digits.with_name("x.onnx").exists()
    small.write_bytes(whole)
    model = Model.read(digits)
    name = next(info.name for info in model.infos() if info.role == "bias")
    model.replace_weights({name: model.load(name) + np.float32(1)}).write(digits)
    other = invoke("verify", small, digits)
    assert other.exit_code == 1
    assert name in other.stdout


def test_preprocessing_from_flags_and_toml(invoke: Invoke, digits: Path, images: Path) -> None:
    recipe = digits.with_name("recipe.toml")
    recipe.write_text('[preprocess]\nchannels = "L"\nmean = [0.5]\n')
    small = digits.with_suffix(".enx")
    assert invoke("compress", digits, "--preprocess", recipe, "--std", "0.25", "--no-xz").exit_code == 0
    stored = CompressedModel.read(small).metadata["preprocess"]
    assert stored["mean"] == [0.5]
    assert stored["std"] == [0.25]
    quiet = invoke("evaluate", small, "--data", images, "--json")
    assert "warning" not in quiet.stderr
    warned = invoke("evaluate", small, "--data", images, "--mean", "0", "--json")
    assert "differs from the model's own" in warned.stderr
    assert "mean" in warned.stderr
    assert printed(warned)["preprocess"]["mean"] == [0.0]


def test_unknown_preprocessing_is_said(invoke: Invoke, digits: Path, images: Path) -> None:
    proto = Model.read(digits).to_proto()
    del proto.metadata_props[:]
    Model.from_proto(proto).write(digits)
    result = invoke("evaluate", digits, "--data", images)
    assert "no preprocessing is known" in result.stderr


def test_evaluate_shows_classes_and_confusion(invoke: Invoke, digits: Path, images: Path) -> None:
    shown = invoke("evaluate", digits, "--data", images, "--per-class", "--confusion", "--limit", 100)
    assert shown.exit_code == 0
    assert "precision" in shown.stdout
    assert "predicted \\ expected" in shown.stdout
    assert "100 (seed 0" in shown.stdout


def test_bench_takes_turns(invoke: Invoke, digits: Path) -> None:
    invoke("compress", digits, "--no-xz")
    timed = printed(
        invoke("bench", digits, digits.with_suffix(".enx"), "--batch", "1,8", "--repeats", 3, "--json")
    )
    assert [[row["batch"] for row in model["latency"]] for model in timed["models"]] == [[1, 8], [1, 8]]
    assert all(row["median"] <= row["p95"] for model in timed["models"] for row in model["latency"])
    assert "speed-up" in invoke("bench", digits, "--repeats", 2).stdout


def test_bench_takes_a_shape_for_each_input(invoke: Invoke, tmp_path: Path) -> None:
    inputs = [
        helper.make_tensor_value_info(name, kind, shape)
        for name, kind, shape in (
            ("image", 1, ["n", 3, "h", "w"]),
            ("ids", 7, ["n", "t"]),
            ("state", 1, [2, 1, "s"]),
        )
    ]
    nodes = [helper.make_node("Size", [name], [f"{name}_size"]) for name in ("image", "ids", "state")]
    outputs = [helper.make_tensor_value_info(f"{item.name}_size", 7, []) for item in inputs]
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    place = tmp_path / "several.onnx"
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), place)
    words = ("bench", place, "--repeats", 1, "--warmup", 0, "--batch", 2, "--input-shape")
    assert invoke(*words, "image=3,8,8;ids=5;state=2,1,4").exit_code == 0
    again = [word for one in ("ids=5", "state=2,1,4") for word in ("--input-shape", one)]
    assert invoke(*words, "image=3,8,8", *again).exit_code == 0
    assert "twice" in one_line_error(invoke(*words, "ids=5", "--input-shape", "ids=6"))
    assert "state" in one_line_error(invoke(*words, "image=3,8,8;ids=5"))
    assert "did you mean 'image'" in one_line_error(invoke(*words, "imag=3,8,8;ids=5"))
    assert "twice" in one_line_error(invoke(*words, "ids=5;ids=6"))


def test_demo(invoke: Invoke, tmp_path: Path) -> None:
    outcome = printed(invoke("demo", "--json", "-o", tmp_path / "kept"))
    calibrated = outcome["calibrated"]
    assert outcome["rows"][-1]["ratio"] >= 10
    assert calibrated["rows"][-1]["ratio"] >= 25
    for after in (outcome["after"], calibrated["after"]):
        assert after["metrics"]["accuracy"] >= outcome["before"]["metrics"]["accuracy"] - 0.01
        assert after["agreement"] >= 0.98
        assert after["samples"] == 296
    assert outcome["provenance"]["samples"] == {"calibration": 64, "judging": 296}
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "kept").iterdir()}
    assert set(sizes) == {
        "digits.onnx", "digits.enx", "digits-restored.onnx", "digits-calibrated.enx", "digits-calibrated-restored.onnx",
    }  # fmt: skip
    shown = invoke("demo")
    assert shown.exit_code == 0, shown.output
    for name in ("digits.onnx", "digits.enx", "digits-calibrated.enx"):
        assert f"{sizes[name]:,} B" in shown.stdout
    assert "Next:" in shown.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("compress", "absent.onnx"), "absent.onnx"),
        (("decompress", "absent.enx"), "absent.enx"),
        (("inspect", "absent.enx"), "absent.enx"),
        (("evaluate", "DIGITS", "--data", "absent.parquet"), "absent.parquet"),
        (("evaluate", "DIGITS", "--data", "IMAGES", "--resize", "big"), "--resize"),
        (("evaluate", "DIGITS", "--data", "IMAGES", "--preprocess", "imaginary"), "imaginary"),
        (("compress", "DIGITS", "--quantizer", "magic"), "magic"),
        (("compress", "DIGITS", "--levels", "40"), "--levels"),
        (("compress", "DIGITS", "--levels", "8", "--step", "0.1"), "--step"),
        (("compress", "DIGITS", "--levels", "8", "--bits", "4"), "bits"),
        (("compress", "DIGITS", "--range", "-1,1"), "--range"),
        (("compress", "DIGITS", "--levels", "8", "--range", "1,-1"), "range"),
        (("compress", "DIGITS", "--quantizer", "minifloat"), "--minifloat"),
        (("compress", "DIGITS", "--quantizer", "mu-law"), "--levels"),
        (("compress", "DIGITS", "--mu", "255"), "--mu"),
        (("compress", "DIGITS", "--delta", "2"), "delta"),
        (("compress", "DIGITS", "--step", "0"), "step"),
        (("compress", "DIGITS", "--step", "1e-12"), "too small"),
        (("compress", "DIGITS", "--keep-exact", "nothing.like.it"), "nothing.like.it"),
        (("compress", "DIGITS", "--quantize-roles", "colour"), "colour"),
        (("compress", "DIGITS", "-o", "no/such/folder/x.enx"), "no/such/folder"),
        (("compress", "DIGITS", "-o", "DIGITS"), "itself"),
        (("compress", "DIGITS", "--bits", "0"), "bits"),
        (("compress", "IMAGES"), "digits.npz"),
        (("decompress", "DIGITS", "-o", "x.onnx"), "an ONNX model"),
        (("bench", "DIGITS", "--input-shape", "a,b"), "--input-shape"),
        (("bench", "DIGITS", "--batch", "0"), "batch"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_gets_one_line(
    invoke: Invoke,
    digits: Path,
    images: Path,
    words: tuple[str, ...],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(digits.parent)
    before = sorted(digits.parent.iterdir())
    names = {"DIGITS": digits.name, "IMAGES": images.name}
    assert says in one_line_error(invoke(*(names.get(word, word) for word in words)))
    assert sorted(digits.parent.iterdir()) == before


def test_unreachable_bits_fail_the_check(invoke: Invoke, digits: Path) -> None:
    assert "cannot be reached" in one_line_error(invoke("compress", digits, "--bits", 0.05), code=1)


def test_weights_that_are_not_finite_are_named(invoke: Invoke, tmp_path: Path) -> None:
    for role, value in (("w", np.nan), ("b", np.inf)):
        weights = {"w": np.ones((8, 3, 3, 3), np.float32), "b": np.zeros(8, np.float32)}
        weights[role].flat[3] = value
        node = helper.make_node("Conv", ["x", "w", "b"], ["y"])
        info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *rest]) for name, rest in
                (("x", [3, 8, 8]), ("y", [8, 6, 6]))]  # fmt: skip
        graph = helper.make_graph(
            [node],
            "g",
            info[:1],
            info[1:],
            [numpy_helper.from_array(array, name) for name, array in weights.items()],
        )
        path = tmp_path / "m.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), str(path))
        assert f"'{role}'" in one_line_error(invoke("compress", path))
        assert not path.with_suffix(".enx").exists()


def test_debug_shows_the_traceback(digits: Path) -> None:
    words = [sys.executable, "-m", "enxuto", "--debug", "inspect", "absent.enx"]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert "Traceback" in result.stderr
    assert result.returncode != 0


def test_version_and_root_help(invoke: Invoke) -> None:
    assert invoke("--version").stdout.strip() == f"enxuto {enxuto.__version__}"
    assert "compress" in invoke("--help").stdout
    assert invoke("frobnicate").exit_code == 2

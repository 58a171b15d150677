"""Names in lists of NAME=VALUE may have commas, as some exporters write a table of classes as an output's name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import Result

from enxuto.cli.shared.options import split_values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=values,b=classes:2", ["a=values", "b=classes:2"]),
        (" a=values , b=ignore ", ["a=values", "b=ignore"]),
        ("a,b=values", ["a,b=values"]),
        ('{"1": "one", "2": "two"}=values,y=ignore', ['{"1": "one", "2": "two"}=values', "y=ignore"]),
        ("a=values,b", ["a=values", "b"]),
        ("a,b", ["a", "b"]),
        ("a=values,,", ["a=values"]),
    ],
)
def test_pairs(text: str, expected: list[str]) -> None:
    assert split_values(text, pairs=True) == expected


def test_other_lists_are_split_at_every_comma() -> None:
    assert split_values("a,b=c") == ["a", "b=c"]


@pytest.mark.parametrize("name", ["a,b", '{"1": "one", "2": "two"}', "x, y"])
def test_an_output_whose_name_has_commas_is_judged_as_asked(
    name: str, tmp_path: Path, invoke: Callable[..., Result]
) -> None:
    weight = np.random.default_rng(0).standard_normal((16, 8)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], [name])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 8])],
        [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(1).standard_normal((40, 16)).astype(np.float32))
    made = invoke(
        "compress", tmp_path / "m.onnx", "-o", tmp_path / "m.enx", "--data", tmp_path / "x.npz", "--min-snr", 20,
        "--outputs", f"{name}=values", "--threads", 1,
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    assert f"{name!r}: values" in made.stderr + made.stdout

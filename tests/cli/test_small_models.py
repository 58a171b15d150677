"""Models that hold next to nothing: their files are larger, and that is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import Result

Invoke = Callable[..., Result]


@pytest.mark.parametrize(("inputs", "is_larger"), [(2, True), (2000, False)])
def test_a_file_that_is_larger_than_its_model_says_so(
    inputs: int, is_larger: bool, invoke: Invoke, tmp_path: Path
) -> None:
    weight = np.random.default_rng(0).normal(size=(inputs, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    result = invoke("compress", path)
    assert result.exit_code == 0, result.output
    said = f"the file is larger than the ONNX file, {path.stat().st_size:,} B" in result.stderr
    assert said == is_larger == (path.with_suffix(".enx").stat().st_size > path.stat().st_size)

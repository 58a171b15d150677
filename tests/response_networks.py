"""Small networks whose response to synthetic inputs is known, and the steps that a file gives their tensors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from enxuto.enx.file import CompressedModel
from enxuto.enx.table import LevelsRow
from enxuto.onnx_model import Model

FLOAT = TensorProto.FLOAT
Float32 = NDArray[np.float32]


def network(weights: dict[str, Float32], nodes: list[tuple[str, list[str], str]], outputs: int) -> Model:
    """A model of `x` (N, 16) with these nodes (operator, inputs, output); the last gives `y`."""
    graph = helper.make_graph(
        [helper.make_node(kind, reads, [made]) for kind, reads, made in nodes],
        "network",
        [helper.make_tensor_value_info("x", FLOAT, ["N", 16])],
        [helper.make_tensor_value_info("y", FLOAT, ["N", outputs])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return Model.from_bytes(made.SerializeToString())


def noise(seed: int, *shape: int) -> Float32:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def two_branches(loud: float, outputs: int = 8) -> Model:
    """Two layers of like weights beside each other, the first of which counts `loud` times as much."""
    return network(
        {"one": noise(1, 16, outputs), "other": noise(2, 16, outputs), "loud": np.array([loud], np.float32)},
        [
            ("MatMul", ["x", "one"], "a"),
            ("Mul", ["a", "loud"], "b"),
            ("MatMul", ["x", "other"], "c"),
            ("Add", ["b", "c"], "y"),
        ],
        outputs,
    )


def steps_of(compressed: CompressedModel) -> dict[str, float]:
    """The step of every quantized tensor, of which its rows are multiples."""
    return {
        entry.name: float(np.max(np.asarray(getattr(part.quantizer(), "step"))))  # noqa: B009
        for entry, part in compressed.entries()
        if isinstance(part.row, LevelsRow)
    }


def normalised() -> Model:
    """A layer, its normalisation, and a layer."""
    norm = {
        name: 1 + 0.1 * np.abs(noise(n, 64)) for n, name in enumerate(("scale", "shift", "mean", "variance"))
    }
    return network(
        {"first": noise(1, 16, 64), "bias": noise(2, 64), "second": noise(3, 64, 8), **norm},
        [
            ("Gemm", ["x", "first", "bias"], "a"),
            ("BatchNormalization", ["a", "scale", "shift", "mean", "variance"], "b"),
            ("Relu", ["b"], "c"),
            ("MatMul", ["c", "second"], "y"),
        ],
        8,
    )

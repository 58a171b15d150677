"""examples/encode_enx.py: files that both decoders read, in every branch of what it writes."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import enxuto
from enxuto.demo import MODEL, TEST_IMAGES

EXAMPLES = Path(__file__).parents[2] / "examples"
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def examples() -> tuple[ModuleType, ModuleType]:
    sys.path.insert(0, str(EXAMPLES))
    try:
        import decode_enx
        import encode_enx
    finally:
        sys.path.remove(str(EXAMPLES))
    return encode_enx, decode_enx


def random(*shape: int) -> np.ndarray:
    return (RNG.standard_normal(shape) * 0.3).astype(np.float32)


def network(weight: np.ndarray, more: np.ndarray, **conv: object) -> onnx.ModelProto:
    """Conv → Relu → global pool → Gemm (transB) → MatMul, with biases."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["a"], **conv),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "fc", "c"], ["h"], transB=1),
        helper.make_node("MatMul", ["h", "m"], ["y"]),
    ]
    values = {
        "w": weight,
        "b": random(len(weight)),
        "fc": more,
        "c": random(len(more)),
        "m": random(len(more), 5),
    }
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4, 11, 9])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def outputs(model: bytes, x: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(model).run(None, {"x": x})[0]


@pytest.mark.parametrize(
    ("weight", "conv"),
    [
        (random(8, 4, 3, 3), {"pads": [1, 1, 1, 1]}),
        (random(8, 4, 3, 2), {"pads": [0, 1, 2, 1], "strides": [2, 3]}),
        (random(8, 4, 2, 3), {"dilations": [3, 2]}),
        (random(8, 2, 3, 3), {"group": 2}),
        (random(4, 1, 5, 5), {"group": 4, "pads": [2, 2, 2, 2]}),
        (random(8, 4, 1, 1), {}),
        (
            random(8, 4, 3, 3) * np.where(np.arange(288).reshape(8, 4, 3, 3) == 5, 60, 1).astype(np.float32),
            {},
        ),  # levels beyond the direct tokens
        (np.zeros((8, 4, 3, 3), np.float32), {}),
        (random(1200, 4, 3, 3), {}),  # more than 2^15 levels: four states
    ],
)
def test_files_of_all_layers_decode_alike_and_compute_nearly_the_same(
    examples: tuple[ModuleType, ModuleType], tmp_path: Path, weight: np.ndarray, conv: dict[str, object]
) -> None:
    encoder, decoder = examples
    model = network(weight, random(6, len(weight)), **conv)
    x = np.abs(random(24, 4, 11, 9))
    coded = encoder.encode(model, x)
    (tmp_path / "m.enx").write_bytes(coded)
    restored = decoder.restore(coded)
    ours = enxuto.load(tmp_path / "m.enx")
    ours.write(tmp_path / "m.onnx")
    assert onnx.load(tmp_path / "m.onnx") == onnx.ModelProto.FromString(restored)
    before, after = outputs(model.SerializeToString(), x), outputs(restored, x)
    assert np.mean((after - before) ** 2) <= 0.05 * np.mean(before**2)


def test_feedback_leaves_less_error_than_rounding_to_nearest(examples: tuple[ModuleType, ModuleType]) -> None:
    encoder, _ = examples
    x = random(500, 20) @ random(20, 20)  # inputs that go together
    h, matrix, step = x.T @ x / len(x), random(10, 20), 0.2
    plain = matrix - np.rint(matrix / step) * step
    better = matrix - encoder.rounded(matrix, h, step) * step
    assert np.einsum("oi,ij,oj->", better, h, better) < 0.7 * np.einsum("oi,ij,oj->", plain, h, plain)


def test_shared_weights_stay_exact(examples: tuple[ModuleType, ModuleType]) -> None:
    encoder, decoder = examples
    model = network(random(6, 4, 3, 3), random(6, 6))
    model.graph.node[5].input[1] = "fc"  # the second product reads the first one's weight
    coded = encoder.encode(model, random(8, 4, 11, 9))
    found = {w.name: w for w in onnx.ModelProto.FromString(decoder.restore(coded)).graph.initializer}
    original = {w.name: w for w in model.graph.initializer}
    assert np.array_equal(numpy_helper.to_array(found["fc"]), numpy_helper.to_array(original["fc"]))
    assert not np.array_equal(numpy_helper.to_array(found["w"]), numpy_helper.to_array(original["w"]))


def test_demo_network_keeps_its_answers_in_a_tenth_of_the_bytes(
    examples: tuple[ModuleType, ModuleType],
) -> None:
    encoder, decoder = examples
    x = (np.load(TEST_IMAGES)["images"].astype(np.float32) / 255).reshape(-1, 1, 8, 8)
    coded = encoder.encode(onnx.load(MODEL), x[:64])
    assert len(coded) < MODEL.stat().st_size / 10
    held = {"image": x[64:]}
    before = onnxruntime.InferenceSession(str(MODEL)).run(None, held)[0]
    after = onnxruntime.InferenceSession(decoder.restore(coded)).run(None, held)[0]
    assert np.mean(before.argmax(1) == after.argmax(1)) >= 0.99


def test_what_it_does_not_know_is_said(examples: tuple[ModuleType, ModuleType]) -> None:
    encoder, _ = examples
    with pytest.raises(ValueError, match="auto_pad is not known here"):
        encoder.encode(network(random(6, 4, 3, 3), random(6, 6), auto_pad="SAME_UPPER"), random(2, 4, 11, 9))

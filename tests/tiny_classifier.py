"""A network and images for tests of retraining: made of chance, trained in a second."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = {"y": "classes"}


def tiny_network(channels: int = 1) -> onnx.ModelProto:
    """Two convolutions and a matrix for 8×8 images, ten classes."""
    generator = np.random.default_rng(0)
    shapes = {"c1": (8, channels, 3, 3), "c2": (16, 8, 3, 3), "f": (10, 256)}
    weights = {
        name: generator.laplace(0, 1 / np.sqrt(np.prod(shape[1:])), shape) for name, shape in shapes.items()
    }
    weights |= {f"{name}b": generator.normal(0, 0.1, shape[0]) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Conv", ["x", "c1", "c1b"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "c2", "c2b"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("Gemm", ["e", "f", "fb"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes, "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", channels, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )  # fmt: skip
    made: onnx.ModelProto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    return made


MODEL = tiny_network()


def images(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 1, 8, 8)).astype(np.float32)


TRAINING, JUDGING = images(512, 1), images(600, 2)

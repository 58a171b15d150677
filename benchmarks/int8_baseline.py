"""What everyone does first: int8 weights, one scale per output channel, and zstd -19 over the ONNX file.

    python benchmarks/int8_baseline.py MODEL.onnx INT8.onnx

Weights of convolutions and matrix products become int8 initializers behind DequantizeLinear; activations stay float32,
which costs the least accuracy of ONNX Runtime's forms. Prints both sizes; `enxuto evaluate INT8.onnx` scores the file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
import zstandard
from onnx import GraphProto, NodeProto, helper, numpy_helper

_OPSET = 13  # the first whose DequantizeLinear knows channels


def output_axis(node: NodeProto) -> int | None:
    """The axis of output channels of the node's weight (its second input), None for nodes without one."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "Gemm":
        return 0 if any(entry.name == "transB" and entry.i for entry in node.attribute) else 1
    return 1 if node.op_type == "MatMul" else None


def quantize_weights(graph: GraphProto) -> int:
    """Replace float32 weights by int8 ones in place; return how many."""
    weights = {entry.name: entry for entry in graph.initializer}
    axes = {node.input[1]: axis for node in graph.node if (axis := output_axis(node)) is not None}
    done = 0
    for name, axis in axes.items():
        if name not in weights or weights[name].data_type != onnx.TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(weights[name])
        others = tuple(i for i in range(values.ndim) if i != axis)
        scale = np.maximum(np.abs(values).max(axis=others), np.finfo(np.float32).tiny) / np.float32(127)
        levels = np.rint(values / np.expand_dims(scale, others)).astype(np.int8)
        graph.initializer.remove(weights[name])
        graph.initializer.append(numpy_helper.from_array(levels, f"{name}.int8"))
        graph.initializer.append(numpy_helper.from_array(scale.astype(np.float32), f"{name}.scale"))
        inputs = [f"{name}.int8", f"{name}.scale"]
        graph.node.insert(0, helper.make_node("DequantizeLinear", inputs, [name], axis=axis))
        done += 1
    return done


def main() -> None:
    """Quantize, check, write, and tell the sizes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("output", type=Path)
    chosen = parser.parse_args()
    model = onnx.load(chosen.model)
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset < _OPSET:
        parser.error(f"{chosen.model}: opset {opset}; {_OPSET} or newer is needed")
    count = quantize_weights(model.graph)
    onnx.checker.check_model(model)
    data = model.SerializeToString(deterministic=True)
    chosen.output.write_bytes(data)
    packed = len(zstandard.ZstdCompressor(level=19).compress(data))
    print(f"{count} weights in int8: {len(data):,} B, zstd -19: {packed:,} B")


if __name__ == "__main__":
    main()

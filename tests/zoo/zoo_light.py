"""Read the layers of the graphs that the onnx package ships as backend test data (light_*.onnx).

Their weights are placeholders, their shapes are those of the published Caffe and Caffe2 models: an account of
the architectures that is independent of the zoo.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from zoo_walk import Step

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def files() -> list[str]:
    """Names of the graphs that the package ships."""
    return sorted(path.name for path in FOLDER.glob("light_*.onnx"))


def steps(file: str) -> list[Step]:
    """The layers of one graph in the order of its nodes, written as in `zoo_walk`."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(FOLDER / file), data_prop=True).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dimensions = value.type.tensor_type.shape.dim
        shapes.setdefault(value.name, tuple(dimension.dim_value for dimension in dimensions))
    rows = ((node, _row(node, shapes)) for node in graph.node)
    return [
        Step(*row, shapes[node.input[0]][1:], shapes[node.output[0]][1:])
        for node, row in rows
        if row is not None
    ]


def _row(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> tuple[str, tuple[object, ...]] | None:
    """Kind and detail of the operators that a torch network shows as layers."""
    attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    stride = attributes.get("strides", [1])[0]
    bias = "bias" if len(node.input) > 2 else ""
    match node.op_type:
        case "Conv":
            return "conv", (*shapes[node.input[1]], stride, bias)
        case "Gemm":
            return "linear", (*shapes[node.input[1]], bias)
        case "GlobalAveragePool":
            return "average", (shapes[node.input[0]][-1], 1)
        case "MaxPool" | "AveragePool":
            kind = "max" if node.op_type == "MaxPool" else "average"
            return kind, (attributes["kernel_shape"][0], stride)
        case "BatchNormalization":
            return "norm", shapes[node.input[1]]
        case "Relu":
            return "relu", ()
        case "LRN":
            return "lrn", ()
    return None

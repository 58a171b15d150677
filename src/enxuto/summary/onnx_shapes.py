"""Shapes of all values of an ONNX graph for one image, and which of them depend on the image.

ONNX's own shape inference does the work, on a copy of the graph without weights: the batch size, where it is not
fixed, becomes 1, and only the small weights that give shapes are put back.

Left out: control flow (If, Loop, Scan), whose bodies are not walked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import onnx
from onnx import ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto
from onnx.inliner import inline_local_functions

from enxuto.errors import ModelError, UsageError, error_reason
from enxuto.onnx_model import Model, array_bytes, constant_tensor, int_attribute, text_attribute
from enxuto.onnx_model.open_sizes import sizes_to_give
from enxuto.summary.fold_shapes import fold_shapes
from enxuto.summary.onnx_products import einsum_shape

__all__ = ["Shapes", "shapes_of"]

_Shape = tuple[int, ...]
_TERM = r"[A-Za-z]*(\.\.\.)?[A-Za-z]*"
_EQUATION = re.compile(_TERM + r"(," + _TERM + r")*(->" + _TERM + r")?")
_ROUNDS = 20  # of inference and folding; each gets past one more place where a shape is computed from a shape
_LARGEST_SHAPE = 64  # elements of a weight that can give a shape
_LARGEST_INDICES = 1 << 16  # elements of int64 that are added to positions, as in PyTorch's as_strided
_MEASURES = frozenset({"Shape", "Size"})  # they look at an image's shape, not at the image


@dataclass(frozen=True)
class Shapes:
    """The graph with functions inlined; `of` maps values to shapes, `floats` names those of floating type.

    `moving` holds the values that depend on the input, `batch` the images in it, `int8_weights` the weights that are
    8-bit integers. open_length: the input is a sequence whose length is open.
    """

    proto: ModelProto
    of: dict[str, _Shape]
    floats: frozenset[str]
    moving: frozenset[str]
    input: str
    batch: int
    int8_weights: frozenset[str] = frozenset()
    open_length: bool = False


def shapes_of(model: Model, input_shape: Sequence[int] | None = None) -> Shapes:
    """All shapes that can be known; `input_shape` is (channels, height, width) where the model leaves it open.

    Raises `ModelError` where the graph contradicts itself, `UsageError` where an input shape is needed or does
    not fit.
    """
    proto = _light_copy(model)
    for node in (*proto.graph.node, *(node for function in proto.functions for node in function.node)):
        _check_equation(node)
    image = _image_input(proto)
    axis = _batch_axis(proto, image.name)
    length_is_open = axis == 1 and _dims(image)[:1] == [None]
    if axis == 1 and len(_dims(image)) == 3:
        _set_dims(image, [size or 1 if place == 1 else size for place, size in enumerate(_dims(image))])
    _fix_input(image, input_shape)
    for item in proto.graph.input:
        if item is not image:
            _fix_open_sizes(item)
    for item in proto.graph.output:  # what exporters wrote there is open where the input was
        item.type.tensor_type.ClearField("shape")
    inferred, of, floats = _inferred(inline_local_functions(proto) if proto.functions else proto)
    for _ in range(_ROUNDS):
        unknown = any(name and name not in of for node in inferred.graph.node for name in node.output[:1])
        if not unknown or not (_fill_einsums(inferred, of) or fold_shapes(inferred, of)):
            break
        inferred, of, floats = _inferred(inferred)
    batch = of[image.name][axis] if len(of[image.name]) > axis else 1
    small = frozenset(tensor.name for tensor in inferred.graph.initializer if tensor.data_type in _BYTES)
    return Shapes(
        inferred, of, floats, _moving(inferred, image.name), image.name, max(batch, 1), small, length_is_open
    )


def _check_equation(node: NodeProto) -> None:
    """Refuse an Einsum with a dot too many: ONNX's shape inference never comes to an end on some of them."""
    equation = text_attribute(node, "equation").replace(" ", "")
    if node.op_type == "Einsum" and not _EQUATION.fullmatch(equation):
        raise ModelError(
            f"the equation of Einsum {', '.join(node.output)!r} is not as ONNX defines it", code="E031"
        )


def _fill_einsums(proto: ModelProto, of: dict[str, _Shape]) -> bool:
    """Write the shapes of Einsums that inference leaves open (ellipses of several lengths); whether there were any."""
    infos = {item.name: item for item in (*proto.graph.value_info, *proto.graph.output)}
    filled = False
    for node in proto.graph.node:
        known = (
            node.op_type == "Einsum" and node.output[0] in infos and all(name in of for name in node.input)
        )
        if known and node.output[0] not in of:
            try:
                shape = einsum_shape(text_attribute(node, "equation"), [of[name] for name in node.input])
            except (ValueError, KeyError) as error:
                raise ModelError(
                    f"Einsum {node.output[0]!r} is not as ONNX defines it ({error})", code="E031"
                ) from error
            _set_dims(infos[node.output[0]], shape)
            filled = True
    return filled


def _inferred(proto: ModelProto) -> tuple[ModelProto, dict[str, _Shape], frozenset[str]]:
    for item in proto.graph.value_info:
        if None in _dims(item):  # inference would leave it so
            item.type.tensor_type.ClearField("shape")
    try:
        inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise ModelError(
            f"the shapes in the model do not fit together: {error_reason(error)}", code="E031"
        ) from error
    return (inferred, *_known(inferred))


def _light_copy(model: Model) -> ModelProto:
    """The graph with the weights that can give shapes, without the others."""
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    held = {tensor.name: tensor for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant" and len(node.output) == 1:
            tensor = constant_tensor(node)
            if tensor is not None:
                held[node.output[0]] = tensor
    for info in model.infos():
        largest = _LARGEST_INDICES if info.data_type == TensorProto.INT64 else _LARGEST_SHAPE
        if info.elements <= largest and info.name in held:
            tensor = held[info.name]
            tensor.ClearField("data_location")
            tensor.raw_data = bytes(array_bytes(model.load(info.name), info.data_type))
    return proto


def _image_input(proto: ModelProto) -> ValueInfoProto:
    """The first input that is no weight and is a tensor of at least two axes, or the first there is."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    real: list[ValueInfoProto] = [item for item in proto.graph.input if item.name not in weights]
    if not real:
        raise ModelError("the model has no input besides its weights", code="E032")
    return next((item for item in real if len(_dims(item)) > 1), real[0])


def _batch_axis(proto: ModelProto, image: str) -> int:
    """0, or 1 where the input goes into a recurrent layer as it is: there its first axis is that of the steps."""
    same = {image}
    for node in proto.graph.node:
        if not node.input or node.input[0] not in same:
            continue
        if node.op_type in ("LSTM", "GRU", "RNN"):
            return 0 if int_attribute(node, "layout") == 1 else 1
        if node.op_type in (
            "Identity",
            "Cast",
            "Dropout",
            "Relu",
            "Tanh",
            "Mul",
            "Add",
            "LayerNormalization",
        ):
            same.update(node.output[:1])
    return 0


def _dims(item: ValueInfoProto) -> list[int | None]:
    return [dim.dim_value if dim.HasField("dim_value") else None for dim in item.type.tensor_type.shape.dim]


def _fix_input(item: ValueInfoProto, input_shape: Sequence[int] | None) -> None:
    """Give the image its sizes: batch 1 where it is open, the others from `input_shape`."""
    if not item.type.HasField("tensor_type"):
        raise ModelError(f"input {item.name!r} is no tensor; its shape cannot be followed", code="E032")
    known = _dims(item)
    if not item.type.tensor_type.HasField("shape"):
        known = [None] * (1 + len(input_shape or ()))
    rest = known[1:]
    fits = input_shape is None or (
        len(input_shape) == len(rest) and all(a in (None, b) for a, b in zip(rest, input_shape, strict=True))
    )
    written = "×".join("?" if size is None else str(size) for size in rest)
    if not fits:
        raise UsageError(f"input {item.name!r} is {written}, not {'×'.join(map(str, input_shape or ()))}")
    if input_shape is None and (None in rest or not known):
        raise UsageError(
            f"input {item.name!r} leaves sizes open ({written or '?'}); give "
            f"input_shape={sizes_to_give(rest if known else None)}",
            code="E023",
        )
    batch = known[0] if known and known[0] else 1
    _set_dims(item, (batch, *(rest if input_shape is None else input_shape)))


def _fix_open_sizes(item: ValueInfoProto) -> None:
    """Other inputs: 1 wherever a size is open."""
    if item.type.tensor_type.HasField("shape"):
        _set_dims(item, [size or 1 for size in _dims(item)])


def _set_dims(item: ValueInfoProto, sizes: Sequence[int | None]) -> None:
    shape = item.type.tensor_type.shape
    shape.ClearField("dim")
    item.type.tensor_type.shape.SetInParent()
    for size in sizes:
        shape.dim.add() if size is None else shape.dim.add(dim_value=size)


def _known(proto: ModelProto) -> tuple[dict[str, _Shape], frozenset[str]]:
    """Shapes that are known in full, and the names of floating-point values."""
    of: dict[str, _Shape] = {}
    floats: set[str] = set()
    graph = proto.graph
    for item in (*graph.input, *graph.value_info, *graph.output):
        dims = _dims(item)
        if item.type.tensor_type.HasField("shape") and None not in dims:
            of[item.name] = tuple(size for size in dims if size is not None)
        if _is_float(item.type):
            floats.add(item.name)
    for tensor in graph.initializer:
        of[tensor.name] = tuple(tensor.dims)
        if tensor.data_type in _FLOATS:
            floats.add(tensor.name)
    return of, frozenset(floats)


_BYTES = frozenset({onnx.TensorProto.INT8, onnx.TensorProto.UINT8})
_FLOATS = frozenset(
    {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
)


def _is_float(kind: TypeProto) -> bool:
    return kind.tensor_type.elem_type in _FLOATS


def _moving(proto: ModelProto, image: str) -> frozenset[str]:
    """Values that depend on what is in an input, not only on its shape."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    moving = {item.name for item in proto.graph.input if item.name not in weights} | {image}
    for node in proto.graph.node:
        if node.op_type not in _MEASURES and moving.intersection(node.input):
            moving.update(name for name in node.output if name)
    return frozenset(moving)

"""A `Model` as an `OnnxNetwork`, and the way back from the graph that a checkpoint holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from onnx import TensorProto, ValueInfoProto
from torch import Tensor

from enxuto.errors import ModelError, UsageError, error_reason
from enxuto.importing.branches import without_branches
from enxuto.importing.build import build
from enxuto.importing.check import check_operators
from enxuto.importing.network import OnnxNetwork
from enxuto.onnx_model import (
    Model,
    fill,
    fixed_batch,
    free_batch,
    inline_functions,
    numpy_dtype,
    skeleton,
    skeleton_slots,
)
from enxuto.onnx_model.open_sizes import sizes_to_give
from enxuto.onnx_model.scopes import subgraphs

__all__ = ["network_from_graph", "network_of"]

_BATCH = 2
_LARGEST_INPUT = 3 << 22  # numbers of one image


def network_of(
    model: Model, input_shape: Sequence[int] | None = None, metadata: Mapping[str, Any] | None = None
) -> OnnxNetwork:
    """The network of a model.

    Args:
        model: the graph and its weights.
        input_shape: of one image, where the model leaves sizes open.
        metadata: plain values that the network's signature keeps, such as the preprocessing.

    Raises:
        ModelError: an operator or a form of one has no module, or the batch size cannot be freed.
        UsageError: the input shape is missing or does not fit.
    """
    model = inline_functions(model)[0]
    names = [item.name for item in model.proto.graph.input if item.name not in model]
    branching = any(True for node in model.proto.graph.node for _ in subgraphs(node))
    if not branching:
        check_operators(model.proto.graph.node, set(model.weight_names))
    batch = fixed_batch(model)
    freed = free_batch(model)
    items = {item.name: item for item in freed.proto.graph.input}
    examples = [
        _example(items[name], input_shape if number == 0 else None) for number, name in enumerate(names)
    ]
    if not examples:
        raise ModelError("the model has no input", code="E035")
    if branching:
        freed = without_branches(freed, names, examples)
        check_operators(freed.proto.graph.node, set(freed.weight_names))
    network = build(freed, examples, names)
    if batch:
        _check_rows(network, examples, batch)
    network.graph = _graph_of(freed, network)
    network.signature = replace(
        network.signature, metadata=dict(metadata or {}), batch=_batch_name(items[names[0]])
    )
    return network


def network_from_graph(graph: bytes, input_shape: Sequence[int]) -> OnnxNetwork:
    """The network that has this `graph`, with zeros for the tensors of its state.

    Raises `ModelError` where the bytes are no such graph.
    """
    zeros = {
        name: np.zeros(shape, numpy_dtype(data_type))
        for name, (shape, data_type) in skeleton_slots(graph).items()
    }
    return network_of(fill(graph, zeros), input_shape)


def _batch_name(item: ValueInfoProto) -> str:
    return str(item.type.tensor_type.shape.dim[0].dim_param)


def _example(item: ValueInfoProto, input_shape: Sequence[int] | None) -> Tensor:
    """A random batch for an input; open sizes other than the batch's come from `input_shape`."""
    kind = item.type.tensor_type
    dtype = numpy_dtype(kind.elem_type)
    if not item.type.HasField("tensor_type") or dtype is None or kind.elem_type == TensorProto.STRING:
        raise ModelError(f"the input {item.name!r} is no tensor of numbers", code="E032")
    sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim]
    if not sizes:
        raise ModelError(f"the input {item.name!r} has no axes, or does not say them", code="E032")
    wanted = sizes[1:] if input_shape is None else [int(size) for size in input_shape]
    if None in wanted:
        raise UsageError(
            f"the input {item.name!r} leaves sizes open; give input_shape={sizes_to_give(sizes[1:])}",
            code="E023",
        )
    shape = [size for size in wanted if size is not None]
    fits = len(shape) == len(sizes) - 1 and all(
        known in (None, size) for known, size in zip(sizes[1:], shape, strict=True)
    )
    if not fits or min(shape, default=1) < 1 or math.prod(shape) > _LARGEST_INPUT:
        raise UsageError(
            f"an input of {'×'.join(map(str, shape))} does not fit {item.name!r}, which is "
            f"{'×'.join('any' if size is None else str(size) for size in sizes[1:])}",
            code="E044",
        )
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(_BATCH, *shape, generator=generator)
    return images.to(torch.from_numpy(np.zeros(1, dtype)).dtype)


def _check_rows(network: OnnxNetwork, examples: Sequence[Tensor], batch: int) -> None:
    """Refuse a graph of a fixed batch size whose images do not keep their scores in another batch."""
    with torch.no_grad():
        try:
            whole = network(*examples)
            alone = [network(*(example[row : row + 1] for example in examples)) for row in range(_BATCH)]
        except RuntimeError as error:
            raise ModelError(
                f"the model's batch size is fixed to {batch}: {error_reason(error)}", code="E032"
            ) from error
    parts = [(found if isinstance(found, tuple) else (found,)) for found in (whole, *alone)]
    if all(_is_same(together, torch.cat(rows)) for together, *rows in zip(*parts, strict=True)):
        return
    raise ModelError(
        f"the model's batch size is fixed to {batch}, and images do not keep their scores in another",
        code="E032",
    )


def _is_same(one: Tensor, other: Tensor) -> bool:
    """Equal but for the rounding of sums as large as the largest score, which small scores have too."""
    if one.shape != other.shape:
        return False
    largest = float(one.abs().nan_to_num(0.0, 0.0, 0.0).max()) if one.numel() else 0.0
    return torch.allclose(one, other, rtol=1e-3, atol=1e-4 * max(1.0, largest), equal_nan=True)


def _graph_of(model: Model, network: OnnxNetwork) -> bytes:
    """The graph without the tensors of the state, which a checkpoint holds anyway."""
    return skeleton(model, {name for name in network.initializers.values() if name in model})

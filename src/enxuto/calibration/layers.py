"""The layers of a model that multiply inputs by weights, each as a matrix times a vector of inputs.

A convolution is, per group, a matrix (output channels, inputs × kernel) applied to patches of its input. Gemm and
MatMul are matrices already, and recurrent cells have two (`calibration.cells`). A transposed convolution's matrix gives
all kernel positions of all outputs from one position of its input. In this form rounding errors are
weighted by the statistics of inputs. A weight may pass through Identity and Cast, a matrix through Transpose.
Left out: weights read by several operators or from inside subgraphs (`calibration.other_weights`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from onnx import NodeProto

from enxuto.calibration.cells import cell_weights, hidden_name
from enxuto.calibration.gradients.cells import gates_name, is_cell
from enxuto.calibration.own_weights import own_matrix, own_weight
from enxuto.onnx_model import (
    Model,
    Window,
    check_finite,
    float_attribute,
    int_attribute,
    read_counts,
    reads_of,
    window_of,
)
from enxuto.quantize.schemes import is_representable

__all__ = ["LinearLayer", "calibrated_layers", "linear_layers", "without_outputs"]


@dataclass(frozen=True)
class LinearLayer:
    """One operator with a weight: `input` and `output` name its activations, `bias` a weight (O,) or (1, O), or None.

    A bias counts as the layer's only where no other node reads it, no caller may replace it, and it has one value per
    output.

    kind: conv (weight (O, I/groups, *kernel)), which has a window; rows (O, I) for Gemm with transB, and where a
    Transpose turns the weight; cell (groups, O, I) for recurrent cells; transposed (I, O/groups, *kernel); columns (I,
    O) otherwise. Of cells, start: the name of what goes in, before which weights may be replaced; direction: the one
    whose weights these are, None for all; order: by row that of the operator's matrix.
    """

    weight: str
    bias: str | None
    input: str
    output: str
    kind: str
    groups: int = 1
    window: Window | None = None
    start: str = ""
    direction: int | None = None
    order: tuple[int, ...] = ()

    @property
    def has_gradients(self) -> bool:
        """Whether there is a value whose gradient is that of the matrix's outputs."""
        return self.kind != "transposed"

    @property
    def corrected(self) -> bool:
        """Whether a shift of the output's mean can be taken off a bias of the layer."""
        return self.kind != "transposed" and not self.start

    @property
    def before(self) -> str:
        """The value up to which the model can run without the weight."""
        return self.start or self.input

    def matrix(self, weight: np.ndarray) -> np.ndarray:
        """Return the weight as (groups, outputs per group, inputs): a view, for those that are large."""
        if self.kind == "conv":
            return weight.reshape(
                self.groups, weight.shape[0] // self.groups, -1
            )  # (g o) i kh kw -> g o (i kh kw)
        if self.kind == "cell":
            return weight
        if self.kind == "transposed":  # (g i) o kh kw -> g (o kh kw) i
            return weight.reshape(self.groups, weight.shape[0] // self.groups, -1).transpose(0, 2, 1)
        return (weight if self.kind == "rows" else weight.T)[None]

    def restore(self, matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return a matrix (groups, outputs, inputs) in the weight's own shape; the inverse of `matrix`."""
        if self.kind in ("conv", "cell"):
            return matrix.reshape(shape)
        if self.kind == "transposed":
            return np.ascontiguousarray(matrix.transpose(0, 2, 1)).reshape(shape)
        return np.ascontiguousarray(matrix[0] if self.kind == "rows" else matrix[0].T)

    @property
    def channel_axis(self) -> int:
        """The axis of output channels in the weight."""
        return 1 if self.kind in ("columns", "cell") else 0

    def vectors(self, x: np.ndarray, most: int, generator: np.random.Generator) -> np.ndarray:
        """Return input vectors (groups, samples, inputs), float32, of an activation `x`.

        For a convolution these are patches at no more than `most` positions an image, drawn with `generator`.
        """
        return self.vectors_at(x, self.draw_inputs(x.shape, most, generator))

    def draw_inputs(
        self, shape: Sequence[int], most: int, generator: np.random.Generator
    ) -> npt.NDArray[np.intp] | None:
        """Return no more than `most` positions at which an activation of a shape is read; None for all there are."""
        if self.start or (self.kind != "transposed" and self.window is None):
            return None
        return _draw(math.prod(self._places(shape)), most, generator)

    def vectors_at(self, x: np.ndarray, positions: npt.NDArray[np.intp] | None) -> np.ndarray:
        """Return what `vectors` does, at positions that were drawn."""
        if self.start:
            return self._of_cell(x)
        if self.kind == "transposed":
            return self._columns(x, positions)
        if self.window is None:
            return np.ascontiguousarray(x.reshape(1, -1, x.shape[-1]), np.float32)
        windows = sliding_window_view(_pad(x, self.window), self.window.extents, axis=tuple(range(2, x.ndim)))
        spatial = len(self.window.kernel)
        strided: tuple[Any, ...] = tuple(slice(None, None, stride) for stride in self.window.strides)
        dilated: tuple[Any, ...] = tuple(slice(None, None, dilation) for dilation in self.window.dilations)
        taken = windows[(slice(None), slice(None), *strided, *dilated)]
        if positions is None:
            positions = np.arange(math.prod(taken.shape[2 : 2 + spatial]))
        places: tuple[Any, ...] = np.unravel_index(positions, taken.shape[2 : 2 + spatial])
        picked = taken[(slice(None), slice(None), *places)]  # n c p *kernel
        samples = picked.reshape(x.shape[0], self.groups, x.shape[1] // self.groups, len(positions), -1)
        ordered = samples.transpose(1, 0, 3, 2, 4)  # n g c p k -> g n p c k
        return np.ascontiguousarray(ordered, np.float32).reshape(self.groups, x.shape[0] * len(positions), -1)

    def output_columns(
        self, y: np.ndarray, most: int, generator: np.random.Generator, *, scaled: bool = True
    ) -> np.ndarray:
        """Return values of the output, or gradients there, as (groups, samples, outputs per group), float32.

        Where an image has more than `most` positions, so many are drawn, at the places where `vectors` draws them, and
        enlarged to stand for all of them if they are to be scaled.
        """
        return self.output_columns_at(y, self.draw_outputs(y.shape, most, generator), scaled=scaled)

    def draw_outputs(
        self, shape: Sequence[int], most: int, generator: np.random.Generator
    ) -> npt.NDArray[np.intp] | None:
        """Return no more than `most` positions of an output of a shape; None for all there are."""
        if self.start or self.kind != "conv":
            return None
        return _draw(math.prod(shape[2:]), most, generator)

    def output_columns_at(
        self, y: np.ndarray, positions: npt.NDArray[np.intp] | None, *, scaled: bool = True
    ) -> np.ndarray:
        """Return what `output_columns` does, at positions that were drawn."""
        if self.start:
            columns = self._of_cell(y)
            return columns[:, :, list(self.order)] if self.order else columns
        if self.kind != "conv":
            return np.ascontiguousarray(y.reshape(1, -1, y.shape[-1]), np.float32)
        return self._columns(y, positions, scale=scaled)

    def _places(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the sizes of the positions at which a (transposed) convolution reads an input of a shape."""
        sizes = tuple(shape[2:])
        if self.window is None or self.kind == "transposed":
            return sizes
        pads, spatial = self.window.padding(sizes), len(sizes)
        free = (
            size + before + after - extent + 1
            for size, before, after, extent in zip(
                sizes, pads[:spatial], pads[spatial:], self.window.extents, strict=True
            )
        )
        return tuple(-(-size // stride) for size, stride in zip(free, self.window.strides, strict=True))

    def _columns(
        self, y: np.ndarray, positions: npt.NDArray[np.intp] | None, *, scale: bool = False
    ) -> np.ndarray:
        """Return (groups, N × positions, channels of a group) of (N, channels, …)."""
        flat = y.reshape(y.shape[0], self.groups, y.shape[1] // self.groups, -1)  # n g o p
        if positions is not None:
            share = math.sqrt(flat.shape[3] / len(positions)) if scale else 1
            flat = flat[..., positions] * np.float32(share)
        ordered = np.ascontiguousarray(flat.transpose(1, 0, 3, 2), np.float32)  # n g o p -> g n p o
        return ordered.reshape(self.groups, -1, ordered.shape[3])

    def _of_cell(self, x: np.ndarray) -> np.ndarray:
        """Return (groups, steps × batch, width) of (steps, batch, width), or of (steps, directions, batch, width)."""
        whole = x[:, None] if x.ndim == 3 else x
        if self.direction is not None and whole.shape[1] > 1:
            whole = whole[:, self.direction : self.direction + 1]
        rows = np.moveaxis(whole, 1, 0).reshape(whole.shape[1], -1, whole.shape[-1])
        return np.ascontiguousarray(np.broadcast_to(rows, (self.groups, *rows.shape[1:])), np.float32)


def linear_layers(model: Model, needed: Collection[str] | None = None) -> list[LinearLayer]:
    """Return the layers of the main graph that are the only readers of their weights, in the order of execution.

    needed: names of which a layer's node gives one; by default all nodes are looked at.
    """
    nodes = model.proto.graph.node
    reads = read_counts(model.proto)
    made_by = {name: node for node in nodes for name in node.output if name}
    found = []
    for node in nodes:
        if node.domain not in ("", "ai.onnx") or len(node.input) < 2:
            continue
        if needed is not None and not any(name in needed for name in node.output):
            continue
        if is_cell(node):
            found += _cell_layers(node, model, made_by, reads)
            continue
        layer = _layer(node, model, made_by, reads)
        if layer is not None:
            found.append(layer)
    return found


def without_outputs(layers: Sequence[LinearLayer], model: Model) -> list[LinearLayer]:
    """Return the layers without weights and biases that the model gives out as outputs, which stay as they are."""
    outputs = {item.name for item in model.proto.graph.output}
    return [
        replace(layer, bias=None if layer.bias in outputs else layer.bias)
        for layer in layers
        if layer.weight not in outputs
    ]


def calibrated_layers(model: Model, outputs: Sequence[str] | None = None) -> list[LinearLayer]:
    """Return the layers with representable float weights that values depend on, by default the first output.

    Raises `ModelError` where a weight is not finite.
    """
    needed = {model.proto.graph.output[0].name} if outputs is None else set(outputs)
    for node in reversed(model.proto.graph.node):
        if needed.intersection(node.output):
            needed.update(reads_of(node))
    layers = linear_layers(model, needed)
    for layer in layers:
        check_finite(layer.weight, model.load(layer.weight))
    return [
        layer
        for layer in layers
        if is_representable(
            model.info(layer.weight).dtype, float(np.abs(model.load(layer.weight)).max(initial=0))
        )
    ]


def _layer(
    node: NodeProto, model: Model, made_by: Mapping[str, NodeProto], reads: Counter[str]
) -> LinearLayer | None:
    """Return a node's layer, None if it is of another kind or its weight is no constant of its own."""
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul") or node.input[0] in model:
        return None
    weight, turned = own_matrix(node.input[1], model, made_by, reads)
    if weight is None:
        return None
    shape = model.info(weight).shape
    if not shape or (turned and len(shape) != 2):
        return None
    rows = (node.op_type == "Gemm" and bool(int_attribute(node, "transB"))) != turned
    if node.op_type == "ConvTranspose":
        groups = int_attribute(node, "group", 1)
        return LinearLayer(weight, None, node.input[0], node.output[0], "transposed", groups)
    outputs = shape[0] if node.op_type == "Conv" or rows else shape[-1]
    bias = own_weight(node.input[2], model, made_by, reads) if len(node.input) > 2 else None
    if bias is not None and (
        bias in model.overridable or model.info(bias).shape not in ((outputs,), (1, outputs))
    ):
        bias = None
    if node.op_type == "Conv":
        return LinearLayer(
            weight=weight,
            bias=bias,
            input=node.input[0],
            output=node.output[0],
            kind="conv",
            groups=int_attribute(node, "group", 1),
            window=window_of(node, shape[2:]),
        )
    if len(shape) != 2 or (node.op_type == "Gemm" and _is_scaled(node)):
        return None
    kind = "rows" if rows else "columns"
    return LinearLayer(weight=weight, bias=bias, input=node.input[0], output=node.output[0], kind=kind)


def _cell_layers(
    node: NodeProto, model: Model, made_by: Mapping[str, NodeProto], reads: Counter[str]
) -> list[LinearLayer]:
    """Return the layers of a recurrent cell; those of its hidden states where the graph has these as a value."""
    found = []
    for place, given in ((1, node.input[0]), (2, hidden_name(node))):
        if place == 2 and given not in made_by:
            continue
        for weight in cell_weights(model, node.input[place], made_by, reads):
            shape = model.info(weight.name).shape
            found.append(
                LinearLayer(
                    weight=weight.name,
                    bias=None,
                    input=given,
                    output=gates_name(node),
                    kind="cell" if len(shape) == 3 else "rows",
                    groups=shape[0] if len(shape) == 3 else 1,
                    start=node.input[0],
                    direction=weight.direction,
                    order=weight.order,
                )
            )
    return found


def _is_scaled(gemm: NodeProto) -> bool:
    """Say whether a Gemm is more than x·W + b."""
    scales = (float_attribute(gemm, name, 1.0) for name in ("alpha", "beta"))
    return any(scale != 1 for scale in scales) or int_attribute(gemm, "transA") != 0


def _draw(count: int, most: int, generator: np.random.Generator) -> npt.NDArray[np.intp] | None:
    """Return `most` of so many positions, in their order; None for all."""
    return None if count <= most else np.sort(generator.choice(count, most, replace=False))


def _pad(x: np.ndarray, window: Window) -> np.ndarray:
    """Return an activation (N, C, …) with the zeros around it that a convolution reads."""
    pads = window.padding(x.shape[2:])
    if not any(pads):
        return x
    spatial = len(window.kernel)
    return np.pad(x, [(0, 0), (0, 0), *zip(pads[:spatial], pads[spatial:], strict=True)])

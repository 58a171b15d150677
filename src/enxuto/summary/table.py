"""The layer table: one `Layer` a row, `Stage`s that group rows, the `Summary` of both with its totals.

All numbers are for one image: the batch axis is left out of volumes, activations, MACs and FLOPs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, Literal

from enxuto.errors import UsageError
from enxuto.summary.cost import CONVENTION, is_pool, is_product
from enxuto.summary.reach import Reach

__all__ = ["COUNTS", "Count", "Layer", "Stage", "Summary", "Volume"]

Volume = tuple[int, ...]
"""(channels, height, width), or fewer axes behind a flatten."""

Count = Literal["all", "volumes", "lecture"]
COUNTS: dict[Count, str] = {
    "all": "what every operator writes",
    "volumes": "the image and what convolutions, pools and linear layers write",
    "lecture": "what convolutions read and write and what pools write",
}

_FLOAT = 4  # bytes
_FEWEST_STAGES, _MOST_STAGES = 5, 40


@dataclass(frozen=True)
class Layer:
    """One operator. `name` is the path of the module, or that in the name of the ONNX node.

    Kernel, stride, dilation by axis (height, width), padding (top, left, bottom, right); empty where the
    operator has none. `weights` and `biases` are parameters counted where they are first used; `activations`
    counts the elements written. `reach` is the receptive field, where there is one.
    """

    name: str
    operator: str
    inputs: tuple[Volume, ...]
    output: Volume
    activations: int
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    weights: int = 0
    biases: int = 0
    macs: int = 0
    flops: int = 0
    reach: Reach | None = None

    @property
    def parameters(self) -> int:
        """Weights and biases; of a normalisation, scale and shift."""
        return self.weights + self.biases

    @property
    def activation_bytes(self) -> int:
        """Bytes of the elements written, as float32."""
        return _FLOAT * self.activations

    @property
    def path(self) -> tuple[str, ...]:
        """The name in its parts, from the outermost block to the layer."""
        return tuple(part for part in self.name.split(".") if part)

    def count_activations(self, count: Count) -> int:
        """Activation elements of this row by one of the `COUNTS`."""
        product, pool = is_product(self.operator), is_pool(self.operator)
        if count == "all" or (count == "volumes" and (product or pool)):
            return self.activations
        if count == "lecture" and pool:
            return self.activations
        if count == "lecture" and product and self.kernel:
            return self.activations + sum(map(prod, self.inputs[:1]))
        return 0

    def to_dict(self) -> dict[str, Any]:
        """All fields and derived numbers as JSON-safe values."""
        return {
            "name": self.name,
            "operator": self.operator,
            "inputs": [list(volume) for volume in self.inputs],
            "output": list(self.output),
            "kernel": list(self.kernel),
            "stride": list(self.stride),
            "padding": list(self.padding),
            "dilation": list(self.dilation),
            "groups": self.groups,
            "parameters": self.parameters,
            "parameters_without_bias": self.weights,
            "activations": self.activations,
            "activation_bytes": self.activation_bytes,
            "macs": self.macs,
            "flops": self.flops,
            "receptive_field": None if self.reach is None else list(self.reach.size),
            "receptive_stride": None if self.reach is None else [float(step) for step in self.reach.stride],
        }


@dataclass(frozen=True)
class Stage:
    """Consecutive rows that belong together."""

    name: str
    layers: tuple[Layer, ...]
    activations: int

    @property
    def parameters(self) -> int:
        """Sum over the rows."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int:
        """Sum over the rows."""
        return sum(layer.macs for layer in self.layers)

    @property
    def flops(self) -> int:
        """Sum over the rows."""
        return sum(layer.flops for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """Name, volumes at both ends and sums as JSON-safe values."""
        return {
            "name": self.name,
            "layers": len(self.layers),
            "input": [list(volume) for volume in self.layers[0].inputs[:1]],
            "output": list(self.layers[-1].output),
            "parameters": self.parameters,
            "activations": self.activations,
            "activation_bytes": _FLOAT * self.activations,
            "macs": self.macs,
            "flops": self.flops,
        }


@dataclass(frozen=True)
class Summary:
    """The table of a network; `source` is what was asked for, `remarks` says what the table leaves out."""

    source: str
    input: Volume
    layers: tuple[Layer, ...]
    remarks: tuple[str, ...] = ()

    @cached_property
    def weights(self) -> int:
        """Parameters without biases."""
        return sum(layer.weights for layer in self.layers)

    @cached_property
    def parameters(self) -> int:
        """Parameters of the layers that run, biases included."""
        return sum(layer.parameters for layer in self.layers)

    @cached_property
    def macs(self) -> int:
        """Multiply–accumulates; see `CONVENTION`."""
        return sum(layer.macs for layer in self.layers)

    @cached_property
    def flops(self) -> int:
        """Floating-point operations; see `CONVENTION`."""
        return sum(layer.flops for layer in self.layers)

    def activations(self, count: Count = "all") -> int:
        """Activation elements by one of the `COUNTS`; times 4 bytes in float32."""
        image = prod(self.input) if count == "volumes" else 0
        return image + sum(layer.count_activations(count) for layer in self.layers)

    def stages(self, depth: int | None = None, count: Count = "all") -> list[Stage]:
        """Rows grouped by the first `depth` parts of their names, in order.

        Without `depth`: the smallest that gives at least five groups, or, where names have no paths that
        help, by the plane (height × width) that a row writes. Raises `UsageError` for a depth below 1.
        """
        if depth is not None:
            if depth < 1:
                raise UsageError(f"depth must be a whole number from 1 on, not {depth}")
            return self._grouped(self._by_path(depth), count)
        deepest = max((len(layer.path) for layer in self.layers), default=1)
        for candidate in range(1, deepest + 1):
            stages = self._grouped(self._by_path(candidate), count)
            if _FEWEST_STAGES <= len(stages) <= _MOST_STAGES:
                return stages
        return self._grouped(_by_plane(self.layers), count)

    def to_dict(self, *, depth: int | None = None, count: Count = "all") -> dict[str, Any]:
        """Rows, stages and totals as JSON-safe values."""
        activations = self.activations(count)
        return {
            "source": self.source,
            "input": list(self.input),
            "convention": CONVENTION,
            "activations_counted": COUNTS[count],
            "totals": {
                "parameters": self.parameters,
                "parameters_without_bias": self.weights,
                "activations": activations,
                "activation_bytes": _FLOAT * activations,
                "macs": self.macs,
                "flops": self.flops,
            },
            "layers": [layer.to_dict() for layer in self.layers],
            "stages": [stage.to_dict() for stage in self.stages(depth, count)],
            "remarks": list(self.remarks),
        }

    def _by_path(self, depth: int) -> list[str]:
        return [".".join(layer.path[:depth]) for layer in self.layers]

    def _grouped(self, labels: Sequence[str], count: Count) -> list[Stage]:
        """Stages from a label per row. A label that comes again later, between others, joins its first."""
        rows: dict[str, list[Layer]] = {}
        for label, layer in zip(labels, self.layers, strict=True):
            rows.setdefault(label, []).append(layer)
        return [
            Stage(label, tuple(group), sum(layer.count_activations(count) for layer in group))
            for label, group in rows.items()
        ]


def _by_plane(layers: Sequence[Layer]) -> list[str]:
    """`56×56` for rows that write such planes, `1×1` for those without a plane."""
    return ["×".join(map(str, layer.output[1:])) or "1×1" for layer in layers]

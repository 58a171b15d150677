"""How far the weights of two models are from each other, tensor by tensor, and the outputs of their layers.

Errors are signal-to-noise ratios, 10·log10(Σ first² / Σ (first − second)²) in dB: 20 dB is an error of a tenth, 60 dB
of a thousandth, infinite where both are equal. A layer's output shows its own error together with all errors that reach
it from the layers before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enxuto.data import Dataset, Preprocess
from enxuto.errors import ModelError, UsageError
from enxuto.onnx_model import Model, Role
from enxuto.progress import ItemProgress
from enxuto.runtime import Runner

__all__ = ["LayerDifference", "compare_layers"]

_BATCH = 8  # images at a time: all outputs of all layers are in memory
_LAYERS = {"Conv", "ConvTranspose", "Gemm", "MatMul", "FusedConv", "FusedGemm"}


@dataclass(frozen=True)
class LayerDifference:
    """A weight of both models. weight_snr, output_snr: in dB, `inf` where equal, None for an output not in both.

    rms: of the first model's weight. largest: the largest absolute difference of two values. changed: share of values
    that differ. output: name of the value that the weight's layer puts out.
    """

    name: str
    role: str
    shape: tuple[int, ...]
    rms: float
    largest: float
    changed: float
    weight_snr: float
    output: str | None = None
    output_snr: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe values; an infinite ratio is null, with `changed` 0 or outputs that are equal."""
        return {
            "name": self.name, "role": self.role, "shape": list(self.shape), "rms": self.rms, "largest": self.largest,
            "changed": self.changed, "weight_snr": _finite_or_none(self.weight_snr), "output": self.output,
            "output_snr": _finite_or_none(self.output_snr),
        }  # fmt: skip


def compare_layers(
    first: Model,
    second: Model,
    dataset: Dataset | None = None,
    preprocess: Preprocess | None = None,
    *,
    images: int = 64,
    threads: int = 0,
    progress: ItemProgress | None = None,
) -> list[LayerDifference]:
    """Compare all learned weights of equal name and shape, in the first model's order.

    Args:
        first, second: the models.
        dataset, preprocess: where given, outputs of layers are compared too.
        images: how many images, from the front of `dataset`.
        threads: of ONNX Runtime; 0: one a core.
        progress: called with the images done and their number.

    Raises:
        ModelError: the models have no weight in common, or one cannot run.
    """
    shared = [
        info for info in first.infos()
        if info.role is not Role.OTHER and info.name in second and second.info(info.name).shape == info.shape
    ]  # fmt: skip
    if not shared:
        raise ModelError(
            "the models have no weight of the same name and shape; only their answers can be compared",
            code="E037",
        )
    outputs = {weight: output for weight, output in _layer_outputs(first) if output in _node_outputs(second)}
    ratios: dict[str, float] = {}
    if dataset is not None and outputs:
        if preprocess is None or images < 1:
            raise UsageError("outputs of layers need a preprocessing and at least 1 image", code="E023")
        ratios = _output_snrs(
            (first, second),
            list(dict.fromkeys(outputs.values())),
            dataset,
            preprocess,
            images,
            threads,
            progress,
        )
    found = []
    for info in shared:
        one, other = (np.asarray(model.load(info.name), np.float64) for model in (first, second))
        output = outputs.get(info.name)
        found.append(
            LayerDifference(
                name=info.name, role=str(info.role), shape=info.shape,
                rms=math.sqrt(float(np.mean(one * one))) if one.size else 0.0,
                largest=float(np.abs(one - other).max(initial=0)),
                changed=float(np.mean(one != other)) if one.size else 0.0,
                weight_snr=_decibels(float(np.sum(one * one)), float(np.sum((one - other) ** 2))),
                output=output, output_snr=ratios.get(output) if output is not None else None,
            )
        )  # fmt: skip
    return found


def _layer_outputs(model: Model) -> Iterator[tuple[str, str]]:
    """(weight, output) of the layers whose second input is a weight itself."""
    for node in model.proto.graph.node:
        if node.op_type in _LAYERS and len(node.input) > 1 and node.input[1] in model and node.output[0]:
            yield node.input[1], node.output[0]


def _node_outputs(model: Model) -> set[str]:
    return {name for node in model.proto.graph.node for name in node.output}


def _output_snrs(
    models: tuple[Model, Model],
    names: list[str],
    dataset: Dataset,
    preprocess: Preprocess,
    images: int,
    threads: int,
    progress: ItemProgress | None,
) -> dict[str, float]:
    """The signal-to-noise ratio of each named value over the first images."""
    runners = [Runner(model, threads=threads, extra_outputs=names) for model in models]
    signal, noise = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    total = min(images, len(dataset))
    part = dataset.subset(np.arange(total))
    for number, (batch, _) in enumerate(part.batches(_BATCH, preprocess)):
        values = [runner.outputs(batch, names) for runner in runners]
        for name, one, other in zip(names, *values, strict=True):
            if one.shape != other.shape:
                raise ModelError(
                    f"the value {name!r} is {one.shape} in one model and {other.shape} in the other",
                    code="E037",
                )
            signal[name] += _energy(one)
            noise[name] += _energy(one.astype(np.float64) - other)
        if progress is not None:
            progress(min(total, (number + 1) * _BATCH), total)
    return {name: _decibels(signal[name], noise[name]) for name in names}


def _energy(values: NDArray[Any]) -> float:
    flat = values.reshape(-1).astype(np.float64)
    return float(flat @ flat)


def _decibels(signal: float, noise: float) -> float:
    """Decibels; infinite without noise, −infinite for noise without signal."""
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def _finite_or_none(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None

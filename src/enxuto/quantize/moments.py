"""Second moments of the inputs of every layer, by running a model on a few unlabelled images.

For a layer with input vectors x: H = E[x xᵀ] and E[x], per group. An error E in the weights then costs tr(E H Eᵀ)
of the layer's outputs' power. Images are dealt into two halves, so that what is fitted on one can be judged on the
other. Memory: the activations of one small batch, and the moments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from enxuto.onnx_model import Model
from enxuto.quantize.layers import Layer
from enxuto.runtime import Runner

__all__ = ["Moments", "second_moments"]

_POSITIONS = 256  # patches an image: neighbouring ones tell little more
_LARGEST_SIDE = 4096  # inputs; above that a dense second moment would not fit the memory stated


@dataclass
class Moments:
    """Sums over a layer's input vectors, for two halves of the images: x xᵀ (2, g, C, C), x (2, g, C), counts (2,)."""

    outer: np.ndarray
    total: np.ndarray
    count: np.ndarray

    def second(self, halves: Sequence[int] = (0, 1)) -> np.ndarray:
        """Return E[x xᵀ] (g, C, C) over the halves named."""
        chosen = list(halves)
        return np.asarray(self.outer[chosen].sum(0) / max(1.0, float(self.count[chosen].sum())), np.float64)

    def mean(self) -> np.ndarray:
        """Return E[x] (g, C) over both halves."""
        return np.asarray(self.total.sum(0) / max(1.0, float(self.count.sum())), np.float64)


def second_moments(
    model: Model,
    layers: Sequence[Layer],
    batches: Iterable[np.ndarray],
    *,
    seed: int = 0,
    threads: int = 0,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Moments]:
    """Return moments by weight name, for layers of at most 4,096 inputs.

    batches: preprocessed float32 images, a few at a time (activations of one batch are in memory at once).
    """
    useful = [layer for layer in layers if _inputs(model, layer) <= _LARGEST_SIDE]
    fed = {item.name for item in model.proto.graph.input}
    names = sorted({layer.input for layer in useful} - fed)
    runner = Runner(model, threads=threads, extra_outputs=names)
    generator = np.random.default_rng(seed)
    sums: dict[str, Moments] = {}
    for number, batch in enumerate(batches):
        activations = dict(zip(names, runner.outputs(batch, names), strict=True)) if names else {}
        for layer in useful:
            _add(sums, layer, activations.get(layer.input, batch), number % 2, generator)
        if progress is not None:
            progress(len(batch))
    return sums


def _inputs(model: Model, layer: Layer) -> int:
    shape = model.info(layer.weight).shape
    return shape[0] if layer.kind == "columns" else int(np.prod(shape[1:]))


def _add(
    sums: dict[str, Moments], layer: Layer, x: np.ndarray, half: int, generator: np.random.Generator
) -> None:
    vectors = layer.vectors(x, _POSITIONS, generator)  # g s c
    groups, samples, inputs = vectors.shape
    moments = sums.get(layer.weight)
    if moments is None:
        moments = sums[layer.weight] = Moments(
            np.zeros((2, groups, inputs, inputs)), np.zeros((2, groups, inputs)), np.zeros(2)
        )
    moments.outer[half] += np.matmul(vectors.transpose(0, 2, 1), vectors)
    moments.total[half] += vectors.sum(1, dtype=np.float64)
    moments.count[half] += samples

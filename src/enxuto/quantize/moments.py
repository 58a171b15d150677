"""Second moments of what goes into every layer, and of the gradients that come back to it, from unlabelled images.

For a layer with input vectors x: H = E[x xᵀ], and E[x], per group of a convolution. With g the gradient, with respect
to the layer's outputs at one position, of a random direction of the scores whose covariance is the Fisher information
of their softmax: G = E[Σ over positions g gᵀ] of an image. A small error E in the weights then changes the divergence
of the answers by about tr(G E H Eᵀ), up to one factor per layer (`quantize.sensitivity`).

Images are dealt into two halves, so that what is fitted on one can be judged on the other. Layers with more than
2,304 inputs are taken in blocks of at most so many, as if inputs of different blocks were uncorrelated: that
bounds memory (VGG-16's 25,088 inputs: 11 blocks, 0.2 GB a half) and costs accuracy only between blocks.
Memory besides: the activations of one small batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from enxuto.onnx_model import Model
from enxuto.quantize.backward import Backward, UnsupportedError
from enxuto.quantize.layers import Layer
from enxuto.runtime import Runner

__all__ = ["LARGEST_BLOCK", "Moments", "block_bounds", "layer_moments", "shrinkage"]

LARGEST_BLOCK = 2304
_POSITIONS = 96  # of an image: neighbouring ones tell little more
_FEWEST_POSITIONS = 16
_VECTORS = 128  # for each input, over all images: layers with few inputs need no more

Float64 = npt.NDArray[np.float64]


def block_bounds(inputs: int, largest: int = LARGEST_BLOCK) -> list[tuple[int, int]]:
    """Return the bounds of the fewest nearly equal blocks of at most `largest` inputs."""
    count = -(-inputs // largest)
    edges = [round(inputs * i / count) for i in range(count + 1)]
    return list(pairwise(edges))


@dataclass
class Moments:
    """Sums over a layer's input vectors for two halves of the images, and over the gradients of its outputs.

    outer: x xᵀ, one (2, g, c, c) per block of inputs; total: x (2, g, C); count: vectors (2,). gradients: g gᵀ
    (2, g, O, O) over `images` (2,) images, None where the model has operators without a known derivative.
    """

    outer: list[npt.NDArray[np.float32]]
    total: Float64
    count: Float64
    gradients: npt.NDArray[np.float32] | None = None
    images: Float64 = field(default_factory=lambda: np.zeros(2))

    @classmethod
    def empty(cls, groups: int, inputs: int) -> Moments:
        """Return sums over nothing."""
        outer = [np.zeros((2, groups, b - a, b - a), np.float32) for a, b in block_bounds(inputs)]
        return cls(outer, np.zeros((2, groups, inputs)), np.zeros(2))

    @property
    def bounds(self) -> list[tuple[int, int]]:
        """The blocks of inputs."""
        return block_bounds(self.total.shape[2])

    def add(self, vectors: npt.NDArray[np.float32], half: int) -> None:
        """Add input vectors (g, samples, C)."""
        for (start, end), outer in zip(self.bounds, self.outer, strict=True):
            part = vectors[:, :, start:end]
            outer[half] += np.matmul(part.transpose(0, 2, 1), part)
        # A product with ones: sums along the middle axis are several times slower.
        self.total[half] += np.matmul(np.ones((1, vectors.shape[1]), np.float32), vectors)[:, 0]
        self.count[half] += vectors.shape[1]

    def add_gradients(self, gradients: npt.NDArray[np.float32], images: int, half: int) -> None:
        """Add gradients (g, positions, O) of some images."""
        if self.gradients is None:
            groups, _, outputs = gradients.shape
            self.gradients = np.zeros((2, groups, outputs, outputs), np.float32)
        self.gradients[half] += np.matmul(gradients.transpose(0, 2, 1), gradients)
        self.images[half] += images

    def fisher(self) -> tuple[Float64, float]:
        """Return G (g, O, O), of mean diagonal 1, and the shrinkage that the two halves call for.

        `ValueError` without gradients.
        """
        if self.gradients is None:
            raise ValueError("no gradients were added")
        halves = [self.gradients[i] / max(1.0, float(self.images[i])) for i in (0, 1)]
        mean = (halves[0].astype(np.float64) + halves[1]) / 2
        size = float(np.mean(np.diagonal(mean, axis1=1, axis2=2)))
        return (mean / size if size > 0 else mean), shrinkage(halves[0], halves[1])

    def second(self, block: int, halves: Sequence[int] = (0, 1)) -> Float64:
        """Return E[x xᵀ] (g, c, c) of a block of inputs over the halves named."""
        chosen = list(halves)
        total = self.outer[block][chosen].sum(0, dtype=np.float64)
        return np.asarray(total / max(1.0, float(self.count[chosen].sum())), np.float64)

    def power(self) -> float:
        """Return the mean diagonal of G before it is scaled to 1; 0 without gradients."""
        if self.gradients is None:
            return 0.0
        total = self.gradients.sum(0, dtype=np.float64) / max(1.0, float(self.images.sum()))
        return float(np.mean(np.diagonal(total, axis1=1, axis2=2)))

    def shrinkage(self, block: int) -> float:
        """Return how far H of a block of inputs should be shrunk towards its diagonal."""
        first, other = (self.second(block, [half]) for half in (0, 1))
        return shrinkage(first, other) if self.count.min() > 0 else 1.0

    def mean(self) -> Float64:
        """Return E[x] (g, C) over both halves."""
        return np.asarray(self.total.sum(0) / max(1.0, float(self.count.sum())), np.float64)


def shrinkage(first: npt.NDArray[np.floating], other: npt.NDArray[np.floating]) -> float:
    """Return the share 0…1 of noise in the elements off the diagonal of (first + other)/2, both (g, c, c).

    Ledoit & Wolf's intensity (2004, "A well-conditioned estimator for large-dimensional covariance matrices") for
    shrinking towards the diagonal, with the noise taken from the difference of two independent halves.
    """
    difference, mean = first.astype(np.float64) - other, (first.astype(np.float64) + other) / 2
    noise = float(np.sum(np.square(difference))) / 4
    power = float(np.sum(np.square(mean)))
    noise -= float(np.sum(np.square(np.diagonal(difference, axis1=1, axis2=2)))) / 4
    power -= float(np.sum(np.square(np.diagonal(mean, axis1=1, axis2=2))))
    return min(1.0, noise / power) if power > 0 else 0.0


@dataclass
class _Collector:
    """Runs a model over batches and adds up what its layers see."""

    model: Model
    layers: Sequence[Layer]
    threads: int
    generator: np.random.Generator
    images: int
    sums: dict[str, Moments] = field(default_factory=dict)
    scores: list[np.ndarray] = field(default_factory=list)
    backward: Backward | None = None
    reason: str | None = None

    def prepare(self, example: np.ndarray) -> None:
        """Make the forward and, if all operators have derivatives, the backward graph."""
        fed = {item.name for item in self.model.proto.graph.input}
        names = sorted({layer.input for layer in self.layers} - fed)
        try:
            self.backward = Backward(
                self.model, [layer.output for layer in self.layers], example, also=names, threads=self.threads
            )
        except UnsupportedError as error:
            self.reason = str(error)
            self._runner = Runner(self.model, threads=self.threads, extra_outputs=names)
            self._names = [self._runner.output_names[0], *names]

    def add(self, batch: np.ndarray, half: int) -> None:
        """Add one batch."""
        if self.backward is not None:
            scores, values = self.backward.scores(batch)
        else:
            values = dict(zip(self._names, self._runner.outputs(batch, self._names), strict=True))
            scores = values[self._names[0]]
        self.scores.append(scores.reshape(len(batch), -1))
        for layer in self.layers:
            vectors = layer.vectors(values.get(layer.input, batch), self._positions(layer), self.generator)
            moments = self.sums.get(layer.weight)
            if moments is None:
                moments = self.sums[layer.weight] = Moments.empty(vectors.shape[0], vectors.shape[2])
            moments.add(vectors, half)
        if self.backward is not None:
            gradients = self.backward.gradients(values, fisher_direction(scores, self.generator))
            for layer in self.layers:
                columns = layer.output_columns(gradients[layer.output], _POSITIONS, self.generator)
                self.sums[layer.weight].add_gradients(columns, len(batch), half)

    def _positions(self, layer: Layer) -> int:
        """Return how many positions of an image are looked at."""
        inputs = math.prod(self.model.info(layer.weight).shape[1:])
        wanted = -(-_VECTORS * inputs // self.images) if self.images else _POSITIONS
        return min(_POSITIONS, max(_FEWEST_POSITIONS, wanted))


def fisher_direction(scores: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return random directions (N, C) with covariance diag(p) − ppᵀ, p = softmax(scores): the Fisher information.

    √p∘ε − p(√p·ε) with ε standard normal. (Sampling labels from p, the usual way, gives zeros for nearly all
    images that a model is sure of.)
    """
    flat = scores.reshape(len(scores), -1).astype(np.float64)
    shifted = np.exp(flat - flat.max(axis=1, keepdims=True))
    p = shifted / shifted.sum(axis=1, keepdims=True)
    root = np.sqrt(p) * generator.standard_normal(p.shape)
    return np.asarray(root - p * root.sum(axis=1, keepdims=True), np.float32).reshape(scores.shape)


def layer_moments(
    model: Model,
    layers: Sequence[Layer],
    batches: Iterable[np.ndarray],
    *,
    images: int = 0,
    seed: int = 0,
    threads: int = 0,
    progress: Callable[[int], None] | None = None,
) -> tuple[dict[str, Moments], np.ndarray, str | None]:
    """Return moments by weight name, the scores (N, C) of all images, and why there are no gradients (or None).

    batches: preprocessed float32 images, a few at a time (activations of one batch are in memory at once).
    images: how many there are in all, from which follows how many positions of each are enough; 0 where unknown.
    """
    collector = _Collector(model, layers, threads, np.random.default_rng(seed), images)
    for number, batch in enumerate(batches):
        if not number:
            collector.prepare(batch)
        collector.add(batch, number % 2)
        if progress is not None:
            progress(len(batch))
    return collector.sums, np.concatenate(collector.scores), collector.reason

"""Second moments of each layer's inputs, and of the gradients at its outputs, from unlabelled images.

For a layer with input vectors x: H = E[x xᵀ], per group of a convolution. With g the gradient, with respect
to the layer's outputs at one position, of a random direction of the scores whose covariance is the Fisher information
of their softmax: G = E[Σ over positions g gᵀ] of an image. A small error E in the weights then changes the divergence
of the answers by about tr(G E H Eᵀ), up to one factor per layer (`calibration.sensitivity`).

Images are split into three folds, so that what is fitted on two can be validated on the third
(`calibration.shrinkage`). Inputs are taken in blocks of at most 2,304, of 1,024 for layers with more than 9,216, and
outputs in blocks of at most 1,024, as if different blocks were uncorrelated. That bounds memory and time (VGG-16's
25,088 inputs: 25 blocks, 0.1 GB a fold) and costs accuracy only between blocks. The activations of one small batch are
in memory besides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from enxuto.calibration.gradients.backward import Backward, UnsupportedError
from enxuto.calibration.layers import LinearLayer
from enxuto.errors import DataError, ModelError, UsageError
from enxuto.onnx_model import Model
from enxuto.runtime import Runner

__all__ = [
    "FOLDS",
    "LARGEST_BLOCK",
    "LARGEST_ROWS",
    "Moments",
    "block_bounds",
    "fisher_direction",
    "layer_moments",
]

FOLDS = 3
LARGEST_BLOCK = 2304
LARGEST_ROWS = 1024  # outputs whose errors make up for each other; more cost time as their square
_MANY = (
    4 * LARGEST_BLOCK
)  # inputs from which blocks are small: eigenvectors cost the square of a block for each input
_SMALL_BLOCK = 1024
_POSITIONS = 96  # of an image: neighbouring ones tell little more
_FEWEST_POSITIONS = 16
_LIKELIEST = 16  # answers of an image
_VECTORS = 128  # for each input, over all images: layers with few inputs need no more

Float64 = npt.NDArray[np.float64]


def block_bounds(inputs: int, largest: int | None = None) -> list[tuple[int, int]]:
    """Return the bounds of the fewest nearly equal blocks of at most `largest` inputs, by default as above."""
    if largest is None:
        largest = LARGEST_BLOCK if inputs <= _MANY else _SMALL_BLOCK
    count = -(-inputs // largest)
    edges = [round(inputs * i / count) for i in range(count + 1)]
    return list(pairwise(edges))


@dataclass
class Moments:
    """Sums over a layer's input vectors for the folds of the images, and over the gradients of its outputs.

    outer: sums of x xᵀ, one (F, g, c, c) per block of inputs. count: numbers of vectors (F,). gradients: sums of g gᵀ,
    one (F, g, o, o) per block of outputs, over `images` (F,) images; empty where the model has operators without a
    derivative rule.
    """

    outer: list[npt.NDArray[np.float32]]
    count: Float64
    gradients: list[npt.NDArray[np.float32]] = field(default_factory=list)
    images: Float64 = field(default_factory=lambda: np.zeros(FOLDS))

    @classmethod
    def empty(cls, groups: int, inputs: int) -> Moments:
        """Return sums over nothing."""
        outer = [np.zeros((FOLDS, groups, b - a, b - a), np.float32) for a, b in block_bounds(inputs)]
        return cls(outer, np.zeros(FOLDS))

    @property
    def groups(self) -> int:
        """The groups of the convolution."""
        return int(self.outer[0].shape[1])

    @property
    def bounds(self) -> list[tuple[int, int]]:
        """The blocks of inputs."""
        return list(pairwise(np.cumsum([0, *(block.shape[2] for block in self.outer)]).tolist()))

    def add(self, vectors: npt.NDArray[np.float32], fold: int) -> None:
        """Add input vectors (g, samples, C)."""
        for (start, end), outer in zip(self.bounds, self.outer, strict=True):
            part = vectors[:, :, start:end]
            outer[fold] += np.matmul(part.transpose(0, 2, 1), part)
        self.count[fold] += vectors.shape[1]

    def add_gradients(self, gradients: npt.NDArray[np.float32], images: int, fold: int) -> None:
        """Add gradients (g, positions, O) of some images."""
        groups, _, outputs = gradients.shape
        bounds = block_bounds(outputs, LARGEST_ROWS)
        if not self.gradients:
            self.gradients = [np.zeros((FOLDS, groups, b - a, b - a), np.float32) for a, b in bounds]
        for (start, end), sums in zip(bounds, self.gradients, strict=True):
            part = gradients[:, :, start:end]
            sums[fold] += np.matmul(part.transpose(0, 2, 1), part)
        self.images[fold] += images

    def power(self) -> float:
        """Return the mean diagonal of G; 0 without gradients."""
        if not self.gradients:
            return 0.0
        powers = [np.diagonal(block.sum(0, dtype=np.float64), axis1=1, axis2=2) for block in self.gradients]
        return float(np.mean(np.concatenate(powers, axis=1))) / max(1.0, float(self.images.sum()))


@dataclass
class _Collector:
    """Runs a model over batches and adds up the moments of its layers."""

    model: Model
    layers: list[LinearLayer]
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

    def add(self, batch: np.ndarray, fold: int) -> None:
        """Add one batch."""
        if self.backward is not None:
            scores, values = self.backward.scores(batch)
        else:
            values = dict(zip(self._names, self._runner.outputs(batch, self._names), strict=True))
            scores = values[self._names[0]]
        if scores.shape[:1] != batch.shape[:1]:
            raise UsageError(
                f"the model gives scores {scores.shape} for {len(batch)} images, not a row for each; "
                "calibration needs one, so compress it without images",
                code="E035",
            )
        self.scores.append(scores.reshape(len(batch), -1).astype(np.float32, copy=False))
        for layer in self.layers:
            vectors = layer.vectors(values.get(layer.input, batch), self._positions(layer), self.generator)
            moments = self.sums.get(layer.weight)
            if moments is None:
                moments = self.sums[layer.weight] = Moments.empty(vectors.shape[0], vectors.shape[2])
            moments.add(vectors, fold)
        if self.backward is not None and self.reason is None:
            try:
                gradients = self.backward.gradients(values, fisher_direction(scores, self.generator))
            except (DataError, ModelError) as error:  # batches may be unlike the first in ways not foreseen
                self._drop_gradients(str(error))
                return
            for layer in self.layers:
                columns = layer.output_columns(gradients[layer.output], _POSITIONS, self.generator)
                self.sums[layer.weight].add_gradients(columns, len(batch), fold)

    def _drop_gradients(self, reason: str) -> None:
        """Go on without gradients, as those of some images only would mislead."""
        self.reason = reason
        for moments in self.sums.values():
            moments.gradients = []
            moments.images = np.zeros(FOLDS)

    def _positions(self, layer: LinearLayer) -> int:
        """Return how many positions of an image are sampled for a layer."""
        inputs = math.prod(self.model.info(layer.weight).shape[1:])
        needed = -(-_VECTORS * inputs // self.images) if self.images else _POSITIONS
        return min(_POSITIONS, max(_FEWEST_POSITIONS, needed))


def fisher_direction(scores: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return random directions (N, C) with covariance diag(p) − ppᵀ, p = softmax(scores): the Fisher information.

    Random signs are drawn, not normal numbers. The 16 likeliest classes, with all others lumped into one, get signs
    along the eigenvectors of their covariance. The others get √q∘ε − q(√q·ε) among themselves, with q their shares of
    the lump. Where two classes share nearly all of the probability, the direction then nearly always has the right
    length, and one backward run a batch is nearly as good as two. (The usual way, sampling labels from p, gives zeros
    for nearly all images that a model is sure of.)
    """
    flat = scores.reshape(len(scores), -1).astype(np.float64)
    p = np.exp(flat - flat.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    top = np.argsort(-p, axis=1, kind="stable")[:, :_LIKELIEST]
    rest = p.copy()
    np.put_along_axis(rest, top, 0.0, axis=1)
    left = rest.sum(axis=1, keepdims=True)
    shares = rest / np.maximum(left, 1e-300)
    lumped = np.concatenate([np.take_along_axis(p, top, axis=1), left], axis=1)
    covariance = np.eye(lumped.shape[1]) * lumped[:, None, :] - lumped[:, :, None] * lumped[:, None, :]
    values, vectors = np.linalg.eigh(covariance)
    signs = generator.choice([-1.0, 1.0], values.shape)
    among = np.einsum("nij,nj->ni", vectors, signs * np.sqrt(np.maximum(values, 0.0)))
    root = np.sqrt(shares) * generator.choice([-1.0, 1.0], p.shape)
    found = shares * among[:, -1:] + np.sqrt(left) * (root - shares * root.sum(axis=1, keepdims=True))
    np.put_along_axis(found, top, among[:, :-1], axis=1)
    return np.asarray(found, np.float32).reshape(scores.shape)


def layer_moments(
    model: Model,
    layers: list[LinearLayer],
    batches: Iterable[np.ndarray],
    *,
    images: int = 0,
    seed: int = 0,
    threads: int = 0,
    progress: Callable[[int], None] | None = None,
) -> tuple[dict[str, Moments], np.ndarray, str | None]:
    """Run a model over images and return the moments of its layers.

    Args:
        model: gives logits.
        layers: of the model.
        batches: preprocessed float32 images, a few at a time (activations of one batch are in memory at once).
        images: how many there are in all; the more, the fewer positions of each are sampled. 0 where unknown.
        seed: of the positions and of the directions of the scores.
        threads: of ONNX Runtime; 0 is its own default.
        progress: called with the number of images of each batch that is done.

    Returns:
        Moments by weight name, the scores (N, C) of all images, and why there are no gradients (or None).
    """
    collector = _Collector(model, layers, threads, np.random.default_rng(seed), images)
    for number, batch in enumerate(batches):
        if not number:
            collector.prepare(batch)
        collector.add(batch, number % FOLDS)
        if progress is not None:
            progress(len(batch))
    return collector.sums, np.concatenate(collector.scores), collector.reason

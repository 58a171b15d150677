"""Second moments of each layer's inputs, and of the gradients at its outputs, from unlabelled images.

For a layer with input vectors x: H = E[x xᵀ], per group of a convolution. With g the gradient, with respect
to the layer's outputs at one position, of a random direction of the scores whose covariance is the Fisher information
of their softmax: G = E[Σ over positions g gᵀ] of an image. A small error E in the weights then changes the divergence
of the answers by about tr(G E H Eᵀ), up to one factor per layer (`calibration.sensitivity`).

Images are split into three folds, so that what is fitted on two can be validated on the third
(`calibration.shrinkage`). Inputs are taken in blocks of at most 2,304, of 1,024 for layers with more than 9,216, and
outputs in blocks of at most 1,024, as if different blocks were uncorrelated. That bounds memory and time (VGG-16's
25,088 inputs: 25 blocks, 0.1 GB a fold) and costs accuracy only between blocks. The activations of two small batches
are in memory besides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from enxuto.calibration.gradients.backward import Backward, UnsupportedError
from enxuto.calibration.layers import LinearLayer
from enxuto.data.samples import Group
from enxuto.errors import DataError, ModelError, UsageError
from enxuto.machine.processors import processors
from enxuto.machine.workers import workers
from enxuto.metrics.losses import OutputLoss, fisher_direction
from enxuto.onnx_model import Model
from enxuto.runtime import Runner

__all__ = [
    "FOLDS",
    "LARGEST_BLOCK",
    "LARGEST_ROWS",
    "Moments",
    "block_bounds",
    "fisher_direction",
    "group_of",
    "layer_moments",
]

FOLDS = 3
LARGEST_BLOCK = 2304
LARGEST_ROWS = 1024  # outputs whose errors make up for each other; more cost time as their square
_MANY = (
    4 * LARGEST_BLOCK
)  # inputs from which blocks are small: eigenvectors cost the square of a block for each input
_SMALL_BLOCK = 1024
_LARGEST = 1e15  # of a gradient, so that sums of squares are float32
_POSITIONS = 96  # of an image: neighbouring ones tell little more
_FEWEST_POSITIONS = 16
_SHAPES = 12  # of inputs that gradients are taken for: each takes a graph of its own
_HELD = (
    1 << 28
)  # bytes of values that graphs kept for further batches were made from: they hold about as much
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
    losses: Sequence[OutputLoss]
    threads: int
    generator: np.random.Generator
    images: int
    pool: Executor | None
    sums: dict[str, Moments] = field(default_factory=dict)
    scores: list[list[np.ndarray]] = field(default_factory=list)
    reason: str | None = None
    _shapes: set[Any] = field(default_factory=set)
    _backwards: dict[Any, Backward] = field(default_factory=dict)
    _runner: Runner | None = None
    _at_work: list[Future[None]] = field(default_factory=list)

    def add(self, batch: Group, fold: int) -> None:
        """Add one batch. What it adds to a layer's sums is worked out beside the next runs of the model."""
        backward = None if self.reason is not None or not self._watched() else self._backward_for(batch)
        if backward is not None:
            found, values = backward.values(batch.feeds)
        else:
            found, values = self._run(batch)
        self._check_rows(found, batch)
        # What a session gives lies in its memory, all of which would be kept with it.
        self.scores.append([score.copy() for score in found])
        self.finish()
        for layer in self.layers:
            x = values[layer.input]
            places = layer.draw_inputs(x.shape, self._positions(layer), self.generator)
            self._begin(self._add_inputs, layer, x, places, fold)
        if backward is not None and self.reason is None:
            self._add_gradients(backward, batch, found, values, fold)

    def _begin(self, work: Callable[..., None], *arguments: Any) -> None:
        """Do something beside the next runs of the model, or at once where there is one thread for both."""
        if self.pool is None:
            work(*arguments)
        else:
            self._at_work.append(self.pool.submit(work, *arguments))

    def finish(self) -> None:
        """Wait for what is being added: a layer's sums are added up in the order of batches, so that they repeat."""
        while self._at_work:
            self._at_work.pop().result()

    def _add_inputs(
        self, layer: LinearLayer, x: np.ndarray, places: npt.NDArray[np.intp] | None, fold: int
    ) -> None:
        vectors = layer.vectors_at(x, places)
        moments = self.sums.get(layer.weight)
        if moments is None:
            moments = self.sums[layer.weight] = Moments.empty(vectors.shape[0], vectors.shape[2])
        moments.add(vectors, fold)

    def _add_outputs(
        self, layer: LinearLayer, y: np.ndarray, places: npt.NDArray[np.intp] | None, images: int, fold: int
    ) -> None:
        self.sums[layer.weight].add_gradients(layer.output_columns_at(y, places), images, fold)

    def _add_gradients(
        self,
        backward: Backward,
        batch: Group,
        found: list[np.ndarray],
        values: dict[str, np.ndarray],
        fold: int,
    ) -> None:
        total = sum(loss.weight for loss in self.losses)
        cotangents = [
            _scaled(loss.direction(value, batch.count, self.generator), loss.weight / total)
            for loss, value in zip(self.losses, found, strict=True)
        ]
        try:
            gradients = backward.gradients(values, cotangents)
        except (DataError, ModelError) as error:  # batches may be unlike the first in ways not foreseen
            self._drop_gradients(str(error))
            return
        for layer in self._watched():
            largest = float(np.abs(gradients[layer.output]).max(initial=0.0))
            if not largest < _LARGEST:
                how = f"reaches {largest:.2g}" if math.isfinite(largest) else "is infinite or no number"
                self._drop_gradients(f"the gradient of {layer.output!r} {how}")
                return
        self.finish()
        for layer in self._watched():
            y = gradients[layer.output]
            places = layer.draw_outputs(y.shape, _POSITIONS, self.generator)
            self._begin(self._add_outputs, layer, y, places, batch.count, fold)

    def _backward_for(self, batch: Group) -> Backward | None:
        """Return the backward graph for the batch's shapes, which it is made for; None for more shapes than a few.

        Graphs of large values are dropped for others, the longest unused first, and made again when shapes come back.
        """
        key = tuple(array.shape[1:] if batch.count > 1 else array.shape for array in batch.feeds.values())
        if key not in self._shapes and len(self._shapes) >= _SHAPES:
            return None
        self._shapes.add(key)
        found = self._backwards.pop(key, None)
        if found is None:
            while self._backwards and sum(one.held for one in self._backwards.values()) > _HELD:
                del self._backwards[next(iter(self._backwards))]
            outputs = [layer.output for layer in self._watched()]
            try:
                found = Backward(self.model, outputs, batch, also=self._names(), threads=self.threads)
            except UnsupportedError as error:
                self._drop_gradients(str(error))
                return None
        self._backwards[key] = found  # the latest is last
        return found

    def _run(self, batch: Group) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
        """Run forwards alone."""
        if self._runner is None:
            self._runner = Runner(
                self.model, threads=self.threads, extra_outputs=self._names(), spinning=False
            )
        outputs = [item.name for item in self.model.proto.graph.output]
        names = list(dict.fromkeys([*outputs, *self._names()]))
        values = dict(zip(names, self._runner.values(batch.feeds, names), strict=True))
        return [values[name] for name in outputs], {**batch.feeds, **values}

    def _watched(self) -> list[LinearLayer]:
        return [layer for layer in self.layers if layer.has_gradients]

    def _names(self) -> list[str]:
        fed = {item.name for item in self.model.proto.graph.input}
        return sorted({layer.input for layer in self.layers} - fed)

    def _check_rows(self, found: Sequence[np.ndarray], batch: Group) -> None:
        if batch.count > 1:
            for scores in found:
                if scores.shape[:1] != (batch.count,):
                    raise UsageError(
                        f"the model gives scores {scores.shape} for {batch.count} images, not a row for each; "
                        "calibration needs one, so compress it without images",
                        code="E035",
                    )

    def _drop_gradients(self, reason: str) -> None:
        """Go on without gradients, as those of some images only would mislead."""
        self.finish()
        self._backwards.clear()
        self.reason = reason
        for moments in self.sums.values():
            moments.gradients = []
            moments.images = np.zeros(FOLDS)

    def _positions(self, layer: LinearLayer) -> int:
        """Return how many positions of an image are sampled for a layer."""
        inputs = math.prod(self.model.info(layer.weight).shape[1:])
        needed = -(-_VECTORS * inputs // self.images) if self.images else _POSITIONS
        return min(_POSITIONS, max(_FEWEST_POSITIONS, needed))


def layer_moments(
    model: Model,
    layers: list[LinearLayer],
    batches: Iterable[Group | np.ndarray],
    *,
    losses: Sequence[OutputLoss] | None = None,
    images: int = 0,
    seed: int = 0,
    threads: int = 0,
    progress: Callable[[int], None] | None = None,
) -> tuple[dict[str, Moments], list[list[np.ndarray]], str | None]:
    """Run a model over images and return the moments of its layers.

    Args:
        model: its outputs are what is measured.
        layers: of the model.
        batches: groups of samples, or float32 images, a few at a time (those of two batches are in memory).
        losses: of the model's outputs, in their order; by default the first, and only, holds logits of classes.
        images: how many there are in all; the more, the fewer positions of each are sampled. 0 where unknown.
        seed: of the positions and of the directions of the scores.
        threads: of ONNX Runtime; 0 is its own default.
        progress: called with the number of images of each batch that is done.

    Returns:
        Moments by weight name, the outputs for every batch, and why there are no gradients (or None).
    """
    name = model.proto.graph.output[0].name
    losses = losses if losses is not None else (OutputLoss(name, "classes", name),)
    threads = threads or processors()
    with workers(threads) as pool:
        beside = pool if threads > 1 else None
        collector = _Collector(model, layers, losses, threads, np.random.default_rng(seed), images, beside)
        for number, batch in enumerate(batches):
            group = batch if isinstance(batch, Group) else group_of(model, batch)
            collector.add(group, number % FOLDS)
            if progress is not None:
                progress(group.count)
        collector.finish()
    return collector.sums, collector.scores, collector.reason


def group_of(model: Model, images: np.ndarray) -> Group:
    """Return a batch (N, …) of a model's only input as a group."""
    item = next(item for item in model.proto.graph.input if item.name not in model)
    return Group({item.name: images}, len(images))


def _scaled(direction: np.ndarray, share: float) -> np.ndarray:
    return direction if share == 1 else direction * np.float32(math.sqrt(share))

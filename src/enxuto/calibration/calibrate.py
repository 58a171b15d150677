"""`calibrate`: what a model's answers tell about its weights, from a few unlabelled images.

Second moments, curvatures and sensitivities of all layers are measured once; `Calibration.quantized(price)` then gives
every layer's levels at a price in nats per bit: the one number that trades size for accuracy. Batch normalisation is
folded first. What the images are, and how a price is found, is not decided here (`compression.search`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from enxuto.calibration.allocation import Spacing, price_of_bits, spacing_of
from enxuto.calibration.answers import Answers, check_movement, class_answers, free_batch, scores_elsewhere
from enxuto.calibration.bias_correction import channel_means, corrected_biases
from enxuto.calibration.curvature import Curvature, curvature_of, curvature_work
from enxuto.calibration.layers import Layer, linear_layers
from enxuto.calibration.moments import FOLDS, Moments, layer_moments
from enxuto.calibration.sensitivity import measured_sensitivities, model_divergence
from enxuto.errors import DataError, UsageError
from enxuto.machine.processors import processors
from enxuto.onnx_model import Model, any_batch, check_finite, fixed_batch, fold_batch_norm, reads_of
from enxuto.progress import Work
from enxuto.quantize.grid import Grid
from enxuto.quantize.schemes import representable
from enxuto.quantize.tensor import QuantizedTensor
from enxuto.runtime import advised

__all__ = ["Calibration", "calibrate"]

Progress = Callable[[str, int, int], None]

_SENSITIVITY_VALUES = 1 << 23  # numbers in the images used for sensitivities: 55 of 224×224, 256 of 32×32
_EFFORT = 1 << 28  # paths times weights that a file may take: some ten seconds of two threads
_FEWEST_PATHS, _MOST_PATHS = 16, 128
_CORRECTION_IMAGES = 64
_JUDGING_IMAGES = 16  # at least, that tell whether the correction did any good
_BATCH_VALUES = 3 << 18  # numbers in a batch of images: five 224×224 ones; values and gradients take 1 GB


@dataclass(frozen=True)
class Calibration:
    """Curvatures by weight name, the images they are from, and the folded model they belong to.

    images (N, …) preprocessed; scores (N, C) the model's own, as logits; answers: what they are in the model as it is
    written, whose softmax is left out of all that is measured here. means: of the layers' outputs for each image used
    for correction. reason: why errors of different outputs are taken as unrelated, None where they are not.
    """

    model: Model
    layers: list[Layer]
    curvatures: dict[str, Curvature]
    images: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    means: dict[str, npt.NDArray[np.float64]]
    reason: str | None
    folded: list[str]
    threads: int
    source: str = ""
    seed: int = 0
    answers: Answers = field(default_factory=Answers)
    _spacings: dict[str, Spacing] = field(default_factory=dict, repr=False)

    def quantized(
        self, price: float, names: Collection[str] | None = None, progress: Progress | None = None
    ) -> dict[str, QuantizedTensor]:
        """Return levels and quantizers of layers' weights (all, or those named) at a price in nats per bit."""
        if not price > 0:
            raise UsageError(f"the price of a bit is a positive number of nats, not {price}")
        layers = [layer for layer in self.layers if names is None or layer.weight in names]
        levels = {
            layer.weight: np.zeros(layer.matrix(self.model.load(layer.weight)).shape, np.int32)
            for layer in layers
        }
        # Large layers are rounded in pieces; the longest go first, so that no thread is left alone with one.
        pieces = [
            (layer, number)
            for layer in layers
            for number in range(len(self.curvatures[layer.weight].outputs))
        ]
        pieces.sort(key=lambda piece: -levels[piece[0].weight].size)
        tell = None if progress is None else partial(progress, "rounding")
        done = Work(sum(array.size for array in levels.values()), tell)

        def work(piece: tuple[Layer, int]) -> None:
            layer, number = piece
            self._round(layer, number, price, levels[layer.weight])
            start, end = self.curvatures[layer.weight].output_bounds()[number]
            done.add(levels[layer.weight][:, start:end].size)

        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(work, pieces))
        return {layer.weight: self._tensor(layer, price, levels[layer.weight]) for layer in layers}

    @cached_property
    def judged(self) -> Model:
        """The model as it is measured: any number of images at a time, and logits."""
        return any_batch(self.answers.logits(self.model))

    @property
    def paths(self) -> int:
        """How many paths are followed along a row: the more, the smaller the network is."""
        weights = sum(self.model.info(layer.weight).elements for layer in self.layers)
        return min(_MOST_PATHS, max(_FEWEST_PATHS, _EFFORT // max(1, weights)))

    def price_of_bits(self, bits: float) -> float:
        """Return a first guess of the price at which weights take about `bits` bits each."""
        spacings = [self._spacing(layer.weight) for layer in self.layers]
        return price_of_bits(spacings, [self.model.load(layer.weight) for layer in self.layers], bits)

    def step(self, name: str, tensor: QuantizedTensor) -> float:
        """Return the root mean square of the steps of a quantized weight."""
        assert isinstance(tensor.quantizer, Grid), "layers get grids"
        return tensor.quantizer.step * float(np.sqrt(self._spacing(name).mean_square()))

    def provenance(self, price: float) -> dict[str, Any]:
        """Return what a file says of how it was made."""
        return {"images": len(self.images), "data": self.source, "seed": self.seed, "price": price}

    def corrected(
        self, tensors: Mapping[str, QuantizedTensor], progress: Progress | None = None
    ) -> dict[str, np.ndarray]:
        """Return biases that go with quantized weights: corrected ones, or as they were where that does better.

        Which does is judged by the divergence on images that the correction has not seen; with fewer than
        `_JUDGING_IMAGES` of those, biases are corrected.
        """

        def report(done: int, total: int) -> None:
            if progress is not None:
                progress("correcting biases", done, total)

        weights = {name: self._restored(name, tensor) for name, tensor in tensors.items()}
        corrected = corrected_biases(
            self.judged,
            self.layers,
            weights,
            self.means,
            self.images[:_CORRECTION_IMAGES],
            threads=self.threads,
            progress=report,
        )
        unseen = slice(_CORRECTION_IMAGES, 2 * _CORRECTION_IMAGES)
        if len(self.images[unseen]) < _JUDGING_IMAGES:
            return corrected
        before = {name: self.model.load(name) for name in corrected}
        found = [
            model_divergence(
                self.judged.replaced({**weights, **biases}),
                self.images[unseen],
                self.scores[unseen],
                threads=self.threads,
            )
            for biases in (corrected, before)
        ]
        # NaN is never the better one.
        return corrected if found[0] <= found[1] or math.isnan(found[1]) else before

    def losses(self, tensors: Mapping[str, QuantizedTensor]) -> dict[str, float]:
        """Return what each layer's errors are expected to cost, in nats."""
        found = {}
        for layer in self.layers:
            if layer.weight in tensors:
                weight = self.model.load(layer.weight)
                restored = tensors[layer.weight].reconstruct()
                curvature = self.curvatures[layer.weight]
                cost = curvature.cost(layer.matrix(weight), layer.matrix(restored))
                found[layer.weight] = curvature.sensitivity * cost
        return found

    def bias_step(self, price: float) -> float:
        """Return the one step for all biases at a price: errors in a bias are errors of an input that is always 1."""
        cost = count = 0.0
        for layer in self.layers:
            if layer.bias is not None:
                curvature = self.curvatures[layer.weight]
                weights = curvature.output_weights()
                cost += curvature.sensitivity * float(weights.sum())
                count += weights.size
        return float(np.sqrt(6 * price * count / (np.log(2) * cost))) if cost > 0 else 2.0**-8

    def _restored(self, name: str, tensor: QuantizedTensor) -> np.ndarray:
        return tensor.reconstruct().astype(self.model.info(name).dtype)

    def _spacing(self, name: str) -> Spacing:
        spacing = self._spacings.get(name)
        if spacing is None:
            spacing = self._spacings[name] = spacing_of(self.curvatures[name])
        return spacing

    def _round(self, layer: Layer, number: int, price: float, levels: npt.NDArray[np.int32]) -> None:
        """Fill one of the pieces of a layer's levels (g, O, C)."""
        spacing = self._spacing(layer.weight)
        done = self.curvatures[layer.weight].round_piece(
            number,
            layer.matrix(self.model.load(layer.weight)),
            *spacing.steps(price),
            levels,
            trellis=spacing.trellis,
            paths=self.paths,
        )
        if not done:
            raise UsageError(f"a price of {price:g} nats per bit asks for levels of more than 31 bits")

    def _tensor(self, layer: Layer, price: float, levels: npt.NDArray[np.int32]) -> QuantizedTensor:
        restored = layer.restore(levels, self.model.info(layer.weight).shape)
        return QuantizedTensor(restored, self._spacing(layer.weight).grid(price))


@advised("compress it without images")
def calibrate(
    model: Model,
    images: npt.NDArray[np.float32],
    *,
    source: str = "",
    seed: int = 0,
    threads: int = 0,
    progress: Progress | None = None,
) -> Calibration:
    """Measure everything that calibrated rounding needs.

    images (N, …): float32 as the model takes them, best some hundreds; fewer than 2 are a `DataError`. Weights that
    are not finite are a `ModelError`. A model whose first output is no list of scores of classes, as far as can be seen
    (`answers`), is a `UsageError`. source: what the images are, for the record. Cost: one run forwards and one
    backwards for all images, one of 48 to 256 images from each layer on, and per layer about 50·C³ + O·C² operations
    for its matrix (O, C), C at most 2,304 at a time.
    """
    if len(images) < 2:
        raise DataError(f"calibration needs at least 2 images, got {len(images)}; some hundreds are best")
    folded_model, folded = fold_batch_norm(model)
    layers = _float_layers(folded_model)
    answers = class_answers(folded_model, images, threads=threads)
    runs = free_batch(answers.logits(folded_model), images[: 2 * max(1, fixed_batch(model))], threads=threads)
    # All folds get images, whatever the batch.
    size = min(max(2, _BATCH_VALUES // max(1, images[0].size)), max(1, len(images) // FOLDS))
    report = progress or _silent
    seen = 0

    def watched(count: int) -> None:
        nonlocal seen
        seen += count
        report("watching layers", seen, len(images))

    batches = (images[i : i + size] for i in range(0, len(images), size))
    moments, scores, reason = layer_moments(
        runs, layers, batches, images=len(images), seed=seed, threads=threads, progress=watched
    )
    check_movement(scores, partial(scores_elsewhere, runs, images, threads))
    curvatures = _curvatures(folded_model, layers, moments, len(images), threads, report)
    few = images[: min(256, max(48, _SENSITIVITY_VALUES // max(1, images[0].size)))]
    sensitivities = measured_sensitivities(
        runs,
        [spacing_of(one) for one in curvatures.values()],
        few,
        scores[: len(few)],
        threads=threads,
        progress=lambda done, total: report("measuring sensitivities", *_from_each_on(done, total)),
    )
    # A layer that nothing seems to depend on still keeps a millionth of the largest sensitivity.
    least = 1e-6 * max(sensitivities.values(), default=1.0)
    return Calibration(
        model=folded_model,
        layers=layers,
        curvatures={
            name: one.with_sensitivity(max(sensitivities[name], least)) for name, one in curvatures.items()
        },
        images=images,
        scores=scores,
        means=channel_means(
            runs, layers, images[:_CORRECTION_IMAGES], batch=_CORRECTION_IMAGES, threads=threads
        ),
        reason=reason,
        folded=folded,
        threads=threads or processors(),
        source=source,
        seed=seed,
        answers=answers,
    )


def _float_layers(model: Model) -> list[Layer]:
    """Return the layers with float weights that the scores depend on.

    `ModelError` where a weight is not finite, `UsageError` where there is no such layer.
    """
    needed = {model.proto.graph.output[0].name}
    for node in reversed(model.proto.graph.node):
        if needed.intersection(node.output):
            needed.update(reads_of(node))
    layers = [layer for layer in linear_layers(model) if layer.output in needed]
    for layer in layers:
        check_finite(layer.weight, model.load(layer.weight))
    layers = [
        layer
        for layer in layers
        if representable(model.info(layer.weight).dtype, _largest(model.load(layer.weight)))
    ]
    if not layers:
        raise UsageError("the model has no convolution or matrix to calibrate; compress it without images")
    return layers


def _from_each_on(done: int, total: int) -> tuple[int, int]:
    """Work where the first of `total` layers needs a run through all, the next through all but one, and so on."""
    return done * (2 * total - done + 1) // 2, total * (total + 1) // 2


def _largest(weight: np.ndarray) -> float:
    return float(np.abs(weight).max(initial=0))


def _silent(what: str, done: int, total: int) -> None:
    """Show no progress."""


def _curvatures(
    model: Model,
    layers: list[Layer],
    moments: dict[str, Moments],
    images: int,
    threads: int,
    progress: Progress,
) -> dict[str, Curvature]:
    found: dict[str, Curvature] = {}
    total = sum(curvature_work(layer.matrix(model.load(layer.weight))) for layer in layers)
    done = Work(total, partial(progress, "factoring"))

    def work(layer: Layer) -> Curvature:
        fisher = moments[layer.weight].power()
        # Moments go as factors come: both at once for all layers would double the memory.
        curvature = curvature_of(layer, model.load(layer.weight), moments.pop(layer.weight), images, done.add)
        # Half the Fisher information is the divergence's second derivative. Without it, 0: to be searched.
        return curvature.with_sensitivity(fisher / 2)

    with ThreadPoolExecutor(threads or processors()) as pool:
        for curvature in pool.map(work, layers):
            found[curvature.layer.weight] = curvature
    return found

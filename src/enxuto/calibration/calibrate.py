"""`calibrate`: measure how a model's answers depend on its weights, from a few unlabelled images.

Second moments, curvatures and sensitivities of all layers are measured once. `Calibration.quantize(price)` then rounds
every layer at a price in nats per bit, the one number that trades size for accuracy. Batch normalisation is folded
first. `compression.search` chooses the images and the price.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from enxuto.calibration.allocation import Spacing, choose_spacing, price_of_bits
from enxuto.calibration.answers import Answers, check_scores_vary, scores_of_noise
from enxuto.calibration.bias_correction import channel_means, correct_biases
from enxuto.calibration.curvature import Curvature, estimate_curvatures
from enxuto.calibration.layers import LinearLayer, calibrated_layers, without_outputs
from enxuto.calibration.outputs import JudgedOutputs, OutputChoices, find_losses
from enxuto.calibration.running import run_freely, samples_of, watch_layers
from enxuto.calibration.sensitivity import measure_sensitivities, model_loss, run_groups
from enxuto.data.samples import Group, Samples
from enxuto.errors import DataError, UsageError
from enxuto.machine.processors import processors
from enxuto.onnx_model import Model, fold_batch_norm, free_batch
from enxuto.progress import Progress, ProgressCounter
from enxuto.quantize.grid import Grid
from enxuto.quantize.tensor import QuantizedTensor
from enxuto.runtime import advise_on_failure

__all__ = ["Calibration", "calibrate", "samples_of"]

_SENSITIVITY_VALUES = 1 << 23  # numbers in the images used for sensitivities: 55 of 224×224, 256 of 32×32
_FEWEST_SENSITIVE = 48
_FEWEST_PLACES = 16  # of samples whose outputs are no list of classes: they may be large, and tell more each
_CORRECTION_VALUES = 1 << 24  # numbers in the samples that correct biases, beyond the fewest
_EFFORT = 1 << 28  # paths times weights that a file may take: some ten seconds of two threads
_FEWEST_PATHS, _MOST_PATHS = 16, 128
_CORRECTION_IMAGES = 64
_VALIDATION_IMAGES = 16  # at least, that tell whether the correction did any good


@dataclass(frozen=True)
class Calibration:
    """Curvatures by weight name, the samples they are from, and the folded model they belong to.

    references: of every group of samples what is measured of the model's outputs. judged_outputs: how it is measured; a
    softmax at the end of a classifier is left out of all measurements. means: mean outputs of the layers for each
    sample of the bias correction. reason: why there are no gradients, so that errors of different outputs count as
    unrelated; None where there are.
    """

    model: Model
    layers: list[LinearLayer]
    curvatures: dict[str, Curvature]
    samples: Samples
    references: list[list[npt.NDArray[np.float32]]]
    means: dict[str, npt.NDArray[np.float64]]
    reason: str | None
    folded: list[str]
    threads: int
    source: str = ""
    seed: int = 0
    judged_outputs: JudgedOutputs = field(default_factory=lambda: JudgedOutputs((), answers=Answers()))
    _spacings: dict[str, Spacing] = field(default_factory=dict, repr=False)

    def quantize(
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
        done = ProgressCounter(sum(array.size for array in levels.values()), tell)

        def work(piece: tuple[LinearLayer, int]) -> None:
            layer, number = piece
            self._round(layer, number, price, levels[layer.weight])
            start, end = self.curvatures[layer.weight].output_bounds()[number]
            done.add(levels[layer.weight][:, start:end].size)

        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(work, pieces))
        return {layer.weight: self._tensor(layer, price, levels[layer.weight]) for layer in layers}

    @property
    def answers(self) -> Answers:
        """What the scores of a classifier are."""
        return self.judged_outputs.answers or Answers(reason="its outputs are other values")

    @property
    def scores(self) -> npt.NDArray[np.float32]:
        """The first measured output (N, C); of a classifier its logits."""
        return np.concatenate([found[0].reshape(len(found[0]), -1) for found in self.references])

    @property
    def images(self) -> npt.NDArray[np.float32]:
        """The images (N, …) of a model whose only input takes them; else the numbers of the samples."""
        column = next(iter(self.samples.columns.values()))
        whole = isinstance(column, np.ndarray) and len(self.samples.columns) == 1
        return np.asarray(column if whole else np.arange(len(self.samples), dtype=np.float32))

    @cached_property
    def logits_model(self) -> Model:
        """The model that is measured, as the samples are run: with a free batch size where these are run together."""
        measured = self.judged_outputs.measured(self.model)
        return free_batch(measured) if self.samples.stacked else measured

    @property
    def paths(self) -> int:
        """How many paths are followed along a row; smaller networks get more."""
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
        """Return what a file's metadata says of the calibration."""
        return {"images": len(self.samples), "data": self.source, "seed": self.seed, "price": price}

    def correct_biases(
        self, tensors: Mapping[str, QuantizedTensor], progress: Progress | None = None
    ) -> dict[str, np.ndarray]:
        """Return biases that go with quantized weights: corrected ones, or the model's own where those do better.

        The divergence on images that the correction has not seen decides. With fewer than `_VALIDATION_IMAGES` of
        those, biases are corrected.
        """

        def report(done: int, total: int) -> None:
            if progress is not None:
                progress("correcting biases", done, total)

        weights = {name: self._restore(name, tensor) for name, tensor in tensors.items()}
        corrected = correct_biases(
            self.logits_model,
            self.layers,
            weights,
            self.means,
            self.samples.head(_correction_samples(self.samples)).groups(),
            threads=self.threads,
            progress=report,
        )
        unseen = self.samples.tail(_correction_samples(self.samples)).head(_correction_samples(self.samples))
        if len(unseen) < _VALIDATION_IMAGES:
            return corrected
        groups = unseen.groups()
        references = self._references_of(groups)
        original = {name: self.model.load(name) for name in corrected}
        found = [
            model_loss(
                self.logits_model.replace_weights({**weights, **biases}),
                groups,
                references,
                self.judged_outputs.losses,
                threads=self.threads,
            )
            for biases in (corrected, original)
        ]
        # NaN is never the better one.
        return corrected if found[0] <= found[1] or math.isnan(found[1]) else original

    def losses(self, tensors: Mapping[str, QuantizedTensor]) -> dict[str, float]:
        """Return the expected loss of each layer's errors, in nats, by weight name."""
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
        """Return the one step for all biases at a price; a bias is a weight whose input is always 1."""
        cost = count = 0.0
        for layer in self.layers:
            if layer.bias is not None:
                curvature = self.curvatures[layer.weight]
                weights = curvature.output_weights()
                cost += curvature.sensitivity * float(weights.sum())
                count += weights.size
        return float(np.sqrt(6 * price * count / (np.log(2) * cost))) if cost > 0 else 2.0**-8

    def _references_of(self, groups: Sequence[Group]) -> list[list[np.ndarray]]:
        """Return what the original gives for the samples behind those that correct biases."""
        if len(self.references) == 1 and len(groups) == 1:
            start = _correction_samples(self.samples)
            return [[found[start : start + groups[0].count] for found in self.references[0]]]
        return run_groups(self.logits_model, groups, threads=self.threads)

    def _restore(self, name: str, tensor: QuantizedTensor) -> np.ndarray:
        return tensor.reconstruct().astype(self.model.info(name).dtype)

    def _spacing(self, name: str) -> Spacing:
        spacing = self._spacings.get(name)
        if spacing is None:
            spacing = self._spacings[name] = choose_spacing(self.curvatures[name])
        return spacing

    def _round(self, layer: LinearLayer, number: int, price: float, levels: npt.NDArray[np.int32]) -> None:
        """Fill one block of outputs in a layer's levels (g, O, C)."""
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

    def _tensor(self, layer: LinearLayer, price: float, levels: npt.NDArray[np.int32]) -> QuantizedTensor:
        restored = layer.restore(levels, self.model.info(layer.weight).shape)
        return QuantizedTensor(restored, self._spacing(layer.weight).grid(price))


@advise_on_failure("compress it without images")
def calibrate(
    model: Model,
    data: Samples | npt.NDArray[np.float32],
    *,
    choices: OutputChoices | None = None,
    labelled: bool = False,
    source: str = "",
    seed: int = 0,
    threads: int = 0,
    progress: Progress | None = None,
) -> Calibration:
    """Measure everything that calibrated rounding needs.

    Cost: one run forwards and one backwards for all samples, one of 48 to 256 samples from each layer on, and per layer
    about 50·C³ + O·C² operations for its matrix (O, C), C at most 2,304 at a time.

    Args:
        model: with float weights.
        data: what the model is fed, or images (N, …), float32 as its one input takes them, best some hundreds.
        choices: by output what it is judged as; found out by default.
        labelled: whether labels of the data count the model's outputs.
        source: what the data are, for the record.
        seed: of all that is sampled.
        threads: 0 for one per processor.
        progress: called with (what is done, work done, work in all).

    Raises:
        DataError: for fewer than 2 samples.
        ModelError: for weights that are not finite, and a model that does not run.
        UsageError: where no output can be judged (`calibration.outputs`).
    """
    if len(data) < 2:
        raise DataError(
            f"calibration needs at least 2 images, got {len(data)}; some hundreds are best", code="E043"
        )
    folded_model, folded = fold_batch_norm(model)
    calibrated_layers(folded_model, [item.name for item in folded_model.proto.graph.output])
    samples = samples_of(folded_model, data)
    judged_outputs = find_losses(folded_model, samples, choices, threads=threads, labelled=labelled)
    measured = judged_outputs.measured(folded_model)
    layers = calibrated_layers(measured)
    if len(judged_outputs.losses) > 1:
        layers = calibrated_layers(measured, [loss.value for loss in judged_outputs.losses])
    layers = without_outputs(layers, folded_model)
    runs, samples = run_freely(measured, model, samples, judged_outputs, threads)
    report = progress or _ignore_progress
    moments, references, reason = watch_layers(
        runs, layers, samples, judged_outputs.losses, seed, threads, report
    )
    if judged_outputs.answers is not None:
        check_scores_vary(
            references[0][0].reshape(len(samples), -1),
            partial(scores_of_noise, runs, next(iter(samples.groups()[0].feeds.values())), threads),
        )
    curvatures = estimate_curvatures(folded_model, layers, moments, len(samples), threads, report)
    fewest = _FEWEST_SENSITIVE if judged_outputs.answers is not None else _FEWEST_PLACES
    few = samples.head(min(256, max(fewest, _SENSITIVITY_VALUES // samples.values)))
    groups = few.groups()
    sensitivities = measure_sensitivities(
        runs,
        [choose_spacing(one) for one in curvatures.values()],
        groups,
        [[found[: group.count] for found in references[0]] for group in groups]
        if len(references) == 1
        else run_groups(runs, groups, threads=threads),
        losses=judged_outputs.losses,
        threads=threads,
        progress=lambda done, total: report("measuring sensitivities", *_layers_run(done, total)),
    )
    # A layer that nothing seems to depend on still keeps a millionth of the largest sensitivity.
    least = 1e-6 * max(sensitivities.values(), default=1.0)
    return Calibration(
        model=folded_model,
        layers=layers,
        curvatures={
            name: one.with_sensitivity(max(sensitivities[name], least)) for name, one in curvatures.items()
        },
        samples=samples,
        references=references,
        means=channel_means(
            runs, layers, samples.head(_correction_samples(samples)).groups(), threads=threads
        ),
        reason=reason,
        folded=folded,
        threads=threads or processors(),
        source=source,
        seed=seed,
        judged_outputs=judged_outputs,
    )


def _correction_samples(samples: Samples) -> int:
    """Return how many samples correct biases: they are all in memory at once."""
    return min(_CORRECTION_IMAGES, max(_FEWEST_PLACES, _CORRECTION_VALUES // samples.values))


def _layers_run(done: int, total: int) -> tuple[int, int]:
    """Return the layers run and to be run, where the first of `total` needs a run of all, the next of one less, …"""
    return done * (2 * total - done + 1) // 2, total * (total + 1) // 2


def _ignore_progress(what: str, done: int, total: int) -> None:
    """Show no progress."""

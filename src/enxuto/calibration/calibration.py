"""`Calibration`: what was measured of a model, and what follows from it at a price: levels, biases, expected losses.

`Calibration.round_at(price)` rounds every layer at a price in nats per bit, the one number that trades size for
accuracy. `compression.search` chooses the price.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from glob import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from enxuto.calibration.allocation import Spacing, choose_spacing, price_of_bits
from enxuto.calibration.answers import Answers
from enxuto.calibration.bias_correction import choose_biases, correcting_samples
from enxuto.calibration.curvature import Curvature
from enxuto.calibration.layer_rounding import count_paths, round_in_order, round_layers
from enxuto.calibration.layers import LinearLayer
from enxuto.calibration.other_weights import quantizers_at
from enxuto.calibration.outputs import JudgedOutputs
from enxuto.calibration.refit import OriginalValues
from enxuto.calibration.refit_choice import refitting_pays
from enxuto.calibration.untaken import untaken_weights
from enxuto.data.samples import Samples
from enxuto.errors import UsageError
from enxuto.onnx_model import Model, free_batch
from enxuto.progress import Progress
from enxuto.quantize.grid import Grid
from enxuto.quantize.scalar import Quantizer
from enxuto.quantize.tensor import QuantizedTensor

__all__ = ["Calibration"]

_TRIED_BITS = 3.0  # a weight, at which it is tried whether refitted layers do better


@dataclass(frozen=True)
class Calibration:
    """Curvatures by weight name, the samples they are from, and the folded model they belong to.

    references: of every group of samples what is measured of the model's outputs. judged_outputs: how it is measured; a
    softmax at the end of a classifier is left out of all measurements. means: mean outputs of the layers for each
    sample of the bias correction. reason: why there are no gradients, so that errors of different outputs count as
    unrelated; None where there are. others: by the name of every weight that no layer holds its loss at default steps
    (`calibration.other_weights`). straight: the model as it is run, without branches (`calibration.straight_model`).
    computed: by the name of every weight that the given model computes, the weights it is of (`fold_constants`);
    given: that model, None where it computes none.
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
    others: dict[str, float] = field(default_factory=dict)
    straight: Model | None = None
    computed: dict[str, list[str]] = field(default_factory=dict)
    given: Model | None = None
    _spacings: dict[str, Spacing] = field(default_factory=dict, repr=False)
    _refitted: list[bool] = field(default_factory=list, repr=False)
    _originals: OriginalValues = field(default_factory=OriginalValues, repr=False)

    def round_at(
        self,
        price: float,
        names: Collection[str] | None = None,
        progress: Progress | None = None,
        *,
        trellis: bool = True,
    ) -> dict[str, QuantizedTensor]:
        """Return levels and quantizers of layers' weights (all, or those named) at a price in nats per bit.

        Layers of models that are not judged as one list of classes are refitted on the way (`calibration.refit`).
        trellis: whether levels may be those of a trellis; else all are multiples of their steps.
        """
        if not price > 0:
            raise UsageError(f"the price of a bit is a positive number of nats, not {price}")
        layers = [layer for layer in self.layers if names is None or layer.weight in names]
        spacings = {layer.weight: self._spacing(layer.weight) for layer in layers}
        if not trellis:
            spacings = {name: spacing.off_trellis() for name, spacing in spacings.items()}
        if self.judged_outputs.answers is not None or not self._refitting_pays(progress):
            return round_layers(
                self.model, layers, spacings, price, paths=self.paths, threads=self.threads, progress=progress
            )
        return round_in_order(
            self.logits_model,
            layers,
            spacings,
            price,
            self.samples.head(correcting_samples(self.samples)),
            paths=self.paths,
            threads=self.threads,
            originals=self._originals,
            progress=progress,
        )

    def _refitting_pays(self, progress: Progress | None) -> bool:
        """Say whether layers are refitted; tried once, at a price that does not depend on the first asked for."""
        if not self._refitted:
            spacings = {layer.weight: self._spacing(layer.weight) for layer in self.layers}
            self._refitted.append(refitting_pays(
                self.logits_model, self.layers, spacings, self.price_of_bits(_TRIED_BITS), self.samples,
                self.judged_outputs.losses, paths=self.paths, threads=self.threads, progress=progress,
            ))  # fmt: skip
        return self._refitted[0]

    def patterns_of(self, patterns: Sequence[str]) -> list[str]:
        """Return patterns of names of the given model as some of `model`, which has others for what was computed."""
        found: list[str] = []
        for pattern in patterns:
            made = [
                escape(name)
                for name, sources in self.computed.items()
                if any(_matches(source, pattern) for source in sources)
            ]
            gone = made or (
                self.given is not None and any(_matches(name, pattern) for name in self.given.weight_names)
            )
            stays = any(_matches(name, pattern) for name in self.model.weight_names)
            found += [*([pattern] if stays or not gone else []), *made]
        return found

    def other_quantizers(self, price: float) -> dict[str, Quantizer]:
        """Return the quantizers of weights that no layer holds, by name, at a price in nats per bit."""
        spacings = {layer.weight: self._spacing(layer.weight) for layer in self.layers}
        return quantizers_at(self.model, self.others, spacings, price)

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
        measured = self.judged_outputs.measured(self.straight or self.model)
        return free_batch(measured) if self.samples.stacked else measured

    @property
    def doubts(self) -> tuple[str, ...]:
        """What says that figures mean less than they seem to."""
        untaken = untaken_weights(self.model, self.straight)
        return (
            *self.judged_outputs.doubts,
            *([f"{untaken}; give samples that take all branches"] if untaken else []),
        )

    @property
    def paths(self) -> int:
        """How many paths are followed along a row."""
        return count_paths(sum(self.model.info(layer.weight).elements for layer in self.layers))

    def price_of_bits(self, bits: float) -> float:
        """Return a first guess of the price at which weights take about `bits` bits each."""
        if not self.layers:
            return 1e-5
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
        """Return biases that go with quantized weights: corrected ones, or the model's own where those do better."""
        weights = {
            name: tensor.reconstruct().astype(self.model.info(name).dtype) for name, tensor in tensors.items()
        }
        return choose_biases(
            self.logits_model,
            self.layers,
            weights,
            self.means,
            self.samples,
            self.references,
            self.judged_outputs.losses,
            threads=self.threads,
            progress=progress,
        )

    def losses(self, tensors: Mapping[str, QuantizedTensor], price: float) -> dict[str, float]:
        """Return the expected loss of each layer's errors at a price, in nats, by weight name."""
        found = {}
        for layer in self.layers:
            if layer.weight in tensors:
                weight = self.model.load(layer.weight)
                restored = tensors[layer.weight].reconstruct()
                curvature = self.curvatures[layer.weight]
                cost = curvature.cost(layer.matrix(weight), layer.matrix(restored))
                found[layer.weight] = curvature.sensitivity_at(price) * cost
        return found

    def bias_step(self, price: float) -> float:
        """Return the one step for all biases at a price; a bias is a weight whose input is always 1."""
        costs = self._bias_costs(price).values()
        return _step_at(price, sum(cost for cost, _ in costs), sum(size for _, size in costs))

    def bias_steps(self, price: float) -> dict[str, float]:
        """Return each layer's step for its bias at a price, by the bias' name.

        Where a layer's is of no consequence, all layers' together counts.
        """
        usual = self.bias_step(price)
        return {
            name: _step_at(price, *one) if one[0] > 0 else usual
            for name, one in self._bias_costs(price).items()
        }

    def _bias_costs(self, price: float) -> dict[str, tuple[float, int]]:
        """The loss of an error of 1 in all values of a bias, and their number, by its name, at a price."""
        costs: dict[str, tuple[float, int]] = {}
        for layer in self.layers:
            if layer.bias is not None:
                curvature = self.curvatures[layer.weight]
                weights = curvature.output_weights()
                before = costs.get(layer.bias, (0.0, 0))
                cost = curvature.sensitivity_at(price) * float(weights.sum())
                costs[layer.bias] = before[0] + cost, before[1] + weights.size
        return costs

    def _spacing(self, name: str) -> Spacing:
        spacing = self._spacings.get(name)
        if spacing is None:
            spacing = self._spacings[name] = choose_spacing(self.curvatures[name])
        return spacing


def _step_at(price: float, cost: float, count: int) -> float:
    """Return the step of so many values whose errors' squares cost that much in all: by the law of high rates."""
    return float(np.sqrt(6 * price * count / (np.log(2) * cost))) if cost > 0 else 2.0**-8


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or fnmatchcase(name, pattern)

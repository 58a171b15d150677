"""The quadratic loss of errors in a layer's weights: regularised second moments, and the factors to round by.

H is cross-validated and G's correlations are shrunk (`calibration.shrinkage`). With the moments as measured, rounding
would fit the calibration images and fail on others: a classifier's last layer sees one input vector an image. Where
rounding by two thirds of the images does no better on the last third than rounding to nearest, the layer is rounded to
nearest (H and G become diagonal), and `calibrated` is False.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from enxuto.calibration.curvature_operations import (
    curvature_operations,
    operations_of_factors,
    operations_of_inputs,
    sides,
)
from enxuto.calibration.layers import LinearLayer
from enxuto.calibration.moments import LARGEST_ROWS, Moments, block_bounds
from enxuto.calibration.sensitivity_curve import SensitivityCurve
from enxuto.calibration.shrinkage import keep_diagonal, shrink, shrink_correlations
from enxuto.machine.processors import processors
from enxuto.machine.workers import workers
from enxuto.onnx_model import Model
from enxuto.progress import ProgressCounter
from enxuto.rounding.feedback import loss, round_matrix, round_on_trellis, upper_factor

__all__ = ["Curvature", "estimate_curvature", "estimate_curvatures"]

_SHARED = 0.5  # of what gradients of two outputs share, at most: between rows the quadratic law fails first
_PSEUDO_IMAGES = 4  # of mean power in all channels, that silent ones are taken to have besides
_VALIDATED_ROWS = 48
_VALIDATED_GROUPS = 64
_VALIDATED_INPUTS = 288
_PARTS_AHEAD = 6  # of a thread, that wait or are at work: each holds the moments of its layer
_TRIAL_STEP = 0.7  # of the rows' root mean square: some 2 bits a weight

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curvature:
    """The loss of an error E in a layer's matrix (g, O, C): sensitivity · tr(G E H Eᵀ), and factors to round by.

    inputs: H (g, c, c) of each block of inputs; input_factors: U of each. outputs: G (g, o, o) of each block of
    outputs; output_factors: V of each. calibrated: whether rounding with feedback beat rounding to nearest on
    held-out images. sensitivity: in nats per unit of tr(G E H Eᵀ), as measured at the largest price; `sensitivity_at`
    tells what `curve` says of any.
    """

    layer: LinearLayer
    inputs: list[npt.NDArray[np.float32]]
    input_factors: list[Float64]
    outputs: list[npt.NDArray[np.float32]]
    output_factors: list[Float64]
    calibrated: bool
    sensitivity: float = 1.0
    curve: SensitivityCurve | None = None

    @classmethod
    def of(
        cls,
        layer: LinearLayer,
        inputs: list[npt.NDArray[np.float32]],
        outputs: list[npt.NDArray[np.float32]],
        calibrated: bool,
    ) -> Curvature:
        """Return the curvature with these regularised moments; the factors are computed from them."""
        return cls(
            layer,
            inputs,
            [_factors(block.astype(np.float64)) for block in inputs],
            outputs,
            [_factors(block.astype(np.float64)) for block in outputs],
            calibrated,
        )

    def with_sensitivity(self, sensitivity: float) -> Curvature:
        """Return a copy with another sensitivity, in nats."""
        return replace(self, sensitivity=sensitivity, curve=None)

    def with_curve(self, curve: SensitivityCurve) -> Curvature:
        """Return a copy with other sensitivities."""
        return replace(self, sensitivity=curve.values[-1], curve=curve)

    def sensitivity_at(self, price: float) -> float:
        """Return the sensitivity at a price in nats per bit."""
        return self.sensitivity if self.curve is None else self.curve.at(price)

    def input_bounds(self) -> list[tuple[int, int]]:
        """Return the bounds of the blocks of inputs."""
        return _bounds(self.inputs)

    def output_bounds(self) -> list[tuple[int, int]]:
        """Return the bounds of the blocks of outputs (of a group)."""
        return _bounds(self.outputs)

    def cost(self, matrix: np.ndarray, rounded: np.ndarray) -> float:
        """Return tr(G E H Eᵀ) of E = matrix − rounded (g, O, C), in double precision block by block."""
        total = 0.0
        for group in range(len(matrix)):
            for (top, bottom), outputs in zip(self.output_bounds(), self.outputs, strict=True):
                for (start, end), inputs in zip(self.input_bounds(), self.inputs, strict=True):
                    place = (group, slice(top, bottom), slice(start, end))
                    error = matrix[place].astype(np.float64) - rounded[place]
                    total += loss(error, inputs[group].astype(np.float64), outputs[group].astype(np.float64))
        return total

    def input_weights(self) -> Float64:
        """Return 1/U_jj² (g, C): what an error in input j costs once later inputs have made up for it."""
        return np.concatenate([1 / np.diagonal(u, axis1=1, axis2=2) ** 2 for u in self.input_factors], axis=1)

    def output_weights(self) -> Float64:
        """Return 1/V_rr² (g, O), likewise for outputs."""
        return np.concatenate(
            [1 / np.diagonal(v, axis1=1, axis2=2) ** 2 for v in self.output_factors], axis=1
        )

    def round(
        self,
        matrix: np.ndarray,
        row_steps: Float64,
        column_steps: Float64,
        *,
        trellis: bool = False,
        paths: int = 1,
    ) -> npt.NDArray[np.int32] | None:
        """Round a layer's matrix.

        Args:
            matrix: (g, O, C).
            row_steps: (g, O).
            column_steps: (g, C); a weight's step is the product of its row's and its column's.
            trellis: whether the levels are those of dependent quantization.
            paths: how many are followed along a row.

        Returns:
            Levels (g, O, C), or None where one takes more than 31 bits.
        """
        levels = np.zeros(matrix.shape, np.int32)
        done = (
            self.round_piece(number, matrix, row_steps, column_steps, levels, trellis=trellis, paths=paths)
            for number in range(len(self.outputs))
        )
        return levels if all(done) else None

    def round_piece(
        self,
        number: int,
        matrix: np.ndarray,
        row_steps: Float64,
        column_steps: Float64,
        levels: npt.NDArray[np.int32],
        *,
        trellis: bool,
        paths: int,
    ) -> bool:
        """Fill `levels` (g, O, C) in one block of outputs, as `round` does; False where a level takes over 31 bits."""
        top, bottom = self.output_bounds()[number]
        for group in range(len(matrix)):
            states = np.zeros(bottom - top, np.int64)
            for (start, end), inputs in zip(self.input_bounds(), self.input_factors, strict=True):
                part = matrix[group, top:bottom, start:end].astype(np.float64, order="C")  # overwritten
                found = np.zeros(part.shape, np.int32)
                arguments = (
                    part,
                    np.ascontiguousarray(row_steps[group, top:bottom]),
                    np.ascontiguousarray(column_steps[group, start:end]),
                    inputs[group],
                    self.output_factors[number][group],
                )
                if trellis:
                    done = round_on_trellis(*arguments, states, found, paths=paths)
                else:
                    done = round_matrix(*arguments, found, paths=paths)
                if not done:
                    return False
                levels[group, top:bottom, start:end] = found
        return True


def _bounds(blocks: list[npt.NDArray[np.float32]]) -> list[tuple[int, int]]:
    edges = np.cumsum([0, *(block.shape[1] for block in blocks)]).tolist()
    return list(pairwise(edges))


def estimate_curvature(
    layer: LinearLayer, weight: np.ndarray, moments: Moments, images: int = 0
) -> Curvature:
    """Return the curvature of a layer with sensitivity 1.

    Args:
        layer: whose weight this is.
        weight: in its own shape.
        moments: of the layer.
        images: how many the moments are from; channels that were silent on few images get a floor. 0: no floor.
    """
    parts = [make() for make, _ in _parts_of(layer, weight, moments, images)]
    return _of_parts(layer, parts)


def estimate_curvatures(
    model: Model,
    layers: list[LinearLayer],
    moments: dict[str, Moments],
    images: int,
    threads: int,
    progress: Callable[[str, int, int], None],
) -> dict[str, Curvature]:
    """Return the curvatures of layers by weight name; empties `moments`.

    images: how many the moments are from. threads: 0 for one per processor. progress: called with ("factoring",
    operations done, operations in all).
    """
    operations = {layer.weight: curvature_operations(_matrix_of(model, layer)) for layer in layers}
    done = ProgressCounter(sum(operations.values()), partial(progress, "factoring"))
    threads = threads or processors()
    found: dict[str, Curvature] = {}
    waiting: deque[tuple[LinearLayer, float, list[Future[Any]]]] = deque()

    def collect() -> None:
        layer, fisher, futures = waiting.popleft()
        # Half the Fisher information is the divergence's second derivative. Without it, 0: to be searched.
        curvature = _of_parts(layer, [future.result() for future in futures])
        found[layer.weight] = curvature.with_sensitivity(fisher / 2)

    with workers(threads) as pool:
        # The longest go first, so that no thread is left alone with one.
        for layer in sorted(layers, key=lambda one: -operations[one.weight]):
            # Moments go as factors come: both at once for all layers would double the memory.
            own = moments.pop(layer.weight)
            parts = _parts_of(layer, model.load(layer.weight), own, images)
            futures = [pool.submit(_told, make, share, done) for make, share in parts]
            waiting.append((layer, own.power(), futures))
            while sum(len(futures) for _, _, futures in waiting) > _PARTS_AHEAD * threads:
                collect()
        while waiting:
            collect()
    return {layer.weight: found[layer.weight] for layer in layers}


def _told(make: Callable[[], Any], operations: int, done: ProgressCounter) -> Any:
    made = make()
    done.add(operations)
    return made


_Part: TypeAlias = tuple[Callable[[], Any], int]
"""Work that is done beside other work, and about how many operations it takes."""


def _parts_of(layer: LinearLayer, weight: np.ndarray, moments: Moments, images: int) -> list[_Part]:
    """Return the parts of a curvature: whether feedback pays, G with its factors, and H with them for every block."""
    matrix = layer.matrix(weight)
    least = _PSEUDO_IMAGES / (_PSEUDO_IMAGES + images) if images else 0.0

    def inputs(block: npt.NDArray[np.float32]) -> list[_Factored]:
        return [_factored(shrink(block, moments.count, least))]

    def outputs() -> list[_Factored]:
        return [_factored(block) for block in _output_moments(moments, matrix.shape[1], least)]

    blocks: list[_Part] = [
        (partial(inputs, block), operations_of_inputs([block.shape[-1]], len(matrix)))
        for block in moments.outer
    ]
    of_outputs = operations_of_factors(sides(matrix.shape[1], LARGEST_ROWS), len(matrix))
    return [(partial(_beats_nearest, matrix, moments, least), matrix.size), (outputs, of_outputs), *blocks]


def _of_parts(layer: LinearLayer, parts: Sequence[Any]) -> Curvature:
    """Return a curvature of what its parts have become."""
    calibrated, outputs, *blocks = parts
    inputs = [one for block in blocks for one in block]
    if not calibrated:
        inputs, outputs = ([_factored(keep_diagonal(m)) for m, _ in several] for several in (inputs, outputs))
    return Curvature(
        layer, [m for m, _ in inputs], [f for _, f in inputs], [m for m, _ in outputs], [f for _, f in outputs],
        calibrated,
    )  # fmt: skip


_Factored: TypeAlias = tuple[npt.NDArray[np.float32], Float64]
"""Second moments (g, c, c) and their factors."""


def _factored(second: npt.NDArray[np.floating]) -> _Factored:
    kept = second.astype(np.float32)
    return kept, _factors(kept.astype(np.float64))


def _matrix_of(model: Model, layer: LinearLayer) -> np.ndarray:
    return layer.matrix(model.load(layer.weight))


def _output_moments(moments: Moments, outputs: int, least: float) -> list[Float64]:
    """Return G, of mean diagonal 1, in blocks of outputs; ones on the diagonal where there are no gradients."""
    power = moments.power()
    if not power > 0:
        return [np.stack([np.eye(b - a)] * moments.groups) for a, b in block_bounds(outputs, LARGEST_ROWS)]
    return [shrink_correlations(block, moments.images, _SHARED, least) / power for block in moments.gradients]


def _factors(second: Float64) -> Float64:
    return np.stack([upper_factor(one) for one in second])


def _beats_nearest(matrix: np.ndarray, moments: Moments, least: float) -> bool:
    """Say whether rounding by all folds but the last costs less, by the last fold's H, than rounding to nearest."""
    if moments.count.min() < 1:
        return False
    groups = np.unique(np.linspace(0, len(matrix) - 1, min(len(matrix), _VALIDATED_GROUPS)).astype(int))
    rows = np.unique(np.linspace(0, matrix.shape[1] - 1, min(matrix.shape[1], _VALIDATED_ROWS)).astype(int))
    # Some inputs tell enough of a layer with many: eigenvectors cost their cube.
    count = min(_VALIDATED_INPUTS, moments.outer[0].shape[2])
    part = matrix[np.ix_(groups, rows)][:, :, :count].astype(np.float64)
    steps = _TRIAL_STEP * np.sqrt(np.mean(part**2, axis=2))
    steps[steps == 0] = 1.0
    sums = moments.outer[0][:, groups, :count, :count]
    validation = sums[-1].astype(np.float64)
    training = shrink(sums[:-1], moments.count[:-1], least)
    losses = np.zeros(2)
    for group in range(len(groups)):
        unit = steps[group][:, None]
        nearest = part[group] - np.rint(part[group] / unit) * unit
        feedback = _rounding_error(part[group], steps[group], upper_factor(training[group]))
        losses += loss(nearest, validation[group]), loss(feedback, validation[group])
    return bool(losses[1] < losses[0])


def _rounding_error(rows: Float64, steps: Float64, factor: Float64) -> Float64:
    levels = np.zeros(rows.shape, np.int32)
    round_matrix(rows.copy(), steps, np.ones(rows.shape[1]), factor, np.eye(len(rows)), levels)
    return rows - levels * steps[:, None]

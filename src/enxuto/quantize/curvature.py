"""What an error in a layer's weights costs, ready for rounding: regularised second moments and their factors.

How far a layer's H is shrunk towards its diagonal is chosen by rounding some of its rows with the H of one half of
the images and judging the loss with that of the other: a classifier sees one input vector an image, and with too
little shrinkage calibrated rounding fits those images and fails on others. Where no choice beats rounding to nearest,
the layer is rounded to nearest (H and G become diagonal), and `calibrated` is False.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from enxuto.quantize.layers import Layer
from enxuto.quantize.moments import Moments, block_bounds
from enxuto.quantize.rounding import loss, regularised, round_matrix, round_on_trellis, upper_factor

__all__ = ["Curvature", "curvature_of"]

_SHRINKAGES = (0.02, 0.1, 0.3, 0.6, 0.9)
_OUTPUT_SHRINKAGE = 0.5  # the quadratic law fails first between rows: half of what they share is not believed
_JUDGED_ROWS = 48
_JUDGED_GROUPS = 64
_TRIAL_STEP = 0.7  # of the rows' root mean square: some 2 bits a weight
_MOST_ROWS = 1024  # outputs whose errors make up for each other; more cost time as their square

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curvature:
    """The loss of an error E in a layer's matrix (g, O, C): sensitivity · tr(G E H Eᵀ), and factors to round by.

    inputs: per block of inputs H (g, c, c); input_factors: U. outputs: per block of outputs G (g, o, o);
    output_factors: V.
    shrinkage: of H; calibrated: whether feedback beat rounding to nearest on images not used for it.
    """

    layer: Layer
    inputs: list[npt.NDArray[np.float32]]
    input_factors: list[Float64]
    outputs: list[npt.NDArray[np.float32]]
    output_factors: list[Float64]
    shrinkage: float
    calibrated: bool
    sensitivity: float = 1.0

    @classmethod
    def of(
        cls,
        layer: Layer,
        inputs: list[npt.NDArray[np.float32]],
        outputs: list[npt.NDArray[np.float32]],
        shrinkage: float,
        calibrated: bool,
    ) -> Curvature:
        """Return the curvature with those regularised moments, its factors worked out from them as they are."""
        return cls(
            layer,
            inputs,
            [_factors(block.astype(np.float64)) for block in inputs],
            outputs,
            [_factors(block.astype(np.float64)) for block in outputs],
            shrinkage,
            calibrated,
        )

    def with_sensitivity(self, sensitivity: float) -> Curvature:
        """Return the same with another sensitivity, in nats."""
        return replace(self, sensitivity=sensitivity)

    def input_bounds(self) -> list[tuple[int, int]]:
        """Return the bounds of the blocks of inputs."""
        return _bounds(self.inputs)

    def output_bounds(self) -> list[tuple[int, int]]:
        """Return the bounds of the blocks of outputs (of a group)."""
        return _bounds(self.outputs)

    def cost(self, error: Float64) -> float:
        """Return tr(G E H Eᵀ) for an error (g, O, C)."""
        total = 0.0
        for group in range(len(error)):
            for (top, bottom), outputs in zip(self.output_bounds(), self.outputs, strict=True):
                for (start, end), inputs in zip(self.input_bounds(), self.inputs, strict=True):
                    part = error[group, top:bottom, start:end]
                    total += loss(part, inputs[group].astype(np.float64), outputs[group].astype(np.float64))
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
        self, matrix: Float64, row_steps: Float64, column_steps: Float64, *, trellis: bool = False
    ) -> npt.NDArray[np.int32] | None:
        """Return levels (g, O, C) for a matrix (g, O, C) with steps row_steps (g, O) · column_steps (g, C).

        trellis: those of dependent quantization. None where a level leaves 31 bits.
        """
        levels = np.zeros(matrix.shape, np.int32)
        states = np.zeros(matrix.shape[:2], np.int64)
        for group in range(len(matrix)):
            for (top, bottom), outputs in zip(self.output_bounds(), self.output_factors, strict=True):
                for (start, end), inputs in zip(self.input_bounds(), self.input_factors, strict=True):
                    part = matrix[group, top:bottom, start:end].copy()  # overwritten by the feedback
                    found = np.zeros(part.shape, np.int32)
                    given = (
                        part,
                        np.ascontiguousarray(row_steps[group, top:bottom]),
                        np.ascontiguousarray(column_steps[group, start:end]),
                        inputs[group],
                        outputs[group],
                    )
                    if trellis:
                        done = round_on_trellis(*given, states[group, top:bottom], found)
                    else:
                        done = round_matrix(*given, found)
                    if not done:
                        return None
                    levels[group, top:bottom, start:end] = found
        return levels


def _bounds(blocks: list[npt.NDArray[np.float32]]) -> list[tuple[int, int]]:
    edges = np.cumsum([0, *(block.shape[1] for block in blocks)]).tolist()
    return list(pairwise(edges))


def curvature_of(layer: Layer, weight: np.ndarray, moments: Moments) -> Curvature:
    """Return the curvature of a layer with sensitivity 1."""
    matrix = layer.matrix(weight)
    shrinkage = _judged_shrinkage(matrix, moments)
    calibrated = shrinkage is not None
    inputs = []
    for block in range(len(moments.outer)):
        second = moments.second(block)
        inputs.append(np.stack([regularised(one, 1.0 if shrinkage is None else shrinkage) for one in second]))
    outputs = _output_moments(moments, matrix.shape[1], calibrated)
    return Curvature.of(
        layer,
        [block.astype(np.float32) for block in inputs],
        [block.astype(np.float32) for block in outputs],
        1.0 if shrinkage is None else shrinkage,
        calibrated,
    )


def _output_moments(moments: Moments, outputs: int, calibrated: bool) -> list[Float64]:
    """Return G, regularised, in blocks of outputs; ones on the diagonal where there are no gradients."""
    groups = moments.total.shape[1]
    bounds = block_bounds(outputs, _MOST_ROWS)
    if moments.gradients is None:
        return [np.stack([np.eye(b - a)] * groups) for a, b in bounds]
    fisher, noise = moments.fisher()
    kept = (1 - _OUTPUT_SHRINKAGE) * (1 - noise) if calibrated else 0.0
    floor = 1e-3 * float(np.mean(np.diagonal(fisher, axis1=1, axis2=2)))
    blocks = []
    for a, b in bounds:
        block = kept * fisher[:, a:b, a:b]
        for group in range(groups):
            # An output that no answer depends on may not be given errors without end: the law holds for small ones.
            np.fill_diagonal(block[group], np.maximum(np.diagonal(fisher[group, a:b, a:b]), floor))
        blocks.append(block)
    return blocks


def _factors(second: Float64) -> Float64:
    return np.stack([upper_factor(one) for one in second])


def _judged_shrinkage(matrix: Float64, moments: Moments) -> float | None:
    """Return the shrinkage whose rounding does best on the half not used; None if nearest does better."""
    if moments.count.min() < 1:
        return None
    groups = np.unique(np.linspace(0, len(matrix) - 1, min(len(matrix), _JUDGED_GROUPS)).astype(int))
    rows = np.unique(np.linspace(0, matrix.shape[1] - 1, min(matrix.shape[1], _JUDGED_ROWS)).astype(int))
    part = matrix[np.ix_(groups, rows)]
    steps = _TRIAL_STEP * np.sqrt(np.mean(part**2, axis=2))
    steps[steps == 0] = 1.0
    # One block tells enough of a layer with several.
    start, end = moments.bounds[0]
    part = part[:, :, start:end]
    fitted, judged = moments.second(0, [0])[groups], moments.second(0, [1])[groups]
    nearest = part - np.rint(part / steps[:, :, None]) * steps[:, :, None]
    best, least = None, sum(loss(nearest[g], judged[g]) for g in range(len(groups)))
    for shrinkage in _SHRINKAGES:
        found = 0.0
        for group in range(len(groups)):
            factor = upper_factor(regularised(fitted[group], shrinkage))
            found += loss(_rounding_error(part[group], steps[group], factor), judged[group])
        if found < least:
            best, least = shrinkage, found
    return best


def _rounding_error(rows: Float64, steps: Float64, factor: Float64) -> Float64:
    levels = np.zeros(rows.shape, np.int32)
    round_matrix(rows.copy(), steps, np.ones(rows.shape[1]), factor, np.eye(len(rows)), levels)
    return rows - levels * steps[:, None]

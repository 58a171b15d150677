"""Steps at equal slope: a bit more saves the same loss in every layer, row and column.

With a step Δ_rj = B·ρ_r·κ_j a layer's loss is about c·Σ Δ_rj²/12 · a_r·b_j, where a_r = 1/V_rr² and b_j = 1/U_jj²
(`calibration.curvature`), and each weight takes −log2 Δ + const bits. At a price of λ nats per bit the least of
loss + λ·bits is at B² = 6λ/(ln 2 · c · mean(ρ²κ²ab)).

At high rates ρ_r = 1/√a_r and κ_j = 1/√b_j would be best. At two bits a weight most levels are −1, 0 and 1, the law
of high rates fails, and half of these exponents does better than all or none (`docs/decisions/half-exponents.md`).
Factors are powers of 2^¼, one per row and per input channel. They are left out where they would cost more bits than
they save.

Source: reverse water-filling (Cover & Thomas, "Elements of Information Theory", 10.3.3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from enxuto.calibration.curvature import Curvature
from enxuto.quantize.grid import MOST_EXPONENT, Grid, quarter_octaves
from enxuto.quantize.scalar import short_float32
from enxuto.quantize.trellis import NEWEST

__all__ = ["Spacing", "choose_spacing", "price_of_bits"]

_EXPONENT = 0.5
_SIDE_BITS = 2.5  # what an exponent costs in a file
_SIDE_HEAD = 64.0  # and a list of them, besides
_TRELLIS_STEP_AT_EQUAL_PRICE = (
    0.65  # of that off the trellis: both grids together are finer, each alone is coarser
)
_SAMPLE, _WIDEST = (
    1 << 14,
    1 << 12,
)  # weights of a layer whose entropy is taken; levels beyond which it is not
_SMALLEST, _LARGEST = 2.0**-100, 2.0**100

Float64 = npt.NDArray[np.float64]


class Spacing:
    """The relative steps of a layer's weights; `grid(price)` gives the quantizer at a price."""

    def __init__(
        self,
        curvature: Curvature,
        rows: npt.NDArray[np.int64],
        columns: npt.NDArray[np.int64],
        *,
        may_use_trellis: bool = True,
    ) -> None:
        """rows (g, O), columns (C / kernel positions,): exponents of 2^¼."""
        self.curvature = curvature
        self._may_use_trellis = may_use_trellis
        self.rows = rows
        self.columns = columns
        layer = curvature.layer
        self._row_factors = quarter_octaves(rows).astype(np.float64)
        self._column_factors = np.repeat(quarter_octaves(columns).astype(np.float64), _positions(curvature))
        a, b = curvature.output_weights(), curvature.input_weights()
        weighted_rows = np.mean(self._row_factors**2 * a, axis=1)
        weighted_columns = np.mean(self._column_factors[None] ** 2 * b, axis=1)
        self._unit_loss = float(np.mean(weighted_rows * weighted_columns))
        self._swapped = layer.kind == "columns"

    @property
    def trellis(self) -> bool:
        """Whether levels are those of a trellis: where the rows of memory are those of the matrix, not for x·W."""
        return self._may_use_trellis and self.curvature.layer.kind not in ("columns", "cell", "transposed")

    def off_trellis(self) -> Spacing:
        """Return the same relative steps for levels that are multiples of them."""
        return Spacing(self.curvature, self.rows, self.columns, may_use_trellis=False)

    def step(self, price: float) -> float:
        """Return the step of which levels are multiples at a price: B, or less on a trellis."""
        share = _TRELLIS_STEP_AT_EQUAL_PRICE if self.trellis else 1.0
        return short_float32(max(share * self.step_off_trellis(price), _SMALLEST))

    def step_off_trellis(self, price: float) -> float:
        """Return B at a price of so many nats per bit."""
        denominator = math.log(2) * self.curvature.sensitivity_at(price) * self._unit_loss
        if denominator <= 0:
            return _LARGEST  # nothing depends on this layer
        return short_float32(min(max(math.sqrt(6 * price / denominator), _SMALLEST), _LARGEST))

    def grid(self, price: float) -> Grid:
        """Return the quantizer of the weight, whose axes 0 and 1 are rows and columns or, for x·W, the reverse."""
        rows = tuple(self.rows.reshape(-1).tolist()) if self.rows.any() else ()
        columns = tuple(self.columns.tolist()) if self.columns.any() else ()
        if self._swapped:
            rows, columns = columns, rows
        elif self.curvature.layer.kind == "cell":  # (1, O, I): its rows are the second axis
            rows, columns = (), rows
        elif self.curvature.layer.kind == "transposed":  # (I, O, …)
            rows, columns = columns, ()
        return Grid(self.step(price), rows, columns, NEWEST if self.trellis else 0)

    def steps(self, price: float) -> tuple[Float64, Float64]:
        """Return the steps of rows (g, O) and the factors of columns (g, C), as the quantizer has them."""
        rows, columns = self.relative_steps()
        return self.step(price) * rows, columns

    def sample_in_steps(self, weight: np.ndarray, most: int) -> Float64:
        """Return at most `most` of a layer's weights, drawn at random, in units of their relative steps."""
        rows, columns = self.relative_steps()
        matrix = self.curvature.layer.matrix(weight)
        chosen = (
            np.random.default_rng(0).choice(weight.size, most)
            if weight.size > most
            else np.arange(weight.size)
        )
        group, row, column = np.unravel_index(chosen, matrix.shape)
        values = matrix[group, row, column].astype(np.float64)
        return np.asarray(values / (rows[group, row] * columns[group, column]), np.float64)

    def mean_square(self) -> float:
        """Return the mean square of the relative steps."""
        return float(np.mean(self._row_factors**2) * np.mean(self._column_factors**2))

    def relative_steps(self) -> tuple[Float64, Float64]:
        """Return the factors of rows (g, O) and of columns (g, C)."""
        return self._row_factors, np.repeat(self._column_factors[None], len(self._row_factors), axis=0)


def choose_spacing(curvature: Curvature) -> Spacing:
    """Return the relative steps of a layer's rows and input channels."""
    a, b = curvature.output_weights(), curvature.input_weights()
    weights = a.size * b.shape[1]
    per_channel = b.reshape(b.shape[0], -1, _positions(curvature)).mean(axis=2).mean(axis=0)
    rows = _exponents(a.reshape(-1), weights).reshape(a.shape)
    columns = _exponents(per_channel, weights)
    if curvature.layer.kind == "cell":  # a grid has no factors along a third axis
        columns = np.zeros_like(columns)
        rows = rows if len(rows) == 1 else np.zeros_like(rows)
    if (
        curvature.layer.kind == "transposed"
    ):  # its rows share an axis with kernel positions, its columns with groups
        rows, columns = np.zeros_like(rows), columns if len(rows) == 1 else np.zeros_like(columns)
    return Spacing(curvature, rows, columns)


def price_of_bits(spacings: Sequence[Spacing], weights: Sequence[np.ndarray], bits: float) -> float:
    """Return a first guess of the price, in nats per bit, at which weights take about `bits` bits each.

    Bits are the entropy of weights rounded to nearest, estimated from 16,384 weights of each layer.
    """
    sizes = np.array([weight.size for weight in weights], np.float64)
    samples = [
        one.sample_in_steps(weight, _SAMPLE) for one, weight in zip(spacings, weights, strict=True)
    ]  # at a step of 1

    def bits_at(price: float) -> float:
        steps = [one.step_off_trellis(price) for one in spacings]
        found = [_entropy(sample / step) for sample, step in zip(samples, steps, strict=True)]
        return float(np.dot(sizes, found))

    low, high = -60.0, 20.0  # log10
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if bits_at(10.0**middle) < bits * sizes.sum() else (middle, high)
    return float(10.0**high)


def _entropy(values: Float64) -> float:
    """Return the entropy of rounded values, in bits; log2 of their range where that is too wide for counts."""
    reach = float(np.abs(values).max(initial=0.0))
    if reach > _WIDEST:
        return math.log2(reach)
    _, counts = np.unique(np.rint(values).astype(np.int64), return_counts=True)
    shares = counts / counts.sum()
    return float(-np.sum(shares * np.log2(shares)))


def _positions(curvature: Curvature) -> int:
    """Kernel positions that share an input channel."""
    window = curvature.layer.window
    return 1 if window is None else math.prod(window.kernel)


def _exponents(weights: Float64, count: int) -> npt.NDArray[np.int64]:
    """Return exponents of 2^¼ near half the logarithm of 1/√weight; zeros where they would cost more than they gain.

    count: the number of the layer's weights. The gain in bits per weight is half the fall of the logarithm of the
    arithmetic over the geometric mean (`_unevenness`).
    """
    logs = (
        -0.5 * np.log2(np.maximum(weights, weights.max() * 1e-9))
        if weights.max() > 0
        else np.zeros(len(weights))
    )
    ideal = _EXPONENT * logs
    centred = np.rint(4 * (ideal - np.median(ideal)))
    exponents: npt.NDArray[np.int64] = np.clip(centred, -MOST_EXPONENT, MOST_EXPONENT).astype(np.int64)
    if not exponents.any():
        return exponents
    after = logs - exponents / 4
    gain = count * _EXPONENT * (_unevenness(logs) - _unevenness(after))
    pays = gain > _SIDE_BITS * len(weights) + _SIDE_HEAD
    return np.asarray(exponents if pays else np.zeros_like(exponents), np.int64)


def _unevenness(logs: Float64) -> float:
    """Return ½·log2 of arithmetic over geometric mean of 4**−logs."""
    centred = -2 * (logs - logs.mean())
    return 0.5 * float(np.log2(np.mean(np.exp2(np.minimum(centred, 60)))))

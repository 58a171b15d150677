"""Ways of choosing levels beside each other: rounding, rounding with a rate term, the trellis; all with feedback.

    python benchmarks/rounding.py [--network resnet20-cifar10] [--limit 2000] [--bits 1.3 1.8 2.4]
                                  [--ways "trellis, 64 paths"]

Needs `../shared`; `--network demo`, the packaged digits network, needs nothing. One calibration; for every price the
losses expected of the layers, the file's bits and the divergence measured, for

- rounding to the nearest level of one grid (`quantize.rounding.round_matrix`);
- the same with a rate term: each level may be one nearer to zero where loss + f·price·bits is least, with the bits
  that `codec.fit` says the levels cost, fitted to the rounded ones first and then once more; steps finer, for the
  bits saved;
- rounding along several paths (`quantize.row_search`) to levels of that grid;
- dependent quantization (`round_on_trellis`), which is what files have, along few paths and along more.

The last columns compare with the line through the points of plain rounding, bits over the logarithm: the change of the
expected loss and of the divergence at equal bits (outside of those points the line goes on).
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from typing import Any

import numba
import numpy as np

from enxuto.calibration.calibrate import calibrate
from enxuto.calibration.calibration import Calibration
from enxuto.calibration.layers import LinearLayer
from enxuto.codec import fit
from enxuto.compression.at_price import compress_at
from enxuto.compression.judge import Judge
from enxuto.compression.split import load_images
from enxuto.enx.learned import parameters
from enxuto.quantize.grid import Grid
from enxuto.quantize.tensor import QuantizedTensor
from rate import DEMO, NETWORKS, opened, parts


@dataclass(frozen=True)
class Way:
    """How levels are chosen; rate: f of the rate term; finer: the factor of plain steps that goes with it.

    paths: how many are followed along a row.
    """

    name: str
    trellis: bool = False
    rate: float = 0.0
    finer: float = 1.0
    paths: int = 1


PLAIN = Way("rounding")
WAYS = (
    Way("rate term, f 0.25", rate=0.25),
    Way("rate term, f 0.5, steps 0.9", rate=0.5, finer=0.9),
    Way("rate term, f 1, steps 0.8", rate=1.0, finer=0.8),
    Way("rounding, 64 paths", paths=64),
    *(Way(f"trellis, {paths} paths", trellis=True, paths=paths) for paths in (8, 16, 32, 64, 128, 256)),
)


@numba.njit(nogil=True)
def round_with_rate(
    weights: np.ndarray,
    row_steps: np.ndarray,
    column_steps: np.ndarray,
    inputs: np.ndarray,
    outputs: np.ndarray,
    classes: np.ndarray,
    costs: np.ndarray,
    price: float,
    levels: np.ndarray,
) -> None:
    """Fill `levels` (R, C) as `round_matrix` does, each one nearer to zero where error² + price·bits is then less.

    classes (R, C), costs (K, 2·reach + 1): bits of levels −reach…reach in each class.
    """
    rows, columns = weights.shape
    reach = costs.shape[1] // 2
    errors, moved = np.empty(columns), np.empty(columns)
    for r in range(rows):
        for j in range(columns):
            step = row_steps[r] * column_steps[j]
            scaled = weights[r, j] / step
            level = min(max(np.rint(scaled), -reach), reach)
            if level != 0:
                unit = (step / (inputs[j, j] * outputs[r, r])) ** 2
                other = level - np.sign(level)
                bits = costs[classes[r, j], int(level) + reach], costs[classes[r, j], int(other) + reach]
                if (
                    unit * (scaled - other) ** 2 + price * bits[1]
                    < unit * (scaled - level) ** 2 + price * bits[0]
                ):
                    level = other
            levels[r, j] = int(level)
            errors[j] = (weights[r, j] - level * step) / inputs[j, j]
            for k in range(j + 1, columns):
                weights[r, k] -= errors[j] * inputs[j, k]
        moved[:] = 0.0
        for j in range(columns):
            for k in range(j, columns):
                moved[k] += errors[j] / outputs[r, r] * inputs[j, k]
        for s in range(r + 1, rows):
            for k in range(columns):
                weights[s, k] -= outputs[r, s] * moved[k]


@dataclass(frozen=True)
class Otherwise(Calibration):
    """A calibration whose levels are chosen in another way."""

    way: Way = PLAIN

    @property
    def paths(self) -> int:
        """How many paths are followed along a row."""
        return self.way.paths

    def round_at(self, price: float, names: Any = None, progress: Any = None) -> dict[str, QuantizedTensor]:
        """Return levels as the way has them."""
        if self.way.trellis:
            return super().round_at(price, names, progress)
        return {layer.weight: self._rounded(layer, price) for layer in self.layers}

    def _rounded(self, layer: LinearLayer, price: float) -> QuantizedTensor:
        weight, shape = self.model.load(layer.weight), self.model.info(layer.weight).shape
        spacing, curvature = self._spacing(layer.weight), self.curvatures[layer.weight]
        whole = spacing.grid(price)
        grid = Grid(spacing.step_off_trellis(price * self.way.finer**2), whole.rows, whole.columns)
        rows, columns = spacing.relative_steps()
        matrix = layer.matrix(weight).astype(np.float64)
        levels = curvature.round(matrix, grid.step * rows, columns, paths=self.paths)
        assert levels is not None, "prices here leave levels small"
        for _ in range(2 if self.way.rate else 0):
            held = np.ascontiguousarray(layer.restore(levels, shape), np.int32)
            model = fit(held)
            costs = model.costs(max(2, int(np.abs(held).max())))
            classes = layer.matrix(model.classes).astype(np.int64)
            share = self.way.rate * price / curvature.sensitivity
            levels = np.zeros(matrix.shape, np.int32)
            for group in range(len(matrix)):
                for (top, bottom), outer in zip(
                    curvature.output_bounds(), curvature.output_factors, strict=True
                ):
                    for (left, right), inner in zip(
                        curvature.input_bounds(), curvature.input_factors, strict=True
                    ):
                        found = np.zeros((bottom - top, right - left), np.int32)
                        round_with_rate(
                            matrix[group, top:bottom, left:right].copy(), grid.step * rows[group, top:bottom],
                            columns[group, left:right], inner[group], outer[group],
                            np.ascontiguousarray(classes[group, top:bottom, left:right]), costs, share, found,
                        )  # fmt: skip
                        levels[group, top:bottom, left:right] = found
        return QuantizedTensor(np.ascontiguousarray(layer.restore(levels, shape), np.int32), grid)


def point(
    calibration: Calibration, way: Way, price: float, judge: Judge, weights: int
) -> tuple[float, float, float]:
    """Return bits a weight, the expected loss and the measured divergence."""
    held: dict[str, Any] = {one.name: getattr(calibration, one.name) for one in fields(Calibration)}
    other = Otherwise(**held, way=way)
    made = compress_at(other, price)
    expected = sum(layer.loss or 0.0 for layer in made.layers)
    return 8 * made.model.file_bytes / weights, expected, judge(made.model).kl


def beyond(at: float, xs: np.ndarray, ys: np.ndarray) -> float:
    """Interpolate linearly; outside of the points the first or last piece goes on."""
    i = int(np.clip(np.searchsorted(xs, at) - 1, 0, len(xs) - 2))
    return float(ys[i] + (at - xs[i]) * (ys[i + 1] - ys[i]) / (xs[i + 1] - xs[i]))


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="resnet20-cifar10", choices=[*NETWORKS, DEMO])
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--limit", type=int, default=2000)
    parser.add_argument("--bits", type=float, nargs="+", default=[1.3, 1.8, 2.4], help="first guesses")
    parser.add_argument(
        "--ways", nargs="+", default=[way.name for way in WAYS], choices=[way.name for way in WAYS]
    )
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    if len(arguments.bits) < 2:
        parser.error("a line takes two --bits or more")
    model, preprocess = opened(arguments.network)
    weights = parameters(model)
    first, rest = parts(arguments.network, arguments.images, arguments.limit)[0]
    judge = Judge(model, rest, preprocess, threads=arguments.threads)
    calibration = calibrate(model, load_images(first, preprocess), threads=arguments.threads)
    prices = [calibration.price_of_bits(bits) for bits in sorted(arguments.bits)]
    plain = [point(calibration, PLAIN, price, judge, weights) for price in prices]
    bits, losses, kls = (np.array(column) for column in zip(*plain, strict=True))
    print(f"{arguments.network}: {len(first)} images calibrate, {len(rest)} measure\n")
    print("| levels | bits/weight | expected loss | KL | loss, equal bits | KL, equal bits |")
    print("|---|---|---|---|---|---|")
    for found in plain:
        print("| rounding | {:.3f} | {:.4f} | {:.4f} | | |".format(*found), flush=True)
    for way in (one for one in WAYS if one.name in arguments.ways):
        for price in prices:
            found = point(calibration, way, price, judge, weights)
            changes = [
                100 * (value / np.exp(beyond(found[0], bits, np.log(line))) - 1)
                for value, line in zip(found[1:], (losses, kls), strict=True)
            ]
            print("| {} | {:.3f} | {:.4f} | {:.4f} |".format(way.name, *found), end="")
            print(" {:+.0f} % | {:+.0f} % |".format(*changes), flush=True)


if __name__ == "__main__":
    main()

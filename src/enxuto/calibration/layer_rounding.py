"""Round the weights of calibrated layers to levels: all at once, or one layer after the other; on several threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from enxuto.calibration.allocation import Spacing
from enxuto.calibration.bias_correction import shrink_shift
from enxuto.calibration.layers import LinearLayer
from enxuto.calibration.refit import InputErrors, OriginalValues, refit, watch_rounded
from enxuto.data.samples import Samples
from enxuto.errors import UsageError
from enxuto.machine.blas import one_blas_thread
from enxuto.machine.workers import workers
from enxuto.onnx_model import Model
from enxuto.progress import Progress, ProgressCounter
from enxuto.quantize.tensor import QuantizedTensor

__all__ = ["count_paths", "round_in_order", "round_layers"]

_EFFORT = 1 << 28  # paths times weights that a file may take: some ten seconds of two threads
_FEWEST_PATHS, _MOST_PATHS = 16, 128


def count_paths(weights: int) -> int:
    """Return how many paths are followed along a row of a network of so many weights; smaller ones get more."""
    return min(_MOST_PATHS, max(_FEWEST_PATHS, _EFFORT // max(1, weights)))


@one_blas_thread()
def round_layers(
    model: Model,
    layers: Sequence[LinearLayer],
    spacings: Mapping[str, Spacing],
    price: float,
    *,
    paths: int,
    threads: int,
    progress: Progress | None = None,
) -> dict[str, QuantizedTensor]:
    """Return levels and quantizers of layers' weights at a price in nats per bit.

    Args:
        model: holds the weights.
        layers: whose weights are rounded.
        spacings: by weight name.
        price: in nats per bit.
        paths: that are followed along a row.
        threads: that round.
        progress: called with ("rounding", weights done, weights in all).

    Raises:
        UsageError: the price asks for levels of more than 31 bits.
    """
    levels = {
        layer.weight: np.zeros(layer.matrix(model.load(layer.weight)).shape, np.int32) for layer in layers
    }
    # Large layers are rounded in pieces; the longest go first, so that no thread is left alone with one.
    pieces = [
        _Piece(
            spacings[layer.weight],
            lambda layer=layer: layer.matrix(model.load(layer.weight)),  # type: ignore[misc]
            number,
            levels[layer.weight],
        )
        for layer in layers
        for number in range(len(spacings[layer.weight].curvature.outputs))
    ]
    pieces.sort(key=lambda piece: -piece.levels.size)
    tell = None if progress is None else partial(progress, "rounding")
    done = ProgressCounter(sum(array.size for array in levels.values()), tell)
    with workers(threads) as pool:
        list(pool.map(lambda piece: done.add(piece.round(price, paths)), pieces))
    return {
        layer.weight: QuantizedTensor(
            layer.restore(levels[layer.weight], model.info(layer.weight).shape),
            spacings[layer.weight].grid(price),
        )
        for layer in layers
    }


@one_blas_thread()
def round_in_order(
    model: Model,
    layers: Sequence[LinearLayer],
    spacings: Mapping[str, Spacing],
    price: float,
    samples: Samples,
    *,
    paths: int,
    threads: int,
    originals: OriginalValues | None = None,
    progress: Progress | None = None,
) -> dict[str, QuantizedTensor]:
    """Return what `round_layers` does, of layers rounded one after the other.

    Each is first refitted to what it reads from rounded ones (`calibration.refit`).

    Args:
        model: as it is run; holds the weights.
        layers: whose weights are rounded, in the order of execution.
        spacings: by weight name.
        price: in nats per bit.
        samples: that layers are refitted on.
        paths: that are followed along a row.
        threads: that round.
        originals: where what the original's layers read is kept for further prices.
        progress: called with ("rounding", weights done, weights in all).

    Raises:
        UsageError: the price asks for levels of more than 31 bits.
    """
    tell = None if progress is None else partial(progress, "rounding")
    done = ProgressCounter(sum(model.info(layer.weight).elements for layer in layers), tell)
    rounded: dict[str, np.ndarray] = {}
    found: dict[str, QuantizedTensor] = {}
    watched = watch_rounded(model, layers, samples.groups(), rounded, originals=originals, threads=threads)
    with workers(threads) as pool:
        for layer, seen in zip(layers, watched, strict=True):
            weight = model.load(layer.weight)
            matrix = layer.matrix(weight)
            if seen is not None and matrix.any():
                matrix = refit(matrix, seen, centred=layer.bias is not None)
            spacing = spacings[layer.weight]
            levels = np.zeros(matrix.shape, np.int32)
            pieces = [
                _Piece(spacing, lambda matrix=matrix: matrix, number, levels)  # type: ignore[misc]
                for number in range(len(spacing.curvature.outputs))
            ]
            for elements in pool.map(lambda piece: piece.round(price, paths), pieces):
                done.add(elements)
            tensor = QuantizedTensor(layer.restore(levels, weight.shape), spacing.grid(price))
            rounded[layer.weight] = tensor.reconstruct().astype(weight.dtype)
            found[layer.weight] = tensor
            if seen is not None and layer.bias is not None:
                rounded[layer.bias] = _shifted_bias(model, layer, seen, rounded[layer.weight])
    return found


def _shifted_bias(model: Model, layer: LinearLayer, seen: InputErrors, weight: np.ndarray) -> np.ndarray:
    """Return the bias that later layers are refitted behind: means are right, as `bias_correction` will make them."""
    assert layer.bias is not None, "the caller knows"
    old, new = (layer.matrix(one).astype(np.float64) for one in (model.load(layer.weight), weight))
    bias = model.load(layer.bias)
    with np.errstate(over="ignore", invalid="ignore"):
        moved = bias + shrink_shift(seen.mean_left(old, new)).reshape(bias.shape).astype(bias.dtype)
    return np.asarray(moved if np.isfinite(moved).all() else bias)


@dataclass(frozen=True)
class _Piece:
    """One block of outputs of a layer: where in its matrix (g, O, C), and the levels that are filled."""

    spacing: Spacing
    matrix: Callable[[], np.ndarray]
    number: int
    levels: npt.NDArray[np.int32]

    def round(self, price: float, paths: int) -> int:
        """Fill the block in the layer's levels; return how many there are."""
        done = self.spacing.curvature.round_piece(
            self.number,
            self.matrix(),
            *self.spacing.steps(price),
            self.levels,
            trellis=self.spacing.trellis,
            paths=paths,
        )
        if not done:
            raise UsageError(f"a price of {price:g} nats per bit asks for levels of more than 31 bits")
        start, end = self.spacing.curvature.output_bounds()[self.number]
        return int(self.levels[:, start:end].size)

"""Round the weights of calibrated layers to levels: pieces of all layers at once, on several threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from enxuto.calibration.allocation import Spacing
from enxuto.calibration.layers import LinearLayer
from enxuto.errors import UsageError
from enxuto.onnx_model import Model
from enxuto.progress import Progress, ProgressCounter
from enxuto.quantize.tensor import QuantizedTensor

__all__ = ["count_paths", "round_layers"]

_EFFORT = 1 << 28  # paths times weights that a file may take: some ten seconds of two threads
_FEWEST_PATHS, _MOST_PATHS = 16, 128


def count_paths(weights: int) -> int:
    """Return how many paths are followed along a row of a network of so many weights; smaller ones get more."""
    return min(_MOST_PATHS, max(_FEWEST_PATHS, _EFFORT // max(1, weights)))


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
        _Piece(model, layer, number, spacings[layer.weight])
        for layer in layers
        for number in range(len(spacings[layer.weight].curvature.outputs))
    ]
    pieces.sort(key=lambda piece: -levels[piece.layer.weight].size)
    tell = None if progress is None else partial(progress, "rounding")
    done = ProgressCounter(sum(array.size for array in levels.values()), tell)

    def work(piece: _Piece) -> None:
        whole = levels[piece.layer.weight]
        piece.round(price, whole, paths)
        start, end = piece.spacing.curvature.output_bounds()[piece.number]
        done.add(whole[:, start:end].size)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, pieces))
    return {
        layer.weight: QuantizedTensor(
            layer.restore(levels[layer.weight], model.info(layer.weight).shape),
            spacings[layer.weight].grid(price),
        )
        for layer in layers
    }


@dataclass(frozen=True)
class _Piece:
    """One block of outputs of a layer."""

    model: Model
    layer: LinearLayer
    number: int
    spacing: Spacing

    def round(self, price: float, levels: npt.NDArray[np.int32], paths: int) -> None:
        """Fill the block in a layer's levels (g, O, C)."""
        done = self.spacing.curvature.round_piece(
            self.number,
            self.layer.matrix(self.model.load(self.layer.weight)),
            *self.spacing.steps(price),
            levels,
            trellis=self.spacing.trellis,
            paths=paths,
        )
        if not done:
            raise UsageError(f"a price of {price:g} nats per bit asks for levels of more than 31 bits")

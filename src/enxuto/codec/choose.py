"""Levels of tensors to bytes with whichever coder makes them shortest, and what a level costs.

Coders have names, which files hold: `order0` (one table), `contexts` (scales of rows and columns, neighbours), and
`trellis` (the same for levels of dependent quantization, by state).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from enxuto.codec.context_fit import FittedModel, fit_contexts
from enxuto.codec.context_model import ContextModel
from enxuto.codec.contexts import LARGEST, decode_contexts, encode_contexts
from enxuto.codec.layout import Layout
from enxuto.codec.neighbours import SHIFTS
from enxuto.codec.order0 import decode_levels, encode_levels
from enxuto.codec.stop_odds import BITS
from enxuto.errors import FormatError, UsageError

__all__ = ["CODERS", "Coder", "LevelModel", "decode", "encode", "encoded_size", "fit"]

Coder: TypeAlias = Literal["order0", "contexts", "trellis"]
CODERS: tuple[Coder, ...] = get_args(Coder)
"""What files call the coders of levels."""

Int32 = npt.NDArray[np.int32]
Shapes = Sequence[Sequence[int]]


def encode(
    levels: Int32,
    shapes: Shapes | None = None,
    *,
    coder: Coder | None = None,
    trellis: bool = False,
    threads: int = 1,
) -> tuple[Coder, bytes]:
    """Return the name of the coder that makes `levels` shortest, and the bytes.

    The result does not depend on `threads`.

    Args:
        levels: the levels of one tensor, or of several one after the other, in C order.
        shapes: of the tensors; by default `levels` is one tensor. One tensor has a scale for each index of its first
            and second axis and for each position of the others. Of several tensors, each has one scale.
        coder: use this coder.
        trellis: the levels are of dependent quantization (`enxuto.quantize.trellis`): coder `trellis` is tried instead
            of `contexts`.
        threads: encode chunks on so many threads.

    Raises:
        UsageError: coder `trellis` is asked to take several tensors.
    """
    flat, layout = _flatten(levels, shapes)
    if coder == "order0" or not _fits_contexts(flat):
        return "order0", encode_levels(flat, threads=threads)
    chosen: Coder = coder or ("trellis" if trellis and _has_rows(shapes) else "contexts")
    if chosen == "trellis" and not _has_rows(shapes):
        raise UsageError("coder trellis takes the levels of one tensor", code="E022")
    model = fit_contexts(flat, layout, chosen == "trellis").model
    encoded = encode_contexts(flat, layout, model, threads=threads)
    if coder is None and len(plain := encode_levels(flat, threads=threads)) <= len(encoded):
        return "order0", plain
    return chosen, encoded


def decode(coder: Coder, data: bytes | memoryview, shapes: Shapes, *, threads: int = 1) -> Int32:
    """Return the levels (n,) of tensors of these shapes that `encode` coded; `FormatError` for any other `data`."""
    if coder == "trellis" and not _has_rows(shapes):
        raise FormatError("coder trellis takes the levels of one tensor")
    count = sum(math.prod(shape) for shape in shapes)
    if not count:  # before there is anything per row: of rows of no elements there may be any number
        if len(data):
            raise FormatError("a payload for no levels is not empty")
        return np.zeros(0, np.int32)
    if coder == "order0":
        return decode_levels(data, count, threads=threads)
    layout = Layout.of(shapes)
    return decode_contexts(data, layout, trellis=coder == "trellis", threads=threads)


def encoded_size(levels: Int32, shapes: Shapes | None = None, *, threads: int = 1) -> int:
    """Return how many bytes `encode` needs for `levels`."""
    return len(encode(levels, shapes, threads=threads)[1])


def fit(levels: Int32, shapes: Shapes | None = None) -> LevelModel:
    """Fit coder `contexts` to `levels`, to know what each level costs for each weight; `shapes` as in `encode`.

    Raises `UsageError` for no levels and for levels beyond 2**30.
    """
    flat, layout = _flatten(levels, shapes)
    if not _fits_contexts(flat):
        raise UsageError("a model of scales needs at least one level, and none beyond 2**30")
    fitted = fit_contexts(flat, layout)
    model = fitted.model
    sums = layout.sums(*model.numbers[:2], 0, layout.kernels)
    classes = np.clip(sums[:, None] + model.offsets, 0, model.classes - 1).astype(np.uint8)
    return LevelModel(classes.reshape(levels.shape), fitted)


@dataclass(frozen=True)
class LevelModel:
    """What levels cost by the class of scale of their weight, averaged over all neighbours.

    classes: of each weight, 0…K−1, uint8, in the shape of the levels.
    """

    classes: npt.NDArray[np.uint8]
    fitted: FittedModel

    def costs(self, reach: int) -> npt.NDArray[np.float64]:
        """Return the bits (K, 2·reach + 1) of levels −reach…reach in each class, all finite."""
        model = self.fitted.model
        magnitudes = np.arange(reach + 1)
        token, raw = _tokens(magnitudes, model)
        known = np.minimum(token, model.table.shape[1] - 1)
        beyond = np.where(token == known, 0, 2.0 * (token - known))  # levels that have not occurred
        bits = (
            -np.log2(self._shares())[:, known] + raw + beyond + self._sign_bits()[np.minimum(magnitudes, 3)]
        )
        return np.concatenate([bits[:, :0:-1], bits], axis=1)

    def _shares(self) -> npt.NDArray[np.float64]:
        """How often the weights of a class have each token (K, tokens), averaged over their neighbours."""
        model, counts = self.fitted.model, self.fitted.counts[0].sum(axis=2) + 1e-6
        weights = counts / counts.sum(axis=1, keepdims=True)
        shifts = np.zeros(SHIFTS, np.int64) if model.shifts is None else model.shifts
        reached = np.clip(np.arange(model.classes)[:, None] + shifts, 0, model.classes - 1)
        return np.asarray(np.einsum("cs,cst->ct", weights, model.table[reached] / (1 << BITS)))

    def _sign_bits(self) -> npt.NDArray[np.float64]:
        """Mean bits of the signs of magnitudes 0, 1, 2 and more; 1 for those that did not occur."""
        shares = self.fitted.model.shares.reshape(SHIFTS, -1)[:, 1:4] / 256
        bits = np.stack([-np.log2(shares), -np.log2(1 - np.minimum(shares, 255 / 256))], axis=-1)
        counts = self.fitted.signs
        totals = counts.sum(axis=(0, 2))
        mean = np.sum(bits * counts, axis=(0, 2)) / np.maximum(totals, 1)
        return np.concatenate([[0.0], np.where(totals > 0, mean, 1.0)])


def _tokens(
    magnitudes: npt.NDArray[np.int64], model: ContextModel
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return tokens and numbers of raw bits of magnitudes."""
    order = np.frexp(np.maximum(magnitudes - model.direct, 1).astype(np.float64))[1].astype(np.int64) - 1
    escaped = magnitudes > model.direct
    return np.where(escaped, model.direct + 1 + order, magnitudes), np.where(escaped, order, 0)


def _flatten(levels: Int32, shapes: Shapes | None) -> tuple[Int32, Layout]:
    flat = np.ascontiguousarray(levels, dtype=np.int32).reshape(-1)
    if not flat.size:
        shapes = [(0,)]  # whatever the shapes: see `decode`
    layout = Layout.of([levels.shape] if shapes is None else shapes)
    if layout.kernels * layout.positions != flat.size:
        raise UsageError(f"{flat.size} levels do not fill tensors of shapes {shapes}", code="E022")
    return flat, layout


def _has_rows(shapes: Shapes | None) -> bool:
    """Say whether all rows have as many kernels: those of one tensor do."""
    return shapes is None or len(shapes) == 1


def _fits_contexts(flat: Int32) -> bool:
    """Say whether coder `contexts` can take the levels."""
    return flat.size > 0 and int(flat.min()) >= -LARGEST and int(flat.max()) <= LARGEST

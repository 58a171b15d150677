"""Levels of tensors to bytes with whichever coder makes them shortest, and back.

Coders have names, which files hold: `order0` (one table), `contexts` (scales of rows and columns, neighbours), and
`trellis` and `trellis-32` (the same for levels of dependent quantization with 8 and 32 states, by state).
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from enxuto.codec.context_fit import fit_contexts
from enxuto.codec.contexts import decode_contexts, encode_contexts, is_codable
from enxuto.codec.layout import Layout, Shapes, flatten
from enxuto.codec.order0 import decode_levels, encode_levels
from enxuto.errors import FormatError, UsageError

__all__ = ["CODERS", "Coder", "decode", "encode", "encoded_size"]

Coder: TypeAlias = Literal["order0", "contexts", "trellis", "trellis-32"]
CODERS: tuple[Coder, ...] = get_args(Coder)
"""What files call the coders of levels."""

TRELLIS_CODERS: dict[Coder, int] = {"trellis": 8, "trellis-32": 32}
"""Coders of levels of dependent quantization, and how many states they have."""

Int32 = npt.NDArray[np.int32]


def encode(
    levels: Int32,
    shapes: Shapes | None = None,
    *,
    coder: Coder | None = None,
    trellis: int = 0,
    threads: int = 1,
) -> tuple[Coder, bytes]:
    """Return the name of the coder that makes `levels` shortest, and the bytes.

    The result does not depend on `threads`.

    Args:
        levels: the levels of one tensor, or of several one after the other, in C order.
        shapes: of the tensors; by default `levels` is one tensor. One tensor has a scale for each index of its first
            and second axis and for each position of the others. Of several tensors, each has one scale.
        coder: use this coder.
        trellis: how many states the levels' dependent quantization has (`enxuto.quantize.trellis`): its coder is
            tried instead of `contexts`. 0 where levels are independent.
        threads: encode chunks on so many threads.

    Raises:
        UsageError: a coder of a trellis is asked to take several tensors.
    """
    flat, layout = flatten(levels, shapes)
    if coder == "order0" or not is_codable(flat):
        return "order0", encode_levels(flat, threads=threads)
    usual = {states: name for name, states in TRELLIS_CODERS.items()} if _has_rows(shapes) else {}
    chosen: Coder = coder or usual.get(trellis, "contexts")
    states = TRELLIS_CODERS.get(chosen, 0)
    if states and not _has_rows(shapes):
        raise UsageError(f"coder {chosen} takes the levels of one tensor", code="E022")
    model = fit_contexts(flat, layout, states).model
    encoded = encode_contexts(flat, layout, model, threads=threads)
    if coder is None and len(order0 := encode_levels(flat, threads=threads)) <= len(encoded):
        return "order0", order0
    return chosen, encoded


def decode(coder: Coder, data: bytes | memoryview, shapes: Shapes, *, threads: int = 1) -> Int32:
    """Return the levels (n,) of tensors of these shapes that `encode` coded; `FormatError` for any other `data`."""
    states = TRELLIS_CODERS.get(coder, 0)
    if states and not _has_rows(shapes):
        raise FormatError(f"coder {coder} takes the levels of one tensor")
    count = sum(math.prod(shape) for shape in shapes)
    if not count:  # before there is anything per row: of rows of no elements there may be any number
        if len(data):
            raise FormatError("a payload for no levels is not empty")
        return np.zeros(0, np.int32)
    if coder == "order0":
        return decode_levels(data, count, threads=threads)
    layout = Layout.of(shapes)
    return decode_contexts(data, layout, trellis=states, threads=threads)


def encoded_size(levels: Int32, shapes: Shapes | None = None, *, threads: int = 1) -> int:
    """Return how many bytes `encode` needs for `levels`."""
    return len(encode(levels, shapes, threads=threads)[1])


def _has_rows(shapes: Shapes | None) -> bool:
    """Say whether all rows have as many kernels: those of one tensor do."""
    return shapes is None or len(shapes) == 1

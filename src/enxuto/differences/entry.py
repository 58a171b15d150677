"""`enxuto.diff` and `enxuto.apply`: a difference file, and the file that it makes of an old one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TypeAlias

from enxuto.differences.patch import Patch, hash_of_file
from enxuto.differences.requantize import requantize
from enxuto.enx.file import CompressedModel
from enxuto.enx.ledger import original_sizes
from enxuto.enx.signature import is_enx
from enxuto.errors import UsageError
from enxuto.files import to_path
from enxuto.onnx_model import Model

__all__ = ["PRICE", "apply", "diff"]

PRICE = 0.002
"""Of a bit of the difference, in squared steps. At ln 2/6, by which steps are chosen, small changes are lost."""

_File: TypeAlias = CompressedModel | str | Path


def diff(
    old: _File,
    new: CompressedModel | Model | str | Path,
    *,
    original: Model | str | Path | None = None,
    price: float | None = None,
    threads: int = 0,
) -> Patch:
    """Return what changed between a compressed model and a newer network, as a difference file.

        enxuto.diff("old.enx", "new.onnx").save("patch.enxd")

    Args:
        old: the `.enx` file that whoever applies the difference has.
        new: an `.enx` file, which is made again to the byte; or an ONNX model, whose weights are rounded on the old
            file's own grids (`requantize`).
        original: of an ONNX model, what the old file was made from. Needed where that was calibrated and its weights
            have changed: nearest to them are other levels, which lose what calibration won.
        price: of an ONNX model, what a bit is worth in squared steps, `PRICE` by default: more makes a shorter and
            coarser difference, 0 rounds to the nearest.
        threads: 0 takes one per processor; the result does not depend on it.

    Raises:
        DataError, FormatError, ModelError: a file cannot be read, or `original` is not what the old file was made from.
        UsageError: `original` or `price` beside an `.enx` file, or a price that is no number from 0 up; no `original`
            where it is needed.
    """
    if price is not None and not 0 <= price < math.inf:
        raise UsageError(f"price= is a number from 0 up, not {price}")
    before, base = _open(old)
    size = None
    if isinstance(new, (str, Path)) and not is_enx(new):
        place, new = new, Model.read(new)
        size = original_sizes(place, xz=False)["bytes"]
    elif isinstance(new, (str, Path)):
        new = CompressedModel.read(new)
    if isinstance(new, Model):
        if isinstance(original, (str, Path)):
            original = Model.read(original)
        price = PRICE if price is None else price
        new = requantize(before, new, original, price=price, threads=threads, size=size)
    else:
        for name, given in (("original", original), ("price", price)):
            if given is not None:
                raise UsageError(
                    f"{name}= is for a new model in ONNX; an .enx file is taken as it is", code="E022"
                )
    return Patch.between(before, new, base=base)


def apply(old: _File, patch: Patch | str | Path) -> CompressedModel:
    """Return the newer compressed model that a difference file makes of the old one.

        enxuto.apply("old.enx", "patch.enxd").save("new.enx")

    Args:
        old: the `.enx` file that the difference was made to.
        patch: the difference.

    Raises:
        DataError: a file cannot be read.
        FormatError: the difference is to another file, or it is damaged.
    """
    before, base = _open(old)
    if isinstance(patch, Patch):
        return patch.apply(before, base=base)
    return Patch.read(to_path(patch, "the path of a difference file")).apply(before, base=base)


def _open(file: _File) -> tuple[CompressedModel, str | None]:
    """Return an `.enx` file and its hash; None where it is none yet."""
    if isinstance(file, CompressedModel):
        return file, None
    place = to_path(file, "the path of an .enx file")
    return CompressedModel.read(place), hash_of_file(place)

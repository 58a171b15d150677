"""What is known about an architecture before a line of torch runs: names, shapes, published counts.

`published/` holds one file of entries per family, beside the file that builds the family. Nothing here
imports torch, so listing the zoo is instant and works in an install without the extra `[train]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Entry", "OptionValue", "Variant"]

OptionValue = bool | int | float | str | None


@dataclass(frozen=True)
class Variant:
    """Counts of an entry built with `options` other than the defaults; same conventions as in `Entry`."""

    options: Mapping[str, OptionValue] = field(hash=False)
    counts: Mapping[int, int] = field(hash=False)
    macs: int
    note: str = ""


@dataclass(frozen=True)
class Entry:
    """One architecture of the zoo.

    `input_shape` is (channels, height, width) and `classes` the default number of outputs. `counts` maps a
    number of classes to the trainable parameters (weights, biases, batch-norm scale and shift) with the
    default input channels. `macs` counts the multiply–accumulates of convolutions and linear layers for one
    image of `input_shape` and the default classes; biases, normalisation, activations and pooling count
    nothing, and neither do auxiliary heads, which do not run in inference. `options` names the keywords that
    `zoo.build` takes for this architecture. `note` says what the counts were checked against and where the
    source is read in one of two ways.
    """

    name: str
    family: str
    title: str
    paper: str
    year: int
    input_shape: tuple[int, int, int]
    classes: int
    counts: Mapping[int, int] = field(hash=False)
    macs: int
    options: tuple[str, ...] = ()
    note: str = ""
    variants: tuple[Variant, ...] = ()

"""Words for the sizes that a model leaves open: what its user has to give."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["sizes_to_give"]

# By the number of axes behind the batch: a sequence, channels of one, an image, a volume.
_LETTERS = {1: "L", 2: "CL", 3: "CHW", 4: "CDHW"}
_COLOURS = (1, 3, 4)


def sizes_to_give(sizes: Sequence[int | None] | None) -> str:
    """Return what stands for an input's sizes behind its batch, such as "C,H,W", or "80,L" where 80 is fixed.

    sizes: None where the number of axes is not known, too: an image is likeliest.
    """
    if sizes is None:
        return "C,H,W"
    letters = list(_LETTERS.get(len(sizes), ""))
    if len(sizes) == 3 and sizes[2] in _COLOURS and sizes[0] is None:
        letters = ["H", "W", ""]
    letters = letters or [f"S{number}" for number in range(1, len(sizes) + 1)]
    return ",".join(
        letter if size is None else str(size) for letter, size in zip(letters, sizes, strict=True)
    )

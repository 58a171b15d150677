"""How many operations a curvature takes, up to a factor: what work is shared by, and what progress counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from enxuto.calibration.moments import LARGEST_ROWS, block_bounds

__all__ = ["curvature_operations", "operations_of_factors", "operations_of_inputs", "sides"]

_SHRINKING = 4  # cubes of a block of inputs that its eigenvectors by folds take, where a factor takes one
_SQUARES = 400  # how many squares of a block cost as much as its cube of that side


def curvature_operations(matrix: np.ndarray) -> int:
    """Return the operations of a curvature for a matrix (g, O, C)."""
    inputs = operations_of_inputs(sides(matrix.shape[2]), len(matrix))
    outputs = operations_of_factors(sides(matrix.shape[1], LARGEST_ROWS), len(matrix))
    return inputs + outputs + matrix.size


def sides(count: int, largest: int | None = None) -> list[int]:
    """Return the sides of the blocks that so many inputs or outputs fall into."""
    return [end - start for start, end in block_bounds(count, largest)]


def operations_of_inputs(blocks: Sequence[int], groups: int) -> int:
    """Return the operations of H, of blocks with these sides: eigenvectors by folds, and a factor."""
    return (_SHRINKING + 1) * operations_of_factors(blocks, groups)


def operations_of_factors(blocks: Sequence[int], groups: int) -> int:
    """Return the operations of blocks' factors: cubes of their sides, and squares, which count in small ones.

    Eigenvectors of 27 to 1,152 inputs take time in this proportion within 20 % from 72 on (one thread).
    """
    return groups * sum(side * side * (side + _SQUARES) for side in blocks)

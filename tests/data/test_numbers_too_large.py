"""Numbers that an input's type does not hold are said as such, not as NaN or infinity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from enxuto.data.arrays import dataset_of_arrays
from enxuto.data.feeding import fit_samples
from enxuto.errors import DataError


@dataclass(frozen=True)
class _Input:
    """An input of rows of two numbers."""

    dtype: np.dtype[Any]
    name: str = "x"
    shape: tuple[int | None, ...] = (None, 2)


@pytest.mark.parametrize(
    ("wanted", "given", "value", "words"),
    [
        (np.float16, np.float32, 7e4, "takes float16, numbers up to 6.55e.04, and there is 7e.04"),
        (np.float16, np.int64, 70_000, "takes float16, numbers up to 6.55e.04, and there is 7e.04"),
        (np.float32, np.float64, 1e39, "takes float32, numbers up to 3.403e.38, and there is 1e.39"),
        (ml_dtypes.bfloat16, np.float64, -1e39, "takes bfloat16, numbers up to 3.39e.38, and there is 1e.39"),
        (np.float64, np.float64, 1e300, None),
        (np.float16, np.float32, 65_504, None),
        (ml_dtypes.bfloat16, ml_dtypes.bfloat16, 1e38, None),
        (np.float32, np.float64, np.inf, "holds NaN or infinity"),
        (np.float64, np.float64, np.nan, "holds NaN or infinity"),
        (np.float16, np.float32, -np.inf, "holds NaN or infinity"),
    ],
)
def test_numbers_that_the_type_does_not_hold(
    wanted: Any, given: Any, value: float, words: str | None
) -> None:
    data = {"x": np.full((3, 2), value, given)}
    inputs = [_Input(np.dtype(wanted))]
    if words is None:
        assert np.all(np.asarray(fit_samples(dict(data), inputs).columns["x"]) == np.asarray(value, wanted))
        return
    with pytest.raises(DataError, match=words):
        fit_samples(dict(data), inputs)


@pytest.mark.parametrize(
    ("value", "words"), [(-1e300, "holds 1e.300, too large for float32"), (np.nan, "holds NaN")]
)
def test_images_that_float32_does_not_hold(value: float, words: str) -> None:
    with pytest.raises(DataError, match=words):
        dataset_of_arrays(np.full((2, 1, 4, 4), value), None)

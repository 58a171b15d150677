"""What a message says of images that do not fit an input."""

from __future__ import annotations

import numpy as np
import pytest

from enxuto.errors import DataError
from enxuto.onnx_model.inputs import InputInfo, check_shape


@pytest.mark.parametrize(
    ("wanted", "given", "way"),
    [
        ((None, 1, 8, 8), (2, 3, 8, 8), "channels=L"),
        ((None, 1, None, None), (2, 3, 8, 8), "channels=L"),
        ((None, 8, 8, 1), (2, 8, 8, 3), "channels=L"),
        ((None, 8, 8, 3), (2, 3, 8, 8), "layout=NHWC"),
        ((None, 1, 8, 8), (2, 3, 9, 9), ""),
        ((None, 3, 8, 8), (2, 1, 8, 8), ""),
        ((None, 3), (2, 1), ""),
        ((None, 3, 8, 8), (0, 3, 8, 8), ""),
    ],
)
def test_the_way_out_is_named_where_it_is_known(
    wanted: tuple[int | None, ...], given: tuple[int, ...], way: str
) -> None:
    with pytest.raises(DataError) as caught:
        check_shape(InputInfo("x", wanted, np.dtype(np.float32)), given)
    assert ("preprocessing with" in str(caught.value)) == bool(way)
    assert way in str(caught.value)

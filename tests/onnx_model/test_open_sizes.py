"""Words for the sizes that a user has to give."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from enxuto.onnx_model.open_sizes import sizes_to_give


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        (None, "C,H,W"),
        ([3, None, None], "3,H,W"),
        ([None, None, None], "C,H,W"),
        ([None, None, 3], "H,W,3"),
        ([None], "L"),
        ([80, None], "80,L"),
        ([None, 4, None, None], "C,4,H,W"),
        ([1, None, 2, 3, None], "1,S2,2,3,S5"),
        ([], ""),
    ],
)
def test_open_sizes_have_letters(sizes: Sequence[int | None] | None, expected: str) -> None:
    assert sizes_to_give(sizes) == expected

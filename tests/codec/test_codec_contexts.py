"""Coders `contexts` and `trellis`: round trips of any shape, sizes beside order-0, costs beside bytes, damage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from enxuto import codec
from enxuto.codec.contexts import CHUNK, LARGEST, decode_contexts
from enxuto.codec.layout import Layout
from enxuto.errors import FormatError, UsageError
from enxuto.rounding.feedback import round_on_trellis

RNG = np.random.default_rng
LEVELS = hnp.arrays(
    np.int32,
    hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=7),
    elements=st.one_of(
        st.integers(-3, 3), st.integers(-LARGEST, LARGEST), st.sampled_from([0, 31, -32, LARGEST, -LARGEST])
    ),
)


def come_back(
    levels: np.ndarray,
    shapes: list[tuple[int, ...]] | None = None,
    threads: int = 1,
    wanted: codec.Coder = "contexts",
) -> bytes:
    coder, data = codec.encode(levels, shapes, coder=wanted, threads=threads)
    assert coder == (wanted if levels.size else "order0")
    decoded = codec.decode(coder, data, shapes or [levels.shape], threads=threads)
    assert np.array_equal(decoded, levels.reshape(-1))
    return data


def scaled(*shape: int, seed: int = 0) -> np.ndarray:
    """Laplacian levels with a scale per row and per column, octaves apart."""
    rng = RNG(seed)
    scales = np.exp2(rng.normal(0, 0.8, (shape[0], 1, 1)) + rng.normal(0, 0.8, (1, shape[1], 1)))
    return (
        np.rint(rng.laplace(0, 0.7, (*shape[:2], int(np.prod(shape[2:])))) * scales)
        .astype(np.int32)
        .reshape(shape)
    )


def smooth(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """3×3 kernels of sums of neighbouring noise."""
    noise = RNG(seed).laplace(0, 0.6, (rows, columns, 4, 4))
    return np.rint(noise[..., 1:, 1:] + noise[..., :-1, 1:] + noise[..., 1:, :-1]).astype(np.int32)


BOTH = pytest.mark.parametrize("coder", ["contexts", "trellis", "trellis-32"])


@BOTH
@settings(max_examples=60, deadline=None)
@given(levels=LEVELS)
@example(
    levels=np.where(np.arange(50) == 0, 30, np.where(np.arange(50) == 2, 3, -1))
    .astype(np.int32)
    .reshape(5, 5, 2)
)
def test_any_levels_of_any_shape_come_back(levels: np.ndarray, coder: codec.Coder) -> None:
    come_back(levels, wanted=coder)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 6), max_size=3), min_size=2, max_size=6), st.integers(0, 2**32 - 1))
def test_several_tensors_come_back_together(shapes: list[list[int]], seed: int) -> None:
    sizes = [int(np.prod(shape)) for shape in shapes]
    levels = np.concatenate([RNG(seed).integers(-(2 + 3**i), 3 + 3**i, size) for i, size in enumerate(sizes)])
    come_back(levels.astype(np.int32), [tuple(shape) for shape in shapes])


@pytest.mark.parametrize(
    "shape",
    [
        *(
            (kernels, 1, 3, 3) for kernels in (7281, 7282, 7283, 7285)
        ),  # 2**16 weights and four states, and less
        *((CHUNK // 9 + more, 1, 3, 3) for more in (0, 1, 3, 7282)),
        *((CHUNK + more,) for more in (-1, 0, 1)),
        (2, 3, 300, 301),  # kernels larger than a chunk would have them
        (1, 1, 5, 70_000),
        (5, 70_000),
        (3, 2, 2, 2, 2),
        (40, 1, 1, 7),
        (40, 1, 7, 1),
    ],
)
@BOTH
def test_chunks_states_and_odd_kernels_with_any_threads(shape: tuple[int, ...], coder: codec.Coder) -> None:
    levels = np.rint(RNG(1).laplace(0, 0.5, shape)).astype(np.int32)
    levels[0] = 40
    assert come_back(levels, threads=3, wanted=coder) == come_back(levels, wanted=coder)


@pytest.mark.parametrize("value", [0, 1, -1])
@pytest.mark.parametrize("shape", [(1,), (600,), (30, 40), (20, 4, 5, 5), (300, 300, 3)])
def test_constant_tensors_cost_little(value: int, shape: tuple[int, ...]) -> None:
    data = come_back(np.full(shape, value, np.int32))
    assert len(data) <= 40 + 0.04 * np.prod(shape) / 8 + 34 * (np.prod(shape) // CHUNK)


def test_levels_that_only_order0_takes() -> None:
    levels = np.array([[-(2**31), 2**31 - 1]], np.int32)
    assert codec.encode(levels, coder="contexts")[0] == "order0"
    assert codec.encode(levels[:, :0])[1] == b""
    assert codec.decode("contexts", b"", [(0, 3)]).size == 0
    with pytest.raises(UsageError, match="2\\*\\*30"):
        codec.fit(levels)
    with pytest.raises(UsageError, match="E022"):
        codec.encode(levels, [(3,)])


@pytest.mark.parametrize(
    "levels",
    [scaled(64, 32, 3, 3), smooth(40, 30), RNG(2).integers(-5, 6, (50, 60)).astype(np.int32), np.arange(99)],
    ids=["scales", "neighbours", "noise", "ramp"],
)
def test_the_shorter_coder_is_taken(levels: np.ndarray) -> None:
    levels = levels.astype(np.int32)
    sizes = {one: len(codec.encode(levels, coder=one)[1]) for one in codec.CODERS}
    for trellis, coders in (
        (0, ("order0", "contexts")),
        (8, ("order0", "trellis")),
        (32, ("order0", "trellis-32")),
    ):
        chosen, data = codec.encode(levels, trellis=trellis)
        assert len(data) == sizes[chosen] == min(sizes[one] for one in coders)
    assert codec.encoded_size(levels) == min(sizes["order0"], sizes["contexts"])


@pytest.mark.slow
def test_states_of_the_trellis_tell_the_zeros() -> None:
    """In odd states zero takes half as wide a zone: coded without the states, levels cost 7 % more."""
    values = RNG(3).laplace(0, 1.0, (200, 300))
    levels = np.zeros(values.shape, np.int32)
    assert round_on_trellis(
        values, np.full(200, 2.0), np.ones(300), np.eye(300), np.eye(200), np.zeros(200, np.int64), levels
    )
    sizes = {one: len(codec.encode(levels, coder=one)[1]) for one in ("contexts", "trellis-32")}
    assert sizes["trellis-32"] < 0.94 * sizes["contexts"]


@pytest.mark.parametrize("coder", codec.TRELLIS_CODERS)
def test_a_trellis_takes_one_tensor(coder: codec.Coder) -> None:
    levels = np.arange(6, dtype=np.int32)
    with pytest.raises(UsageError, match="E022"):
        codec.encode(levels, [(2,), (4,)], coder=coder)
    with pytest.raises(FormatError, match="one tensor"):
        codec.decode(coder, b"abc", [(2,), (4,)])
    assert codec.encode(levels, [(2,), (4,)], trellis=codec.TRELLIS_CODERS[coder])[0] != coder


def test_scales_save_what_they_are_worth() -> None:
    """Beside what an ideal coder would need that knew every weight's Laplacian: 4 % for scales, head and tables."""
    levels = scaled(64, 64, 3, 3)
    rng = RNG(0)
    scales = 0.7 * np.exp2(rng.normal(0, 0.8, (64, 1, 1)) + rng.normal(0, 0.8, (1, 64, 1)))
    size = np.abs(levels.reshape(64, 64, 9))
    outer = np.where(size, np.exp(-(size - 0.5) / scales) - np.exp(-(size + 0.5) / scales), 2) / 2
    shares = np.where(size, outer, 1 - np.exp(-0.5 / scales))
    ideal = -np.log2(shares).sum() / 8
    assert ideal < codec.encoded_size(levels) < 1.04 * ideal
    assert codec.encoded_size(levels) < 0.92 * codec.entropy(levels) * levels.size / 8


def test_neighbours_save_signs() -> None:
    levels = smooth(64, 64)
    assert codec.encoded_size(levels) < 0.97 * codec.entropy(levels) * levels.size / 8
    shuffled = RNG(0).permuted(levels.reshape(-1, 9), axis=1).reshape(levels.shape)
    assert codec.encoded_size(levels) < 0.98 * codec.encoded_size(shuffled)


def test_tensors_of_different_scales_share_a_payload() -> None:
    """Sixteen biases' worth of levels each: one payload costs less than any table for each of them."""
    parts = [np.rint(RNG(i).laplace(0, 4 * 1.6**i, 64)).astype(np.int32) for i in range(12)]
    together = codec.encoded_size(np.concatenate(parts), [part.shape for part in parts])
    assert together < 0.93 * sum(map(codec.encoded_size, parts))
    assert together < 0.97 * codec.encoded_size(np.concatenate(parts))


@pytest.mark.parametrize("levels", [scaled(48, 40), scaled(24, 24, 3, 3, seed=4)], ids=["matrix", "kernels"])
def test_costs_are_those_of_the_bytes(levels: np.ndarray) -> None:
    model = codec.fit(levels)
    assert model.classes.shape == levels.shape
    costs = model.costs(int(np.abs(levels).max()))
    assert costs.shape[0] > model.classes.max()
    assert np.allclose(costs, costs[:, ::-1])
    expected = costs[model.classes, levels + costs.shape[1] // 2].sum() / 8
    head = len(codec.encode(levels, coder="contexts")[1]) - expected
    assert 20 < head < 100
    wide = model.costs(100_000)
    assert np.isfinite(wide).all()
    assert (np.exp2(-model.costs(3)).sum(axis=1) <= 1.001).all()
    assert (np.diff(wide[:, -50_000:].max(axis=0)) >= 0).all()


def test_larger_scales_have_later_classes() -> None:
    levels = np.rint(RNG(0).laplace(0, np.repeat([0.2, 1.0, 5.0], 20)[:, None], (60, 200))).astype(np.int32)
    classes = np.sort(codec.fit(levels).classes.astype(int).reshape(3, -1))
    few = classes.shape[1] // 20
    assert (classes[:-1, -few] < classes[1:, few]).all()


@pytest.mark.parametrize(
    "levels", [scaled(30, 20), smooth(12, 10), scaled(500, 20, 3, 3)], ids=["matrix", "kernels", "large"]
)
@BOTH
def test_cut_lengthened_and_miscounted_payloads_are_refused(levels: np.ndarray, coder: codec.Coder) -> None:
    data = come_back(levels, wanted=coder)
    for wrong in [
        *(data[:cut] for cut in {0, 1, 2, 3, len(data) // 2, len(data) - 1}),
        data + b"\0",
        data + b"abcd",
    ]:
        with pytest.raises(FormatError):
            codec.decode(coder, wrong, [levels.shape])
    # (A single state ends in 0, which stands for any number of further zeros: the table's shapes must tell.)
    for shape in [(0,), (levels.shape[0] // 2, *levels.shape[1:])]:
        with pytest.raises(FormatError):
            codec.decode(coder, data, [shape])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=90), st.lists(st.integers(0, 9), max_size=4), st.sampled_from([0, 8, 32]))
def test_any_bytes_decode_or_are_refused(data: bytes, shape: list[int], trellis: int) -> None:
    layout = Layout.of([shape])
    try:
        levels = decode_contexts(data, layout, trellis=trellis)
    except FormatError:
        return
    assert levels.size == np.prod(shape)


@pytest.mark.slow
@pytest.mark.parametrize(
    "levels", [scaled(30, 60), smooth(12, 10), np.array([2**29, -7] * 99)], ids=["matrix", "kernels", "far"]
)
@BOTH
def test_damaged_payloads_decode_or_are_refused(levels: np.ndarray, coder: codec.Coder) -> None:
    """Without checksums in front: the decoder itself must hold against every byte."""
    rng = RNG(5)
    data = come_back(levels.astype(np.int32), wanted=coder)
    refused = 0
    for _ in range(800):
        wrong = bytearray(data)
        for place in rng.integers(0, 60 if rng.random() < 0.6 else len(data), rng.integers(1, 4)):
            wrong[place % len(wrong)] = rng.integers(0, 256)
        try:
            assert codec.decode(coder, bytes(wrong), [levels.shape]).size == levels.size
        except FormatError:
            refused += 1
    assert refused > 500

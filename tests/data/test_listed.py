"""Samples listed in Python without names: what each form becomes, and what is refused with its reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from PIL import Image

from enxuto.data import Dataset, Preprocess, dataset_of_arrays
from enxuto.data.columns import columns_of
from enxuto.data.feeding import fit_samples
from enxuto.data.listed import gather, is_pair, name_arrays
from enxuto.errors import DataError
from enxuto.metrics.losses import OutputLoss


@dataclass
class Input:
    name: str
    shape: tuple[int | None, ...]
    dtype: Any


class Tensor:
    """An array of another library."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        return self.array


class Elsewhere:
    """A tensor that is on a device."""

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")


IDS = np.random.default_rng(0).integers(0, 50, (6, 5))
X = np.random.default_rng(1).standard_normal((6, 3)).astype(np.float32)
PIXELS = np.random.default_rng(2).integers(0, 256, (4, 8, 6, 3), np.uint8)
ONE = [Input("ids", (None, None), np.dtype("int64"))]
TWO = [*ONE, Input("x", (None, 3), np.dtype("float32"))]
FLOATS = [Input("x", (None, 3), np.dtype("float32"))]
PICTURES = [Input("image", (None, 3, 8, 6), np.dtype("float32"))]


def named(data: Any, inputs: list[Input]) -> dict[str, np.ndarray]:
    """What every sample is fed."""
    columns = columns_of(name_arrays(gather(data), inputs, "data="))
    assert columns is not None
    samples = fit_samples(columns[0], inputs, alone=columns[1])
    return {
        one.name: np.concatenate([samples.sample(i)[one.name] for i in range(len(samples))]) for one in inputs
    }


OF_IDS: dict[str, Any] = {
    "an array": lambda: IDS,
    "a list of arrays": lambda: list(IDS),
    "with the axis of samples": lambda: [row[np.newaxis] for row in IDS],
    "a list of lists of numbers": lambda: IDS.tolist(),
    "an iterator": lambda: iter(IDS),
    "an iterator of lists, as for TensorFlow Lite": lambda: ([row] for row in IDS),
    "a tuple": lambda: tuple(IDS),
    "tensors": lambda: [Tensor(row) for row in IDS],
    "a tensor": lambda: Tensor(IDS),
    "dicts": lambda: [{"ids": row} for row in IDS],
    "an iterator of dicts": lambda: ({"ids": row[np.newaxis]} for row in IDS),
    "int32": lambda: IDS.astype(np.int32),
}


@pytest.mark.parametrize("form", OF_IDS)
def test_all_forms_are_the_same_samples(form: str) -> None:
    assert np.array_equal(named(OF_IDS[form](), ONE)["ids"], IDS)


def test_lists_of_an_array_for_each_input_are_in_the_order_of_the_inputs() -> None:
    found = named([[ids, x] for ids, x in zip(IDS, X, strict=True)], TWO)
    assert np.array_equal(found["ids"], IDS)
    assert np.array_equal(found["x"], X)


@pytest.mark.parametrize("rows", [X, X[:, np.newaxis], X[:2]], ids=["samples", "batches of one", "two"])
def test_floats_of_one_shape_are_what_they_are_stacked(rows: np.ndarray) -> None:
    found = name_arrays(list(rows), FLOATS, "data=")
    assert isinstance(found, np.ndarray)
    assert np.array_equal(found, rows.reshape(-1, 3))


def test_floats_of_several_shapes_stay_apart() -> None:
    free = [Input("sound", (None, None), np.dtype("float32"))]
    found = name_arrays([X[0], X[1, :2]], free, "data=")
    assert [row["sound"].shape for row in found] == [(3,), (2,)]


@pytest.mark.parametrize(
    "make", [lambda one: one, lambda one: one[np.newaxis], Image.fromarray], ids=["HWC", "1HWC", "PIL"]
)
def test_bytes_of_images_for_an_input_of_images_are_images(make: Callable[..., Any]) -> None:
    found = name_arrays([make(one) for one in PIXELS], PICTURES, "data=")
    assert isinstance(found, Dataset)
    assert np.array_equal([found.image(i) for i in range(4)], PIXELS)
    assert found.hash == dataset_of_arrays(PIXELS).hash


def test_images_may_differ_in_size() -> None:
    images = [PIXELS[0], PIXELS[1, :5], PIXELS[2, :, :4]]
    found = dataset_of_arrays(images, np.array([0, 1, 2]))
    assert [found.image(i).shape for i in range(3)] == [(8, 6, 3), (5, 6, 3), (8, 4, 3)]
    ((batch, labels),) = found.batches(3, Preprocess.from_dict({"resize": [4, 4]}))
    assert batch.shape == (3, 3, 4, 4)
    assert labels.tolist() == [0, 1, 2]
    with pytest.raises(DataError, match=r"image 1 is float32 \(5, 6, 3\)"):
        dataset_of_arrays([PIXELS[0], PIXELS[1, :5].astype(np.float32)])


def test_bytes_that_are_no_images_are_fed_as_they_are() -> None:
    bytes_in = [Input("bytes", (None, None), np.dtype("uint8"))]
    assert np.array_equal(named(list(PIXELS[0, :, :, 0]), bytes_in)["bytes"], PIXELS[0, :, :, 0])


def test_labels_go_with_an_array_of_the_same_length() -> None:
    labels = np.arange(6) % 3
    assert is_pair((IDS, labels))
    assert is_pair([X, labels])
    assert not is_pair([X[0], X[1]])
    assert not is_pair([IDS[0], IDS[1]])
    assert not is_pair([X, labels[:5]])
    assert np.array_equal(name_arrays((IDS, labels), ONE, "data=")["label"], labels)


REFUSED: dict[str, tuple[Any, list[Input], str]] = {
    "nothing": ([], ONE, "holds no samples; give at least one"),
    "arrays for two inputs": (list(X), TWO, r"entry 0 is 1 array, and the model has 2 inputs \('ids', 'x'\); give"),
    "a label in the entry": ([(IDS[0], 3)], ONE, "entry 0 is 2 arrays, .* one input .*, and 'label' for its class"),
    "paths": (["a.jpg", "b.jpg"], PICTURES, "entry 0 is of type str, .*; images in files are given as their folder"),
    "nothing at all": ([None], ONE, "entry 0 is of type NoneType"),
    "a dict among arrays": ([IDS[0], {"ids": IDS[1]}], ONE, "entry 1 is a dict beside entries that are none"),
    "text": ([["a", "b"]], ONE, "entry 0 is a list that is no array of numbers"),
    "uneven lists": ([[1, [2, 3]]], ONE, "entry 0 is a list that is no array of numbers"),
    "a tensor elsewhere": ([Elsewhere()], ONE, "Elsewhere gives no NumPy array .*cuda:0"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_sample_is_refused_with_the_entry(what: str) -> None:
    data, inputs, message = REFUSED[what]
    with pytest.raises(DataError, match=message):
        name_arrays(gather(data), inputs, "data=")


def test_rows_of_a_batch_that_is_one_sample_are_answers_each() -> None:
    """They would be taken for one list of 8 times as many classes."""
    random = np.random.default_rng(3)
    before, after = random.standard_normal((2, 16, 5))
    loss = OutputLoss("y", "classes", "y")
    for measure in (loss.each, loss.same):
        together, apart = measure(before, after, 2), measure(before, after, 16)
        assert together is not None
        assert apart is not None
        assert together == pytest.approx(apart.reshape(2, 8).mean(axis=1), rel=1e-12)
    assert loss.uncertainty(before, 2) == pytest.approx(loss.uncertainty(before, 16).reshape(2, 8).mean(1))

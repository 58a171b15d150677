"""Genders and ages by the words that networks have for them, whichever way round; what cannot be known is refused."""

from __future__ import annotations

import numpy as np
import pytest

from enxuto.data.labels import match_labels
from enxuto.data.names import other_words
from enxuto.data.readers.table import ADIENCE_AGES
from enxuto.errors import DataError

GENDERS = ("male", "female")
MEN_AND_WOMEN = [
    ("male", "female"), ("m", "f"), ("Male", "Female"), ("MALE", "FEMALE"), ("Man", "Woman"), ("men", "women"),
    ("boy", "girl"), ("Homem", "Mulher"), ("homens", "mulheres"), ("masculino", "feminino"), ("Masc", "Fem"),
    ("H", "M"), ("M", "W"), ("masculine", "Feminine"),
]  # fmt: skip


def places(classes: tuple[str, ...], names: list[str]) -> list[int]:
    """The output that each class is matched with."""
    labels = np.arange(len(classes))
    found = match_labels(labels, classes, names, len(names), path="x")
    assert not found.warnings
    return [int(one) for one in (labels if found.output_by_label is None else found.output_by_label)]


@pytest.mark.parametrize("names", MEN_AND_WOMEN)
@pytest.mark.parametrize("classes", [GENDERS, ("m", "f"), ("Man", "Woman"), ("h", "m")])
def test_genders_are_matched_in_any_words_and_order(classes: tuple[str, str], names: tuple[str, str]) -> None:
    man, woman = names
    assert places(classes, [man, woman]) == [0, 1]
    assert places(classes, [woman, man]) == [1, 0]
    assert places(classes[::-1], [woman, man]) == [0, 1]


def test_a_network_may_have_more_classes_and_several_words() -> None:
    labels = np.arange(2)
    names = [("nobody",), ("woman", "lady"), ("man", "gentleman")]
    found = match_labels(labels, GENDERS, names, 3, path="x")
    assert found.output_by_label is not None
    assert found.output_by_label.tolist() == [2, 1]


@pytest.mark.parametrize(
    "names", [["0", "1"], ["LABEL_0", "LABEL_1"], ["cat", "dog"], ["class 1", "class 2"]]
)
@pytest.mark.parametrize("classes", [GENDERS, ("f", "m")])
def test_names_that_mean_no_gender_are_refused_with_what_to_say(
    classes: tuple[str, str], names: list[str]
) -> None:
    with pytest.raises(DataError, match="names=") as refused:
        match_labels(np.arange(2), classes, names, 2, path="faces")
    assert f"'{classes[0]}', '{classes[1]}'" in str(refused.value)
    assert (
        "their order is not known; name the model's classes in its order, in the data's words, by names="
        in str(refused.value)
    )


def test_without_names_of_the_model_the_datas_order_stays() -> None:
    assert match_labels(np.arange(2), GENDERS, None, 2, path="x").output_by_label is None


@pytest.mark.parametrize(
    "write",
    [
        "({}, {})".format, "({}-{})".format, "{}-{}".format, "{}–{}".format, "{} to {}".format, "{}_{}".format,
        lambda low, high: "60+" if low == "60" else f"{low}-{high}",
        lambda low, high: {"8": "8-13", "38": "38-42"}.get(low, f"{low}-{high}"),
    ],
)  # fmt: skip
def test_ages_are_matched_as_networks_write_them(write: object) -> None:
    assert callable(write)
    names = [write(*age.strip("()").split(", ")) for age in ADIENCE_AGES]
    assert places(ADIENCE_AGES, names) == list(range(8))
    assert places(ADIENCE_AGES, names[::-1]) == list(range(8))[::-1]
    with pytest.raises(DataError, match="by names="):
        match_labels(np.arange(8), ADIENCE_AGES, [f"group {one}" for one in range(8)], 8, path="x")


@pytest.mark.parametrize(
    "classes", [("cat", "dog"), ("m", "n"), ("male",), ("male", "man"), (), ("m", "f", "x")]
)
def test_other_classes_have_no_other_words(classes: tuple[str, ...]) -> None:
    assert not other_words(classes)

"""Settings as TOML, of training and of preprocessing, and single ones: nonsense of every kind is one line."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from enxuto.data import Preprocess
from enxuto.errors import UsageError
from enxuto.train.config import TrainConfig, parse_setting

DEEP = {
    "arrays": b"lr = " + b"[" * 3000,
    "arrays that end": b"lr = " + b"[" * 200 + b"]" * 200,
    "arrays of arrays, not so deep": b"resize = " + b"[" * 40 + b"]" * 40,
    "tables": b"lr = " + b"{a=" * 400 + b"1" + b"}" * 400,
    "dotted keys": b"lr" + b".a" * 5000 + b" = 1",
    "dotted keys of a size": b"resize" + b".a" * 5000 + b" = 1",
    "a dotted heading": b"[train" + b".a" * 5000 + b"]\nb = 1",
    "keys in a table": b"[train]\n" + b"a." * 5000 + b"b = 1",
    "arrays in a table": b"[train]\nx = " + b"[" * 3000,
}
RAW = [
    b"\xff\xfe", b"a", b"[", b"[train", b"[preprocess", b"\x00", b"x = '''" + b"a" * 100, b"a.b.c = 1\na = 2",
    b"lr = " + b"9" * 5000, b"resize = " + b"9" * 5000, b"lr = 0x" + b"f" * 5000, b"lr = 1e99999", b"lr = 2024-13-01",
]  # fmt: skip
VALUES = [
    "true", "-1", "0", "1", "1e308", "inf", "nan", "-inf", '"x"', '""', "[]", "{}", "[1]", "[[1]]",
    "99999999999999999999", "0.5", "1979-05-27", '"\\u0000"', '["a", 1]', "{a=1}", "[-1, -1]",
    "[1000000000, 1000000000]", '"adam"', "0x7fffffffffffffff", "07:32:00",
]  # fmt: skip
READERS = {"train": TrainConfig.from_toml, "preprocess": Preprocess.from_toml}


def refused(read: Callable[[Path], object], place: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read(place)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", DEEP)
def test_nested_too_deeply(tmp_path: Path, reader: str, kind: str) -> None:
    (tmp_path / "c.toml").write_bytes(DEEP[kind])
    refused(READERS[reader], tmp_path / "c.toml")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("content", RAW, ids=lambda value: repr(value[:14]))
def test_no_settings(tmp_path: Path, reader: str, content: bytes) -> None:
    (tmp_path / "c.toml").write_bytes(content)
    refused(READERS[reader], tmp_path / "c.toml")


@pytest.mark.parametrize("reader", READERS)
def test_places_that_are_no_files(tmp_path: Path, reader: str) -> None:
    for place in (tmp_path, tmp_path / "missing", Path("/dev/zero")):
        refused(READERS[reader], place)
    large = tmp_path / "large.toml"
    large.write_bytes(b"#" * (2 << 20))
    refused(READERS[reader], large)


@pytest.mark.parametrize("reader", READERS)
def test_values_of_every_kind(tmp_path: Path, reader: str) -> None:
    draw, place = random.Random(1), tmp_path / "c.toml"
    names = (
        list(TrainConfig.model_fields)
        if reader == "train"
        else [f.name for f in dataclasses.fields(Preprocess)]
    )
    for number in range(400):
        lines = [f"{name} = {draw.choice(VALUES)}" for name in draw.sample(names, draw.randrange(1, 4))]
        lines += ["zzz = 1"] if number % 20 == 0 else []
        place.write_text("\n".join([f"[{reader}]", *lines] if number % 2 else lines))
        try:
            READERS[reader](place)
        except UsageError as error:
            assert "\n" not in str(error)  # noqa: PT017 (settings, or an error of ours)


@pytest.mark.parametrize("value", ["[" * 3000, "{a=" * 400, "9" * 5000, "x" * 5000])
def test_single_settings(value: str) -> None:
    with pytest.raises(UsageError):
        TrainConfig.from_recipe(None, dict([parse_setting(f"lr={value}")]))

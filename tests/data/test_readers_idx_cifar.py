"""IDX and CIFAR binary, from literal bytes; damaged bytes give one line, never another exception."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from enxuto.data import open_dataset
from enxuto.errors import DataError, EnxutoError, FormatError

# Two images of 2×3 pixels and their labels, byte by byte as the format's page tells.
IMAGES = bytes.fromhex("00000803 00000002 00000002 00000003 010203040506 0708090a0b0c")
LABELS = bytes.fromhex("00000801 00000002 0705")


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    for part, labels in (("train", b"\x01\x02"), ("t10k", LABELS[8:])):
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(IMAGES)
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(LABELS[:8] + labels)
    return tmp_path


def test_idx_pixels_labels_and_parts(mnist: Path) -> None:
    data = open_dataset(mnist)
    assert (data.format, data.part, len(data), data.image_shape) == ("idx", "test", 2, (2, 3, 1))
    assert data.labels.tolist() == [7, 5]
    np.testing.assert_array_equal(data.image(1)[:, :, 0], [[7, 8, 9], [10, 11, 12]])
    assert open_dataset(mnist, split="train").labels.tolist() == [1, 2]
    with pytest.raises(DataError, match="has the parts test, train; there is no 'val'"):
        open_dataset(mnist, split="val")


def test_idx_single_file_finds_its_labels(mnist: Path) -> None:
    assert open_dataset(mnist / "train-images-idx3-ubyte").labels.tolist() == [1, 2]
    with pytest.raises(DataError, match="E022"):
        open_dataset(mnist / "train-images-idx3-ubyte", split="test")
    (mnist / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="no labels beside it; put train-labels-idx1-ubyte"):
        open_dataset(mnist, split="train")


@pytest.mark.parametrize(
    "name", ["t10k-images-idx3-ubyte.gz", "t10k-images.idx3-ubyte.gz", "emnist-test-images-idx3-ubyte.gz"]
)
def test_idx_gzipped_under_the_names_in_use(tmp_path: Path, name: str) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / name).write_bytes(gzip.compress(IMAGES))
    labels = name.replace("images", "labels").replace("idx3", "idx1")
    (tmp_path / "raw" / labels).write_bytes(gzip.compress(LABELS))
    data = open_dataset(tmp_path)
    np.testing.assert_array_equal(data.image(0)[:, :, 0], [[1, 2, 3], [4, 5, 6]])
    assert data.labels.tolist() == [7, 5]


def test_idx_gzipped_and_plain_twins_are_one_set_but_two_sets_are_a_question(mnist: Path) -> None:
    (mnist / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(IMAGES))
    assert open_dataset(mnist).labels.tolist() == [7, 5]
    (mnist / "emnist-test-images-idx3-ubyte").write_bytes(IMAGES)
    with pytest.raises(DataError, match="E023"):
        open_dataset(mnist)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("length", range(len(IMAGES)))
def test_idx_every_truncation_is_a_format_error(tmp_path: Path, length: int, packed: bool) -> None:
    ending = ".gz" if packed else ""
    cut = IMAGES[:length]
    (tmp_path / f"test-images-idx3-ubyte{ending}").write_bytes(gzip.compress(cut) if packed else cut)
    (tmp_path / "test-labels-idx1-ubyte").write_bytes(LABELS)
    with pytest.raises(FormatError, match="test-images-idx3-ubyte"):
        open_dataset(tmp_path)


def test_idx_damaged_gzip_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "test-labels-idx1-ubyte").write_bytes(LABELS)
    whole = gzip.compress(IMAGES, mtime=0)
    for position in range(len(whole)):
        damaged = whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :]
        (tmp_path / "test-images-idx3-ubyte.gz").write_bytes(damaged)
        try:
            data = open_dataset(tmp_path)
        except EnxutoError:
            continue
        assert data.image(0).tobytes() == bytes(range(1, 7))  # the change was in a field that holds no data


@pytest.mark.parametrize("packed", [False, True])
def test_idx_header_that_claims_terabytes_is_refused_before_memory_is_taken(
    tmp_path: Path, packed: bool
) -> None:
    huge = bytes.fromhex("00000803 ffffffff ffffffff ffffffff") + bytes(100)
    name = tmp_path / ("test-images-idx3-ubyte" + (".gz" if packed else ""))
    name.write_bytes(gzip.compress(huge) if packed else huge)
    (tmp_path / "test-labels-idx1-ubyte").write_bytes(LABELS)
    with pytest.raises(FormatError, match="claims 4294967295×4294967295×4294967295 values"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (IMAGES[:7] + b"\x03" + IMAGES[8:] + bytes(6), "hold 3 images and 2 labels"),
        (bytes.fromhex("00000d03") + IMAGES[4:], "IDX type 13 with 3 axes"),
        (b"\x1f\x8b" + IMAGES[2:], "does not begin as IDX"),
        (bytes.fromhex("00000803 00000002 00000000 00000003"), "claims 2×0×3 values, which is none"),
    ],
)
def test_idx_that_is_not_what_it_says(tmp_path: Path, images: bytes, words: str) -> None:
    (tmp_path / "test-images-idx3-ubyte").write_bytes(images)
    (tmp_path / "test-labels-idx1-ubyte").write_bytes(LABELS)
    with pytest.raises((DataError, FormatError), match=words):
        open_dataset(tmp_path)


def planes(red: int, green: int, blue: int) -> bytes:
    """3072 bytes of a CIFAR image; the first pixel of the second row is brighter by one."""
    flat = bytes([red]) * 1024 + bytes([green]) * 1024 + bytes([blue]) * 1024
    return flat[:32] + bytes([red + 1]) + flat[33:]


def test_cifar10_folder(tmp_path: Path) -> None:
    for number in range(1, 6):
        (tmp_path / f"data_batch_{number}.bin").write_bytes(bytes([number]) + planes(number, 20, 30))
    (tmp_path / "test_batch.bin").write_bytes(b"\x09" + planes(1, 2, 3) + b"\x00" + planes(4, 5, 6))
    names = [f"kind{number}" for number in range(10)]
    (tmp_path / "batches.meta.txt").write_text("\n".join(names) + "\n\n")
    test, train = open_dataset(tmp_path), open_dataset(tmp_path, split="train")
    assert (test.format, test.part, test.image_shape) == ("cifar", "test", (32, 32, 3))
    assert test.labels.tolist() == [9, 0]
    assert test.classes == tuple(names)
    image = test.image(1)
    assert image[0, 0].tolist() == [4, 5, 6]
    assert image[1, 0].tolist() == [5, 5, 6]
    assert train.labels.tolist() == [1, 2, 3, 4, 5]
    assert [int(train.image(i)[0, 0, 0]) for i in range(5)] == [1, 2, 3, 4, 5]
    (tmp_path / "data_batch_3.bin").unlink()
    with pytest.raises(DataError, match=r"lacks data_batch_3\.bin"):
        open_dataset(tmp_path, split="train")


def test_cifar100_fine_and_coarse(tmp_path: Path) -> None:
    (tmp_path / "test.bin").write_bytes(b"\x13\x63" + planes(1, 2, 3))
    (tmp_path / "train.bin").write_bytes(b"\x01\x02" + planes(1, 2, 3))
    assert open_dataset(tmp_path).labels.tolist() == [99]
    coarse = open_dataset(tmp_path, label_column="coarse")
    assert coarse.labels.tolist() == [19]
    assert coarse.image(0)[0, 0].tolist() == [1, 2, 3]
    with pytest.raises(DataError, match="no label 'label'; there is fine and coarse"):
        open_dataset(tmp_path, label_column="label")


def test_cifar_single_file_of_any_name_by_its_length(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"\x01" + planes(1, 2, 3))
    (tmp_path / "b.bin").write_bytes(b"\x01\x02" + planes(1, 2, 3))
    assert open_dataset(tmp_path / "a.bin").labels.tolist() == [1]
    assert open_dataset(tmp_path / "b.bin").labels.tolist() == [2]
    for cut in (0, 1, 3072, 3075):
        (tmp_path / "c.bin").write_bytes(bytes(cut))
        with pytest.raises(FormatError, match=f"c.bin has {cut} bytes"):
            open_dataset(tmp_path / "c.bin")
        (tmp_path / "test_batch.bin").write_bytes(bytes(cut))
        with pytest.raises(FormatError, match=f"{cut} bytes, not a whole number of records of 3073"):
            open_dataset(tmp_path / "test_batch.bin")


def test_cifar_label_beyond_the_classes(tmp_path: Path) -> None:
    (tmp_path / "test_batch.bin").write_bytes((b"\x01" + planes(1, 2, 3)) + (b"\x0a" + planes(1, 2, 3)))
    with pytest.raises(FormatError, match="label 10 at sample 1, but there are 10 classes"):
        open_dataset(tmp_path)


def test_pickled_cifar_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1").write_bytes(b"\x80\x02}q\x01.")
    with pytest.raises(DataError, match=r"pickled edition.*fetch the binary edition"):
        open_dataset(tmp_path)

"""Damaged and hostile data of every kind × every reader: one line of ours, soon, and never an error of another kind."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from enxuto.data import Dataset, open_dataset
from enxuto.errors import DataError, EnxutoError, FormatError

HUGE = 2**40


def png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (1, 2, 3)).save(stream, "PNG")
    return stream.getvalue()


def looked_at(path: Path, *, labelled: bool = True) -> Dataset:
    """Opened, and all of it read."""
    data = open_dataset(path, require_labels=labelled)
    for number in range(len(data)):
        data.image(number)
    assert data.hash
    return data


def refused(path: Path, *, labels_alone: bool = False) -> None:
    """labels_alone: whether nothing but labels is wrong, so that the images are good without them."""
    if labels_alone:
        assert not looked_at(path, labelled=False).labelled
    for labelled in (True,) if labels_alone else (True, False):
        with pytest.raises((DataError, FormatError)) as caught:
            looked_at(path, labelled=labelled)
        message = str(caught.value)
        assert "\n" not in message
        assert len(message) < 1000


# --- .npz


def npy(shape: object, descr: object = "|u1", body: bytes = b"", version: int = 1) -> bytes:
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    text += b" " * (64 - (10 + len(text)) % 64 - 1) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(text)) + text + body


def raw_header(text: bytes, version: int = 1) -> bytes:
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(text)) + text


class Evil:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch was-run",)


def objects(value: object) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.array([value] * 4, object))
    return stream.getvalue()


IMAGES = npy((4, 8, 8), body=bytes(256))
LABELS = npy((4,), "<i8", np.arange(4, dtype="<i8").tobytes())

NPZ: dict[str, dict[str, bytes]] = {
    "axes that are no numbers": {"images": npy((True, 8, 8), body=bytes(64)), "labels": npy((True,), "<i8", bytes(8))},
    "negative axes": {"images": npy((-4, -8, 8), body=bytes(256))},
    "one negative axis": {"images": npy((-1, 8, 8))},
    "axes of text": {"images": npy(("4", 8, 8), body=bytes(256))},
    "an axis of fractions": {"images": npy((4.0, 8, 8), body=bytes(256))},
    "axes in a list": {"images": npy([4, 8, 8], body=bytes(256))},
    "a huge axis": {"images": npy((HUGE, 8, 8))},
    "huge axes and none": {"images": npy((HUGE, HUGE, 0)), "labels": npy((0,), "<i8")},
    "none of huge axes": {"images": npy((0, HUGE, HUGE)), "labels": npy((0,), "<i8")},
    "axes beyond 64 bits": {"images": npy((2**70, 2**70, 0)), "labels": npy((0,), "<i8")},
    "too many axes": {"images": npy((1,) * 200, body=b"x")},
    "no bytes a value": {"images": npy((4, 8, 8), "|V0")},
    "an unknown type": {"images": npy((4, 8, 8), "|q9", bytes(256))},
    "a type of deep lists": {"images": npy((4, 8, 8), [("a", [("b", "|u1")])], bytes(256))},
    "a type that is a number": {"images": npy((4, 8, 8), 7, bytes(256))},
    "objects as images": {"images": objects(Evil())},
    "objects as labels": {"labels": objects(Evil())},
    "objects as classes": {"classes": objects(Evil())},
    "a pickle": {"images": pickle.dumps(Evil())},
    "brackets without end": {"images": raw_header(b"(" * 9000)},
    "brackets beyond the limit": {"images": raw_header(b"(" * 65535)},
    "code for a header": {"images": raw_header(b"{'descr': __import__('os'),     \n")},
    "half a header": {"images": raw_header(b"{'descr': '|u1', 'shape': (4,")},
    "a header of minuses": {"images": raw_header(b"-" * 9000)},
    "a header of nothing": {"images": raw_header(b"")},
    "a header that is no text": {"images": raw_header(b"\xff" * 64)},
    "a header of zeros": {"images": raw_header(b"\0" * 64)},
    "a header longer than the file": {"images": b"\x93NUMPY\x02\0\xff\xff\xff\x7f{}"},
    "version 9": {"images": npy((4, 8, 8), body=bytes(256), version=9)},
    "keys that are missing": {"images": raw_header(b"{}".ljust(63) + b"\n")},
    "names that are no Unicode": {"classes": npy((4,), "<U1", b"\xff" * 16)},
    "names that are no Unicode, turned round": {"classes": npy((4,), ">U1", b"\xff" * 16)},
    "names of no length": {"classes": npy((4,), "<U0")},
    "names in a table": {"classes": npy((2, 2), "<U1", bytes(16))},
    "labels beyond 63 bits": {"labels": npy((4,), "<u8", b"\xff" * 32)},
    "negative labels": {"labels": npy((4,), "<i8", b"\xff" * 32)},
    "labels with fractions": {"labels": npy((4,), "<f8", bytes(32))},
    "labels that are dates": {"labels": npy((4,), "<M8[s]", bytes(32))},
    "fewer labels than images": {"labels": npy((3,), "<i8", bytes(24))},
    "pixels of 64 bits": {"images": npy((4, 8, 8), "<f8", bytes(2048))},
}  # fmt: skip


@pytest.mark.parametrize("kind", NPZ)
@pytest.mark.parametrize("packed", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, packed: int) -> None:
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(tmp_path / "d.npz", "w", packed) as archive:
        for name, content in {"images": IMAGES, "labels": LABELS, **NPZ[kind]}.items():
            archive.writestr(f"{name}.npy", content)
    refused(tmp_path / "d.npz", labels_alone=kind in ("labels beyond 63 bits", "negative labels"))
    assert not (tmp_path / "was-run").exists()


def test_every_byte_of_an_archive_changed(tmp_path: Path) -> None:
    place = tmp_path / "d.npz"
    np.savez(place, images=np.zeros((2, 3, 3), np.uint8), labels=[0, 1], classes=["a", "b"])
    whole = place.read_bytes()
    for position in range(0, len(whole), 7):
        for damaged in (
            whole[:position],
            whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :],
        ):
            place.write_bytes(damaged)
            try:
                looked_at(place)
            except EnxutoError as error:
                assert "\n" not in str(error)  # noqa: PT017 (either is right: an error of ours, or data)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04" + bytes(40), b"PK\x05\x06" + bytes(18)])
def test_files_that_are_no_archives(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "d.npz").write_bytes(content)
    refused(tmp_path / "d.npz")


# --- IDX


def idx(sizes: tuple[int, ...], body: bytes, kind: int = 8) -> bytes:
    return struct.pack(">HBB", 0, kind, len(sizes)) + struct.pack(f">{len(sizes)}I", *sizes) + body


MOST = 2**32 - 1
GOOD = idx((3, 4, 4), bytes(48)), idx((3,), bytes(3))
IDX: dict[str, tuple[bytes, bytes]] = {
    "huge axes and no images": (idx((0, MOST, MOST), b""), idx((0,), b"")),
    "images without height": (idx((3, MOST, 0), b""), idx((3,), bytes(3))),
    "no images": (idx((0, 4, 4), b""), idx((0,), b"")),
    "more than there is": (idx((MOST, 2**16, 2**16), bytes(48)), GOOD[1]),
    "a byte too few": (idx((3, 4, 4), bytes(47)), GOOD[1]),
    "a byte too many": (idx((3, 4, 4), bytes(49)), GOOD[1]),
    "another type": (idx((3, 4, 4), bytes(48), kind=0x0D), GOOD[1]),
    "255 axes": (idx((1,) * 255, b"x"), GOOD[1]),
    "no axes": (idx((), b""), GOOD[1]),
    "half a header": (GOOD[0][:9], GOOD[1]),
    "nothing": (b"", GOOD[1]),
    "labels of nothing": (GOOD[0], b""),
    "more labels than images": (GOOD[0], idx((4,), bytes(4))),
    "more labels than bytes": (GOOD[0], idx((MOST,), bytes(3))),
    "labels with three axes": (GOOD[0], GOOD[0]),
}


@pytest.mark.parametrize("kind", IDX)
@pytest.mark.parametrize("packed", [False, True])
def test_idx(tmp_path: Path, kind: str, packed: bool) -> None:
    for name, content in zip(("images-idx3", "labels-idx1"), IDX[kind], strict=True):
        ending = ".gz" if packed else ""
        (tmp_path / f"t10k-{name}-ubyte{ending}").write_bytes(gzip.compress(content) if packed else content)
    refused(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [b"", b"\x1f\x8b", gzip.compress(GOOD[0])[:-9], gzip.compress(GOOD[0])[:12] + b"\xff" * 20],
    ids=["empty", "signature", "cut", "changed"],
)
def test_idx_that_does_not_unpack(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(damage)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(GOOD[1])
    refused(tmp_path)


# --- CIFAR


@pytest.mark.parametrize(
    ("name", "content"),
    [("test_batch.bin", b""), ("test_batch.bin", bytes(100)), ("test_batch.bin", b"\x0b" + bytes(3072)),
     ("test.bin", bytes([0, 100]) + bytes(3072)), ("other.bin", bytes(3073 * 3074)), ("other.bin", bytes(7))],
)  # fmt: skip
def test_cifar(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name)


# --- Parquet


def parquet(place: Path, image: object = None, label: object = None, metadata: bytes | None = None) -> Path:
    rows = [{"bytes": png(), "path": "a"}] * 3
    table = pa.table({"image": pa.array(rows) if image is None else image,
                      "label": pa.array([0, 1, 2]) if label is None else label})  # fmt: skip
    pq.write_table(table.replace_schema_metadata({"huggingface": metadata}) if metadata else table, place)
    return place


@pytest.mark.parametrize(
    "metadata",
    [b"[" * 100_000, b'{"info":' * 50_000, b"\xff\xfe", b"{}", b"null", b"[]", b'{"info": 5}',
     b'{"info": {"features": []}}',
     json.dumps({"info": {"features": {"label": {"names": [[["deep"]]]}}}}).encode(),
     json.dumps({"info": {"features": {"label": {"names": {"0": "a"}}}}}).encode()],
    ids=lambda value: value[:12],
)  # fmt: skip
def test_metadata_that_names_no_classes_is_passed_over(tmp_path: Path, metadata: bytes) -> None:
    data = looked_at(parquet(tmp_path / "d.parquet", metadata=metadata))
    assert (data.classes, data.labels.tolist()) == (None, [0, 1, 2])


@pytest.mark.parametrize(
    ("image", "label"),
    [(None, pa.array([2**64 - 1, 1, 2], pa.uint64())), (None, pa.array([-5, 2**62, 0])),
     (pa.array([None, None, None], pa.binary()), None), (pa.array([b"", b"x", b"y"]), None),
     (pa.array([], pa.binary()), pa.array([], pa.int64()))],
)  # fmt: skip
def test_parquet_of_nonsense(tmp_path: Path, image: object, label: object) -> None:
    refused(parquet(tmp_path / "d.parquet", image, label), labels_alone=image is None)


@pytest.mark.parametrize(
    "content",
    [b"", b"PAR1", b"PAR1" + b"x" * 100 + b"PAR1", b"PAR1" + struct.pack("<I", 2**31 - 1) + b"PAR1"],
)
def test_files_that_are_no_parquet(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "d.parquet").write_bytes(content)
    refused(tmp_path / "d.parquet")


def test_changed_and_cut_parquet(tmp_path: Path) -> None:
    whole = parquet(tmp_path / "d.parquet").read_bytes()
    random = np.random.default_rng(0)
    place = tmp_path / "e.parquet"
    for _ in range(150):
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[random.integers(0, len(whole), 3)] = random.integers(0, 256, 3)
        place.unlink(missing_ok=True)  # the file may still be mapped
        place.write_bytes(damaged.tobytes()[: random.integers(1, 2 * len(whole))])
        try:
            looked_at(place)
        except EnxutoError as error:
            assert "\n" not in str(error)  # noqa: PT017


# --- tables


@pytest.mark.parametrize(
    "content",
    [b"", b"file,label", b"file,label\n", b"file,label\n\xff\xfe,1\n", b'file,label\n"a\n,1\n',
     b"file,label\na.png,1,2\n",
     b"file\0,label\na.png,1\n", b"file,label\n\0,1\n", b"file,label\n" + b"a" * 200_000 + b",1\n",
     b"file,label\n" + b"a" * 5000 + b",1\n", b"file,label\n/dev/zero,1\n", b"file,label\npipe.png,1\n",
     b"file,label\nfolder,1\n", b"file,label\ncircle.png,1\n", b"file,label\na.png,-1\n", b"file,file\na.png,1\n",
     b"file,label\nt.csv,1\n"],
    ids=lambda value: value[:24],
)  # fmt: skip
def test_tables(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    os.symlink("circle.png", tmp_path / "circle.png")
    (tmp_path / "t.csv").write_bytes(content)
    refused(tmp_path / "t.csv", labels_alone=content.endswith(b",-1\n"))


# --- folders


def test_links_in_circles_pipes_and_devices_in_folders(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.png").write_bytes(png())
    os.symlink("..", tmp_path / "cat" / "up")
    os.symlink("circle.png", tmp_path / "cat" / "circle.png")
    os.symlink("/dev/zero", tmp_path / "cat" / "zero.png")
    os.symlink("nowhere.png", tmp_path / "cat" / "gone.png")
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    os.symlink(tmp_path, tmp_path / "dog")
    os.symlink(tmp_path.parent, tmp_path / "eel")
    os.symlink("self", tmp_path / "self")
    for labelled in (True, False):
        data = looked_at(tmp_path, labelled=labelled)
        assert (len(data), data.classes) == (1, ("cat",))
        assert data.notes == ("2 links lead back to the folder itself and were left out, first dog",)


def test_a_linked_class_folder_is_a_class(tmp_path: Path) -> None:
    for name in ("all/cat", "all/dog"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a.png").write_bytes(png())
    (tmp_path / "some").mkdir()
    os.symlink(tmp_path / "all" / "dog", tmp_path / "some" / "dog")
    assert looked_at(tmp_path / "some").classes == ("dog",)


@pytest.mark.parametrize("kind", ["pipe", "circle", "device", "nowhere", "missing", "empty"])
def test_places_that_hold_no_data(tmp_path: Path, kind: str) -> None:
    place = tmp_path / kind
    match kind:
        case "pipe":
            os.mkfifo(place)
        case "circle":
            os.symlink(kind, place)
        case "device":
            place = Path("/dev/zero")
        case "nowhere":
            os.symlink("gone", place)
        case "empty":
            place.mkdir()
    refused(place)


@pytest.mark.parametrize("format", ["parquet", "folder", "idx", "cifar", "npz", "table"])
@pytest.mark.parametrize("folder", [True, False])
def test_data_of_another_kind_than_said(tmp_path: Path, format: str, folder: bool) -> None:
    (tmp_path / "file").write_bytes(os.urandom(64))
    with pytest.raises(EnxutoError):
        open_dataset(tmp_path if folder else tmp_path / "file", format=format)


def test_more_than_memory_is_an_error_of_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.png").write_bytes(png())

    def too_much(*_: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr(Path, "read_bytes", too_much)
    with pytest.raises(DataError, match="E092"):
        open_dataset(tmp_path).image(0)

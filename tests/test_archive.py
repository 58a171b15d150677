"""Files of tensors: whatever is wrong with one is one line; nothing in it runs; its bytes bound what it takes."""

from __future__ import annotations

import collections
import io
import os
import pickle
import random
import resource
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from enxuto import zoo
from enxuto.archive import digest, read_archive, read_state, write_archive
from enxuto.errors import EnxutoError, FormatError, UsageError
from enxuto.export.network import _load_weights as load_for_export
from enxuto.prune import load_pruned
from enxuto.studies.pruning import TrainedWeights
from enxuto.train import Checkpoint

torch.set_num_threads(1)
SHOWN = {"text": "a", "numbers": [1, 2.5, None, True, 2**90], "pair": (b"b", torch.float32)}


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return zoo.build("lenet5", classes=10, channels=1, seed=0).state_dict()


def members(raw: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        return {record.filename: archive.read(record) for record in archive.infolist()}


def packed(records: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    return file.getvalue()


def saved(value: object, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def with_pickle(content: bytes) -> bytes:
    """An archive whose description is this pickle."""
    records = members(saved({"a": torch.zeros(1)}))
    return packed({name: content if name.endswith("data.pkl") else old for name, old in records.items()})


def readers() -> dict[str, Callable[[Path], object]]:
    network = zoo.build("lenet5", classes=10, channels=1, seed=0)
    return {
        "weights": TrainedWeights.read, "checkpoint": Checkpoint.read, "pruned": load_pruned, "state": read_state,
        "export": lambda path: load_for_export(network, path),
    }  # fmt: skip


def damaged(base: bytes, drawn: random.Random) -> bytes:
    """Bits flipped in the archive, an end cut off, or the description changed inside an archive that is whole."""
    way = drawn.randrange(4)
    if way == 0:
        raw = bytearray(base)
        for _ in range(drawn.randrange(1, 4)):
            ends = drawn.choice([drawn.randrange(2000), len(raw) - 1 - drawn.randrange(2500)])
            raw[drawn.randrange(len(raw)) if drawn.random() < 0.3 else ends] ^= 1 << drawn.randrange(8)
        return bytes(raw)
    if way == 1:
        return base[: drawn.randrange(len(base))]
    records = members(base)
    name = next(name for name in records if name.endswith("data.pkl"))
    raw = bytearray(records[name])
    for _ in range(drawn.randrange(1, 4)):
        place, change = drawn.randrange(len(raw)), drawn.randrange(4)
        if change == 0:
            raw[place] ^= 1 << drawn.randrange(8)
        elif change == 1:
            raw[place] = drawn.randrange(256)
        elif change == 2:
            del raw[place : place + drawn.randrange(1, 8)]
        else:
            raw[place:place] = drawn.randbytes(drawn.randrange(1, 5))
    records[name] = bytes(raw)
    if drawn.random() < 0.1:
        records.pop(drawn.choice(list(records)))
    return packed(records)


@pytest.mark.parametrize("seed", range(4))
def test_every_reader_gives_one_line_for_damage(
    seed: int, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """800 damaged checkpoints were tried from outside; 14 ended in another error then."""
    base, drawn, path = saved({"model": state}), random.Random(seed), tmp_path / "bad.pt"
    found: collections.Counter[str] = collections.Counter()
    read_well: collections.Counter[str] = collections.Counter()
    for _ in range(50):
        path.write_bytes(damaged(base, drawn))
        for name, read in readers().items():
            try:
                read(path)
            except EnxutoError as error:
                found[name] += str(path) in str(error) and "\n" not in str(error)
            else:
                found[name] += 1
                read_well[name] += 1
    assert set(found.values()) == {50}, found
    assert max(read_well.values(), default=0) < 20  # bytes that fill up, and names of tensors


def test_a_flipped_weight_of_a_plain_state_dict_is_found(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """There is no digest in it, but a checksum for each record, which torch does not compare."""
    raw, path = saved(state), tmp_path / "net.pt"
    where = raw.index(state["features.c1.weight"].numpy().tobytes())
    path.write_bytes(raw[:where] + bytes([raw[where] ^ 1]) + raw[where + 1 :])
    assert not torch.equal(
        torch.load(path, weights_only=True)["features.c1.weight"], state["features.c1.weight"]
    )
    for name, read in readers().items():
        with pytest.raises(FormatError, match="does not fit its checksum") as caught:
            read(path)
        assert "\n" not in str(caught.value), name


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    values = {**SHOWN, "state": {"w": torch.arange(6.0).reshape(2, 3).t(), "b": torch.tensor(True)}}
    write_archive(path, "a form", 3, values)
    held = read_archive(path)
    assert isinstance(held, dict)
    assert (held["format"], held["version"], held["digest"]) == ("a form", 3, digest(values))
    assert {name: held[name] for name in SHOWN} == SHOWN
    assert torch.equal(held["state"]["w"], values["state"]["w"])


@pytest.mark.parametrize("key", [None, "model", "state_dict", "weights"])
@pytest.mark.parametrize("form", ["zip", "before torch 1.6"])
def test_state_dicts_of_others(
    key: str | None, form: str, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path, tied = tmp_path / "a.pt", {**state, "tied": state["features.c1.weight"]}
    shaped = {name: torch.nn.Parameter(value) for name, value in tied.items()}
    raw = saved({key: shaped} if key else shaped, _use_new_zipfile_serialization=form == "zip")
    path.write_bytes(raw)
    read = read_state(path)
    assert read.keys() == tied.keys()
    assert all(torch.equal(read[name], value) for name, value in tied.items())


class Marks:
    """Leaves a mark when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("was-executed",)


def hostile() -> dict[str, bytes]:
    """Files that run code, hang, or ask for gigabytes when read without care; the largest has 300 kB."""
    nested: list[Any] = []
    for _ in range(60):
        nested = [nested, nested]
    deep: list[Any] = []
    for _ in range(100):
        deep = [deep]
    wide = torch.zeros(1).expand(2**20, 2**20)
    buffer = torch.zeros(20_000)
    records = members(saved({"a": torch.zeros(1 << 20)}))
    bytearray_of = b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\x00\x00\x00\x00\x02\x85R."
    return {
        "runs": saved({"model": Marks()}),
        "runs, old form": saved({"model": Marks()}, _use_new_zipfile_serialization=False),
        "runs, a bare pickle": pickle.dumps(Marks()),
        "runs, protocol 4": pickle.dumps(Marks(), protocol=4),
        "runs, by stack": with_pickle(pickle.dumps({"a": Marks()}, protocol=4)),
        "8 GB from a number": with_pickle(bytearray_of),
        "8 GB from a number, old form": bytearray_of,
        "lists of lists of themselves": saved({"model": nested}),
        "deep": saved({"model": deep}),
        "in itself": with_pickle(b"\x80\x02]q\x00h\x00a."),
        "4 TB by stride 0": saved({"a": wide}),
        "views of one buffer": saved({str(i): buffer.as_strided((20_000,), (1,)) for i in range(1500)}),
        "compressed": packed(records, zipfile.ZIP_DEFLATED),
        "a number of a million bits": with_pickle(pickle.dumps({"a": 1 << 500_000}, protocol=2)),
        "sparse": saved({"a": torch.eye(3).to_sparse()}),
        "meta": saved({"a": torch.zeros(2**40, device="meta")}),
        "a module": saved(torch.nn.Linear(1, 1)),
        "a set": saved({"a": {1, 2}}),
        "numbers as names": saved({"model": {1: torch.zeros(1)}}),
        "no state": saved([1, 2]),
        "empty": b"", "text": b"hello", "page": b"<html>404</html>", "only a head": b"PK\x03\x04",
    }  # fmt: skip


HOSTILE = hostile()


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.pt"
    path.write_bytes(HOSTILE[name])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for reader, read in readers().items():
        with pytest.raises(FormatError) as caught:
            read(path)
        assert "\n" not in str(caught.value), reader
        assert len(str(caught.value)) < 400
    assert not Path("was-executed").exists()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB


def test_files_that_are_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    (tmp_path / "self.pt").symlink_to(tmp_path / "self.pt")
    for place in ("/dev/zero", tmp_path, tmp_path / "none.pt"):
        for read in readers().values():
            with pytest.raises(UsageError):
                read(Path(place))
    for read in readers().values():
        with pytest.raises(UsageError, match="pipe"):
            read(tmp_path / "pipe.pt")
        with pytest.raises(EnxutoError):
            read(tmp_path / "self.pt")


def test_contents_that_fit_their_digest_and_mean_nothing(tmp_path: Path) -> None:
    """A digest holds no secret: whoever means harm writes one that fits."""
    good: dict[str, Any] = {
        "epoch": 1, "model": {}, "optimizer": {}, "schedule": {}, "scaler": {}, "order": torch.zeros(1),
        "generators": [], "history": [{"lr": 0.1}], "stopped": "epochs", "config": {"lr": 0.1},
        "data": {"classes": 2, "mean": [0.5], "std": [0.5]}, "preprocess": None, "versions": {},
    }  # fmt: skip
    path = tmp_path / "last.pt"
    write_archive(path, "enxuto checkpoint", 1, good)
    assert TrainedWeights.read(path).last_lr == 0.1
    for name, value in (
        ("epoch", "1"), ("epoch", True), ("model", 5), ("model", {"a": 1}), ("order", 1), ("generators", 1),
        ("history", 5), ("history", [5]), ("history", [{}]), ("stopped", None), ("config", {}), ("config", 1),
        ("data", {}), ("data", {"classes": 2, "mean": 1, "std": [1.0]}), ("preprocess", 3), ("versions", []),
        ("data", {"classes": 2, "mean": [0.5], "std": [0.0]}),
        ("data", {"classes": 2, "mean": [float("nan")], "std": [1.0]}),
    ):  # fmt: skip
        write_archive(path, "enxuto checkpoint", 1, {**good, name: value})
        for read in (Checkpoint.read, TrainedWeights.read):
            with pytest.raises(FormatError, match=name):
                read(path)


def test_a_number_of_classes_in_a_checkpoint_builds_no_giant(tmp_path: Path) -> None:
    """Resident memory of a process that takes a checkpoint which claims 10⁹ classes."""
    code = (
        "import torch\n"
        "from enxuto.errors import EnxutoError\n"
        "from enxuto.studies.pruning import StartingNetwork, TrainedWeights\n"
        "try:\n"
        "    StartingNetwork.of('lenet5', TrainedWeights({'a': torch.zeros(1)}, classes=10**9), (1, 32, 32), 10)\n"
        "    raise SystemExit('taken')\n"
        "except EnxutoError: pass\n"
        # Not ru_maxrss, which begins with what the parent had.
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "assert int(peak.split()[1]) < 1_500_000, peak\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""Kept calibrations that are damaged, or made to hurt: each is measured anew, with no error and no memory."""

from __future__ import annotations

import copy
import io
import json
import pickle
import random
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from enx_samples import small_model
from enxuto.calibration import cache as calibration_cache
from enxuto.calibration.cache import cached_calibration, calibration_key
from enxuto.calibration.calibrate import calibrate
from enxuto.calibration.calibration import Calibration
from enxuto.runtime import Runner

NASTY: list[Any] = [
    None, True, -1, 0, 1, 2**40, 10**30, float("inf"), "x", [], {}, [1], [10**9, 0], [0, 0], [-1, 5], {"layers": {}},
    0.5, float("nan"), "1" * 400,
]  # fmt: skip


class Kept:
    """A calibration on disk, in pieces, and how often one is measured when it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.model = small_model()  # every file is packed and read hundreds of times
        shape = [int(size or 8) for size in Runner(self.model).inputs[0].shape[1:]]
        self.images = np.random.default_rng(0).standard_normal((12, *shape)).astype(np.float32)
        self.folder = folder
        self.fresh = calibrate(self.model, self.images, threads=1)
        self.path = folder / f"{calibration_key(self.model, self.images, 0)}.npz"
        self.measured = 0
        self.ask()
        self.raw = self.path.read_bytes()
        with np.load(io.BytesIO(self.raw)) as held:
            self.arrays = {name: held[name] for name in held}
        self.facts = json.loads(self.arrays.pop("facts").tobytes())

    def ask(self) -> Calibration:
        def make() -> Calibration:
            self.measured += 1
            return self.fresh

        return cached_calibration(
            self.model, self.images, make, source="", seed=0, threads=1, folder=self.folder
        )

    def anew(self, data: bytes) -> bool:
        """Whether the calibration is measured anew where the file holds `data`; it is then whole again."""
        self.path.write_bytes(data)
        before = self.measured
        found = self.ask()
        assert found.layers
        if self.measured > before:
            assert self.path.read_bytes() == self.raw
        return self.measured > before

    def packed(self, arrays: dict[str, np.ndarray], facts: Any, *, signed: bool = False) -> bytes:
        """A file of those arrays and facts; signed: with the hash that goes with them."""
        if signed:
            facts = {**facts, "digest": calibration_cache._digest(arrays, facts)}
        text = np.frombuffer(json.dumps(facts).encode(), np.uint8)
        buffer = io.BytesIO()
        np.savez(buffer, **arrays, facts=text)
        return buffer.getvalue()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    return Kept(tmp_path_factory.mktemp("kept"))


def test_the_pieces_put_together_are_known(kept: Kept) -> None:
    assert not kept.anew(kept.raw)
    assert not kept.anew(kept.packed(kept.arrays, kept.facts))
    assert not kept.anew(kept.packed(kept.arrays, kept.facts, signed=True))


def test_flips_and_cuts(kept: Kept) -> None:
    rng = random.Random(1)
    ignored = 0
    for _ in range(120):
        data = bytearray(kept.raw)
        for _ in range(rng.randrange(1, 4)):
            place = rng.choice(
                [rng.randrange(len(data)), rng.randrange(300), len(data) - 1 - rng.randrange(3000)]
            )
            data[place] ^= 1 << rng.randrange(8)
        ignored += not kept.anew(bytes(data))  # dates of members, say, mean nothing
        assert kept.anew(kept.raw[: rng.randrange(len(kept.raw))])
    assert ignored < 60


def places(value: Any, so_far: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*so_far, key)
        yield from places(inner, (*so_far, key))


def test_facts_that_are_others(kept: Kept) -> None:
    paths = list(places(kept.facts))
    chosen = [path for path in paths if len(path) == 1 or path[:2] == paths[-1][:2]]
    for path in chosen:
        for value in NASTY:
            facts = copy.deepcopy(kept.facts)
            target = facts
            for step in path[:-1]:
                target = target[step]
            if target[path[-1]] == value:
                continue
            target[path[-1]] = value
            assert kept.anew(kept.packed(kept.arrays, facts)), (path, value)
            if path != ("digest",):  # with the right hash it may be one, but harms nobody
                kept.anew(kept.packed(kept.arrays, facts, signed=True))
    for facts in (None, [], "x", 5, {}):
        assert kept.anew(kept.packed(kept.arrays, facts))


CHANGES = {
    "gone": None,
    "flat": lambda x: x.reshape(-1),
    "NaN": lambda x: np.full_like(x, np.nan),
    "infinite": lambda x: np.full_like(x, np.inf),
    "one row": lambda x: x[:0],
    "text": lambda x: np.array(["a", "b"]),
    "doubles": lambda x: x.astype(np.float64 if x.dtype == np.float32 else np.float32),
    "integers": lambda x: x.astype(np.int32),
    "by columns": lambda x: np.asfortranarray(np.concatenate([x, x])),
    "no axes": lambda x: np.float32(1),
}


@pytest.mark.parametrize("what", CHANGES)
def test_arrays_that_are_others(what: str, kept: Kept) -> None:
    """With the hash that goes with them: what they are is looked at too."""
    change = CHANGES[what]
    for name in ["outputs 0 0", "0 means", "0 in 0", "0 out 0", sorted(kept.arrays)[-1]]:
        arrays = dict(kept.arrays)
        del arrays[name]
        if change is not None:
            arrays[name] = change(kept.arrays[name])
        assert kept.anew(kept.packed(arrays, kept.facts))
        assert kept.anew(kept.packed(arrays, kept.facts, signed=True)), name


def test_negative_moments(kept: Kept) -> None:
    arrays = {**kept.arrays, "0 in 0": -np.abs(kept.arrays["0 in 0"])}
    assert kept.anew(kept.packed(arrays, kept.facts, signed=True))


class Evil:
    """Runs something where it is unpickled."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('it ran')",)


def header(text: str) -> bytes:
    data = text.encode()
    return b"\x93NUMPY\x01\x00" + len(data).to_bytes(2, "little") + data


def objects() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([Evil()], object), allow_pickle=True)
    return buffer.getvalue()


MEMBERS = {
    "pickle": pickle.dumps(Evil()),
    "objects": objects(),
    "brackets": header("{'descr': '<f4', " + "(" * 5000),
    "2**40 numbers": header("{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }\n"),
    "2**62 times 4": header(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }\n"
    ),
    "negative": header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }\n"),
    "no bytes each": header("{'descr': '|V0', 'fortran_order': False, 'shape': (10000000000,), }\n"),
    "another version": b"\x93NUMPY\x03\x00\xff\xff\xff\xff",
    "nothing": b"",
}


@pytest.mark.parametrize("method", [0, 8, 12, 14])
@pytest.mark.parametrize("what", MEMBERS)
def test_members_that_are_no_arrays(what: str, method: int, kept: Kept) -> None:
    for name in ("outputs 0 0.npy", "facts.npy"):
        out = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(kept.raw)) as old, zipfile.ZipFile(out, "w", method) as new:
            for member in old.infolist():
                content = MEMBERS[what] if member.filename == name else old.read(member)
                new.writestr(member.filename, content)
        assert kept.anew(out.getvalue())


@pytest.mark.parametrize("method", [8, 12, 14])
def test_an_archive_that_unfolds_takes_no_memory(method: int, kept: Kept) -> None:
    """A hundred megabytes of zeros in a hundred kilobytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as new, new.open("facts.npy", "w") as member:
        member.write(header("{'descr': '|u1', 'fortran_order': False, 'shape': (100000000,), }\n"))
        for _ in range(100):
            member.write(bytes(1_000_000))
    tracemalloc.start()
    try:
        assert kept.anew(out.getvalue())
        assert tracemalloc.get_traced_memory()[1] < len(out.getvalue()) + (20 << 20)
    finally:
        tracemalloc.stop()


def test_other_things_in_its_place(kept: Kept) -> None:
    for data in (b"", b"no archive", b"PK\x05\x06" + bytes(18), bytes(1000)):
        assert kept.anew(data)
    kept.path.unlink()
    kept.path.mkdir()
    before = kept.measured
    assert kept.ask().layers
    assert kept.measured == before + 1
    kept.path.rmdir()
    assert kept.ask().layers

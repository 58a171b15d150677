"""Files made to hurt: cut, changed, and changed with all checksums in order, so that the inner decoders see them.

Whatever the bytes, reading ends in a `FormatError` or in a model. A hang shows as a test that does not end.
"""

from __future__ import annotations

import copy
import json
import lzma
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from enx_samples import Taken, decoded, head_filters, small_model, with_prefix
from enxuto.compression.data_free import compress
from enxuto.enx.file import CompressedModel
from enxuto.enx.ledger import ledger_of
from enxuto.enx.verify import verify
from enxuto.errors import EnxutoError, FormatError
from enxuto.quantize.scalar import Half, Minifloat, MuLaw
from enxuto.quantize.schemes import RangeSteps, SameQuantizer


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    """Files of several quantizers; the first is the smallest."""
    schemes = [
        None,
        RangeSteps(12, "channel"),
        SameQuantizer(MuLaw(64, 255.0)),
        SameQuantizer(Minifloat(3, 3)),
        SameQuantizer(Half()),
    ]
    plain = [compress(small_model(), scheme, rounding="nearest").to_bytes() for scheme in schemes]
    return [*plain, compress(small_model()).to_bytes()]  # the last on a trellis


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.enx"


def outcome(path: Path, data: bytes) -> dict[str, bytes] | None:
    """The decoded weights, or None for a `FormatError`; any other exception is the test's failure."""
    try:
        return decoded(path, data)
    except FormatError:
        return None


def test_every_truncation(files: list[bytes], path: Path) -> None:
    data = files[0]
    assert len(data) < 3000
    for length in range(len(data)):
        assert outcome(path, data[:length]) is None, length
    for more in (b"\0", b"x" * 100, data):
        assert outcome(path, data + more) is None


def test_every_change_of_a_byte_of_the_prefix(files: list[bytes], path: Path) -> None:
    data = files[0]
    for place in range(36):
        for value in range(256):
            if value != data[place]:
                changed = data[:place] + bytes([value]) + data[place + 1 :]
                assert outcome(path, changed) is None, (place, value)


def test_changes_of_every_byte_of_the_head(files: list[bytes], path: Path) -> None:
    data = files[0]
    stored = int.from_bytes(data[20:24], "little")
    for place in range(36, 36 + stored):
        for change in (1, 0x80, 0xFF):
            changed = bytearray(data)
            changed[place] ^= change
            assert outcome(path, bytes(changed)) is None, (place, change)


def test_ten_thousand_random_corruptions_of_payloads(files: list[bytes], path: Path) -> None:
    """One to five bytes, bits, or a stretch of noise; payloads only, so that the table is read each time."""
    rng = random.Random(1)
    for data in files:
        path.write_bytes(data)
        begin = 36 + int.from_bytes(data[20:24], "little")
        whole = CompressedModel.read(path)
        expected = decoded(path, data)
        for number in range(10_000 // len(files)):
            changed = bytearray(data)
            if number % 3 == 0:
                start = rng.randrange(begin, len(data))
                changed[start : start + rng.randrange(1, 40)] = rng.randbytes(
                    min(len(data) - start, rng.randrange(1, 40))
                )
                changed = changed[: len(data)] + data[len(changed) :]
            else:
                for _ in range(rng.randrange(1, 6)):
                    changed[rng.randrange(begin, len(data))] ^= rng.randrange(1, 256)
            if number % 20 == 0:  # the whole way, file and all
                found = outcome(path, bytes(changed))
                assert found is None or found == expected
                continue
            position = begin
            for part in whole.payloads:
                payload = bytes(changed[position : position + part.row.bytes])
                position += part.row.bytes
                same = payload == part.data
                try:
                    type(part)(part.row, payload).arrays()
                    assert same, "a changed payload passed its checksum"
                except FormatError:
                    assert not same


def damage(rng: random.Random, payload: bytes) -> bytes:
    """One of: flipped bits, noise, cut, grown, doubled, emptied, a stretch moved."""
    out = bytearray(payload)
    for _ in range(rng.randrange(1, 5)):
        kind = rng.randrange(9)
        place = rng.randrange(len(out)) if out else 0
        if kind <= 3 and out:  # most often near the front, where tables and lengths are
            place = place if kind else rng.randrange(min(len(out), 24))
            out[place] ^= 1 << rng.randrange(8)
        elif kind == 4 and out:
            out[place] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
        elif kind == 5:
            del out[place : place + rng.randrange(1, 30)]
        elif kind == 6:
            out[place:place] = rng.randbytes(rng.randrange(1, 30))
        elif kind == 7:
            out[place : place + 12] = rng.randbytes(12)
        elif rng.random() < 0.2:
            out = bytearray(rng.choice([b"", payload * 2, rng.randbytes(len(payload))]))
    return bytes(out)


def test_damaged_payloads_behind_right_checksums(files: list[bytes], path: Path) -> None:
    rng = random.Random(2)
    refused = 0
    pieces = [Taken.apart(data) for data in files]
    for number in range(2400):
        taken = copy.deepcopy(pieces[number % len(files)])
        taken.method = 0  # saves time
        which = rng.randrange(len(taken.payloads))
        taken.payloads[which] = damage(rng, taken.payloads[which])
        refused += outcome(path, taken.to_bytes()) is None
    assert 1000 < refused < 2400


NASTY: list[Any] = [
    None, True, False, 0, 1, -1, 2, 255, 256, 4096, 2**16, 2**31, 2**32, 2**40, 2**41, 2**63, 2**64, 10**30, 0.5, -0.0,
    1e-320, 1e300, 1e308, "", "a", "fc.w", "conv.w", "../../etc/passwd", "\x00", "x" * 5000, [], [0], [1],
    [2**40, 2**40], [0, 2**40, 2**40], [-1, -1], [1] * 70, {}, {"kind": "half"}, {"kind": "minifloat", "p": 3, "q": 3},
    {"kind": "mu-law", "levels": 2, "mu": 1e-300, "x_max": 1e29, "exponent": 64.0},
    {"kind": "dead-zone", "delta": 0.5, "axis": 0}, {"kind": "dead-zone", "delta": 0.5, "step": 1e-45},
    {"kind": "dead-zone", "delta": 0.5, "step": 3e38},
]  # fmt: skip


def places(value: Any, so_far: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything in a JSON value."""
    found = [so_far] if so_far else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
    for key, inner in items:
        found += places(inner, (*so_far, key))
    return found


def change_table(rng: random.Random, table: Any) -> None:
    path = rng.choice(places(table))
    target = table
    for step in path[:-1]:
        target = target[step]
    kind = rng.randrange(4)
    if kind == 0 and isinstance(target, list):
        target.insert(path[-1], copy.deepcopy(target[path[-1]]))
    elif kind == 1:
        del target[path[-1]]
    elif kind == 2 and type(target[path[-1]]) in (int, float):
        target[path[-1]] = type(target[path[-1]])(target[path[-1]] * rng.choice([-1, 0, 2, 3])) + rng.choice(
            [-1, 0, 1]
        )
    else:
        target[path[-1]] = rng.choice(NASTY)


def test_changed_tables_behind_right_checksums(files: list[bytes], path: Path) -> None:
    rng = random.Random(3)
    refused = 0
    pieces = [Taken.apart(data) for data in files]
    for number in range(1800):
        taken = copy.deepcopy(pieces[number % len(files)])
        taken.method = 0
        for _ in range(rng.randrange(1, 3)):
            change_table(rng, taken.table)
        fix = rng.random() < 0.7
        data = taken.to_bytes(fix_rows=fix)
        if outcome(path, data) is None:
            refused += 1
            continue
        read = CompressedModel.read(path)  # what can be read can be reported and written again
        assert ledger_of(read).to_dict()["rows"]
        assert verify(read).ok
        assert read.to_bytes()
    assert 800 < refused < 1800


def test_damaged_table_text_behind_right_checksums(files: list[bytes], path: Path) -> None:
    rng = random.Random(4)
    pieces = [Taken.apart(data) for data in files]
    for number in range(600):
        taken = copy.deepcopy(pieces[number % len(files)])
        taken.method = 0
        taken.table = damage(rng, json.dumps(taken.table).encode())
        outcome(path, taken.to_bytes())
        assert path.exists()


def test_damaged_graphs_behind_right_checksums(files: list[bytes], path: Path) -> None:
    rng = random.Random(5)
    refused = 0
    pieces = [Taken.apart(data) for data in files]
    for number in range(1000):
        taken = copy.deepcopy(pieces[number % len(files)])
        taken.graph = damage(rng, taken.graph)
        taken.method = int(number % 4 == 0)
        if outcome(path, taken.to_bytes()) is None:
            refused += 1
            continue
        try:
            assert CompressedModel.read(path).to_model(threads=1).to_bytes()
        except EnxutoError:
            refused += 1
    assert refused > 200


def test_damaged_lzma_behind_right_checksums(files: list[bytes], path: Path) -> None:
    rng = random.Random(6)
    for number in range(400):
        data = files[number % len(files)]
        stored = int.from_bytes(data[20:24], "little")
        json_bytes, graph_bytes = (int.from_bytes(data[i : i + 4], "little") for i in (24, 28))
        head = damage(rng, data[36 : 36 + stored])
        changed = with_prefix(head, json_bytes, graph_bytes, data[36 + stored :], 1)
        assert outcome(path, changed) is None or head == data[36 : 36 + stored]


def test_lengths_moved_behind_right_checksums(files: list[bytes], path: Path) -> None:
    rng = random.Random(7)
    data = files[0]
    stored = int.from_bytes(data[20:24], "little")
    json_bytes, graph_bytes = (int.from_bytes(data[i : i + 4], "little") for i in (24, 28))
    for _ in range(400):
        a, b, c = (rng.choice([0, 0, 1, -1, 2**31, 2**32 - 1, rng.randrange(-99, 99)]) for _ in range(3))
        if (a, b, c) == (0, 0, 0):
            continue
        text, graph = (max(0, min(2**32 - 1, size)) for size in (json_bytes + a, graph_bytes + b))
        head = data[36 : max(36, 36 + stored + min(c, 200))]
        payloads = data[max(36, 36 + stored + min(c, 200)) :]
        assert outcome(path, with_prefix(head, text, graph, payloads, 1)) is None


def row(name: str = "fc.w", **fields: Any) -> dict[str, Any]:
    plain = {
        "tensors": [{"name": name, "shape": [5, 96], "type": 1}],
        "bytes": 4,
        "crc32": "00000000",
        "coder": "planes",
    }
    return plain | fields


def set_shape(taken: Taken, shape: list[int]) -> None:
    """Give a quantized tensor another shape, in the table and in the graph."""
    from onnx import ModelProto

    entry = next(t for r in taken.table["parts"] for t in r["tensors"] if t["name"] == "fc.w")
    entry["shape"] = shape
    proto = ModelProto.FromString(taken.graph)
    tensor = next(t for t in proto.graph.initializer if t.name == "fc.w")
    del tensor.dims[:]
    tensor.dims.extend(shape)
    taken.graph = proto.SerializeToString()


def shapes(*shape: int) -> Callable[[Taken], None]:
    return lambda taken: set_shape(taken, list(shape))


def all_fields(**fields: Any) -> Callable[[Taken], None]:
    def change(taken: Taken) -> None:
        for one in taken.table["parts"]:
            one.update(fields)

    return change


def duplicate(taken: Taken) -> None:
    taken.table["parts"].append(copy.deepcopy(taken.table["parts"][0]))
    taken.payloads.append(taken.payloads[0])


def twice_in_a_row(taken: Taken) -> None:
    taken.table["parts"][0]["tensors"] *= 2


def unknown_tensor(taken: Taken) -> None:
    taken.table["parts"].append(row("nowhere"))
    taken.payloads.append(bytes(4))


def lost_row(taken: Taken) -> None:
    del taken.table["parts"][0], taken.payloads[0]


def long_steps(taken: Taken) -> None:
    taken.table["parts"][0]["steps_bytes"] = len(taken.payloads[0]) + 1


def no_steps(taken: Taken) -> None:
    taken.table["parts"][0].pop("steps_bytes")


def deep(taken: Taken) -> None:
    taken.table = b'{"metadata":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b'},"parts":[]}'


def deep_objects(taken: Taken) -> None:
    taken.table = b'{"a":' * 100_000 + b"1" + b"}" * 100_000


def expanding(taken: Taken) -> None:
    """A head of 9 KB that would unfold to 64 MB, where the prefix speaks of 1 KB."""
    quick = head_filters(4096)[0] | {"mode": lzma.MODE_FAST, "mf": lzma.MF_HC3, "nice_len": 273}
    taken.stored = lzma.compress(bytes(64 << 20), lzma.FORMAT_RAW, filters=[quick])
    taken.method = 1


def not_json_numbers(taken: Taken) -> None:
    taken.table["metadata"]["a"] = float("nan")


def huge_number(taken: Taken) -> None:
    taken.table = json.dumps(taken.table).replace('"metadata": {', '"metadata": {"a": 1e999, ').encode()


def hostile_path(taken: Taken) -> None:
    from onnx import ModelProto

    proto = ModelProto.FromString(taken.graph)
    tensor = next(t for t in proto.graph.initializer if t.name == "fc.w")
    tensor.external_data.add(key="location", value="/etc/passwd")
    taken.graph = proto.SerializeToString()


BOMBS: dict[str, Callable[[Taken], None]] = {
    "2^40 elements": shapes(2**40),
    "2^40 elements in many axes": shapes(*[2] * 40),
    "overflowing shape": shapes(2**33, 2**33),
    "overflowing shape with a zero": shapes(0, 2**40, 2**40),
    "negative": shapes(-5, -96),
    "more than the payload can hold": shapes(2**24),
    "one element more": shapes(481),
    "padding": all_fields(padding=2**40),
    "payload lengths": all_fields(steps_bytes=2**40),
    "duplicate": duplicate,
    "twice in a row": twice_in_a_row,
    "unknown tensor": unknown_tensor,
    "lost row": lost_row,
    "steps longer than the payload": long_steps,
    "no steps": no_steps,
    "nested lists": deep,
    "nested objects": deep_objects,
    "expanding head": expanding,
    "NaN": not_json_numbers,
    "1e999": huge_number,
    "path to another file": hostile_path,
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("method", [0, 1])
def test_bombs_are_refused_without_memory(name: str, method: int, files: list[bytes], path: Path) -> None:
    taken = Taken.apart(files[0])
    taken.method = method
    BOMBS[name](taken)
    path.write_bytes(taken.to_bytes())
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            CompressedModel.read(path).to_model(threads=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 << 20


@pytest.mark.parametrize("name", ["payloads", "table"])
def test_row_lengths_that_do_not_add_up(name: str, files: list[bytes], path: Path) -> None:
    taken = Taken.apart(files[0])
    if name == "payloads":
        taken.payloads[-1] += b"\0"
    else:
        taken.table["parts"][0]["bytes"] += 1
        taken.table["parts"][1]["bytes"] -= 1
    path.write_bytes(taken.to_bytes(fix_rows=False))
    with pytest.raises(FormatError, match=r"fill the file|checksum"):
        CompressedModel.read(path).to_model()


@pytest.mark.parametrize(
    "parameters", ["many", -5, 0, 1.5, [], None, True, 10**400], ids=lambda value: repr(value)[:9]
)
def test_metadata_of_any_kind_do_no_harm(parameters: Any, files: list[bytes], path: Path) -> None:
    taken = Taken.apart(files[0])
    taken.table["metadata"] = {"parameters": parameters, "original": parameters, "preprocess": parameters}
    path.write_bytes(taken.to_bytes())
    read = CompressedModel.read(path)
    assert json.dumps(ledger_of(read).to_dict(), allow_nan=False)
    assert verify(read).ok
    assert all(np.isfinite(array).all() for part in read.payloads for array in part.arrays().values())

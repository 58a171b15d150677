"""How tensors that are kept exactly are stored: in the graph, where LZMA finds repetition, or as byte planes.

Byte planes have one table of frequencies. That is best for the bytes of trained floats and for most integer weights.
LZMA adapts on the way and finds what is repeated: tables of indices, masks, weights whose scale changes from row to
row, copies of a tensor. The head of a file is LZMA anyway, so a tensor that is shorter so stays in the graph; no reader
needs to know. Tensors stored as planes share a payload, and with it a table, only where that is shorter.
"""

from __future__ import annotations

import hashlib
import lzma
import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from enxuto.codec import encode_bytes
from enxuto.enx.head import pack
from enxuto.onnx_model import Role, WeightInfo
from enxuto.onnx_model.dtypes import FLOAT_TYPES, byte_count

__all__ = ["bundle", "choose_inside", "may_fit_inside", "repeats"]

_LEAST = 1024  # bytes; what is shorter is decided by the caller
_ROW = 64  # bytes that a row of the table takes, compressed
_BUNDLE = 1 << 20  # bytes of small exact tensors that share a payload
_FEW, _MANY = 1 << 14, 1 << 17  # bytes of exact tensors between which all of them are tried in the graph
_SLICE = 4 << 20  # bytes; of tensors of more than three of these, the first, middle and last are tried
_LOOK, _LOOK_AGAIN = 1 << 16, 1 << 18  # bytes of a quantized tensor that tell whether it repeats
_FAR, _NEAR = (
    3.0,
    2.0,
)  # times its payload, that it may seem to take exactly, at the first look and the second
_MOST_REPEATED = 1 << 23  # bytes of a tensor that is tried: LZMA takes a second for two to three million
_MOST_INSIDE = 1 << 28  # bytes in the graph, which readers hold in memory as a whole
_MOST_SHRINKING, _FREE = 32, 3 << 16  # half of how far a head may unfold, and most of what it may beyond that

_Load = Callable[[WeightInfo], bytes]


@dataclass(frozen=True)
class _Sizes:
    """Bytes of a tensor as byte planes and through LZMA, and a hash by which copies are found."""

    info: WeightInfo
    planes: int
    lzma: int
    digest: bytes


def choose_inside(infos: Sequence[WeightInfo], load: _Load, threads: int = 1) -> set[str]:
    """Return the names of those exact tensors that are shortest in the graph.

    Args:
        infos: exact tensors; learned floats among them, whose bytes do not repeat, are not tried.
        load: gives a tensor's bytes as ONNX files hold them.
        threads: tensors are tried several at a time; the result does not depend on it.
    """
    tried = [info for info in infos if info.bytes > _LEAST and not _is_learned_float(info)]
    with ThreadPoolExecutor(threads) as pool:
        sizes = list(pool.map(lambda info: _measure(info, load(info)), tried))
    copies: dict[bytes, list[_Sizes]] = defaultdict(list)
    for size in sizes:
        copies[size.digest].append(size)
    groups = [
        same for same in copies.values() if same[0].lzma + _ROW < sum(one.planes for one in same)
    ]  # most shrinking last, as those are given up first
    groups.sort(key=lambda same: sum(one.info.bytes for one in same) / same[0].lzma)
    while groups:
        total = sum(one.info.bytes for same in groups for one in same)
        packed = sum(same[0].lzma for same in groups)
        if total <= min(_MOST_INSIDE, _MOST_SHRINKING * packed + _FREE):
            break
        groups.pop()
    return {one.info.name for same in groups for one in same}


def may_fit_inside(infos: Sequence[WeightInfo]) -> bool:
    """Say whether a file may be shorter with all these exact tensors in the graph: some, with weights of integers.

    Their payloads' rows and tables of frequencies weigh more there than what `choose_inside` looks at, each by itself.
    """
    weights = any(info.bytes > _LEAST and info.data_type not in FLOAT_TYPES for info in infos)
    return weights and _FEW <= sum(info.bytes for info in infos) <= _MANY


def repeats(info: WeightInfo, payload: int, load: _Load) -> bool:
    """Say whether a quantized tensor may be shorter exactly, through LZMA, than its payload of so many bytes.

    Transforms that a graph holds as weights (a Fourier transform's sines, say) repeat; trained weights do not.
    """
    if not _LEAST < info.bytes <= _MOST_REPEATED:
        return False
    data = load(info)
    part = data[:_LOOK]
    if len(zlib.compress(part, 1)) / len(part) * len(data) > _FAR * payload:
        return False
    part = data[:_LOOK_AGAIN]
    found = len(lzma.compress(part, lzma.FORMAT_ALONE, preset=1))
    return found / len(part) * len(data) <= _NEAR * payload


def bundle(infos: Sequence[WeightInfo], load: _Load) -> list[list[WeightInfo]]:
    """Return which exact tensors share a payload: small ones of a type, of integers only where that is shorter."""
    bundles: list[list[WeightInfo]] = []
    open_bundles: dict[int, list[WeightInfo]] = {}
    for info in infos:
        current = open_bundles.get(info.data_type)
        if current is None or sum(other.bytes for other in current) + info.bytes > _BUNDLE:
            current = open_bundles[info.data_type] = []
            bundles.append(current)
        current.append(info)
    return [part for whole in bundles for part in _split(whole, load)]


def _split(whole: list[WeightInfo], load: _Load) -> list[list[WeightInfo]]:
    """Return a bundle, or in its place its tensors one by one and the small ones among them together."""
    large = [info for info in whole if info.bytes > _LEAST]
    if len(whole) < 2 or not large or whole[0].data_type in FLOAT_TYPES:
        return [whole]
    small = [info for info in whole if info.bytes <= _LEAST]
    parts = [[info] for info in large] + ([small] if small else [])
    apart = sum(_planes(b"".join(map(load, part)), part[0]) + _ROW for part in parts)
    return parts if apart < _planes(b"".join(map(load, whole)), whole[0]) + _ROW else [whole]


def _is_learned_float(info: WeightInfo) -> bool:
    return info.data_type in FLOAT_TYPES and info.role is not Role.OTHER


def _measure(info: WeightInfo, data: bytes) -> _Sizes:
    middle = len(data) // 2 - _SLICE // 2
    slices = [data] if len(data) <= 3 * _SLICE else [data[:_SLICE], data[middle:][:_SLICE], data[-_SLICE:]]
    scale = len(data) / sum(map(len, slices))
    planes = _planes(data, info)
    packed = sum(len(pack(part)) for part in slices)
    return _Sizes(info, planes, max(1, round(packed * scale)), hashlib.sha256(data).digest())


def _planes(data: bytes, info: WeightInfo) -> int:
    """Return the bytes of `data` as byte planes; elements below eight bits are packed and count as bytes."""
    width = info.dtype.itemsize
    packed = byte_count((2,), info.data_type) < 2 * width
    return len(encode_bytes(data, 1 if packed else width))

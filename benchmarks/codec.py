"""Encode and decode speed and size of the codec beside other coders, all in one run.

    python benchmarks/codec.py [--levels 10000000] [--coders enxuto NNCodec] [--json codec.json]

Levels are Laplacian, rounded, of about 2, 3 and 5 bits of entropy; then a matrix and 3×3 kernels as trained networks
have them: a scale per row and per column, kernels whose neighbours are alike. None are of a trellis search, so that
coder `trellis` shows its speed here, not what it saves. One thread. Every coder must give the
levels back; sizes include all tables. Times are processor time, the best of several runs, and mean something only as
ratios within one run: the last column says how fast the others decode beside enxuto's order-0 coder. Rows of enxuto
decode with its loops that Numba compiles, those marked C with `decoder/enx.c` (needs `cc`). NNCodec's C++ coder has a
row where it is installed (`pip install --no-deps nncodec`, which compiles it).
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import lzma
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import constriction
import numpy as np
import zstandard

from decoders import file_of, library
from enxuto.codec import Coder, decode, encode, entropy

Coded = tuple[int, Callable[[], np.ndarray]]


@dataclass(frozen=True)
class Result:
    """One coder on one source: bits per level, and million levels per second both ways."""

    source_bits: float
    coder: str
    bits: float
    over_entropy_percent: float
    encode_m_per_s: float
    decode_m_per_s: float


def laplacian(bits: float, count: int, seed: int) -> np.ndarray:
    """Return rounded Laplacian levels of about `bits` of entropy, clipped to a byte so that all coders take them."""
    scale = 2**bits / (2 * np.e)  # differential entropy of a Laplacian: log2(2·e·scale)
    values = np.rint(np.random.default_rng(seed).laplace(0, scale, count))
    return np.clip(values, -127, 127).astype(np.int32)


def scaled(*shape: int, seed: int) -> np.ndarray:
    """Return Laplacian levels of about 2.5 bits whose rows and columns have scales of their own."""
    rng = np.random.default_rng(seed)
    rows, columns = (rng.normal(0, 0.5, size) for size in shape[:2])
    scales = 0.8 * np.exp2(rows[:, None] + columns).reshape(*shape[:2], *[1] * (len(shape) - 2))
    values = rng.laplace(0, 1, shape)
    if len(shape) == 4:  # kernels: each weight shares half of its variance with those to its left and above
        wide = rng.laplace(0, 0.7, (*shape[:2], shape[2] + 1, shape[3] + 1))
        values = wide[..., 1:, 1:] + 0.7 * (wide[..., 1:, :-1] + wide[..., :-1, 1:])
    return np.clip(np.rint(values * scales), -127, 127).astype(np.int32)


def enxuto_coder(coder: Coder) -> Callable[[np.ndarray], Coded]:
    """One of the package's own coders."""

    def coded(levels: np.ndarray) -> Coded:
        name, data = encode(levels, coder=coder)
        return len(data), lambda: decode(name, data, [levels.shape]).reshape(levels.shape)

    return coded


@cache
def in_c() -> ctypes.CDLL:
    """The C decoder, compiled once."""
    with tempfile.TemporaryDirectory() as folder:
        return library(Path(folder))


def c_coder(coder: Coder) -> Callable[[np.ndarray], Coded]:
    """The package's coder, decoded by `decoder/enx.c`."""

    def coded(levels: np.ndarray) -> Coded:
        compressed, file = file_of(levels, coder), ctypes.c_void_p()
        data, payload, found = compressed.to_bytes(), compressed.payloads[0], np.empty(levels.size, np.int32)
        place = found.ctypes.data_as(ctypes.c_void_p)
        assert in_c().enx_open(ctypes.byref(file), data, ctypes.c_size_t(len(data)), None) == 0

        def decoded() -> np.ndarray:
            assert in_c().enx_levels(file, ctypes.c_size_t(0), payload.data, place) == 0
            return found

        return payload.row.coded_bytes, decoded

    return coded


def nncodec_coder(levels: np.ndarray) -> Coded:
    """NNCodec's DeepCABAC for integers without a trellis, with ten greater-than flags."""
    cabac = importlib.import_module("nncodec.extensions.deepCABAC")
    whole, off = np.ascontiguousarray(levels, np.int32), (cabac.HdspMode.AlwaysOff, np.zeros(2, np.int8))
    encoder = cabac.Encoder()
    encoder.initCtxModels(10, 1)
    encoder.encodeLayer(whole, 0, 0, 0, 0, 0, np.zeros(len(whole), np.int32), *off, 0, 0)
    stream, found = encoder.finish(), np.zeros_like(whole)

    def decoded() -> np.ndarray:
        decoder = cabac.Decoder()
        decoder.setStream(stream)
        decoder.initCtxModels(10)
        decoder.decodeLayer(found, 0, 0, 0, 0, *off, 0, 0)
        return found

    return len(stream), decoded


def constriction_coder(levels: np.ndarray) -> Coded:
    """Constriction's ANS coder with the exact empirical distribution (its table is not counted)."""
    low = int(levels.min())
    flat = levels.reshape(-1)
    shares = np.bincount(flat - low) / flat.size
    model = constriction.stream.model.Categorical(shares.astype(np.float32), perfect=False)
    coder = constriction.stream.stack.AnsCoder()
    coder.encode_reverse((flat - low).astype(np.int32), model)
    words = coder.get_compressed()
    return words.nbytes, lambda: constriction.stream.stack.AnsCoder(words).decode(model, flat.size) + low


def zstd_coder(levels: np.ndarray) -> Coded:
    """zstd, level 19, on the levels as bytes."""
    data = zstandard.ZstdCompressor(level=19).compress(levels.astype(np.int8).tobytes())
    return len(data), lambda: np.frombuffer(zstandard.ZstdDecompressor().decompress(data), np.int8)


def xz_coder(levels: np.ndarray) -> Coded:
    """xz, preset 6, on the levels as bytes."""
    data = lzma.compress(levels.astype(np.int8).tobytes(), preset=6)
    return len(data), lambda: np.frombuffer(lzma.decompress(data), np.int8)


CODERS: dict[str, tuple[Callable[[np.ndarray], Coded], int]] = {
    "enxuto order0": (enxuto_coder("order0"), 5),
    "enxuto contexts": (enxuto_coder("contexts"), 5),
    "enxuto trellis-32": (enxuto_coder("trellis-32"), 5),
    "enxuto order0, C": (c_coder("order0"), 5),
    "enxuto contexts, C": (c_coder("contexts"), 5),
    "enxuto trellis-32, C": (c_coder("trellis-32"), 5),
    "NNCodec": (nncodec_coder, 3),
    "constriction ANS": (constriction_coder, 3),
    "zstd -19": (zstd_coder, 1),
    "xz -6": (xz_coder, 1),
}
"""Name → (encode, how often to repeat)."""


def measure(name: str, levels: np.ndarray, source_bits: float) -> Result:
    """Encode and decode, check, and time the best of several repeats."""
    encode, repeats = CODERS[name]
    encoding = decoding = float("inf")
    for _ in range(repeats):
        start = time.thread_time()
        size, decode = encode(levels)
        encoding = min(encoding, time.thread_time() - start)
    for _ in range(max(3, repeats)):
        start = time.thread_time()
        decoded = decode()
        decoding = min(decoding, time.thread_time() - start)
    if not np.array_equal(decoded.reshape(-1), levels.reshape(-1)):
        sys.exit(f"{name} did not give the levels back")
    bits = 8 * size / levels.size
    over = 100 * (bits / source_bits - 1)
    return Result(source_bits, name, bits, over, levels.size / encoding / 1e6, levels.size / decoding / 1e6)


def main() -> None:
    """Run all coders on all sources and print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--levels", type=int, default=4_000_000, help="levels per source")
    parser.add_argument("--coders", nargs="+", default=[""], help="only those whose names begin so")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    sources = {f"Laplacian, {bits:g} bits": laplacian(bits, options.levels, 0) for bits in (2.0, 3.0, 5.0)}
    rows = max(2, options.levels // 1024)
    sources["scaled matrix"] = scaled(rows, 1024, seed=0)
    sources["3×3 kernels"] = scaled(max(2, rows // 9), 1024, 3, 3, seed=0)
    for name in [name for name in CODERS if name.startswith("enxuto")]:  # compile before anything is timed
        for shape in ((300, 300), (90, 90, 3, 3)):
            CODERS[name][0](scaled(*shape, seed=1))[1]()
    results = []
    chosen = [name for name in CODERS if name.startswith(tuple(options.coders))]
    if "NNCodec" in chosen and importlib.util.find_spec("nncodec") is None:
        chosen.remove("NNCodec")
        print("NNCodec is not installed: no row of it\n")
    print(f"{options.levels:,} levels per source, one thread; seed 0\n")
    print(
        "| source | entropy | coder | bits/level | over entropy | encode M/s | decode M/s | decode, order0 = 1 |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for source, levels in sources.items():
        bound = entropy(levels)
        own = 0.0
        for name in chosen:
            row = measure(name, levels, bound)
            own = own or row.decode_m_per_s
            results.append(row)
            print(
                f"| {source} | {bound:.3f} | {name} | {row.bits:.4f} | {row.over_entropy_percent:+.2f} % "
                f"| {row.encode_m_per_s:.1f} | {row.decode_m_per_s:.1f} | {row.decode_m_per_s / own:.2f} |",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in results], indent=2) + "\n")


if __name__ == "__main__":
    main()

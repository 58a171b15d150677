"""Encode and decode speed and size of the order-0 codec beside other coders, all in one run.

    python benchmarks/codec.py [--levels 10000000] [--json codec.json]

Levels are Laplacian, rounded, of about 2, 3 and 5 bits of entropy. One thread. Every coder must give the levels
back; sizes include all tables. Times are the best of several runs and mean something only as ratios within one
run: the columns "× enxuto" say how fast the others are beside enxuto's decoder.
"""

from __future__ import annotations

import argparse
import json
import lzma
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import constriction
import numpy as np
import zstandard

from enxuto.codec import decode_levels, encode_levels, entropy

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


def enxuto_coder(levels: np.ndarray) -> Coded:
    """The package's own coder."""
    data = encode_levels(levels)
    return len(data), lambda: decode_levels(data, levels.size)


def constriction_coder(levels: np.ndarray) -> Coded:
    """Constriction's ANS coder with the exact empirical distribution (its table is not counted)."""
    low = int(levels.min())
    shares = np.bincount(levels - low) / levels.size
    model = constriction.stream.model.Categorical(shares.astype(np.float32), perfect=False)
    coder = constriction.stream.stack.AnsCoder()
    coder.encode_reverse((levels - low).astype(np.int32), model)
    words = coder.get_compressed()
    return words.nbytes, lambda: constriction.stream.stack.AnsCoder(words).decode(model, levels.size) + low


def zstd_coder(levels: np.ndarray) -> Coded:
    """zstd, level 19, on the levels as bytes."""
    data = zstandard.ZstdCompressor(level=19).compress(levels.astype(np.int8).tobytes())
    return len(data), lambda: np.frombuffer(zstandard.ZstdDecompressor().decompress(data), np.int8)


def xz_coder(levels: np.ndarray) -> Coded:
    """xz, preset 6, on the levels as bytes."""
    data = lzma.compress(levels.astype(np.int8).tobytes(), preset=6)
    return len(data), lambda: np.frombuffer(lzma.decompress(data), np.int8)


CODERS: dict[str, tuple[Callable[[np.ndarray], Coded], int]] = {
    "enxuto order0": (enxuto_coder, 5),
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
        start = time.perf_counter()
        size, decode = encode(levels)
        encoding = min(encoding, time.perf_counter() - start)
    for _ in range(max(3, repeats)):
        start = time.perf_counter()
        decoded = decode()
        decoding = min(decoding, time.perf_counter() - start)
    if not np.array_equal(decoded, levels):
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
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    encode_levels(laplacian(3, 100_000, 1))  # compile before anything is timed
    decode_levels(encode_levels(laplacian(3, 100_000, 1)), 100_000)
    results = []
    print(f"{options.levels:,} Laplacian levels per source, one thread; seed 0\n")
    print("| entropy | coder | bits/level | over entropy | encode M/s | decode M/s | decode, enxuto = 1 |")
    print("|---|---|---|---|---|---|---|")
    for bits in (2.0, 3.0, 5.0):
        levels = laplacian(bits, options.levels, 0)
        bound = entropy(levels)
        own = 0.0
        for name in CODERS:
            row = measure(name, levels, bound)
            own = own or row.decode_m_per_s
            results.append(row)
            print(
                f"| {bound:.3f} | {name} | {row.bits:.4f} | {row.over_entropy_percent:+.2f} % "
                f"| {row.encode_m_per_s:.1f} | {row.decode_m_per_s:.1f} | {row.decode_m_per_s / own:.2f} |",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in results], indent=2) + "\n")


if __name__ == "__main__":
    main()

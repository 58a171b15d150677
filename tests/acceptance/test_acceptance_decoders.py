"""The package, `examples/decode_enx.py`, C and WebAssembly agree on 100,000 mutated files with repaired checksums.

`make agreement` runs this alone: minutes on two cores. ENXUTO_FUZZ_SEED=… tries others, ENXUTO_AGREEMENT_FILES=… fewer.
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from c_decoder import Decoder
from decoders_agree import disagreements, every_base, large_bases
from enxuto.machine.processors import processors

pytestmark = pytest.mark.acceptance

SEED = os.environ.get("ENXUTO_FUZZ_SEED", "1")
FILES = int(os.environ.get("ENXUTO_AGREEMENT_FILES", "100000"))
SHARE = 1000  # files of a process at a time
LONG = 20  # one file in so many is a long one, which the example, in plain Python, is not asked about


def share_of(path: Path, number: int) -> tuple[int, list[str]]:
    """Try the files of one share; in a process of its own."""
    memory = Path("/dev/shm")  # a disk that others use takes longer to open a file than C to decode it
    folder = memory if os.access(memory, os.W_OK) else path.parent
    decoder, place = Decoder(path), folder / f"enxuto-agreement-{os.getpid()}.enx"
    long = SHARE // LONG
    read, lines = disagreements(
        decoder, every_base(), f"{SEED}.{number}", SHARE - long, place, ask_webassembly=True
    )
    more, others = disagreements(
        decoder, large_bases(), f"{SEED}.{number}.long", long, place, ask_example=False, ask_webassembly=True
    )
    place.unlink()
    return read + more, lines + others


def test_decoders_agree_on_mutated_files(tmp_path: Path) -> None:
    decoder = Decoder.built(tmp_path)
    shares = range(max(1, FILES // SHARE))
    read, lines = 0, []
    with ProcessPoolExecutor(processors()) as pool:
        for some, found in pool.map(share_of, [decoder.path] * len(shares), shares):
            read += some
            lines += found
    assert not lines, "\n".join(lines[:20])
    assert len(shares) * SHARE // 100 < read < len(shares) * SHARE

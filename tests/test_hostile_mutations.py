"""Valid files, changed at random in several places: whatever comes of it ends in a model or in one line with a code.

`make fuzz` runs many more rounds, from another seed each time; a failure shows the seed and the round.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from enx_samples import small_model
from enxuto.compression.data_free import compress
from enxuto.enx.file import CompressedModel
from enxuto.errors import CODES, EnxutoError
from enxuto.onnx_model import Model

pytestmark = pytest.mark.fuzz
SEED = int(os.environ.get("ENXUTO_FUZZ_SEED", "1"))
ROUNDS = 150 * int(os.environ.get("ENXUTO_FUZZ_FACTOR", "1"))
INTERESTING = (0x00, 0x01, 0x7F, 0x80, 0xFF)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change, cut out, repeat or insert a few stretches of bytes."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        start = rng.randrange(len(changed) + 1)
        end = min(len(changed), start + rng.choice((1, 1, 2, 4, 16, 64)))
        kind = rng.randrange(5)
        if kind == 0:
            changed[start:end] = bytes(rng.choice(INTERESTING) for _ in range(end - start))
        elif kind == 1:
            changed[start:end] = rng.randbytes(end - start)
        elif kind == 2:
            del changed[start:end]
        elif kind == 3:
            changed[start:start] = changed[start:end]
        else:
            changed[start:start] = rng.randbytes(rng.choice((1, 4)))
    return bytes(changed)


def read_enx(path: Path) -> None:
    CompressedModel.read(path).to_model(threads=1)


def read_onnx(path: Path) -> None:
    model = Model.read(path)
    for name in model.weight_names:
        model.load(name)
    compress(model, rounding="nearest")


@pytest.mark.parametrize("kind", ["enx", "onnx"])
def test_changed_files_end_in_a_model_or_in_one_line(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"m.{kind}"
    model = small_model()
    data = compress(model, rounding="nearest").to_bytes() if kind == "enx" else model.to_bytes()
    read = read_enx if kind == "enx" else read_onnx
    messages = []
    for turn in range(ROUNDS):
        path.write_bytes(mutate(data, random.Random(f"{SEED} {kind} {turn}")))
        try:
            read(path)
        except EnxutoError as error:
            messages.append((turn, error.code, str(error)))
        except Exception as error:
            raise AssertionError(f"ENXUTO_FUZZ_SEED={SEED}, round {turn}: {error!r}") from error
    assert len(messages) > ROUNDS // 10
    for turn, code, message in messages:
        assert code in CODES, f"seed {SEED}, round {turn}"
        assert message.splitlines() == [message], f"seed {SEED}, round {turn}: {message!r}"

"""`enxuto.inspect` and `enxuto.verify` of files: what is in them, and whether it is what was put in."""

from __future__ import annotations

from pathlib import Path

import pytest

import enxuto
from enxuto.demo import MODEL
from enxuto.errors import FormatError


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("files") / "a.enx"
    enxuto.compress(MODEL, bits=3).save(place)
    return place


def test_an_enx_file_is_inspected(packed: Path) -> None:
    found = enxuto.inspect(packed)
    assert found.bytes == packed.stat().st_size
    assert found.bits_per_weight == pytest.approx(3, rel=0.01)
    assert found.ledger is not None
    assert found.ledger.rows[-1].bytes == found.bytes
    # The integers of a Reshape stay in the graph.
    assert {row["name"] for row in found.tensors} == set(enxuto.Model.read(MODEL).weight_names) - {"val_7"}
    assert {row["quantizer"] for row in found.tensors} >= {"exact"}


def test_an_onnx_model_is_inspected() -> None:
    found = enxuto.inspect(str(MODEL))
    assert (found.bytes, found.ledger, found.metadata) == (MODEL.stat().st_size, None, {})
    assert {row["role"] for row in found.tensors} >= {"kernel", "bias"}


def test_files_are_verified_by_their_paths(packed: Path, tmp_path: Path) -> None:
    assert enxuto.verify(packed).ok
    result = enxuto.verify(str(packed), MODEL)
    assert result.ok
    assert result.compared
    damaged = tmp_path / "b.enx"
    damaged.write_bytes(packed.read_bytes()[:-1])
    result = enxuto.verify(damaged)
    assert not result.ok
    assert "problems" in repr(result)
    with pytest.raises(FormatError):
        enxuto.inspect(damaged)

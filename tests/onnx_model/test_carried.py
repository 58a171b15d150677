"""Preprocessing and labels are one truth, however a file is made and read: what is given replaces what was carried."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import ModelProto
from typer.testing import CliRunner

import enxuto
from enxuto.cli import app
from enxuto.demo import MODEL
from enxuto.enx.file import CompressedModel
from enxuto.onnx_model import Model
from enxuto.opening import LABELS_KEY, PREPROCESS_KEY, load_with_metadata, onnx_metadata, preprocess_of

OWN = {"channels": "L", "divide_by": 255.0}


def carrying_model(path: Path, own: dict[str, Any] | None, *, twice: bool = False) -> Path:
    """The packaged network with that preprocessing in it, or none, or two of it."""
    proto = onnx.load(str(MODEL))
    kept = [
        (prop.key, prop.value)
        for prop in proto.metadata_props
        if prop.key not in (PREPROCESS_KEY, LABELS_KEY)
    ]
    del proto.metadata_props[:]
    for _ in range(2 if twice else 1):
        if own is not None:
            proto.metadata_props.add(key=PREPROCESS_KEY, value=json.dumps(own))
            proto.metadata_props.add(key=LABELS_KEY, value='["old"]')
    for key, value in [("mine", "kept"), *kept]:
        proto.metadata_props.add(key=key, value=value)
    onnx.save(proto, str(path))
    return path


def by_decompress(packed: Path, to: Path) -> None:
    result = CliRunner().invoke(app, ["decompress", str(packed), "-o", str(to)])
    assert result.exit_code == 0, result.output


def by_streaming(packed: Path, to: Path) -> None:
    """As for models above 2 GB."""
    from enxuto.enx import file as container

    read = CompressedModel.read(packed)
    limit, container._LIMIT = container._LIMIT, 2
    try:
        read.write_onnx(to)
    finally:
        container._LIMIT = limit


WAYS: dict[str, Callable[[Path, Path], object]] = {
    "decompress": by_decompress,
    "load and write": lambda packed, to: enxuto.load(packed).write(to),
    "write_onnx": lambda packed, to: CompressedModel.read(packed).write_onnx(to),
    "streamed": by_streaming,
    "to_model": lambda packed, to: CompressedModel.read(packed).to_model().write(to),
    "compressed again": lambda packed, to: enxuto.compress(enxuto.load(packed), keep_exact=["*"]).write_onnx(
        to
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("carried", ["another", "none", "twice", "the same"])
def test_what_is_given_is_in_the_file_and_in_the_model_made_of_it(
    carried: str, way: str, tmp_path: Path
) -> None:
    own = None if carried == "none" else OWN | ({"divide_by": 16.0} if carried == "the same" else {})
    source = carrying_model(tmp_path / "m.onnx", own, twice=carried == "twice")
    words = ["compress", source, "--preprocess", tmp_path / "p.toml", "-o", tmp_path / "m.enx", "--no-xz"]
    (tmp_path / "p.toml").write_text('channels = "L"\ndivide_by = 16.0\n')
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    metadata = load_with_metadata(tmp_path / "m.enx")[1]
    inside = preprocess_of(metadata)
    assert inside is not None
    assert inside.divide_by == 16.0
    WAYS[way](tmp_path / "m.enx", tmp_path / "out.onnx")
    props = [(prop.key, prop.value) for prop in onnx.load(str(tmp_path / "out.onnx")).metadata_props]
    assert [key for key, _ in props].count(PREPROCESS_KEY) == 1
    assert ("mine", "kept") in props
    assert preprocess_of(onnx_metadata(Model.read(tmp_path / "out.onnx"))) == inside


def test_labels_follow_the_same_rule(tmp_path: Path) -> None:
    source = carrying_model(tmp_path / "m.onnx", OWN)
    made = enxuto.compress(source, metadata={"labels": ["new", "ä"]}).compressed
    assert onnx_metadata(made.to_model()) == {"preprocess": OWN, "labels": ["new", "ä"]}


def test_a_file_of_before_is_read_by_its_metadata(tmp_path: Path) -> None:
    """It has the old in its graph still."""
    source = carrying_model(tmp_path / "m.onnx", OWN)
    made = enxuto.compress(source).compressed
    older = CompressedModel(
        made.skeleton, made.payloads, {**made.metadata, "preprocess": OWN | {"divide_by": 16.0}}
    )
    older.save(tmp_path / "m.enx")
    assert onnx_metadata(enxuto.load(tmp_path / "m.enx"))["preprocess"]["divide_by"] == 16.0


def test_other_decoders_read_it_too(tmp_path: Path) -> None:
    """It is in the graph of the file itself, not only put there by ours."""
    example = Path(enxuto.__file__).parent.parent.parent / "examples" / "decode_enx.py"
    spec = importlib.util.spec_from_file_location("decode_enx", example)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    source = carrying_model(tmp_path / "m.onnx", OWN)
    wanted = OWN | {"divide_by": 16.0}
    made = enxuto.compress(source, keep_exact=["*"], metadata={"preprocess": wanted}).compressed
    proto = ModelProto.FromString(module.restore(made.to_bytes()))
    assert [json.loads(p.value) for p in proto.metadata_props if p.key == PREPROCESS_KEY] == [wanted]


def test_a_model_that_says_it_already_keeps_its_bytes(tmp_path: Path) -> None:
    source = Path(shutil.copy(MODEL, tmp_path / "m.onnx"))
    known = onnx_metadata(Model.read(source))
    first, second = (enxuto.compress(source, metadata=facts).compressed for facts in (None, known))
    assert first.skeleton == second.skeleton


def test_verify_does_not_take_it_for_another_model(tmp_path: Path) -> None:
    from enxuto.enx.verify import verify

    source = carrying_model(tmp_path / "m.onnx", OWN)
    made = enxuto.compress(source, metadata={"preprocess": OWN | {"divide_by": 16.0}}).compressed
    assert verify(made, Model.read(source)).ok

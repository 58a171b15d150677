"""`enxuto diff` and `enxuto apply`: the file comes back to the byte, and what is wrong is one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import Result

from enx_samples import small_model
from enxuto.compression.data_free import compress
from enxuto.onnx_model import Model

Invoke = Callable[..., Result]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    model = small_model()
    model.write("old.onnx")
    compress(model).save("old.enx")
    tuned = model.replace_weights({"fc.b": model.load("fc.b") + np.float32(0.2)})
    model.replace_weights({"fc.w": -model.load("fc.w")}).write("other.onnx")
    tuned.write("new.onnx")
    compress(tuned).save("new.enx")
    return tmp_path


def test_there_and_back(invoke: Invoke, files: Path) -> None:
    """An `.enx` file comes back; an ONNX model becomes one, and .onnx is written by its name."""
    assert invoke("diff", "old.enx", "new.enx", "-o", "patch.enxd").exit_code == 0
    assert invoke("apply", "old.enx", "patch.enxd", "-o", "again.enx").exit_code == 0
    assert Path("again.enx").read_bytes() == Path("new.enx").read_bytes()
    found = json.loads(invoke("diff", "old.enx", "new.onnx", "--original", "old.onnx", "--json").stdout)
    assert found["output"] == "new.enxd"
    assert found["bytes"] == Path("new.enxd").stat().st_size
    assert found["changed"] == 1
    assert invoke("apply", "old.enx", "new.enxd", "-o", "tuned.onnx").exit_code == 0
    moved = Model.read("tuned.onnx").load("fc.b") - Model.read("old.onnx").load("fc.b")
    np.testing.assert_allclose(moved, 0.2, atol=0.02)
    said = json.loads(invoke("apply", "old.enx", "patch.enxd", "--json").stdout)
    assert said["same_bytes"] is True


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("diff", "new.onnx", "old.enx"), "not an .enx file but an ONNX model"),
        (("diff", "old.enx", "new.enx", "--original", "old.onnx"), "--original is for a new model in ONNX"),
        (("diff", "old.enx", "new.onnx", "--original", "other.onnx"), "not made from the original"),
        (("diff", "old.enx", "new.onnx", "--price", "-1"), "--price"),
        (("apply", "new.enx", "p.enxd"), "to another file"),
        (("apply", "old.enx", "new.enx", "-o", "x.enx"), "not a difference file"),
        (("apply", "old.enx", "absent.enxd"), "absent.enxd"),
        (("apply", "old.enx", "p.enxd", "-o", "old.enx"), "name another file"),
        (("apply", "old.enx", "p.enxd", "-o", "new.enxd"), "name it .enx"),
        (("diff", "old.enx", "new.onnx", "-o", "x.enx"), "name it .enxd"),
        (("diff", "old.enx", "new.onnx", "-o", "x.ONNX"), "name it .enxd"),
        (("diff", "old.enx", "new.enx", "--price", "1"), "--price is for a new model in ONNX"),
        *(
            (words, "a difference file")
            for words in (
                ("diff", "p.enxd", "new.onnx"),
                ("diff", "old.enx", "p.enxd", "-o", "x.enxd"),
                ("apply", "p.enxd", "p.enxd", "-o", "x.enx"),
                ("compress", "p.enxd", "-o", "x.enx"),
                ("decompress", "p.enxd", "-o", "x.onnx"),
                ("inspect", "p.enxd"),
                ("summary", "p.enxd"),
                ("compare", "p.enxd", "old.enx"),
                ("bench", "p.enxd"),
                ("weights", "p.enxd", "-o", "x"),
            )
        ),
    ],
)
def test_what_is_wrong_is_one_line(invoke: Invoke, files: Path, words: tuple[str, ...], message: str) -> None:
    assert invoke("diff", "old.enx", "new.onnx", "-o", "p.enxd").exit_code == 0
    before = Path("old.enx").read_bytes()
    result = invoke(*words)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert Path("old.enx").read_bytes() == before
    assert not any(Path(name).exists() for name in ("x", "x.enx", "x.ONNX", "x.enxd", "x.onnx"))

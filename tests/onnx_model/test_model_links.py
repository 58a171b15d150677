"""Links to a model and to its external data: what ONNX Runtime reads is read, what leaves the model's folder is not.

The layout is that of the Hugging Face hub's cache: `snapshots/REV/model.onnx` and `model.onnx_data` are links to files
side by side in `blobs`. ONNX Runtime itself is the oracle of every case.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

import enxuto
from enxuto.errors import ModelError
from enxuto.onnx_model import Model
from enxuto.onnx_model.data_files import files

WEIGHT = np.random.default_rng(3).normal(size=(64, 32)).astype(np.float32)


def hub(root: Path, *, inner: str = "", model: str = "link", data: str = "blobs/bb") -> Path:
    """A cache: the model `link`ed or a `file`, its data in `data` below the root, linked from beside the model."""
    blobs, here = root / "blobs", root / "snapshots" / "rev" / inner
    for folder in (blobs, here, (root / data).parent):
        folder.mkdir(parents=True, exist_ok=True)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 32])],
        [TensorProto(name="w", dims=[64, 32], data_type=1, data_location=TensorProto.EXTERNAL)],
    )
    graph.initializer[0].external_data.add(key="location", value="model.onnx_data")
    proto = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    (blobs / "aa").write_bytes(proto.SerializeToString())
    (root / data).write_bytes(WEIGHT.tobytes())
    if model == "link":
        (here / "model.onnx").symlink_to(os.path.relpath(blobs / "aa", here))
    else:
        shutil.copy(blobs / "aa", here / "model.onnx")
    (here / "model.onnx_data").symlink_to(os.path.relpath(root / data, here))
    return here / "model.onnx"


def with_data(root: Path, change: Callable[[Path, Path], object]) -> Path:
    """The cache with another entry beside the model: `change(root, entry)` makes it."""
    place = hub(root)
    entry = place.with_name("model.onnx_data")
    entry.unlink()
    change(root, entry)
    return place


def through(root: Path) -> Path:
    """A link to the link, with one to the data's link beside it."""
    place = hub(root)
    (root / "q").mkdir()
    for name in ("model.onnx", "model.onnx_data"):
        (root / "q" / name).symlink_to(os.path.relpath(place.with_name(name), root / "q"))
    return root / "q" / "model.onnx"


def folder_link(root: Path) -> Path:
    hub(root)
    (root / "main").symlink_to("snapshots/rev")
    return root / "main" / "model.onnx"


def in_the_middle(root: Path) -> Path:
    """Data beside the link that a link leads to: neither the named folder nor the true one."""
    place = through(root)
    middle = root / "snapshots" / "rev" / "model.onnx_data"
    middle.unlink()
    middle.write_bytes(WEIGHT.tobytes())
    return place


READ: dict[str, Callable[[Path], Path]] = {
    "hub": hub,
    "hub, a folder deeper": lambda root: hub(root, inner="onnx"),
    "data deeper than the true model": lambda root: hub(root, data="blobs/more/bb"),
    "data a file beside the link": lambda root: with_data(root, lambda r, e: shutil.copy(r / "blobs/bb", e)),
    "data a hard link beside the link": lambda root: with_data(root, lambda r, e: os.link(r / "blobs/bb", e)),
    "a link to the link": through,
    "a link to the folder": folder_link,
}
REFUSED: dict[str, Callable[[Path], Path]] = {
    "model a file, data linked elsewhere": lambda root: hub(root, model="file"),
    "data above the true model": lambda root: hub(root, data="bb"),
    "data beside the true model's folder": lambda root: hub(root, data="blobs2/bb"),
    "data in the middle": in_the_middle,
    "data only beside the true model": lambda root: with_data(
        root, lambda r, e: (r / "blobs/bb").rename(r / "blobs" / e.name)
    ),
    "a loop": lambda root: with_data(root, lambda r, e: e.symlink_to(e.name)),
    "data a folder": lambda root: with_data(root, lambda r, e: e.symlink_to("../../blobs")),
}


@pytest.mark.parametrize("case", READ)
def test_links_that_onnx_runtime_follows_are_followed(case: str, tmp_path: Path) -> None:
    place = READ[case](tmp_path)
    x = np.ones((1, 64), np.float32)
    wanted = onnxruntime.InferenceSession(str(place)).run(None, {"x": x})[0]
    assert np.array_equal(Model.read(place).load("w"), WEIGHT)
    assert [path.stat().st_size for path in files(place)][1:] == [WEIGHT.nbytes]
    enxuto.compress(place).save(tmp_path / "m.enx")
    found = enxuto.session(tmp_path / "m.enx").run(None, {"x": x})[0]
    assert np.abs(found - wanted).max() < 0.1 * np.abs(wanted).max()
    assert np.allclose(wanted, WEIGHT.sum(0), atol=1e-4)


@pytest.mark.recent
@pytest.mark.parametrize("case", REFUSED)
def test_links_that_onnx_runtime_refuses_are_refused(case: str, tmp_path: Path) -> None:
    place = REFUSED[case](tmp_path)
    with pytest.raises(Exception, match=r"External data|external data|data_path|file"):
        onnxruntime.InferenceSession(str(place))
    for read in (Model.read, files):
        with pytest.raises(ModelError, match="'w'"):
            read(place)


def test_a_relative_name_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = hub(tmp_path)
    monkeypatch.chdir(place.parent)
    assert np.array_equal(Model.read(place.name).load("w"), WEIGHT)

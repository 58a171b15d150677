"""Networks and images that verbs with training cannot take: one line before any work, and nothing written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import Result

from enxuto.onnx_model import Model, fix_sizes
from enxuto.onnx_model.carried import LABELS_KEY, PREPROCESS_KEY
from enxuto.retraining import Retraining
from enxuto.runtime import Runner

pytestmark = pytest.mark.torch
Invoke = Callable[..., Result]


def network(
    *,
    kind: int = TensorProto.FLOAT,
    size: int | str = 8,
    operator: str = "Relu",
    bad: float | None = None,
    classes: int = 10,
    second: bool = False,
) -> onnx.ModelProto:
    """Conv → Relu → Conv → Relu → GlobalAveragePool → Gemm for grey images, of any of these faults."""
    generator = np.random.default_rng(0)
    shapes = {"c1": (8, 1, 3, 3), "c2": (16, 8, 3, 3), "f": (classes, 16), "fb": (classes,)}
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    arrays = {name: generator.normal(0, 0.3, shape).astype(dtype) for name, shape in shapes.items()}
    if bad is not None:
        arrays["c2"][0, 0, 0, 0] = bad
    value, node = helper.make_tensor_value_info, helper.make_node
    nodes = [
        node("Conv", ["x", "c1"], ["a"], pads=[1, 1, 1, 1]), node(operator, ["a"], ["b"]),
        node("Conv", ["b", "c2"], ["c"], pads=[1, 1, 1, 1]), node("Relu", ["c"], ["d"]),
        node("GlobalAveragePool", ["d"], ["p"]), node("Flatten", ["p"], ["e"]),
        node("Gemm", ["e", "f", "fb"], ["y"], transB=1),
    ]  # fmt: skip
    outputs = [value("y", kind, ["n", classes])]
    if second:
        outputs.append(value("e", kind, ["n", 16]))
    graph = helper.make_graph(
        nodes, "g", [value("x", kind, ["n", 1, size, size])], outputs,
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )  # fmt: skip
    made: onnx.ModelProto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    prepared = '{"channels": "L", "divide_by": 255.0}'
    for key, text in ((PREPROCESS_KEY, prepared), (LABELS_KEY, str([*"0123456789"]).replace("'", '"'))):
        if key == PREPROCESS_KEY or classes == 10:
            made.metadata_props.add(key=key, value=text)
    return made


def flat() -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    arrays = {"f": np.eye(10, 64, dtype=np.float32)}
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "f"], ["y"], transB=1)], "g", [value("x", TensorProto.FLOAT, ["n", 64])],
        [value("y", TensorProto.FLOAT, ["n", 10])], [numpy_helper.from_array(a, name) for name, a in arrays.items()],
    )  # fmt: skip
    made: onnx.ModelProto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    return made


NETWORKS: dict[str, tuple[Callable[[], onnx.ModelProto], dict[str, str]]] = {
    "float16 weights": (lambda: network(kind=TensorProto.FLOAT16), {"": "is float16, and training takes float32"}),
    "an unknown operator": (lambda: network(operator="Foo"), {"": "operator Foo", "retrain": "Foo"}),
    "NaN in weights": (lambda: network(bad=np.nan), {"": "holds NaN or infinity", "retrain": "gives NaN or infinity"}),
    "an open size": (
        lambda: network(size="h"), {"": "leaves the size of its images open", "retrain": "", "slim": ""}
    ),
    "two outputs": (lambda: network(second=True), {"": "has several inputs or outputs", "retrain": ""}),
    "one score": (
        lambda: network(classes=1), {"": "tells 1 classes apart", "slim": "gives one number", "retrain": ""}
    ),
    "no images": (
        flat, {"": "nothing of", "train": "takes inputs of shape (64,)", "retrain": "(N, 64)"}
    ),
}  # fmt: skip
"""How it is made; what is said, by verb; "" where the verb takes it."""

VERBS: dict[str, tuple[str, ...]] = {
    "prune": ("--test", "TEST", "--macs", "60%"),
    "train": ("--epochs", "1"),
    "lottery": ("--test", "TEST", "--scale", "smoke"),
    "slim": ("--max-kl", "1"),
    "retrain": ("--retrain", "--epochs", "1", "--bits", "4", "--images", "16", "--threads", "1"),
}


def words(verb: str, folder: Path, model: Path, data: Path) -> list[object]:
    options = [folder / "test.npz" if word == "TEST" else word for word in VERBS[verb]]
    name = "compress" if verb == "retrain" else verb
    return [name, model, "--data", data, *options, "-o", folder / "out"]


def check_refused(result: Result, folder: Path, says: str) -> None:
    assert result.exit_code == 2, result.output
    (error,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert says in error
    assert "internal error" not in error
    assert result.stdout == ""
    assert not (folder / "out").exists()


@pytest.fixture
def folder(tmp_path: Path, images: Path) -> Path:
    held = np.load(images)
    for name, part in {"train": slice(0, 80), "test": slice(80, 120)}.items():
        np.savez(tmp_path / f"{name}.npz", images=held["images"][part], labels=held["labels"][part])
    return tmp_path


REFUSED = [
    (name, verb)
    for name, (_, said) in NETWORKS.items()
    for verb in VERBS
    if said.get(verb, said[""])
]  # fmt: skip


@pytest.mark.parametrize(("name", "verb"), REFUSED)
def test_networks_that_cannot_be_trained_are_refused_before_any_work(
    name: str, verb: str, invoke: Invoke, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before calibration and search, too, which take hours of a large network."""

    def work(*_: object, **__: object) -> None:
        raise AssertionError("work was begun")

    monkeypatch.setattr("enxuto.compression.calibrated.calibrate", work)
    make, said = NETWORKS[name]
    onnx.save(make(), folder / "net.onnx")
    check_refused(
        invoke(*words(verb, folder, folder / "net.onnx", folder / "train.npz")),
        folder,
        said.get(verb, said[""]),
    )


def spoil(folder: Path, other: Mapping[str, np.ndarray | None]) -> Path:
    with np.load(folder / "train.npz") as held:
        arrays = {**held, **other}
    np.savez(folder / "bad.npz", **{name: array for name, array in arrays.items() if array is not None})
    return folder / "bad.npz"


DATA: dict[str, tuple[dict[str, np.ndarray | None], str]] = {
    "no images": ({"images": np.zeros((0, 8, 8), np.uint8), "labels": np.zeros(0, int)}, "holds no samples"),
    "floats": ({"images": np.zeros((80, 8, 8), np.float32)}, "images is float32"),
    "negative labels": ({"labels": np.arange(80) % 10 - 5}, "label"),
    "labels of half the images": ({"labels": np.arange(40) % 10}, "labels is int64 (40,)"),
    "labels that are no whole numbers": ({"labels": np.arange(80) / 2}, "labels is float64"),
    "more classes than outputs": ({"labels": np.arange(80) % 20}, "10 classes apart, the images have 20"),
    "colours for a grey network": (
        {"images": np.zeros((80, 8, 8, 3), np.uint8)},
        "3 channels, and the network takes 1",
    ),
    "arrays of other names": ({"images": None, "labels": None, "x": np.zeros(80)}, "has no array"),
}
"""What of the archive is other, None for what is not in it; what is said."""


@pytest.mark.parametrize("verb", ["prune", "train"])
@pytest.mark.parametrize("name", DATA)
def test_what_is_wrong_with_images_is_said_and_not_that_they_have_no_parts(
    name: str, verb: str, invoke: Invoke, folder: Path
) -> None:
    other, says = DATA[name]
    onnx.save(network(), folder / "net.onnx")
    check_refused(invoke(*words(verb, folder, folder / "net.onnx", spoil(folder, other))), folder, says)


def test_images_give_the_size_that_a_network_leaves_open() -> None:
    """As retraining does it, and slimming."""
    model = Model.from_proto(network(size="h"))
    Retraining(epochs=1).check_model(model, (1, 8, 8))
    fixed = fix_sizes(model, (1, 8, 8))
    assert Runner(fixed).inputs[0].shape[1:] == (1, 8, 8)
    assert fix_sizes(fixed, (1, 9, 9)) is fixed

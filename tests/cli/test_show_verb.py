"""`enxuto show`: filters and feature maps of every kind of network, as pages and pictures; and published accuracies."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from typer.testing import Result

from enxuto import zoo
from enxuto.errors import UsageError
from enxuto.feature_maps import first_filters, layer_names, run_layers
from enxuto.onnx_model import Model
from enxuto.opening import load
from enxuto.report.figures.feature_maps import filters_mosaic, maps_mosaic
from enxuto.zoo import ACCURACIES, WINNERS

Invoke = Callable[..., Result]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A grey image of 8×8 pixels."""
    path = tmp_path / "<b>three & four.png"
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4).save(path)
    return path


def shown(result: Result) -> dict[str, object]:
    assert result.exit_code == 0, result.stderr
    found: dict[str, object] = json.loads(result.stdout)
    return found


def chain() -> Model:
    """Two convolutions of the same name: one with norm and ReLU behind, one whose output two nodes read."""
    random = np.random.default_rng(0)
    weights = {
        "a.weight": random.normal(size=(4, 3, 3, 3)),
        "scale": np.ones(4), "shift": np.zeros(4), "mean": np.zeros(4), "var": np.ones(4),
        "k": random.normal(size=(2, 4, 1, 1)),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "a.weight"], ["c1"]),
        helper.make_node("BatchNormalization", ["c1", "scale", "shift", "mean", "var"], ["n1"]),
        helper.make_node("Relu", ["n1"], ["r1"]),
        helper.make_node("Conv", ["r1", "k"], ["c2"], name="last"),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("Add", ["c2", "r2"], ["s"]),
        helper.make_node("Conv", ["s", "last.weight"], ["y"]),
    ]
    weights["last.weight"] = random.normal(size=(2, 2, 1, 1))
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )  # fmt: skip
    return Model.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    )


def test_layers_are_convolutions_with_norm_and_activation() -> None:
    model = chain()
    assert layer_names(model) == {"a": "r1", "last": "c2", "last#2": "y"}
    filters = first_filters(model)
    assert (filters.name, filters.values.shape) == ("a", (4, 3, 3, 3))
    batch = np.random.default_rng(1).normal(size=(1, 3, 6, 5)).astype(np.float32)
    maps = run_layers(model, batch)
    assert [(one.name, one.values.shape) for one in maps] == [
        ("a", (4, 4, 3)), ("last", (2, 4, 3)), ("last#2", (2, 4, 3)),
    ]  # fmt: skip
    weight = torch.from_numpy(filters.values.copy())
    expected = torch.relu(torch.conv2d(torch.from_numpy(batch), weight) / (1 + 1e-5) ** 0.5)[0]
    np.testing.assert_allclose(maps[0].values, expected.numpy(), atol=1e-5)
    assert [one.name for one in run_layers(model, batch, most=2)] == ["a", "last#2"]
    assert [one.name for one in run_layers(model, batch, ["last"])] == ["last"]
    with pytest.raises(UsageError, match=r"there is no layer 'lost'.*there are a, last, last#2"):
        run_layers(model, batch, ["lost"])


def test_mosaics_hold_the_values_and_say_what_they_leave_out() -> None:
    filters = np.zeros((70, 3, 2, 2), np.float32)
    filters[0, 0], filters[0, 1] = 2, -2
    tile = filters_mosaic("c", filters)
    assert tile.title == "c: the first 64 of 70 filters of 2×2, zero is grey"
    assert tile.pixels[1, 1].tolist() == [255, 0, 128]
    assert filters_mosaic("c", filters, is_bgr=True).pixels[1, 1].tolist() == [128, 0, 255]
    assert "mean over 5 channels" in filters_mosaic("c", np.ones((1, 5, 1, 1))).title
    maps = np.zeros((2, 2, 2), np.float32)
    maps[0] = [[-1, 0], [1, 3]]
    board = maps_mosaic("m", maps)
    assert board.title == "m: 2 maps of 2×2, each on its own scale; 1 constant"
    assert board.pixels[1:3, 1:3, 0].tolist() == [[0, 64], [128, 255]]


def test_a_page_of_a_file_holds_the_same_pictures(
    invoke: Invoke, digits: Path, picture: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    found = shown(invoke("show", digits, "--image", picture, "-o", page, "--json"))
    text = page.read_text()
    assert "<b>three" not in text
    assert "&lt;b&gt;three &amp; four.png" in text
    assert not re.search(r"(?:src|href)=\"(?!data:)", text)
    pictures = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(code))))
        for code in re.findall(r"base64,([^\"]+)", text)
    ]
    layers = found["layers"]
    assert isinstance(layers, list)
    assert len(pictures) == 2 + len(layers)  # the image, the filters, the maps
    np.testing.assert_array_equal(pictures[0][..., 0], np.arange(64).reshape(8, 8) * 4)
    np.testing.assert_array_equal(pictures[1], filters_mosaic("", first_filters(load(digits)).values).pixels)
    again = tmp_path / "again.html"
    shown(invoke("show", digits, "--image", picture, "-o", again, "--json"))
    assert again.read_bytes() == page.read_bytes()


def test_an_enx_file_and_a_checkpoint_are_shown(
    invoke: Invoke, digits: Path, picture: Path, tmp_path: Path
) -> None:
    assert invoke("compress", digits, "-o", tmp_path / "d.enx").exit_code == 0
    target = tmp_path / "d.png"
    found = shown(invoke("show", tmp_path / "d.enx", "--image", picture, "--maps", 1, "-o", target, "--json"))
    with Image.open(target) as drawn:
        assert drawn.size[0] == 1200
    assert found["layers"] == [found["filters"]]
    weights = tmp_path / "lenet.pt"
    torch.save(zoo.build("lenet5", classes=3, channels=1, seed=0).state_dict(), weights)
    words = ("show", "lenet5", "--weights", weights, "--classes", 3, "--image", picture)
    result = invoke(*words, "-o", tmp_path / "l.html", "--activation", "displaced_relu", "--json")
    assert shown(result)["layers"] == ["features.c1", "features.c3"]
    assert "fresh" not in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-o", "page.txt"), "name a file that ends in .html, .png or .svg"),
        (("--layer", "a", "-o", "x.html"), "--layer is of what is made of an image; name one by --image"),
        (("--weights", "w.pt", "-o", "x.html"), "has its own weights; leave out --weights"),
        (("--option", "width=1", "-o", "x.html"), "--option and --activation are for networks of the zoo"),
        (("--image", "nothing.png", "-o", "x.html"), "nothing.png does not exist"),
    ],
)
def test_what_cannot_be_shown_is_refused(
    invoke: Invoke, digits: Path, words: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(digits.parent)
    result = invoke("show", digits, *words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not Path("x.html").exists()


def test_an_image_gets_the_size_of_a_model_that_says_nothing(
    invoke: Invoke, digits: Path, tmp_path: Path
) -> None:
    graph = onnx.load(digits)
    del graph.metadata_props[:]
    onnx.save(graph, tmp_path / "bare.onnx")
    Image.new("RGB", (9, 20)).save(tmp_path / "nine.png")
    words = ("show", tmp_path / "bare.onnx", "--image", tmp_path / "nine.png", "-o", tmp_path / "x.html")
    result = invoke(*words)
    assert result.exit_code == 0, result.stderr
    assert "as the network sees it, 8×8" in result.stderr
    assert "no preprocessing is known for this model" in result.stderr
    refused = invoke(*words, "--crop", 5)
    assert refused.exit_code == 2
    assert "the model takes (N, 1, 8, 8)" in refused.stderr


def test_published_accuracies_are_of_networks_of_the_zoo(invoke: Invoke, tmp_path: Path) -> None:
    assert set(ACCURACIES) == {name for name in zoo.names() if zoo.entry(name).classes == 1000}
    assert all(found.top1 is not None for found in ACCURACIES.values()), "it would not be in the chart"
    assert (ACCURACIES["squeezenet1_1"].top1, ACCURACIES["resnet101-v2"].top1) == (58.178, 77.42)
    for name, found in ACCURACIES.items():
        assert zoo.entry(name).classes == 1000
        top1, top5 = found.top1, found.top5
        assert top1 is None or 50 < top1 < 85
        assert top5 is None or 75 < top5 < 97
        assert top1 is None or top5 is None or 10 < top5 - top1 < 25
        assert found.measured
        assert found.source
    assert [one.year for one in WINNERS] == list(range(2010, 2018))
    errors = [one.top5_error for one in WINNERS]
    assert errors == sorted(errors, reverse=True)
    assert {one.network for one in WINNERS} <= {None, *zoo.names()}
    listed = shown(invoke("zoo", "vgg", "--imagenet", "--json"))
    assert isinstance(listed["imagenet"], dict)
    assert listed["imagenet"]["vgg19"]["top1"] == 74.5
    chart = tmp_path / "chart.svg"
    assert invoke("zoo", "--chart", chart).exit_code == 0
    drawn = chart.read_text()
    assert all(name in drawn for name, found in ACCURACIES.items() if found.top1 is not None)
    assert invoke("zoo", "cifar", "--imagenet").exit_code == 2
    one = shown(invoke("zoo", "resnet50", "--json"))["imagenet"]
    assert one == vars(ACCURACIES["resnet50"])

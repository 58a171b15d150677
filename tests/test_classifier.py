"""What a model says is on images: names and probabilities, from paths, Pillow images and arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper
from PIL import Image

import enxuto
from enxuto.classifier import LoadedModel, image_paths
from enxuto.demo import MODEL, TEST_IMAGES
from enxuto.errors import DataError, ModelError, UsageError

PIXELS = np.load(TEST_IMAGES)["images"]
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return enxuto.load(MODEL, threads=1)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Five images as PNG files."""
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for path, pixels in zip(paths, PIXELS, strict=False):
        Image.fromarray(pixels).save(path)
    return paths


def with_ending(folder: Path, nodes: Sequence[NodeProto], width: int = 10, **arrays: Any) -> LoadedModel:
    """The packaged network with more nodes from `z`, its scores, to `y`."""
    proto = onnx.load(MODEL)
    proto.graph.node.append(helper.make_node("Identity", [proto.graph.output[0].name], ["z"]))
    proto.graph.node.extend(nodes)
    proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(a), key) for key, a in arrays.items())
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", width]))
    onnx.save(proto, folder / "ending.onnx")
    return enxuto.load(folder / "ending.onnx", threads=1)


def expected_probabilities(pixels: np.ndarray) -> np.ndarray:
    """The softmax of what ONNX Runtime gives for grey images (N, H, W), by hand."""
    batch = (pixels.astype(np.float32) / 255)[:, np.newaxis]
    scores = np.asarray(enxuto.session(MODEL, threads=1).run(None, {"image": batch})[0], np.float64)
    powers = np.exp(scores)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def test_probabilities_are_the_softmax_of_the_scores(model: LoadedModel, files: list[Path]) -> None:
    expected = expected_probabilities(PIXELS[:5])
    answers = model.predict(files, top=10)
    assert len(answers) == 5
    for answer, row in zip(answers, expected, strict=True):
        assert [found.index for found in answer] == np.argsort(-row).tolist()
        assert [found.probability for found in answer] == pytest.approx(np.sort(row)[::-1], rel=1e-5)
        assert sum(found.probability for found in answer) == pytest.approx(1)


def test_every_kind_of_image_gives_the_same_answer(model: LoadedModel, files: list[Path]) -> None:
    expected = model.predict(files[0], top=3)
    assert len(expected) == 3
    grey = PIXELS[0]
    for image in (str(files[0]), Image.open(files[0]), grey, grey[:, :, np.newaxis], np.stack([grey] * 3, 2)):
        assert model.predict(image, top=3) == expected
        (again, also) = model.predict([image, files[0]], top=3)
        assert [found.index for found in again] == [found.index for found in also]
    batch = np.repeat(PIXELS[:4, :, :, np.newaxis], 3, axis=3)
    assert len(model.predict(batch)) == 4


def test_many_images_go_through_in_batches_in_order(model: LoadedModel) -> None:
    answers = model.predict(list(PIXELS[:70]), top=1)
    assert [answer[0].index for answer in answers] == expected_probabilities(PIXELS[:70]).argmax(1).tolist()


def test_names_are_the_models_or_those_given(model: LoadedModel, files: list[Path]) -> None:
    answer = model.predict(files[1], top=1)
    assert answer[0].name == str(answer[0].index)
    named = model.configure(labels=NAMES)
    assert named.predict(files[1], top=1)[0].name == NAMES[answer[0].index]
    assert named.configure(labels=[[name, "other"] for name in NAMES]).predict(files[1])[0].name in NAMES
    assert model.labels != named.labels
    with pytest.raises(UsageError, match="E042") as caught:
        model.configure(labels=NAMES[:9]).predict(files[1])
    assert "9 labels" in str(caught.value)


def test_the_file_keeps_preprocessing_and_names(
    model: LoadedModel, files: list[Path], tmp_path: Path
) -> None:
    assert model.preprocess is not None
    metadata = {"preprocess": model.preprocess.to_dict(), "labels": list(NAMES)}
    enxuto.compress(model, metadata=metadata).save(tmp_path / "m.enx")
    loaded = enxuto.load(tmp_path / "m.enx", threads=1)
    assert loaded.preprocess == model.preprocess
    assert loaded.labels == NAMES
    assert (
        loaded.predict(files[2], top=1)[0].name == NAMES[expected_probabilities(PIXELS[2:3]).argmax(1).item()]
    )


def test_it_is_still_a_model(model: LoadedModel, tmp_path: Path) -> None:
    model.write(tmp_path / "m.onnx")
    again = enxuto.load(tmp_path / "m.onnx")
    assert again.weight_names == model.weight_names
    assert all(np.array_equal(again.load(name), model.load(name)) for name in model.weight_names)
    assert enxuto.Runner(model, threads=1).scores(np.zeros((1, 1, 8, 8), np.float32)).shape == (1, 10)
    changed = model.replace_weights({name: model.load(name) * 0 for name in model.weight_names})
    assert isinstance(changed, enxuto.Model)


@pytest.mark.parametrize(
    "nodes",
    [
        [helper.make_node("Softmax", ["z"], ["y"], axis=1)],
        [helper.make_node("LogSoftmax", ["z"], ["y"], axis=1)],
    ],
    ids=["softmax", "log-softmax"],
)
def test_a_softmax_of_the_model_is_not_taken_twice(nodes: list[NodeProto], tmp_path: Path) -> None:
    row = expected_probabilities(PIXELS[:1])[0]
    answer = with_ending(tmp_path, nodes).predict(PIXELS[0], top=10)
    assert [found.probability for found in answer] == pytest.approx(np.sort(row)[::-1], rel=1e-4)


def test_a_softmax_that_the_graph_hides_is_seen_by_its_values(tmp_path: Path) -> None:
    then, other = (
        helper.make_graph(
            [helper.make_node("Softmax", ["z"], [f"{name}_y"], axis=1)],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, ["batch", 10])],
        )
        for name in ("then", "other")
    )
    node = helper.make_node("If", ["always"], ["y"], then_branch=then, else_branch=other)
    answer = with_ending(tmp_path, [node], always=np.array(True)).predict(PIXELS[0], top=1)
    assert answer[0].probability == pytest.approx(expected_probabilities(PIXELS[:1]).max(), rel=1e-4)


def test_sigmoids_stand_each_by_themselves(tmp_path: Path) -> None:
    answer = with_ending(tmp_path, [helper.make_node("Sigmoid", ["z"], ["y"])]).predict(PIXELS[1], top=10)
    batch = (PIXELS[1:2].astype(np.float32) / 255)[:, np.newaxis]
    scores = np.asarray(enxuto.session(MODEL, threads=1).run(None, {"image": batch})[0], np.float64)[0]
    expected = np.sort(1 / (1 + np.exp(-scores)))[::-1]
    assert [found.probability for found in answer] == pytest.approx(expected, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize(
    ("nodes", "width", "arrays"),
    [
        ([helper.make_node("Tanh", ["z"], ["y"])], 10, {}),
        ([helper.make_node("Slice", ["z", "start", "end", "axis"], ["y"])], 1,
         {"start": [3], "end": [4], "axis": [1]}),
        ([helper.make_node("Log", ["nothing"], ["n"]), helper.make_node("Mul", ["z", "n"], ["y"])], 10,
         {"nothing": np.float32(0)}),
    ],
    ids=["tanh", "one number", "infinite"],
)  # fmt: skip
def test_what_is_no_classifier(
    nodes: list[NodeProto], width: int, arrays: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="E035"):
        with_ending(tmp_path, nodes, width, **arrays).predict(PIXELS[0])


def test_bad_input_is_told(model: LoadedModel, files: list[Path], tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("no image")
    with pytest.raises(DataError, match="E010"):
        model.predict(tmp_path / "missing.png")
    with pytest.raises(DataError, match="E011"):
        model.predict(tmp_path)
    with pytest.raises(DataError, match="E041") as caught:
        model.predict([*files, text])
    assert str(caught.value).startswith(str(text))
    with pytest.raises(DataError, match="E041"):
        model.predict(np.zeros((8, 8, 3), np.float32))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="E044"):
        model.predict(np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(UsageError, match="E020"):
        model.predict(files, top=0)
    with pytest.raises(UsageError, match="E046"):
        LoadedModel(model).predict(files)
    assert model.predict([]) == []


def test_files_folders_and_patterns(files: list[Path], tmp_path: Path) -> None:
    inside = tmp_path / "more" / "a.JPG"
    inside.parent.mkdir()
    Image.fromarray(PIXELS[0]).save(inside, "JPEG")
    (tmp_path / "more" / ".hidden.png").write_bytes(files[0].read_bytes())
    (tmp_path / "more" / "text.txt").write_text("x")
    assert image_paths([tmp_path]) == [*files, inside]
    assert image_paths([f"{tmp_path}/[12].png", files[0], files[1]]) == [files[1], files[2], files[0]]
    odd = tmp_path / "what?.png"
    odd.write_bytes(files[0].read_bytes())
    assert image_paths([str(odd)]) == [odd]
    for missing in (tmp_path / "none.png", f"{tmp_path}/none*.png"):
        with pytest.raises(DataError, match="E010"):
            image_paths([missing])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="E010"):
        image_paths([tmp_path / "empty"])

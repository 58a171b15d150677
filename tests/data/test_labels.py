"""Labels that count a model's outputs: layouts of folders and tables × sources of the model's names.

The oracle of every case: image i of class c is painted with c's colour, so the right output is known by construction.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper
from PIL import Image

from enxuto.data import Dataset, open_dataset, read_labels
from enxuto.errors import DataError, UsageError
from enxuto.onnx_model import Model
from enxuto.opening import class_count, labels_of

COLOURS = ("a_red", "b_green", "c_blue")
IMAGENET = (
    "tench, Tinca tinca",
    "goldfish, Carassius auratus",
    "crane",
    "maillot",
    "maillot, tank suit",
    "crane",
)
SYNSETS = (
    "n01440764 tench, Tinca tinca",
    "n01443537 goldfish, Carassius auratus",
    "n01484850 great white shark",
)
INDEX = (("n01440764", "tench"), ("n01443537", "goldfish"), ("n01484850", "great_white_shark"))


def png(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (value, 0, 0)).save(path)


def folders(root: Path, *names: str) -> Path:
    """A class folder for each name, whose one image is as red as the name's place."""
    for value, name in enumerate(names):
        png(root / name / "x.png", value)
    return root


def by_image(data: Dataset) -> list[int]:
    """The label of each image, in the order in which `folders` was given the names."""
    places = [int(data.image(i)[0, 0, 0]) for i in range(len(data))]
    return [int(label) for _, label in sorted(zip(places, data.labels, strict=True))]


@pytest.mark.parametrize(
    ("names", "classes", "expected"),
    [
        (COLOURS, COLOURS, [0, 1, 2]),  # the plain case
        (COLOURS, ("a_red", "c_blue"), [0, 2]),  # a class lacks: the others do not move up
        (("c", "a", "b"), ("a", "b", "c"), [1, 2, 0]),  # another order
        (("cat", "dog"), ("Cat", "DOG"), [0, 1]),
        (("great white shark", "T-shirt/top"), ("great_white-shark",), [0]),
        (("Café", "tee"), ("Cafe\u0301",), [0]),  # as a Mac writes folder names
        (IMAGENET, ("Carassius auratus", "tench"), [1, 0]),
        (IMAGENET, ("maillot", "tank suit"), [3, 4]),  # a whole name goes before a synonym
        (SYNSETS, ("n01484850", "n01440764"), [2, 0]),
        (SYNSETS, ("great white shark", "goldfish"), [2, 1]),
        (INDEX, ("n01484850", "tench", "goldfish"), [2, 0, 1]),
        (("tench", "goldfish"), ("goldfish, Carassius auratus",), [1]),  # several words on the data's side
        (("0", "1", "2"), ("2", "0"), [2, 0]),
        (("1", "2", "10"), ("1", "2", "10"), [0, 1, 2]),  # numbers as names: the name counts
        (("cat", "dog", "owl"), ("0", "2"), [0, 2]),  # numbers are outputs
        (("cat", "dog", "owl"), ("000", "002"), [0, 2]),
        (None, ("0", "1", "2", "10"), [0, 1, 2, 10]),
        (None, ("b", "a"), [1, 0]),  # nothing to match: the order of the names
    ],
)
def test_folders_count_the_models_outputs(tmp_path: Path, names: Any, classes: Any, expected: Any) -> None:
    data = open_dataset(folders(tmp_path, *classes))
    assert by_image(data.match_classes(names)[0]) == expected
    assert by_image(open_dataset(tmp_path, names=names)) == expected


@pytest.mark.parametrize(
    ("names", "outputs", "classes", "words"),
    [
        (COLOURS, 3, ("a_red", "b_green", "d_pink"), "1 class that the model's labels do not name: 'd_pink'"),
        (COLOURS, 3, ("a_red", "b_green", "c_blue", "d_pink"), "'d_pink'"),
        (COLOURS, 3, ("n1", "n2"), "'n1', 'n2'.*of which the model's 3 labels.*name none"),
        (COLOURS, 3, ("a_red", "A RED"), "'A RED' and 'a_red' are both the model's 'a_red'"),
        (
            COLOURS,
            3,
            ("0", "1", "3"),
            "class 3, a number that counts from 0, more than the model's 3 outputs",
        ),
        (
            None,
            10,
            tuple(map(str, range(1, 11))),
            "class 10, a number that counts from 0, more than the model's 10",
        ),
        (None, 2, ("a", "b", "c"), "3 classes, more than the model's 2 outputs"),
        (IMAGENET, 6, ("crane", "tench"), "do not name: 'crane'"),  # two outputs are called so
        (("Paris, France", "Rome, Italy"), 2, ("Lyon, France", "Rome, Italy"), "'Lyon, France'"),
        (("(0, 2)", "(4, 6)"), 2, ("(0, 2)", "(4, 7)"), r"'\(4, 7\)'"),
    ],
)
def test_classes_that_the_model_does_not_have_are_named(
    tmp_path: Path, names: Any, outputs: Any, classes: Any, words: Any
) -> None:
    data = open_dataset(folders(tmp_path, *classes))
    with pytest.raises(DataError, match=words):
        data.match_classes(names, outputs)


@pytest.mark.parametrize(
    ("names", "outputs", "classes", "words"),
    [
        (COLOURS, 3, ("a_red", "c_blue"), "has 2 of the model's 3 classes, not 'b_green'"),
        (None, 1000, tuple(f"n{i:04}" for i in range(5)), "has 5 classes and the model 1000 outputs"),
        (None, 12, ("0", "1", "10"), "labels up to 10 and the model 12 outputs"),
        (COLOURS, 3, ("n01440764", "n01443537", "n01484850"), "different names .*labels are taken in order"),
        (COLOURS, 4, ("a_red", "c_blue"), "there are 3 labels for the model's 4 outputs; they are not used"),
    ],
)
def test_doubts_are_told(tmp_path: Path, names: Any, outputs: Any, classes: Any, words: Any) -> None:
    _, matching = open_dataset(folders(tmp_path, *classes)).match_classes(names, outputs)
    (warning, *_) = matching.warnings
    assert re.search(words, warning), warning


@pytest.mark.parametrize(("names", "outputs"), [(COLOURS, 3), (COLOURS, None), (None, 3), (None, None)])
def test_the_plain_order_says_nothing_and_changes_nothing(tmp_path: Path, names: Any, outputs: Any) -> None:
    data = open_dataset(folders(tmp_path, *COLOURS))
    same, matching = data.match_classes(names, outputs)
    assert (matching.output_by_label, matching.remarks, matching.warnings) == (None, (), ())
    assert same.hash == data.hash


def test_another_order_is_said_and_all_else_stays(tmp_path: Path) -> None:
    data = open_dataset(folders(tmp_path, "a", "b", "c"), limit=2, seed=3)
    moved, matching = data.match_classes(("c", "b", "a"), 3)
    assert len(matching.remarks) == 1
    assert [data.name(i) for i in range(2)] == [moved.name(i) for i in range(2)]
    assert moved.classes == ("c", "b", "a")
    assert [moved.classes[label] for label in moved.labels] == [data.classes[label] for label in data.labels]
    assert moved.hash != data.hash, "other labels are other data"
    assert moved.subset([1]).labels.tolist() == [moved.labels[1]]
    # A draw that misses a class is matched as the whole set is.
    assert open_dataset(tmp_path, limit=1, names=("c", "b", "a")).classes == ("c", "b", "a")


def parquet(place: Path, labels: list[int], names: list[str] | None) -> Path:
    image = pa.array([{"bytes": b"", "path": ""}] * len(labels))
    table = pa.table({"image": image, "label": pa.array(labels)})
    if names is not None:
        features = {"info": {"features": {"label": {"names": names}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    pq.write_table(table, place)
    return place


@pytest.mark.parametrize(
    ("classes", "names", "expected", "told"),
    [
        (["dog", "cat"], ("cat", "dog"), [1, 0, 1], "another order"),
        (["cat", "dog"], ("cat", "dog"), [0, 1, 0], None),
        (
            ["plane", "car"],
            ("airplane", "car"),
            [0, 1, 0],
            "different names",
        ),  # stored numbers mean something
        (
            ["cat", "dog", "unused"],
            ("dog", "cat"),
            [1, 0, 1],
            "another order",
        ),  # only what occurs must be known
        (None, ("cat", "dog"), [0, 1, 0], None),
        (["0", "1"], ("cat", "dog"), [0, 1, 0], None),
    ],
)
def test_names_of_parquet(tmp_path: Path, classes: Any, names: Any, expected: Any, told: Any) -> None:
    data = open_dataset(parquet(tmp_path / "d.parquet", [0, 1, 0], classes))
    found, matching = data.match_classes(names, len(names))
    assert found.labels.tolist() == expected
    said = [*matching.warnings, *matching.remarks]
    assert not said if told is None else told in said[0]


@pytest.mark.parametrize("separator", ["_", "-", " ", ". "])
def test_names_with_numbers_in_front(tmp_path: Path, separator: str) -> None:
    """ "10_…" sorts before "2_…", so that their order means nothing; their names say what they are."""
    names = tuple("abcdefghijklm")
    written = [f"{number}{separator}{name}" for number, name in enumerate(names)]
    data = open_dataset(folders(tmp_path / "d", *written))
    found, matching = data.match_classes(names, 13)
    assert by_image(found) == list(range(13))
    assert not matching.warnings
    # The other way round, too; but where both have numbers, these say more than the words behind them.
    plain = open_dataset(folders(tmp_path / "e", names[12], *names[:12]))
    assert by_image(plain.match_classes(written, 13)[0]) == [12, *range(12)]
    coins = open_dataset(folders(tmp_path / "f", "2 euro", "5 cent"))
    with pytest.raises(DataError, match="do not name: '5"):
        coins.match_classes(("1 cent", "2 euro"), 2)


def test_words_of_a_table_and_names_of_an_archive(tmp_path: Path) -> None:
    png(tmp_path / "x.png", 1)
    (tmp_path / "t.csv").write_text("file,label\nx.png,owl\nx.png,cat\n")
    assert open_dataset(tmp_path / "t.csv", names=("cat", "dog", "owl")).labels.tolist() == [2, 0]
    np.savez(tmp_path / "d.npz", images=np.zeros((2, 2, 2), np.uint8), labels=[0, 1], classes=["owl", "cat"])
    assert open_dataset(tmp_path / "d.npz", names=("cat", "dog", "owl")).labels.tolist() == [2, 0]


def test_numbers_beyond_the_outputs_are_told_before_anything_runs(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", images=np.zeros((2, 2, 2), np.uint8), labels=[0, 10])
    with pytest.raises(DataError, match="label 10, more than the model's 10 outputs"):
        open_dataset(tmp_path / "d.npz", outputs=10)


def test_two_folders_of_one_number_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="E042"):
        open_dataset(folders(tmp_path, "0", "1", "01"))


def test_dates_are_names(tmp_path: Path) -> None:
    assert open_dataset(folders(tmp_path, "20240101", "20240102")).labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("l.txt", "cat\ndog\n", ("cat", "dog")),
        ("l.txt", "\ufeffcat\r\ndog\r\n\r\n", ("cat", "dog")),
        ("l.json", '["cat", "dog"]', ("cat", "dog")),
        ("l.txt", '{"1": "dog", "0": "cat"}', ("cat", "dog")),
        ("l.json", '{"cat": 0, "dog": 1}', ("cat", "dog")),
        ("l.json", '{"0": ["n01", "cat"], "1": ["n02", "dog"]}', (("n01", "cat"), ("n02", "dog"))),
        ("l.txt", "[unknown]\ndog", ("[unknown]", "dog")),
        ("l.txt", "0: tench, Tinca tinca\n1: goldfish\n", ("tench, Tinca tinca", "goldfish")),
        ("l.txt", "2 cat\n0 dog\n1 great owl\n", ("dog", "great owl", "cat")),
        ("l.csv", "1,dog\n0,cat\n", ("cat", "dog")),
        ("l.txt", "1) cat\n2) dog\n", ("cat", "dog")),
        ("l.txt", "0 - zero\n1 - one", ("zero", "one")),
        ("l.txt", "0 cat\n2 dog", ("0 cat", "2 dog")),
        ("l.txt", "0 dogs\n1 dogs", ("0 dogs", "1 dogs")),
        ("l.txt", "0\n1\n2", ("0", "1", "2")),
        ("l.txt", "n01440764 tench\nn01443537 goldfish", ("n01440764 tench", "n01443537 goldfish")),
    ],
)
def test_files_of_labels(tmp_path: Path, name: str, text: str, expected: Any) -> None:
    (tmp_path / name).write_bytes(text.encode())
    assert read_labels(tmp_path / name) == expected


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b"cat\n\ndog",
        b"\xff\xfe",
        b'{"0": "cat", "2": "dog"}',
        b"[" * 100_000,
        b'{"a": 1.5}',
        b"{0: 'tench, Tinca tinca',\n 1: 'goldfish'}",
        b"[[]]",
    ],
)
def test_files_that_are_no_labels_are_one_line(tmp_path: Path, content: bytes) -> None:
    place = tmp_path / "l.json"
    place.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_labels(place)
    assert "\n" not in str(caught.value)
    for other in (tmp_path, Path("/dev/zero"), tmp_path / "missing"):
        with pytest.raises(UsageError):
            read_labels(other)


def model(key: str | None, value: str, shape: list[int | str] = ["N", 2]) -> Model:  # noqa: B006
    node = helper.make_node("Flatten", ["x"], ["y"])
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, size)
        for name, size in (("x", ["N", 2]), ("y", shape))
    ]
    proto = helper.make_model(
        helper.make_graph([node], "g", ends[:1], ends[1:]), opset_imports=[helper.make_opsetid("", 17)]
    )
    proto.ir_version = 8
    if key is not None:
        proto.metadata_props.add(key=key, value=value)
    return Model.from_bytes(proto.SerializeToString())


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("names", "{0: 'cat', 1: 'dog'}", ("cat", "dog")),
        ("names", '["cat", "dog"]', ("cat", "dog")),
        ("classes", '{"0": "cat", "1": "dog"}', ("cat", "dog")),
        ("id2label", '{"0": "cat", "1": "dog"}', ("cat", "dog")),
        ("label2id", '{"cat": 0, "dog": 1}', ("cat", "dog")),
        ("names", "__import__('os').system('true')", None),
        ("names", "[" * 100_000, None),
        ("names", "{0: 'cat', 5: 'dog'}", None),
        ("labels", "imagenet", None),
        (None, "", None),
    ],
)
def test_names_in_models_of_others(key: Any, value: Any, expected: Any) -> None:
    assert labels_of(model(key, value), {}) == expected
    assert labels_of(model(key, value), {"labels": ["a", "b"]}) == ("a", "b")


@pytest.mark.parametrize(("shape", "count"), [(["N", 2], 2), (["N", "C"], 2), ([1, 2], 2), (["N", 2, 1, 1], 2),
                                              (["N", 1], None), (["N", 2, 3, 3], None)])  # fmt: skip
def test_how_many_classes_a_model_has(shape: Any, count: Any) -> None:
    if shape == ["N", "C"]:
        found = class_count(model(None, "", shape))
        assert found == count, "ONNX Runtime infers what the file leaves open"
        return
    graph = helper.make_graph([], "g", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)])
    assert class_count(Model.from_bytes(helper.make_model(graph).SerializeToString())) == count


@pytest.mark.parametrize("names", [["1", "2"], ["0", "3"], ["0", "1", "10"]])
def test_numbers_that_do_not_count_from_0_are_noted(tmp_path: Path, names: list[str]) -> None:
    (note,) = open_dataset(folders(tmp_path, *names)).notes
    assert f"called by numbers, {names[0]} to {names[-1]}, which are taken as labels" in note


def unlabelled(root: Path, kind: str) -> Path:
    """Two images, of 1 and 2, that have no labels, in every form."""
    for value in (1, 2):
        png(root / f"{value}.png", value)
    images = np.zeros((2, 4, 4, 3), np.uint8)
    images[:, :, :, 0] = np.array([1, 2])[:, None, None]
    encoded = pa.array([{"bytes": (root / f"{value}.png").read_bytes(), "path": ""} for value in (1, 2)])
    match kind:
        case "folder":
            return root
        case "subfolders":
            (root / "deep" / "er").mkdir(parents=True)
            (root / "2.png").rename(root / "deep" / "er" / "2.png")
            return root
        case "part":
            (root / "set" / "train").mkdir(parents=True)
            (root / "set" / "test").mkdir()
            for value in (1, 2):
                (root / f"{value}.png").rename(root / "set" / "test" / f"{value}.png")
            return root / "set"
        case "npz":
            np.savez(root / "d.npz", images=images)
        case "table":
            (root / "d.table.csv").write_text("file,note\n1.png,x\n2.png,y\n")
            return root / "d.table.csv"
        case "idx":
            body = (
                b"\0\0\x08\x03"
                + b"".join(size.to_bytes(4, "big") for size in (2, 4, 4))
                + images[..., 0].tobytes()
            )
            (root / "raw").mkdir()
            (root / "raw" / "t10k-images-idx3-ubyte").write_bytes(body)
            return root / "raw"
        case "parquet":
            pq.write_table(pa.table({"image": encoded}), root / "d.parquet")
        case "parquet of words":
            pq.write_table(pa.table({"image": encoded, "label": ["cat", "dog"]}), root / "d.parquet")
        case "parquet without":
            pq.write_table(pa.table({"image": encoded, "label": pa.array([None, 1])}), root / "d.parquet")
        case "parquet of −1":  # as the hub's test sets have
            parquet = pa.table({"image": encoded, "label": pa.array([-1, -1])})
            features = json.dumps({"info": {"features": {"label": {"names": ["cat", "dog"]}}}})
            pq.write_table(parquet.replace_schema_metadata({"huggingface": features}), root / "d.parquet")
    return root / f"d.{kind.split()[0]}"


@pytest.mark.parametrize("kind", ["folder", "subfolders", "part", "npz", "table", "idx", "parquet", "parquet of words",
                                  "parquet without", "parquet of −1"])  # fmt: skip
def test_images_without_labels(tmp_path: Path, kind: str) -> None:
    place = unlabelled(tmp_path, kind)
    data = open_dataset(place, require_labels=False)
    assert (data.labelled, data.labels.tolist()) == (False, [-1, -1])
    assert sorted(int(data.image(i)[0, 0, 0]) for i in range(2)) == [1, 2]
    assert data.hash == open_dataset(place, require_labels=False).hash
    assert not data.match_classes(COLOURS, 3)[0].labelled
    assert [len(part) for part in data.split([0.5, 0.5])] == [1, 1]
    if kind != "subfolders":  # the folders of those are classes
        with pytest.raises(DataError, match=r"label|no images in class folders"):
            open_dataset(place)


def test_data_with_labels_are_the_same_where_none_are_needed(tmp_path: Path) -> None:
    folders(tmp_path, "a", "b")
    with_labels, without = open_dataset(tmp_path), open_dataset(tmp_path, require_labels=False)
    assert (without.labelled, without.hash) == (True, with_labels.hash)
    assert with_labels.without_labels().labels.tolist() == [-1, -1]

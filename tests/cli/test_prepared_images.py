"""Networks from files are trained, pruned and tested on the images that their preprocessing gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import Result

import enxuto
from enxuto.data import Preprocess
from enxuto.export import export_onnx
from enxuto.opening import onnx_metadata, preprocess_of
from enxuto.runtime import Runner
from enxuto.studies.images import ImageSelection
from enxuto.studies.pruning import StartingNetwork
from enxuto.train.preparation import pixel_scale

Invoke = Callable[..., Result]

SIZE = (12, 12)
MEAN, STD = (0.5, 0.4, 0.3), (0.3, 0.25, 0.2)
FOLLOWED: dict[str, dict[str, Any]] = {
    "short side and crop": {"resize": 14, "crop": 12, "mean": MEAN, "std": STD},
    "bicubic, whole numbers": {
        "resize": 14, "interpolation": "bicubic", "crop": 12, "divide_by": 1.0, "mean": [127.0], "std": [128.0],
    },
    "another shape and crop": {"resize": [18, 16], "crop": 12, "mean": MEAN, "std": STD},
    "crop alone": {"crop": [12, 12], "mean": MEAN, "std": STD},
    "exact and bicubic": {"resize": [12, 12], "interpolation": "bicubic", "mean": MEAN, "std": STD},
    "blue first": {"resize": 13, "crop": 12, "channels": "BGR", "mean": MEAN, "std": STD},
    "exact": {"resize": [12, 12], "mean": MEAN, "std": STD},
}  # fmt: skip


@pytest.fixture
def parts(tmp_path: Path) -> tuple[object, ...]:
    """80 training and 60 test images of 20×16 pixels in colour, whose class is where they are bright, and in what."""
    generator = np.random.default_rng(0)
    for name, count in {"train": 80, "test": 60}.items():
        labels = np.arange(count) % 4
        images = generator.integers(0, 130, (count, 20, 16, 3))
        for image, label in zip(images, labels, strict=True):
            image[5 + 4 * (label // 2) : 9 + 4 * (label // 2), 3:13, label % 3] += 90
        np.savez(tmp_path / f"{name}.npz", images=images.astype(np.uint8), labels=labels)
    return "--data", tmp_path / "train.npz", "--test", tmp_path / "test.npz"


def network_file(path: Path, *, size: bool = True) -> Path:
    """A small network for 12×12 pixels, or for any size."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 6, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4),
    )  # fmt: skip
    export_onnx(network.eval(), path, input_shape=(3, *SIZE))
    if not size:
        import onnx

        made = onnx.load(path)
        for axis, name in ((2, "height"), (3, "width")):
            made.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
        del made.graph.value_info[:]
        onnx.save(made, path)
    return path


def toml(path: Path, settings: dict[str, Any]) -> Path:
    path.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
    return path


@pytest.mark.parametrize("verb", ["train", "prune"])
@pytest.mark.parametrize("settings", FOLLOWED.values(), ids=FOLLOWED)
def test_what_a_verb_tests_is_what_evaluate_tests(
    verb: str, settings: dict[str, Any], invoke: Invoke, parts: tuple[object, ...], tmp_path: Path
) -> None:
    """Their accuracies agree, and the exported file says the preprocessing that was asked for."""
    model, out = network_file(tmp_path / "net.onnx"), tmp_path / "out"
    asked = ("--preprocess", toml(tmp_path / "own.toml", settings), "--json", "-o", out)
    more = {
        "train": ("--epochs", 3, "--set", "batch=16", "--set", "lr=0.05", "--set", "augment=none"),
        "prune": ("--macs", "80%", "--no-speed"),
    }
    result = invoke(verb, model, *parts, *asked, *more[verb])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    ours = told["test"]["top1"] if verb == "train" else told["rounds"][-1]["top1"]
    loss = told["test"]["loss"] if verb == "train" else told["rounds"][-1]["loss"]
    scored = invoke("evaluate", out / "model.onnx", "--data", tmp_path / "test.npz", "--json")
    assert scored.exit_code == 0, scored.output
    assert "differs" not in scored.stderr
    assert json.loads(scored.stdout)["metrics"]["accuracy"] == pytest.approx(ours)
    exported = enxuto.Model.read(out / "model.onnx")
    written = preprocess_of(onnx_metadata(exported))
    assert written is not None
    with np.load(tmp_path / "test.npz") as archive:
        held = dict(archive)
    logits = torch.from_numpy(Runner(exported).scores(written.apply(list(held["images"]))))
    labels = torch.from_numpy(held["labels"])
    assert float(nn.functional.cross_entropy(logits, labels)) == pytest.approx(loss, rel=1e-4)
    wanted = Preprocess.from_dict(settings)
    for name in ("resize", "interpolation", "crop", "channels", "divide_by", "mean", "std"):
        found, given = getattr(written, name), getattr(wanted, name)
        assert found == (pytest.approx(given) if name in ("mean", "std") else given), name


SAID: dict[str, tuple[tuple[str, ...], Preprocess]] = {
    "nothing": ((), Preprocess()),
    "a divisor and a mean": (("--divide-by", "127.5", "--mean", "1"), Preprocess(divide_by=127.5, mean=(1,))),
    "an option over a preset": (
        ("--preprocess", "resnet-cifar", "--std", "0.5,0.4,0.3"),
        Preprocess(mean=(0.485, 0.456, 0.406), std=(0.5, 0.4, 0.3)),
    ),
}


@pytest.mark.parametrize(("words", "wanted"), SAID.values(), ids=SAID)
@pytest.mark.parametrize(
    ("verb", "form"),
    [("train", "onnx"), ("train", "enx"), ("prune", "onnx"), ("prune", "enx"), ("prune", "pt")],
)
def test_a_trained_network_gets_its_images_in_the_scale_that_all_verbs_take(
    verb: str,
    form: str,
    words: tuple[str, ...],
    wanted: Preprocess,
    invoke: Invoke,
    parts: tuple[object, ...],
    tmp_path: Path,
) -> None:
    """Without a word pixels are divided by 255, as `compress` and `evaluate` do, whatever the training images are."""
    model, out = network_file(tmp_path / "net.onnx"), tmp_path / "out"
    if form == "enx":
        enxuto.compress(model).save(tmp_path / "net.enx")
    elif form == "pt":
        StartingNetwork.of_file(model)[0].write(tmp_path / "net.pt")
    more = {"train": ("--epochs", 1), "prune": ("--macs", "80%", "--no-speed")}
    result = invoke(verb, tmp_path / f"net.{form}", *parts, *words, *more[verb], "-o", out)
    assert result.exit_code == 0, result.output
    told = "no preprocessing is known for this model: pixels are divided by 255 and nothing else"
    assert (told in " ".join(result.stderr.split())) == (not words)
    written = preprocess_of(onnx_metadata(enxuto.Model.read(out / "model.onnx")))
    assert written is not None
    assert written.resize == SIZE
    for found, given in zip(pixel_scale(written, 3), pixel_scale(wanted, 3), strict=True):
        assert found == pytest.approx(given)


@pytest.mark.parametrize(("words", "wanted"), SAID.values(), ids=SAID)
def test_fresh_weights_get_the_mean_of_the_training_images_unless_told_otherwise(
    words: tuple[str, ...], wanted: Preprocess, invoke: Invoke, parts: tuple[object, ...], tmp_path: Path
) -> None:
    result = invoke(
        "lottery", network_file(tmp_path / "net.onnx"), *parts, *words, "--seeds", 1, "--rounds", 1, "--criteria", "l1",
        "--controls", "none", "--retrain", "rewind", "--json", "-o", tmp_path / "study",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    first = json.loads((tmp_path / "study" / "records.jsonl").read_text().splitlines()[0])
    scale = pixel_scale(wanted, 3) if words else (None, None)
    for name, given in zip(("mean", "std"), scale, strict=True):
        assert first["settings"]["images"][name] == (given and pytest.approx(list(given)))


def test_lottery_trains_on_cropped_images(invoke: Invoke, parts: tuple[object, ...], tmp_path: Path) -> None:
    result = invoke(
        "lottery", network_file(tmp_path / "net.onnx"), *parts, "--preprocess",
        toml(tmp_path / "own.toml", FOLLOWED["short side and crop"]), "--seeds", 1, "--rounds", 1, "--criteria", "l1",
        "--controls", "none", "--retrain", "rewind", "--json", "-o", tmp_path / "study",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    first = json.loads((tmp_path / "study" / "records.jsonl").read_text().splitlines()[0])
    assert first["settings"]["images"]["preprocess"]["crop"] == [12, 12]


@pytest.mark.parametrize(
    ("settings", "words", "says"),
    [
        ({"resize": 14}, (), "its preprocessing gives images of several sizes; name another"),
        ({"resize": 256, "crop": 224}, (), "gives images of 224×224; name another by --preprocess"),
        ({"resize": [14, 14]}, (), "such as a TOML file with resize = [12, 12]"),
        ({"crop": 12, "channels": "L"}, (), "gives 1 (L); name another by --preprocess"),
        ({}, ("--resize", "14,14"), "takes images of 12×12, and --resize makes them 14×14; leave it out"),
        ({"resize": [12, 12]}, ("--resize", "10,12"), "--resize makes them 10×12; leave it out"),
        ({"resize": 14, "crop": 12}, ("--resize", "9,9"), "crop 12×12 is larger than resize 9×9"),
    ],
)
@pytest.mark.parametrize("verb", ["train", "prune", "lottery"])
def test_what_does_not_leave_the_networks_size_is_refused(
    verb: str,
    settings: dict[str, Any],
    words: tuple[str, ...],
    says: str,
    invoke: Invoke,
    parts: tuple[object, ...],
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    given = ("--preprocess", toml(tmp_path / "own.toml", settings)) if settings else ()
    result = invoke(verb, network_file(tmp_path / "net.onnx"), *parts, *given, *words, "-o", out)
    assert result.exit_code == 2, result.output
    (error,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert says in error
    assert not out.exists()


@pytest.mark.parametrize("words", [("--resize", "12,12"), ("--resize", "13,14", "--preprocess", "crop")])
@pytest.mark.parametrize("verb", ["train", "lottery"])
def test_resize_is_the_size_of_a_network_that_leaves_it_open(
    verb: str, words: tuple[str, ...], invoke: Invoke, parts: tuple[object, ...], tmp_path: Path
) -> None:
    """Before a crop it is what the preprocessing resizes to."""
    crop = toml(tmp_path / "crop.toml", {"resize": 20, "crop": 12})
    given = [crop if word == "crop" else word for word in words]
    more = {"train": ("--epochs", 1), "lottery": ("--seeds", 1, "--rounds", 1, "--criteria", "l1", "--controls", "none",
                                                  "--retrain", "rewind")}  # fmt: skip
    result = invoke(
        verb,
        network_file(tmp_path / "net.onnx", size=False),
        *parts,
        *given,
        *more[verb],
        "-o",
        tmp_path / "out",
    )
    assert result.exit_code == 0, result.output
    if verb == "train":
        written = preprocess_of(onnx_metadata(enxuto.Model.read(tmp_path / "out" / "model.onnx")))
        assert written is not None
        assert written.resize == tuple(map(int, words[1].split(",")))
        assert written.crop == ((12, 12) if len(words) > 2 else None)


@pytest.mark.parametrize("preprocess", [None, Preprocess(resize=14, crop=12, mean=MEAN, channels="BGR")])
def test_selections_come_back_from_their_settings(preprocess: Preprocess | None) -> None:
    """Points are known by the settings, which have no preprocessing where there is none to follow."""
    selection = ImageSelection(10, 5, 1, SIZE, preprocess=preprocess)
    assert ImageSelection.from_dict(selection.to_dict()) == selection
    assert ("preprocess" in selection.to_dict()) == (preprocess is not None)

"""What points are known by: another id for every input that is another, the same one for files elsewhere or renamed."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from enxuto import zoo
from enxuto.demo import MODEL, TEST_IMAGES
from enxuto.errors import DataError, UsageError
from enxuto.opening import load_with_metadata, preprocess_of
from enxuto.prune.removal.kept import Architecture
from enxuto.prune.selection import Selection
from enxuto.studies.curve.calibration import CalibrationSplit
from enxuto.studies.curve.points import Subject
from enxuto.studies.curve.points import points as curve_points
from enxuto.studies.images import ImageSelection, open_images
from enxuto.studies.kinds import LOTTERY_ROUND, LOTTERY_SPEED, LOTTERY_UNPRUNED
from enxuto.studies.lottery.arms import Arm
from enxuto.studies.lottery.points import LotteryStudy
from enxuto.studies.lottery.points import points as lottery_points
from enxuto.studies.lottery.round import _restore_weights
from enxuto.studies.network_hashes import code_hash, state_hash
from enxuto.studies.pruning import StartingNetwork, prune_points
from enxuto.studies.souza.points import SouzaStudy
from enxuto.studies.souza.points import points as souza_points
from enxuto.study import Point
from enxuto.study.point import Task
from enxuto.train.config import TrainConfig

PREPROCESS = preprocess_of(load_with_metadata(MODEL)[1])
assert PREPROCESS is not None


def pictures(path: Path, *, first: int = 0, label: int = 0, names: str = "abcd", count: int = 8) -> Path:
    """Images of 8×8 with four classes; `first` is the first image's first value, `label` the first label."""
    images = np.random.default_rng(5).integers(0, 256, (count, 8, 8), np.uint8)
    labels = np.arange(count) % 4
    images[0, 0, 0], labels[0] = first, label
    np.savez(path, images=images, labels=labels, classes=np.array(list(names)))
    return path


def ids(points: list[Point]) -> tuple[str, ...]:
    return tuple(point.id for point in points)


# --- curve

CURVE: dict[str, Any] = {"model": MODEL, "images": TEST_IMAGES, "data": {"limit": 40, "seed": 3}}
SETTING = {"mode": "grid", "method": "midtread", "i": 5}


def curve(tmp_path: Path, setting: dict[str, Any] = SETTING, **changed: Any) -> Point:
    given = CURVE | changed
    subject = Subject.open(
        given.get("name", "digits"), Path(given["model"]), str(given["images"]), given["data"],
        given.get("preprocess", PREPROCESS), given.get("calibration_split"), given.get("calibration"),
    )  # fmt: skip
    return curve_points(subject, [setting])[-1]


def edited_model(tmp_path: Path) -> Path:
    """The model with one weight that is another."""
    model = onnx.load(MODEL)
    weight = next(t for t in model.graph.initializer if len(t.dims) == 4)
    values = onnx.numpy_helper.to_array(weight).copy()
    values.flat[0] += 1
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(model, tmp_path / "digits.onnx")
    return tmp_path / "digits.onnx"


def edited_images(tmp_path: Path, **changed: Any) -> Path:
    held = dict(np.load(TEST_IMAGES, allow_pickle=False))
    for name, edit in changed.items():
        held[name] = edit(held[name])
    np.savez(tmp_path / "digits.npz", **held)
    return tmp_path / "digits.npz"


def first_changed(values: np.ndarray) -> np.ndarray:
    changed = values.copy()
    changed.flat[:] = np.roll(changed.reshape(-1), 1)
    return changed


CALIBRATED_SETTING = {"mode": "calibrated", "method": "enxuto calibrated", "i": 4, "bits": 4,
              "calibration": CalibrationSplit(8, 0).to_dict()}  # fmt: skip

CURVES: dict[str, Callable[[Path], Point]] = {
    "method": lambda t: curve(t, SETTING | {"method": "midrise"}),
    "level": lambda t: curve(t, SETTING | {"i": 6}),
    "mode": lambda t: curve(t, {"mode": "default", "method": "enxuto", "i": 4, "bits": 4, "rounding": "trellis"}),
    "limit": lambda t: curve(t, data={"limit": 41, "seed": 3}),
    "seed": lambda t: curve(t, data={"limit": 40, "seed": 4}),
    "preprocess": lambda t: curve(t, preprocess=replace(PREPROCESS, divide_by=16.0)),
    "weights": lambda t: curve(t, model=edited_model(t)),
    "labels": lambda t: curve(t, images=edited_images(t, labels=first_changed)),
    "pixels": lambda t: curve(t, images=edited_images(t, images=first_changed)),
    "calibrated": lambda t: curve(t, CALIBRATED_SETTING, calibration_split=CalibrationSplit(8, 0)),
    "calibrating images": lambda t: curve(t, CALIBRATED_SETTING, calibration_split=CalibrationSplit(9, 0)),
    "calibrating seed": lambda t: curve(t, CALIBRATED_SETTING, calibration_split=CalibrationSplit(8, 1)),
    "other calibration": lambda t: curve(
        t, CALIBRATED_SETTING, calibration_split=CalibrationSplit(8, 0, own=True), calibration=str(TEST_IMAGES)
    ),
    "other calibration's pixels": lambda t: curve(
        t, CALIBRATED_SETTING, calibration_split=CalibrationSplit(8, 0, own=True),
        calibration=str(edited_images(t, images=first_changed)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("changed", CURVES)
def test_a_curves_point_is_another_for(tmp_path: Path, changed: str) -> None:
    assert CURVES[changed](tmp_path).id != curve(tmp_path).id


def test_all_changes_of_a_curves_point_differ_from_each_other(tmp_path: Path) -> None:
    found = []
    for number, make in enumerate(CURVES.values()):
        (tmp_path / str(number)).mkdir()
        found.append(make(tmp_path / str(number)).id)
    assert len(set(found)) == len(found)


def test_a_curves_point_is_the_same_for_files_elsewhere(tmp_path: Path) -> None:
    model, images = (
        shutil.copy(MODEL, tmp_path / "renamed.onnx"),
        shutil.copy(TEST_IMAGES, tmp_path / "x.npz"),
    )
    for changed in ({"model": model}, {"images": images}, {"name": "renamed"}):
        assert curve(tmp_path, **changed).id == curve(tmp_path).id
    named = pictures(tmp_path / "a.npz"), pictures(tmp_path / "b.npz", names="abce")
    one, other = (curve(tmp_path, images=path, data={}) for path in named)
    assert one.id != other.id  # names of classes may say which output an image is of


# --- prune

CONFIG = TrainConfig.from_recipe("quick", {"epochs": 2})
ARM = Arm("l1", "rewind")


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return zoo.build("lenet5", classes=4, channels=1, seed=3)


@pytest.fixture(scope="module")
def given(network: nn.Module) -> StartingNetwork:
    from enxuto.studies.pruning import TrainedWeights

    return StartingNetwork.of("lenet5", TrainedWeights(network.state_dict()), (1, 32, 32), 4)


def early(network: nn.Module, first: float = 0.0) -> dict[str, torch.Tensor]:
    state = {name: value.detach().clone() for name, value in network.state_dict().items()}
    next(iter(state.values())).view(-1)[0] = first
    return state


def prune(given: StartingNetwork, network: nn.Module, **changed: Any) -> tuple[str, ...]:
    values: dict[str, Any] = {
        "images": ImageSelection(size=(32, 32)), "data_hash": "d" * 16, "arm": ARM, "selection": Selection(),
        "amount": 0.2, "rounds": 2, "config": CONFIG.to_dict(), "last_lr": 0.01, "score_images": 16, "seed": 0,
        "paths": {"data": "/a", "network": "/b", "rewind": "/c"}, "early": early(network),
    } | changed  # fmt: skip
    held = values.pop("given", given)
    images, data_hash, arm, selection = (
        values.pop(key) for key in ("images", "data_hash", "arm", "selection")
    )
    return ids(prune_points(held, images, data_hash, arm, selection, **values))


PRUNED: dict[str, Callable[[nn.Module], dict[str, Any]]] = {
    "early checkpoint": lambda n: {"early": early(n, 1.0)},
    "criterion": lambda n: {"arm": replace(ARM, criterion="l2")},
    "scope": lambda n: {"arm": replace(ARM, scope="local")},
    "target": lambda n: {"selection": Selection("macs")},
    "normalise": lambda n: {"selection": Selection(normalise="mean")},
    "floor": lambda n: {"selection": Selection(floor=2)},
    "multiple": lambda n: {"selection": Selection(multiple=2)},
    "amount": lambda n: {"amount": 0.3},
    "epochs": lambda n: {"config": TrainConfig.from_recipe("quick", {"epochs": 3}).to_dict()},
    "learning rate": lambda n: {
        "config": TrainConfig.from_recipe("quick", {"epochs": 2, "lr": 0.123}).to_dict()
    },
    "last rate": lambda n: {"last_lr": 0.02},
    "score images": lambda n: {"score_images": 17},
    "seed": lambda n: {"seed": 1},
    "data": lambda n: {"data_hash": "e" * 16},
    "mean": lambda n: {"images": ImageSelection(size=(32, 32), mean=(0.5,), std=(0.5,))},
    "std": lambda n: {"images": ImageSelection(size=(32, 32), mean=(0.5,), std=(0.25,))},
    "size": lambda n: {"images": ImageSelection(size=(16, 32))},
    "limit": lambda n: {"images": ImageSelection(train=9, size=(32, 32))},
    "test limit": lambda n: {"images": ImageSelection(test=9, size=(32, 32))},
}


@pytest.mark.parametrize("changed", PRUNED)
def test_rounds_are_others_for(given: StartingNetwork, network: nn.Module, changed: str) -> None:
    """All rounds: each is of the one before, or of the option itself."""
    one, other = prune(given, network), prune(given, network, **PRUNED[changed](network))
    assert not set(one[1:]) & set(other[1:])


def test_rounds_are_others_for_other_weights_and_the_same_for_the_same(
    given: StartingNetwork, network: nn.Module
) -> None:
    other = StartingNetwork.of("lenet5", None, (1, 32, 32), 4)
    other.network.load_state_dict(early(network, 7.0))
    assert not set(prune(given, network)) & set(prune(other, network))
    moved = {"data": "/else/where", "network": "/n", "rewind": "/other/name.pt"}
    assert prune(given, network, paths=moved) == prune(given, network)
    with pytest.raises(UsageError, match="E023"):
        prune(given, network, early=None)


def test_a_checkpoint_that_changed_since_is_refused(tmp_path: Path, network: nn.Module) -> None:
    """A round says which state it rewinds to; the file at its place must hold that."""
    from types import SimpleNamespace

    from enxuto.train.checkpoint import Checkpoint

    path = tmp_path / "epoch-001.pt"
    config, facts = TrainConfig().to_dict(), {"classes": 4, "mean": [0.5], "std": [0.5]}
    state = early(network, 2.0)
    Checkpoint(1, state, {}, {}, {}, torch.zeros(1), [], [], "", config, facts, None, {}).write(path)
    task = Task(
        "p", "f", {"rewind": state_hash(early(network))}, 0, None, {"rewind": str(path)}, (), tmp_path
    )
    with pytest.raises(DataError, match="E080"):
        _restore_weights(task, ARM, SimpleNamespace(), network, SimpleNamespace())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "other",
    [{"a": torch.zeros(3), "b": torch.ones(2)}, {"a": torch.zeros(2, 1), "b": torch.ones(2)},
     {"a": torch.zeros(2, dtype=torch.int32), "b": torch.ones(2)}, {"c": torch.zeros(2), "b": torch.ones(2)},
     {"a": torch.ones(2), "b": torch.zeros(2)}, {"a": torch.zeros(2)}, {"a": torch.zeros(2), "b": torch.ones(0)}],
)  # fmt: skip
def test_states_that_differ_have_other_hashes(other: dict[str, torch.Tensor]) -> None:
    state = {"b": torch.ones(2), "a": torch.zeros(2)}
    assert state_hash(state) != state_hash(other)
    assert state_hash(state) == state_hash(dict(reversed(state.items())))
    assert state_hash({"x": torch.ones(2, dtype=torch.bfloat16)}) != state_hash({"x": torch.ones(2)})


# --- images of studies that train


IMAGES: dict[str, dict[str, Any]] = {
    "pixels": {"first": 1}, "labels": {"label": 1}, "names of classes": {"names": "abce"}, "count": {"count": 12},
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "part"),
    [*((name, "train") for name in IMAGES), *((name, "test") for name in ("pixels", "labels", "count"))],
)  # of the test images no names of classes are used
def test_images_are_others_for(tmp_path: Path, changed: str, part: str) -> None:
    train, test = pictures(tmp_path / "train.npz"), pictures(tmp_path / "test.npz")
    before = open_images(ImageSelection(), str(train), str(test)).hash
    edited = pictures(tmp_path / f"other-{part}.npz", **IMAGES[changed])
    after = open_images(
        ImageSelection(), *map(str, (edited, test) if part == "train" else (train, edited))
    ).hash
    assert before != after
    moved = shutil.copy(train, tmp_path / "moved.npz"), shutil.copy(test, tmp_path / "renamed.npz")
    assert open_images(ImageSelection(), *map(str, moved)).hash == before


@pytest.mark.parametrize(
    "asked", [ImageSelection(mean=(0.5,), std=(0.5,)), ImageSelection(mean=(0.5,), std=(0.25,))]
)
def test_images_are_others_for_another_mean_or_std(tmp_path: Path, asked: ImageSelection) -> None:
    train, test = pictures(tmp_path / "train.npz"), pictures(tmp_path / "test.npz")
    others = [
        ImageSelection(),
        ImageSelection(mean=(0.5,), std=(0.5,)),
        ImageSelection(mean=(0.5,), std=(0.25,)),
    ]
    same = [one for one in others if open_images(one, str(train), str(test)).hash
            == open_images(asked, str(train), str(test)).hash]  # fmt: skip
    assert same == [asked]


# --- souza and lottery


def souza(**changed: Any) -> tuple[str, ...]:
    values = {
        "networks": ("squeezenet-dsc",),
        "scale": "smoke",
        "seed": 0,
        "latency_threads": 1,
        "settings": {},
    }
    given = values | changed
    classes, data, paths = (
        given.pop(key, default) for key, default in (("classes", 4), ("data", "d"), ("paths", {}))
    )
    return ids(souza_points(SouzaStudy(**given), classes, data, paths))


@pytest.mark.parametrize(
    "changed",
    [{"networks": ("squeezenet-cifar",)}, {"scale": "small"}, {"seed": 1}, {"latency_threads": 2},
     {"settings": {"lr": 0.123}}, {"settings": {"epochs": 3}}, {"settings": {"batch": 7}}, {"classes": 5},
     {"data": "e"}],
)  # fmt: skip
def test_souzas_point_is_another_for(changed: dict[str, Any]) -> None:
    assert not set(souza()) & set(souza(**changed))
    assert souza() == souza(paths={"data": "elsewhere"})


LENET = Architecture("lenet5", (1, 32, 32), 4)


def lottery(**changed: Any) -> list[Point]:
    values: dict[str, Any] = {
        "architecture": LENET, "images": ImageSelection(size=(32, 32)), "config": CONFIG, "criteria": ("l1",),
        "modes": ("rewind",), "seeds": (0,), "rounds": 1, "timed": (1,),
    } | changed  # fmt: skip
    data = values.pop("data", "d")
    return lottery_points(LotteryStudy(**values), data)


def last(points: list[Point], kind: str) -> str:
    return next(point.id for point in reversed(points) if point.kind == kind)


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"architecture": replace(LENET, classes=5)}, LOTTERY_UNPRUNED),
        ({"images": ImageSelection(train=9, size=(32, 32))}, LOTTERY_UNPRUNED),
        ({"config": TrainConfig.from_recipe("quick", {"epochs": 3})}, LOTTERY_UNPRUNED),
         ({"seeds": (1,)}, LOTTERY_UNPRUNED),
        ({"data": "e"}, LOTTERY_UNPRUNED), ({"amount": 0.3}, LOTTERY_ROUND), ({"criteria": ("l2",)}, LOTTERY_SPEED),
        ({"modes": ("rewind",), "rewind_epochs": (1,)}, LOTTERY_SPEED), ({"target": "macs"}, LOTTERY_ROUND),
        ({"normalise": "mean"}, LOTTERY_ROUND), ({"floor": 2}, LOTTERY_ROUND), ({"multiple": 2}, LOTTERY_ROUND),
        ({"scopes": ("local",)}, LOTTERY_ROUND), ({"schedules": ("one-shot",), "rounds": 2}, LOTTERY_ROUND),
        ({"retrain_epochs": 1}, LOTTERY_ROUND), ({"score_images": 5}, LOTTERY_ROUND),
        ({"timed": (1, 2)}, LOTTERY_SPEED), ({"threads": 2}, LOTTERY_SPEED),
    ],
)  # fmt: skip
def test_a_lotterys_point_is_another_for(changed: dict[str, Any], kind: str) -> None:
    assert last(lottery(), kind) != last(lottery(**changed), kind)


# --- networks of the user's own


FACTORY = """
from torch import nn
from {blocks} import Block

def make():
    return nn.Sequential(nn.Conv2d(1, 2, 3), Block())
"""
BLOCKS = """
from torch import nn

class Block(nn.Module):
    def forward(self, x):
        return x + {number}
"""


def default_settings(folder: Path, name: str, number: int, monkeypatch: pytest.MonkeyPatch) -> str:
    folder.mkdir()
    (folder / f"{name}.py").write_text(FACTORY.format(blocks=f"{name}_blocks"))
    (folder / f"{name}_blocks.py").write_text(BLOCKS.format(number=number))
    monkeypatch.syspath_prepend(str(folder))
    network = __import__(name).make()
    found = code_hash(network, name)
    for module in (name, f"{name}_blocks"):
        del sys.modules[module]
    return found


def test_the_code_of_a_users_network_is_part_of_its_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a class in another file does forward, which no weight and no name tells."""
    first = default_settings(tmp_path / "a", "own_net_a", 1, monkeypatch)
    changed = default_settings(tmp_path / "b", "own_net_a", 2, monkeypatch)
    moved = default_settings(tmp_path / "c", "own_net_a", 1, monkeypatch)
    assert first == moved != changed


def test_a_lottery_of_a_users_network_knows_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_net_z.py").write_text(
        "from torch import nn\n\ndef make():\n    return nn.Conv2d(1, 2, 3)\n"
    )
    monkeypatch.chdir(tmp_path)
    point = lottery(architecture=Architecture("own_net_z:make", (1, 32, 32)))[0]
    assert len(point.settings["factory_code"]) == 16
    assert "factory_code" not in lottery()[0].settings

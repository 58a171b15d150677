"""Training that begins with trained weights: a gentle recipe, a word where it made them worse, and resuming alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from train_nets import dropped, same_bits, seeded, stripes, weights
from train_verbs import verbs_in, write_stripes
from typer.testing import Result

from enxuto import zoo
from enxuto.cli.shared.training_options import retraining_recipe
from enxuto.cli.shared.training_results import explain_loss
from enxuto.export import export_onnx
from enxuto.prune.retrain import MODES
from enxuto.train import Checkpoint, EpochRecord, History, Scores, TrainConfig, fit, score

Invoke = Callable[..., Result]
QUICK = ("--set", "batch=16", "--set", "threads=1", "--set", "device=cpu")


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Invoke:
    """Run a verb in a folder of its own, where the small networks can be imported."""
    return verbs_in(tmp_path, monkeypatch)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """The stripes as an archive, the classes named."""
    return write_stripes(tmp_path / "stripes.npz")


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A network that knows the stripes, as an ONNX file with its preprocessing and the batch norm folded."""
    data, model = stripes(), seeded(dropped)
    config = {"batch": 16, "epochs": 8, "lr": 0.05, "threads": 1, "device": "cpu"}
    fit(model, data, None, TrainConfig.from_recipe(None, config))
    assert score(model, data).top1 == 1
    export_onnx(model.eval(), tmp_path / "net.onnx", input_shape=(1, 8, 8), preprocess=data.preprocess())
    torch.save(weights(model), tmp_path / "net.pt")
    return tmp_path / "net.onnx"


@pytest.mark.parametrize(
    ("words", "gentle"),
    [
        (("net.onnx",), True),
        (("net.onnx", "--classes", "4"), True),
        (("train_nets:dropped", "--weights", "net.pt"), True),
        (("net.onnx", "--epochs", "2", "--set", "clip=none"), True),
        (("train_nets:dropped",), False),
        (("net.onnx", "--set", "lr=0.01"), True),
        (("net.onnx", "--recipe", "quick"), False),
        (("net.onnx", "--config", "own.toml"), False),
    ],
)
def test_trained_weights_get_a_gentle_recipe_where_none_is_named(
    words: tuple[str, ...], gentle: bool, invoke: Invoke, images: Path, trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "own.toml").write_text('recipe = "quick"\n')
    short = () if "--epochs" in words else ("--epochs", "1")
    result = invoke("train", *words, "--data", images, *short, *QUICK, "--json", "-o", "run")
    assert result.exit_code == 0, result.output
    config = json.loads(result.stdout)["config"]
    lr = 0.01 if "lr=0.01" in words else 0.005 if gentle else 0.05
    assert (config["lr"], config["schedule"]) == (lr, "onecycle")
    assert config["clip"] == (1.0 if gentle and "clip=none" not in words else None)
    assert ("by the recipe fine-tune" in result.stderr) == gentle


def test_trained_weights_keep_what_they_know(invoke: Invoke, images: Path, trained: Path) -> None:
    result = invoke(
        "train", trained, "--data", images, "--test", images, "--epochs", 2, *QUICK, "--json", "-o", "run"
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["test"]["top1"] == 1
    assert "worse" not in result.stderr


def test_a_new_head_learns_by_it(invoke: Invoke, images: Path, trained: Path) -> None:
    words = ("--classes", 4, "--epochs", 20, "--set", "augment=none", *QUICK, "--json", "-o", "run")
    result = invoke("train", trained, "--data", images, "--test", images, *words)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["test"]["top1"] > 0.8


@pytest.mark.parametrize("held", [("--test", "stripes.npz"), ("--set", "validation=0.5")])
@pytest.mark.parametrize("network", [("net.onnx",), ("train_nets:dropped", "--weights", "net.pt")])
def test_training_that_ruins_trained_weights_is_said(
    network: tuple[str, ...], held: tuple[str, ...], invoke: Invoke, images: Path, trained: Path
) -> None:
    ruin = ("--set", "lr=3", "--set", "clip=1", "--epochs", 1, *QUICK, "-o", "run")
    result = invoke("train", *network, "--data", images, *held, *ruin)
    assert result.exit_code == 0, result.output
    assert "warning: training has made the network worse" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("before", "after", "samples", "worse"),
    [(0.66, 0.11, 1000, True), (0.66, 0.64, 1000, False), (0.9, 0.8, 20, False), (0.9, 0.95, 1000, False),
     (0.9, 0.8, 2000, True), (0.1, 0.1, 1000, False)],
)  # fmt: skip
@pytest.mark.parametrize("tested", [True, False])
def test_worse_is_more_than_chance(
    before: float, after: float, samples: int, worse: bool, tested: bool
) -> None:
    record = EpochRecord(1, 1.0, 0.1, 1.0, 1.0, 1.0, None if tested else after, None)
    history = History((record,), "epochs", 1, 10, samples, 0)
    scores = Scores(1.0, after, None, samples) if tested else None
    found = explain_loss(Scores(1.0, before, None, samples), history, scores)
    assert (found is not None) == worse
    assert found is None or ("test" if tested else "validation") in found


def test_weights_of_the_zoo_count_as_trained(invoke: Invoke, images: Path, tmp_path: Path) -> None:
    torch.save(zoo.build("lenet5", classes=4, channels=1, seed=3).state_dict(), tmp_path / "four.pt")
    words = (
        "train",
        "lenet5",
        "--data",
        images,
        "--epochs",
        1,
        *QUICK,
        "-o",
        "run",
        "--weights",
        tmp_path / "four.pt",
    )
    result = invoke(*words)
    assert result.exit_code == 0, result.output
    assert "by the recipe fine-tune" in result.stderr


@pytest.mark.parametrize(
    ("begun", "resumed", "says"),
    [
        (("net.onnx", "--freeze", "*bias"), ("net.onnx",), "with --freeze *bias and would go on without --freeze"),
        (("net.onnx",), ("net.onnx", "--freeze", "*bias"), "without --freeze and would go on with --freeze *bias"),
        (("net.onnx", "--freeze", "*bias"), ("net.onnx", "--freeze", "*weight"), "would go on with --freeze *weight"),
        (("net.onnx", "--classes", "4"), ("net.onnx",), "begun with --classes 4 and would go on without"),
        (("net.onnx",), ("other.onnx",), "begun with network=sha256:"),
        (("train_nets:dropped", "--weights", "net.pt"), ("train_nets:dropped",), "begun with --weights sha256:"),
        (("train_nets:dropped",), ("train_nets:plain",), "would go on with network=train_nets:plain"),
        (("lenet5", "--activation", "elu"), ("lenet5",), "begun with --activation elu and would go on without"),
        (("squeezenet-dsc",), ("squeezenet-dsc", "--activation", "elu"), "would go on with --activation elu"),
        (("mobilenet-cifar", "--option", "width=0.25"), ("mobilenet-cifar",), "with --option width=0.25 and would"),
    ],
)  # fmt: skip
def test_a_run_is_resumed_as_it_began(
    begun: tuple[str, ...], resumed: tuple[str, ...], says: str, invoke: Invoke, images: Path, trained: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    export_onnx(seeded(dropped, 2).eval(), tmp_path / "other.onnx", input_shape=(1, 8, 8),
                preprocess=stripes().preprocess())  # fmt: skip
    words = ("--data", images, "--limit", 32, "--recipe", "souza", *QUICK, "--set", "epochs=1", "-o", "run")
    first = invoke("train", *begun, *words)
    assert first.exit_code == 0, first.output
    refused = invoke("train", *resumed, *words, "--resume")
    assert refused.exit_code == 2, refused.output
    said = " ".join(refused.stderr.split())
    assert says in said
    assert "[E071]" in said
    assert invoke("train", *begun, *words, "--resume").exit_code == 0


def test_a_resumed_run_with_frozen_parameters_ends_with_the_same_bits(
    invoke: Invoke, images: Path, trained: Path
) -> None:
    words = ("train", trained, "--data", images, "--freeze", "*bias", "--recipe", "souza", *QUICK)
    assert invoke(*words, "--set", "epochs=3", "-o", "whole").exit_code == 0
    assert invoke(*words, "--set", "epochs=1", "-o", "parts").exit_code == 0
    assert invoke(*words, "--set", "epochs=3", "-o", "parts", "--resume").exit_code == 0
    whole, parts = (Checkpoint.read(f"{name}/last.pt") for name in ("whole", "parts"))
    assert same_bits(whole.model, parts.model)


@pytest.mark.parametrize("kept", [(), ("--set", "keep_epochs=[0]")])
def test_a_run_without_an_epoch_makes_way(kept: tuple[str, ...], invoke: Invoke, images: Path) -> None:
    """The one that diverged keeps nothing, and its initialisation does not pass for that of the next."""
    words = ("train", "train_nets:plain", "--data", images, "--epochs", 1, *QUICK, "-o", "run")
    diverged = invoke(*words, "--set", "lr=1e30", *kept)
    assert diverged.exit_code == 1
    assert Path("run/epoch-000.pt").exists() == bool(kept)
    again = invoke(*words, "--seed", 1)
    assert again.exit_code == 0, again.output
    assert not Path("run/epoch-000.pt").exists()
    assert Checkpoint.read("run/last.pt").config["seed"] == 1
    blocked = invoke(*words)
    assert (blocked.exit_code, "[E012]" in blocked.stderr) == (2, True)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("network", ["net.onnx", "net.enx", "small.pt", "lenet5", "train_nets:plain"])
def test_retraining_that_keeps_a_files_weights_is_gentle(network: str, mode: str) -> None:
    recipe, last = retraining_recipe(network, mode)
    gentle = "." in network and mode in ("fine-tune", "lr-rewind")
    assert recipe == ("fine-tune" if gentle else "quick")
    assert 0 < TrainConfig.from_recipe(recipe).lr * last <= (0.005 if gentle else 0.0005)

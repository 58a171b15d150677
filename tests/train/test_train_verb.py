"""`enxuto train`: from a file of images to a folder that exports; what it refuses; interrupting it."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from train_nets import same_bits
from train_verbs import verbs_in, write_stripes
from typer.testing import Result

from enxuto.errors import UsageError
from enxuto.train import Checkpoint

pytestmark = pytest.mark.usefixtures("remembered_exports")

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


def test_train_export_evaluate(invoke: Invoke, images: Path) -> None:
    result = invoke(
        "train", "train_nets:dropped", "--data", images, "--test", images, "--epochs", 6, "--set", "validation=0.25",
        "--set", "augment=none", *QUICK, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["folder"] == "runs/train_nets.dropped"
    assert len(told["history"]["records"]) == 6
    assert told["history"]["validation_samples"] == 24
    assert told["test"]["samples"] == 96
    assert told["test"]["top1"] > 0.9
    low, high = told["test"]["top1_interval"]
    assert 0.8 < low < told["test"]["top1"] <= high <= 1.0
    assert Path("runs/train_nets.dropped/training.png").stat().st_size > 10_000
    assert "epoch 6/6, loss" in result.stderr
    exported = invoke(*shlex.split(told["export"])[1:])
    assert exported.exit_code == 0, exported.stderr
    scored = invoke("evaluate", "runs/train_nets.dropped/model.onnx", "--data", images, "--json")
    assert json.loads(scored.stdout)["metrics"]["accuracy"] == pytest.approx(told["test"]["top1"])
    assert json.loads(scored.stdout)["class_names"] == ["none", "first", "second", "third"]


def test_the_table_names_samples_and_seed_and_resuming_a_finished_run_changes_nothing(
    invoke: Invoke, images: Path
) -> None:
    words = ("train", "train_nets:plain", "--data", images, "--epochs", 2, "--set", "validation=0.25", *QUICK)
    first = invoke(*words)
    assert first.exit_code == 0, first.stderr
    assert "of 24" in first.stdout
    assert "seed" in first.stdout
    assert "export: enxuto export train_nets:plain" in first.stderr
    before = Checkpoint.read("runs/train_nets.plain/last.pt").model
    assert invoke(*words).exit_code == 2
    again = invoke(*words, "--resume")
    assert again.exit_code == 0
    assert "holds no run" not in again.stderr
    elsewhere = invoke(*words, "--resume", "--output", "elsewhere")
    assert (elsewhere.exit_code, "elsewhere holds no run" in elsewhere.stderr) == (0, True)
    assert same_bits(Checkpoint.read("runs/train_nets.plain/last.pt").model, before)
    changed = invoke(*words, "--resume", "--set", "lr=0.5")
    assert changed.exit_code == 2
    assert "lr=0.05, not 0.5" in changed.stderr


def test_a_network_of_the_zoo_gets_images_of_its_size(invoke: Invoke, images: Path) -> None:
    result = invoke(
        "train",
        "lenet5",
        "--data",
        images,
        "--epochs",
        1,
        "--limit",
        32,
        "--output",
        "here",
        *QUICK,
        "--json",
    )
    assert result.exit_code == 0, result.stderr
    assert "resized to 32×32" in result.stderr
    assert json.loads(result.stdout)["history"]["samples"] == 32
    assert json.loads(result.stdout)["provenance"]["samples"]["train"] == 32
    assert "--classes 4" in json.loads(result.stdout)["export"]
    assert Path("here/best.pt").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--set", "rate=1"), "rate"),
        (("--set", "lr=-1"), "lr"),
        (("--recipe", "best"), "recipe"),
        (("--recipe", "quick", "--config", "a.toml"), "exclude"),
        (("--config", "a.toml"), "a.toml"),
        (("--epochs", "2", "--set", "epochs=3"), "epochs"),
        (("--resize", "32"), "--resize"),
    ],
)
def test_refused_before_anything_is_loaded(invoke: Invoke, words: tuple[str, ...], message: str) -> None:
    result = invoke("train", "lenet5", "--data", "does-not-exist.npz", *words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "does-not-exist" not in result.stderr


def test_what_the_machine_cannot_do_is_refused_before_anything_is_loaded(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("train", "lenet5", "--data", "does-not-exist.npz", "--set")
    if not torch.cuda.is_available():
        result = invoke(*words, "device=cuda")
        assert (result.exit_code, "does-not-exist" in result.stderr) == (2, False)
        assert "device is cuda" in result.stderr
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = invoke(*words, "sync_batch_norm=true", *QUICK)
    assert (result.exit_code, "does-not-exist" in result.stderr) == (2, False)
    assert "sync_batch_norm" in result.stderr


def test_missing_data_and_networks(invoke: Invoke, images: Path) -> None:
    assert "does-not-exist" in invoke("train", "lenet5", "--data", "does-not-exist.npz").stderr
    assert "lenet99" in invoke("train", "lenet99", "--data", images).stderr
    late = invoke("train", "lenet5", "--data", images, "--test", "does-not-exist.npz")
    assert "does-not-exist" in late.stderr
    assert "resized" not in late.stderr  # nothing was loaded yet
    assert not Path("runs").exists()


def test_a_run_that_breaks_ends_with_1(invoke: Invoke, images: Path) -> None:
    result = invoke("train", "train_nets:plain", "--data", images, "--set", "lr=1e30", *QUICK)
    assert result.exit_code == UsageError.exit_code - 1 == 1
    assert "runs/train_nets.plain/last.pt" in result.stderr


def test_torchrun_trains_as_one_process_does(invoke: Invoke, images: Path) -> None:
    """The launcher itself, as the help says: two processes share batches of 20, and the losses are those of one."""
    words = (
        "train", "train_nets:plain", "--data", str(images), "--test", str(images), "--epochs", "3", *QUICK,
        "--set", "batch=20", "--set", "validation=0.25", "--json", "--output",
    )  # fmt: skip
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [*torchrun, "-m", "enxuto", *words, "two"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    alone = invoke(*words, "one")
    assert alone.exit_code == 0, alone.stderr
    together, single = json.loads(run.stdout), json.loads(alone.stdout)  # one process speaks
    assert len(Checkpoint.read("two/last.pt").generators) == 2
    for ours, theirs in zip(together["history"]["records"], single["history"]["records"], strict=True):
        for name in ("loss", "validation_loss", "validation_top1", "lr"):
            assert ours[name] == pytest.approx(theirs[name], abs=1e-5), name
    assert together["test"]["loss"] == pytest.approx(single["test"]["loss"], abs=1e-5)
    assert together["test"]["samples"] == 96


def test_ctrl_c_leaves_a_run_that_goes_on(invoke: Invoke, images: Path) -> None:
    words = ("train", "train_nets:dropped", "--data", str(images), "--epochs", "500", *QUICK, "--output")
    command = [sys.executable, "-m", "enxuto", *words, "cut"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not Path("cut/best.pt").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert "interrupted; finished epochs are kept: resume with --resume" in process.communicate()[1]
    assert process.returncode == 130
    assert Checkpoint.read("cut/last.pt").stopped == "running"


def test_test_images_of_another_order_are_matched_by_name(invoke: Invoke, images: Path) -> None:
    """A test set that sorts its classes otherwise, and lacks one, scores as well as the training set."""
    data = np.load(images)
    kept = data["labels"] != 2
    turned = images.with_name("turned.npz")
    np.savez(
        turned, images=data["images"][kept], labels=3 - data["labels"][kept], classes=data["classes"][::-1]
    )
    words = ("train", "train_nets:dropped", "--data", images, "--set", "augment=none", *QUICK, "--json")
    result = invoke(*words, "--epochs", 6, "--test", turned)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["test"]["top1"] > 0.9
    assert "has 3 of the model's 4 classes, not 'second'; labels are matched by class name" in result.stderr
    images.with_name("l.txt").write_text("third\nsecond\nfirst\nnone\n")
    order = ("--epochs", 1, "--output", "ordered")
    ordered = invoke(*words, *order, "--labels", images.with_name("l.txt"))
    assert ordered.exit_code == 0, ordered.stderr
    assert Path("ordered/labels.txt").read_text() == "third\nsecond\nfirst\nnone\n"
    # The order of the outputs is a part of what a run is of.
    other = invoke(*words, *order, "--resume")
    assert other.exit_code == 2
    assert "was trained on other data" in other.stderr


@pytest.mark.parametrize("batch", [1, 5])
def test_batches_of_one_image_are_one_line(invoke: Invoke, images: Path, tmp_path: Path, batch: int) -> None:
    """All batches of one image, and the last of 96: a batch norm of one value a channel learns nothing from it."""
    (tmp_path / "nets_bn1.py").write_text(
        "import torch.nn as nn\n"
        "def net():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Linear(16, 4))\n"
    )
    words = ("train", "nets_bn1:net", "--data", images, "--epochs", 1, "--output", "run", *QUICK)
    result = invoke(*words, "--set", f"batch={batch}")
    assert result.exit_code == 2
    assert "normalisation" in result.stderr
    assert "internal error" not in result.stderr
    assert not (tmp_path / "run" / "last.pt").exists()

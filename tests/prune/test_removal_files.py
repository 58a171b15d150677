"""A pruned network as a file: it loads by itself, in a new process too, and says what is wrong with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from enxuto import zoo
from enxuto.errors import FormatError, UsageError
from enxuto.export import export_onnx
from enxuto.prune import Architecture, load_pruned, remove, save_pruned, trace

torch.set_num_threads(1)

LENET = Architecture("lenet5", (1, 32, 32))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """LeNet-5 with other weights than a fresh one and every third group removed."""
    network = zoo.build("lenet5", seed=5).eval()
    channels = trace(network, torch.zeros(1, 1, 32, 32))
    kept = channels.without(range(0, len(channels.groups), 3))
    path = tmp_path / "small.pt"
    save_pruned(path, remove(network, channels, kept), LENET, kept, metadata={"accuracy": 0.5})
    images = torch.linspace(-1, 1, 2 * 1024).reshape(2, 1, 32, 32)
    with torch.no_grad():
        torch.save(remove(network, channels, kept)(images), tmp_path / "outputs.pt")
    return path


def test_it_loads_by_itself_in_a_new_process(saved: Path) -> None:
    code = (
        "import sys, torch; from enxuto.prune import load_pruned\n"
        "pruned = load_pruned(sys.argv[1])\n"
        "outputs = pruned.network(torch.linspace(-1, 1, 2 * 1024).reshape(2, 1, 32, 32))\n"
        "torch.testing.assert_close(outputs, torch.load(sys.argv[2], weights_only=True))\n"
        "assert pruned.metadata == {'accuracy': 0.5} and pruned.architecture.name == 'lenet5'\n"
        "assert pruned.kept.layers['features.c1'] == (1, 2, 4, 5)\n"
    )
    subprocess.run(
        [sys.executable, "-W", "error", "-c", code, saved, saved.parent / "outputs.pt"], check=True
    )


def test_it_goes_to_onnx(saved: Path, tmp_path: Path) -> None:
    written = export_onnx(load_pruned(saved).network, tmp_path / "small.onnx", input_shape=(1, 32, 32))
    assert written.difference is not None
    assert written.difference < 1e-5
    assert written.parameters < 61_706 / 1.9


def test_a_factory_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_to_prune.py").write_text(
        "from torch import nn\n"
        "def network():\n"
        "    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))\n"
    )
    monkeypatch.chdir(tmp_path)
    architecture = Architecture("mine_to_prune:network", (2, 6, 6))
    network = architecture.build().eval()
    channels = trace(network, torch.zeros(1, 2, 6, 6))
    kept = channels.without([1, 2])
    smaller = remove(network, channels, kept)
    save_pruned("small.pt", smaller, architecture, kept)
    images = torch.randn(2, 2, 6, 6)
    with torch.no_grad():
        assert torch.equal(load_pruned("small.pt").network(images), smaller(images))


def _changed(path: Path, **values: object) -> Path:
    held = torch.load(path, weights_only=True)
    torch.save({**held, **values}, path)
    return path


def test_files_that_are_something_else(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        load_pruned(tmp_path / "nothing.pt")
    for content in (b"", b"no archive", saved.read_bytes()[:-300]):
        (tmp_path / "bytes.pt").write_bytes(content)
        with pytest.raises(FormatError, match="damaged"):
            load_pruned(tmp_path / "bytes.pt")
    torch.save({"model": {}}, tmp_path / "other.pt")
    with pytest.raises(FormatError, match="no pruned network"):
        load_pruned(tmp_path / "other.pt")
    torch.save(zoo.build("lenet5"), tmp_path / "pickled.pt")
    with pytest.raises(FormatError, match="more than tensors"):
        load_pruned(tmp_path / "pickled.pt")


def test_contents_that_do_not_fit(saved: Path) -> None:
    held = torch.load(saved, weights_only=True)
    model, plan = dict(held["model"]), held["plan"]
    for values, message in (
        ({"version": 9}, "version 9, this enxuto reads 1"),
        ({"plan": None}, "has no plan"),
        (
            {"architecture": {**LENET.to_dict(), "name": "effnet", "input_shape": [3, 32, 32]}},
            "not fit effnet",
        ),
        ({"model": {**model, "more": torch.zeros(1)}}, "'more' is only in one of them"),
        ({"model": {**model, "features.c1.bias": torch.zeros(6)}}, "'features.c1.bias' has another shape"),
        ({"plan": {**plan, "kept": {**plan["kept"], "classifier.output": [0]}}}, "must stay"),
    ):
        changed = {"version": 1, "plan": plan, "architecture": LENET.to_dict(), "model": model, **values}
        with pytest.raises(FormatError, match=message) as caught:
            load_pruned(_changed(saved, **changed))
        assert "\n" not in str(caught.value)

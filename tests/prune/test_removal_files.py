"""A pruned network as a file: it loads by itself, in a new process too, and says what is wrong with it."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from enxuto import zoo
from enxuto.archive import digest
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
    kept = channels.without_groups(range(0, len(channels.groups), 3))
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
    kept = channels.without_groups([1, 2])
    smaller = remove(network, channels, kept)
    save_pruned("small.pt", smaller, architecture, kept)
    images = torch.randn(2, 2, 6, 6)
    held = load_pruned("small.pt", "mine_to_prune:network")
    with torch.no_grad():
        assert torch.equal(held.network(images), smaller(images))
    with pytest.raises(UsageError, match=r"small\.pt.*'mine_to_prune:network'.*name it yourself"):
        load_pruned("small.pt")
    with pytest.raises(UsageError, match="not module:factory"):
        load_pruned("small.pt", "lenet5")


def test_a_file_never_chooses_what_is_imported(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its factory would leave a mark when imported and when called; the caller's own is called in its place."""
    monkeypatch.chdir(tmp_path)
    mark = tmp_path / "was-run"
    (tmp_path / "evil_in_file.py").write_text(
        f"open({str(mark)!r}, 'w')\ndef make():\n    raise AssertionError\n"
    )
    (tmp_path / "own_lenet.py").write_text(
        "from enxuto import zoo\ndef make():\n    return zoo.build('lenet5', seed=0)\n"
    )
    architecture = {**LENET.to_dict(), "name": "evil_in_file:make"}
    for name in ("evil_in_file:make", "http.server:test", "os:abort", "\x1b[31m:\u202e"):
        _changed(saved, architecture={**architecture, "name": name})
        with pytest.raises(UsageError, match="does not choose what is run") as caught:
            load_pruned(saved)
        assert str(caught.value).isprintable()
    _changed(saved, architecture=architecture)
    held = load_pruned(saved, "own_lenet:make")
    assert held.architecture.name == "own_lenet:make"  # a file that is written from it names no other code
    assert not mark.exists()
    _changed(saved, architecture=LENET.to_dict())
    with pytest.raises(UsageError, match="needs no factory"):
        load_pruned(saved, "own_lenet:make")


@pytest.mark.parametrize(
    "claims",
    [
        {"input_shape": [1, 10**6, 10**6]}, {"input_shape": [10**9, 28, 28]}, {"input_shape": [-1, 28, 28]},
        {"input_shape": [1, 28]}, {"input_shape": "128"}, {"input_shape": [1, 2.5, 28]}, {"input_shape": [2**70] * 3},
        {"input_shape": [1, 1, 1]}, {"options": {"x": 1}}, {"options": {1: 1}}, {"options": None}, {"options": [1]},
        {"classes": 10**9}, {"classes": "x"}, {"classes": -1}, {"classes": 2**80}, {"classes": True},
        {"name": "vgg16-cifar", "options": {"width": 1e9}}, {"name": "vgg16-cifar", "options": {"width": math.nan}},
        {"name": "vgg16-cifar", "options": {"width": []}}, {"name": None}, {"name": "no-such-net"},
        {"name": "../lenet5"}, {"name": "effnet", "input_shape": [3, 32, 32], "options": {"width": 900}},
    ],
)  # fmt: skip
def test_what_a_file_claims_is_bounded_by_what_it_holds(saved: Path, claims: dict[str, object]) -> None:
    _changed(saved, architecture={**LENET.to_dict(), **claims})
    with pytest.raises(FormatError) as caught:
        load_pruned(saved)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_bit_that_flips_among_the_tensors_is_found(saved: Path) -> None:
    """60 places among the records; by the oracle of equal tensors none loads as something else."""
    raw, whole = saved.read_bytes(), load_pruned(saved).network.state_dict()
    places = random.Random(0)
    refused = 0
    for _ in range(60):
        bad = bytearray(raw)
        bad[places.randrange(5000, len(raw) - 3000)] ^= 0x40
        saved.write_bytes(bad)
        try:
            read = load_pruned(saved).network.state_dict()
        except FormatError:
            refused += 1
        else:  # bytes that fill the archive up mean nothing
            assert all(torch.equal(read[name], value) for name, value in whole.items())
    assert refused > 50


def test_a_weight_that_another_program_changed_is_found(saved: Path) -> None:
    """The archive is written anew, so its own checksums fit; the digest does not."""
    held = torch.load(saved, weights_only=True)
    held["model"]["features.c1.weight"][0, 0, 0, 0] += 1e-3
    torch.save(held, saved)
    with pytest.raises(FormatError, match="E052"):
        load_pruned(saved)


def test_files_of_version_1_had_no_digest_and_load(saved: Path) -> None:
    held = torch.load(saved, weights_only=True)
    del held["digest"]
    torch.save(held, saved)
    with pytest.raises(FormatError, match="E052"):  # version 2 must have one
        load_pruned(saved)
    torch.save({**held, "version": 1}, saved)
    assert load_pruned(saved).metadata == {"accuracy": 0.5}


def _changed(path: Path, **values: object) -> Path:
    """The file with other contents, as one who means harm would write it: the digest fits."""
    held = {**torch.load(path, weights_only=True), **values}
    parts = {name: held[name] for name in ("architecture", "plan", "metadata", "model")}
    torch.save({**held, "digest": digest(parts)}, path)
    return path


def test_files_that_are_something_else(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="E010"):
        load_pruned(tmp_path / "nothing.pt")
    for content in (b"", b"no archive", saved.read_bytes()[:-300]):
        (tmp_path / "bytes.pt").write_bytes(content)
        with pytest.raises(FormatError, match="E052"):
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
        ({"version": 9}, "version 9, this enxuto reads 1 and 2"),
        ({"plan": None}, "has no plan"),
        (
            {"architecture": {**LENET.to_dict(), "name": "effnet", "input_shape": [3, 32, 32]}},
            "not fit effnet",
        ),
        ({"model": {**model, "more": torch.zeros(1)}}, "'more' is only in one of them"),
        ({"model": {**model, "features.c1.bias": torch.zeros(6)}}, "'features.c1.bias' has another shape"),
        ({"plan": {**plan, "kept": {**plan["kept"], "classifier.output": [0]}}}, "must stay"),
        ({"plan": {**plan, "widths": {**plan["widths"], "features.c1": 10**12}}}, "not the same in both"),
        ({"plan": {**plan, "widths": {**plan["widths"], "features.c1": math.inf}}}, "no plan"),
        ({"plan": {**plan, "kept": {**plan["kept"], "features.c1": 5}}}, "no plan"),
        ({"plan": {**plan, "kept": {1: [0]}}}, "no plan"),
        ({"model": {name: value.to(torch.complex64) for name, value in model.items()}}, "another kind"),
        ({"model": {name: value > 0 for name, value in model.items()}}, "another kind"),
        ({"model": {**model, "features.c1.bias": 1}}, "else than tensors"),
        ({"metadata": 5}, "has no metadata"),
    ):
        changed = {"version": 2, "plan": plan, "architecture": LENET.to_dict(), "model": model, **values}
        with pytest.raises(FormatError, match=message) as caught:
            load_pruned(_changed(saved, **changed))
        assert "\n" not in str(caught.value)

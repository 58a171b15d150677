"""Verbs that take a network, given an ONNX or `.enx` file."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from typer.testing import Result

import enxuto
from enxuto import zoo
from enxuto.cli.shared.pruning_results import explain_missed, explain_speed, explain_widths
from enxuto.export import export_onnx
from enxuto.opening import onnx_metadata
from enxuto.prune import deeplift, load_pruned
from enxuto.runtime import Runner

Invoke = Callable[..., Result]


@pytest.fixture
def parts(images: Path, tmp_path: Path) -> tuple[object, ...]:
    """80 training and 40 test images of digits."""
    held = np.load(images)
    for name, chosen in {"train": slice(0, 80), "test": slice(80, 120)}.items():
        np.savez(tmp_path / f"{name}.npz", images=held["images"][chosen], labels=held["labels"][chosen])
    return "--data", tmp_path / "train.npz", "--test", tmp_path / "test.npz"


def test_prune_leaves_a_smaller_onnx_file(
    invoke: Invoke, digits: Path, parts: tuple[object, ...], tmp_path: Path
) -> None:
    out = tmp_path / "small"
    asked = (
        "prune",
        digits,
        *parts,
        "--criterion",
        "cost",
        "--macs",
        "60%",
        "--no-speed",
        "--json",
        "-o",
        out,
    )
    result = invoke(*asked)
    assert result.exit_code == 0, result.output
    last = json.loads(result.stdout)["rounds"][-1]
    assert 0.5 < last["left"]["macs"] <= 0.6  # never more than asked for
    assert "asked for" not in result.stderr
    assert (out / "model.onnx").stat().st_size < digits.stat().st_size
    assert onnx_metadata(enxuto.Model.read(out / "model.onnx"))["labels"] == list("0123456789")
    pruned = load_pruned(out / "model.pt")
    batch = torch.rand(4, *pruned.architecture.input_shape)
    np.testing.assert_allclose(
        pruned.network(batch).detach().numpy(), Runner(out / "model.onnx").scores(batch.numpy()), atol=1e-4
    )
    before, after = (
        {tensor.name for tensor in onnx.load(path).graph.initializer} for path in (digits, out / "model.onnx")
    )
    assert {name for name in after if not name.startswith("shape_")} <= before
    again = invoke(*asked)  # resumes: nothing is computed twice
    assert json.loads(again.stdout)["rounds"] == json.loads(result.stdout)["rounds"]
    further = invoke(
        "prune", out / "model.pt", *parts, "--amount", "20%", "--no-speed", "--json", "-o", tmp_path / "less"
    )
    assert further.exit_code == 0, further.output


def test_prune_learns_the_unpruned_networks_answers(
    invoke: Invoke, digits: Path, parts: tuple[object, ...], tmp_path: Path
) -> None:
    out = tmp_path / "small"
    result = invoke(
        "prune", digits, *parts, "--criterion", "cost", "--macs", "50%", "--retrain", "distil", "--retrain-epochs", 2,
        "--set", "batch=32", "--no-speed", "--json", "-o", out,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    last = json.loads(result.stdout)["rounds"][-1]
    assert len(last["losses"]) == 2
    assert last["losses"][1] < last["losses"][0] < 1  # a divergence of answers that are nearly the same
    assert last["top1"] >= 0.9


def test_train_goes_on_with_a_new_head_and_frozen_layers(
    invoke: Invoke, digits: Path, parts: tuple[object, ...], tmp_path: Path
) -> None:
    network = enxuto.load_module(digits)
    first = next(name for name, _ in network.named_parameters())
    held = np.load(tmp_path / "train.npz")
    np.savez(tmp_path / "train.npz", images=held["images"], labels=held["labels"] % 5)
    asked = ("train", digits, "--data", tmp_path / "train.npz", "--epochs", 1, "--set", "validation=0.2", "--json",
             "-o", tmp_path / "run")  # fmt: skip
    refused = invoke(*asked)
    assert refused.exit_code == 2
    assert "--classes 5 replaces its last layer" in refused.stderr.replace("\n", " ")
    result = invoke(*asked, "--classes", 5, "--freeze", first)
    assert result.exit_code == 0, result.output
    model = enxuto.Model.read(tmp_path / "run" / "model.onnx")
    assert Runner(model, threads=1).scores(np.zeros((2, *network.input_shape), np.float32)).shape == (2, 5)
    name = network.initializers[first]
    np.testing.assert_array_equal(model.load(name), enxuto.Model.read(digits).load(name))
    trained = dict(enxuto.load_module(model).named_parameters())
    assert any(not torch.equal(value, trained[key]) for key, value in network.named_parameters()
               if key in trained and value.shape == trained[key].shape)  # fmt: skip


@pytest.mark.parametrize("classes", [(), ("--classes", 5)])
def test_checkpoints_of_a_files_training_export(
    classes: tuple[object, ...], invoke: Invoke, digits: Path, parts: tuple[object, ...], tmp_path: Path
) -> None:
    with np.load(tmp_path / "train.npz") as held:
        kinds = 5 if classes else 10
        np.savez(tmp_path / "few.npz", images=held["images"], labels=held["labels"] % kinds)
    run = tmp_path / "run"
    asked = ("train", digits, "--data", tmp_path / "few.npz", "--epochs", 1, *classes, "-o", run)
    assert invoke(*asked).exit_code == 0
    result = invoke("export", digits, "--weights", run / "best.pt", "-o", tmp_path / "best.onnx")
    assert result.exit_code == 0, result.output
    ours, theirs = (enxuto.Model.read(path) for path in (tmp_path / "best.onnx", run / "model.onnx"))
    batch = np.random.default_rng(0).random((4, *enxuto.load_module(theirs).input_shape), np.float32)
    np.testing.assert_allclose(Runner(ours).scores(batch), Runner(theirs).scores(batch), atol=1e-5)
    assert onnx_metadata(ours)["preprocess"] == onnx_metadata(theirs)["preprocess"]
    refused = invoke("export", digits, "-o", tmp_path / "again.onnx")
    assert refused.exit_code == 2
    assert "name a checkpoint of `enxuto train" in " ".join(refused.stderr.split())


@pytest.mark.parametrize(
    ("form", "says"), [("onnx", "is an ONNX file already"), ("enx", "becomes ONNX by `enxuto decompress")]
)
def test_export_of_a_file_alone_names_what_makes_onnx_of_it(
    form: str, says: str, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once: PyTorch is not loaded for it."""
    monkeypatch.setitem(sys.modules, "enxuto.export", None)  # whose import then fails
    refused = invoke("export", f"net.{form}", "-o", tmp_path / "again.onnx")
    assert refused.exit_code == 2
    told = " ".join(refused.stderr.split())
    assert says in told
    assert "name a checkpoint of `enxuto train" in told


def test_train_begins_with_weights_of_a_zoo_network(
    invoke: Invoke, parts: tuple[object, ...], tmp_path: Path
) -> None:
    torch.save(zoo.build("lenet5", classes=4, channels=1, seed=3).state_dict(), tmp_path / "four.pt")
    result = invoke(
        "train", "lenet5", *parts[:2], "--weights", tmp_path / "four.pt", "--classes", 10, "--freeze", "*.weight",
        "--epochs", 1, "--set", "validation=0.2", "--json", "-o", tmp_path / "run",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    before = torch.load(tmp_path / "four.pt", weights_only=True)
    after = torch.load(tmp_path / "run" / "last.pt", weights_only=True)["model"]
    kept = [key for key in before if key.endswith(".weight") and before[key].shape == after[key].shape]
    assert kept
    assert all(torch.equal(before[key], after[key]) for key in kept)


def test_macs_that_cannot_be_reached_are_said(
    invoke: Invoke, digits: Path, parts: tuple[object, ...], tmp_path: Path
) -> None:
    result = invoke(
        "prune", digits, *parts, "--macs", "0.0001%", "--no-speed", "--json", "-o", tmp_path / "small"
    )
    assert result.exit_code == 0, result.output
    last = json.loads(result.stdout)["rounds"][-1]
    assert last["exhausted"]
    assert all(width == 1 for width in last["widths"].values())
    said = " ".join(result.stderr.split())
    assert (
        f"warning: {100 * last['reached']:.3g} % of the MACs left, not the 0.0001 % asked for: nothing more"
        in said
    )


ASKED = {"floor": 1, "multiple": 1, "target": "macs"}


@pytest.mark.parametrize(
    ("selection", "rounds", "said"),
    [
        (ASKED, [(0.65, 0.6499, False)], None),
        (ASKED, [(1e-6, 0.02, True)], "2 % of the MACs left, not the 0.0001 % asked for: nothing more could go, as"),
        ({**ASKED, "target": "latency"}, [(0.1, 0.5, True)], "50 % of the latency left, not the 10 % asked for"),
        ({**ASKED, "target": "parameters", "multiple": 8}, [(0.1, 0.5, True)], "--min-filters 1, multiples of 8, and"),
        ({**ASKED, "target": "filters"}, [(0.5, 0.5, False), (0.25, 0.3, True), (0.125, 0.3, True)],
         "30 % of the filters left, not the 12.5 % asked for: nothing more could go since round 2,"),
        ({**ASKED, "target": "filters"}, [(0.8, 0.83, False)], "filters go in groups, and no other choice"),
        ({**ASKED, "target": "filters"}, [(0.8, 0.805, False)], None),
    ],
)  # fmt: skip
def test_what_an_aim_could_not_reach_is_said(
    selection: dict[str, object], rounds: list[tuple[float, float, bool]], said: str | None
) -> None:
    rows: list[dict[str, object]] = [{"round": 0}]
    rows += [
        {"round": number, "asked": asked, "reached": reached, **({"exhausted": True} if ended else {})}
        for number, (asked, reached, ended) in enumerate(rounds, 1)
    ]
    found = explain_missed(selection, rows)
    assert (found is None) == (said is None)
    assert said is None or said in str(found)


@pytest.mark.parametrize(
    ("words", "criterion"),
    [
        ((), "cost"), (("--retrain", "distil", "--retrain-epochs", 1), "cost"), (("--macs", "80%"), "cost"),
        (("--scope", "local"), "l1"), (("--layers", "convolutions"), "l1"), (("--target", "latency"), "l1"),
        (("--retrain", "fine-tune", "--retrain-epochs", 1), "l1"), (("--criterion", "l2"), "l2"),
    ],
)  # fmt: skip
def test_filters_go_by_what_loses_least_where_that_is_known(
    invoke: Invoke,
    digits: Path,
    parts: tuple[object, ...],
    tmp_path: Path,
    words: tuple[object, ...],
    criterion: str,
) -> None:
    result = invoke("prune", digits, *parts, *words, "--no-speed", "-o", tmp_path / "small")
    assert result.exit_code == 0, result.output
    assert f"{criterion}, " in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("widths", "said"),
    [((8, 12), None), ((8, 11), "1 of 2 depthwise layers have a width"), ((7, 9), "2 of 2"), ((), None)],
)
def test_widths_at_which_depthwise_layers_are_slow_are_said(
    widths: tuple[int, ...], said: str | None
) -> None:
    layers = [torch.nn.Conv2d(3, 7, 3)]  # other layers of odd widths are no slower than before
    layers += [torch.nn.Conv2d(width, width, 3, groups=width) for width in widths]
    found = explain_widths(torch.nn.Sequential(*layers))
    assert (found is None) == (said is None)
    assert said is None or (said in str(found) and "--multiple 8" in str(found))


@pytest.mark.parametrize(
    ("speedups", "multiple", "warns"),
    [((0.93, 0.92), 1, True), ((1.01, 1.09), 4, True), ((1.01, 1.09), 8, False), ((0.9, 1.2), 1, False),
     ((), 1, False)],
)  # fmt: skip
def test_networks_that_are_hardly_faster_are_told_of_widths(
    speedups: tuple[float, ...], multiple: int, warns: bool
) -> None:
    found = explain_speed([{"speedup": one} for one in speedups], multiple)
    assert (found is not None) == warns
    assert found is None or f"{speedups[0]:.2f}× as fast only" in found


def test_prune_says_that_a_depthwise_network_may_be_no_faster(
    invoke: Invoke, parts: tuple[object, ...], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 1),
        torch.nn.Conv2d(16, 16, 3, groups=16),
        torch.nn.Flatten(),
        torch.nn.Linear(576, 10),
    )
    export_onnx(network, tmp_path / "depthwise.onnx", input_shape=(1, 8, 8))
    for multiple, warns in ((1, True), (8, False)):
        words = ("--criterion", "l1", "--retrain", "none", "--amount", "40%", "--multiple", multiple)
        result = invoke("prune", tmp_path / "depthwise.onnx", *parts, *words, "-o", tmp_path / str(multiple))
        assert result.exit_code == 0, result.output
        assert ("depthwise layers have a width" in result.stderr) == warns


@pytest.mark.parametrize(
    ("verb", "words", "said"),
    [
        ("prune", ("--weights", "w.pt"), "has its own weights"),
        ("prune", ("--criterion", "cost", "--retrain", "fine-tune"), "goes with --retrain none"),
        ("prune", ("--criterion", "cost", "--target", "latency"), "take --target macs"),
        (
            "prune",
            ("--criterion", "cost", "--scope", "local", "--normalise", "mean"),
            "leave out --scope local and --normalise mean",
        ),
        ("prune", ("--criterion", "cost", "--layers", "convolutions"), "leave out --layers convolutions"),
        ("prune", ("--macs", "50%", "--amount", "30%"), "leave out --amount"),
        ("prune", ("--minutes", "1"), "how long --retrain distil takes"),
        (
            "prune",
            ("--minutes", "1", "--retrain", "distil", "--retrain-epochs", "2"),
            "instead of --retrain-epochs",
        ),
        ("train", ("--weights", "w.pt"), "has its own weights"),
        ("train", ("--freeze", "nothing.*"), "no parameter matches"),
        ("train", ("--freeze", "*"), "every parameter would be frozen"),
        ("train", ("--classes", "7"), "the images have 10 classes"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    verb: str,
    words: tuple[str, ...],
    said: str,
    invoke: Invoke,
    digits: Path,
    parts: tuple[object, ...],
    tmp_path: Path,
) -> None:
    result = invoke(verb, digits, *(parts if verb == "prune" else parts[:2]), *words, "-o", tmp_path / "out")
    assert result.exit_code == 2, result.output
    assert said in " ".join(result.stderr.split())


def test_lottery_begins_with_fresh_weights_of_the_graph(
    invoke: Invoke, digits: Path, parts: tuple[object, ...], tmp_path: Path
) -> None:
    result = invoke(
        "lottery", digits, *parts, "--scale", "smoke", "--seeds", 1, "--rounds", 1, "--criteria", "l1",
        "--controls", "none", "--retrain", "rewind", "--json", "-o", tmp_path / "study",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert load_pruned(tmp_path / "study" / "given.pt").architecture.graph


def test_summary_reads_enx_files(invoke: Invoke, digits: Path, tmp_path: Path) -> None:
    enxuto.compress(digits).save(tmp_path / "digits.enx")
    whole, coded = (
        json.loads(invoke("summary", path, "--json").stdout) for path in (digits, tmp_path / "digits.enx")
    )
    assert whole["layers"] == coded["layers"]


def test_attribution_explains_a_network_from_a_file(digits: Path) -> None:
    network = enxuto.load_module(digits)
    images = torch.rand(3, *network.input_shape)
    found = deeplift(network, images, torch.tensor([0, 1, 2]))
    assert found.relative_error < 1e-3
    assert set(found.layers) == {key.removesuffix(".weight") for key, value in network.state_dict().items()
                                 if value.dim() > 1}  # fmt: skip

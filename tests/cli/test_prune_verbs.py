"""`enxuto prune` as a user calls it: rounds, files that load by themselves, going on, one-line errors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import Result

from enxuto import zoo
from enxuto.archive import digest
from enxuto.cli.shared.values import parse_share
from enxuto.errors import UsageError
from enxuto.opening import load_with_metadata, preprocess_of
from enxuto.prune import load_pruned
from enxuto.runtime import Runner

pytestmark = pytest.mark.usefixtures("remembered_exports")

Invoke = Callable[..., Result]
QUIET = ("--no-speed", "--json")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 training and 40 test images, 8×8 stripes of four classes, as .npz of two folders' parts."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for part, count in (("train", 60), ("test", 40)):
        labels = np.arange(count) % 4
        images = random.integers(0, 100, (count, 8, 8), dtype=np.uint8)
        images[np.arange(count), 2 * labels] += 130
        np.savez(folder / f"{part}.npz", images=images, labels=labels)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of LeNet-5 for one grey channel and four classes, as a plain state dict."""
    path = tmp_path_factory.mktemp("trained") / "lenet.pt"
    torch.save(zoo.build("lenet5", classes=4, channels=1, seed=3).state_dict(), path)
    return path


def words(trained: Path, pictures: Path, out: Path) -> tuple[object, ...]:
    return ("prune", "lenet5", "--weights", trained, "--data", pictures / "train.npz", "--test", pictures / "test.npz",
            "-o", out)  # fmt: skip


def test_rounds_leave_files_that_load_by_themselves(
    invoke: Invoke, trained: Path, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    asked = (
        *words(trained, pictures, out),
        "--rounds",
        2,
        "--amount",
        "30%",
        "--target",
        "parameters",
        "--normalise",
        "mean",
    )
    result = invoke(*asked, *QUIET)
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert [row["round"] for row in said["rounds"]] == [0, 1, 2]
    assert said["provenance"]["command"].startswith("enxuto prune ")
    assert json.loads((out / "provenance.json").read_text()) == said["provenance"]
    assert [row.get("asked") for row in said["rounds"]] == [None, 0.7, pytest.approx(0.49)]
    pruned = load_pruned(out / "model.pt")
    last = said["rounds"][-1]
    counted = sum(value.numel() for value in pruned.network.parameters())
    assert last["size"]["parameters"] == counted
    assert last["reached"] == pytest.approx(counted / said["rounds"][0]["size"]["parameters"])
    assert last["removed"] == {layer: list(places) for layer, places in pruned.kept.removed().items()}
    first, second = (row["removed_now"] for row in said["rounds"][1:])
    for layer, places in last["removed"].items():
        assert sorted(first.get(layer, []) + second.get(layer, [])) == places
    images = torch.randn(3, 1, 32, 32)
    with torch.no_grad():
        expected = pruned.network(images).numpy()
    np.testing.assert_allclose(Runner(out / "model.onnx").scores(images.numpy()), expected, atol=1e-5)

    # Nothing is computed again, and another round goes on from there.
    lines = (out / "records.jsonl").read_text()
    again = invoke(*asked, *QUIET)
    assert "3 of 3 points are recorded already" in again.stderr
    assert (out / "records.jsonl").read_text() == lines
    table = invoke(*asked[:-6], "--rounds", 3, *asked[-4:], "--no-speed", "--amount", "30%")
    assert "3 of 4 points are recorded already" in table.stderr, table.output
    assert "parameters asked %" in table.stdout
    assert "40 test images, seed 0" in table.stdout


@pytest.mark.acceptance
def test_latency_is_a_target_that_is_measured(
    invoke: Invoke, trained: Path, pictures: Path, tmp_path: Path
) -> None:
    """Times differ from run to run, so nothing is said of how near it came: what is left is smaller, and told."""
    result = invoke(
        *words(trained, pictures, tmp_path / "out"), "--target", "latency", "--amount", "40%", "--criterion", "random",
        *QUIET,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    before, after = json.loads(result.stdout)["rounds"]
    assert after["asked"] == 0.6
    assert 0 < after["reached"] < 10
    assert after["size"]["macs"] <= before["size"]["macs"]
    assert {layer: len(places) for layer, places in after["removed"].items()} == {
        layer: before["widths"][layer] - width
        for layer, width in after["widths"].items()
        if width < before["widths"][layer]
    }


def test_a_pruned_network_is_pruned_further_and_trained(
    invoke: Invoke, trained: Path, pictures: Path, tmp_path: Path
) -> None:
    first = invoke(
        *words(trained, pictures, tmp_path / "one"), "--amount", "0.5", "--normalise", "mean", *QUIET
    )
    assert first.exit_code == 0, first.output
    model = shutil.copy(tmp_path / "one" / "model.pt", tmp_path / "small.pt")
    second = invoke(
        "prune", model, "--data", pictures / "train.npz", "--test", pictures / "test.npz", "-o", tmp_path / "two",
        "--amount", "75%", "--retrain", "fine-tune", "--retrain-epochs", 1, "--set", "batch=20",
        "--set", "augment=none", "--normalise", "mean", "--criterion", "taylor", *QUIET,
    )  # fmt: skip
    assert second.exit_code == 0, second.output
    rows = json.loads(second.stdout)["rounds"]
    assert rows[0]["left"]["filters"] == pytest.approx(0.5)
    assert rows[1]["left"]["filters"] == pytest.approx(0.25, abs=0.01)  # of the unpruned network
    assert len(rows[1]["losses"]) == 1


def test_rewinding_needs_the_early_checkpoint(invoke: Invoke, pictures: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trained = invoke("train", "lenet5", "--data", pictures / "train.npz", "--epochs", 2, "--set", "keep_epochs=[1]",
                     "--set", "batch=20", "--output", run, "--set", "schedule=constant", "--json")  # fmt: skip
    assert trained.exit_code == 0, trained.output
    asked = words(run / "best.pt", pictures, tmp_path / "out")
    missing = invoke(*asked, "--retrain", "rewind")
    assert missing.exit_code == 2
    assert "--rewind-checkpoint" in missing.stderr
    result = invoke(
        *asked,
        "--retrain",
        "rewind",
        "--rewind-checkpoint",
        run / "epoch-001.pt",
        "--normalise",
        "mean",
        *QUIET,
    )
    assert result.exit_code == 0, result.output
    losses = json.loads(result.stdout)["rounds"][1]["losses"]
    assert len(losses) == 2
    # Another checkpoint is another round, in the same folder too; the same one under another name is not.
    other = invoke(
        *asked, "--retrain", "rewind", "--rewind-checkpoint", run / "last.pt", "--normalise", "mean", *QUIET
    )
    assert "1 of 2 points are recorded already" in other.stderr, other.output
    assert json.loads(other.stdout)["rounds"][1]["losses"] != losses
    moved = shutil.copy(run / "epoch-001.pt", tmp_path / "moved.pt")
    same = invoke(*asked, "--retrain", "rewind", "--rewind-checkpoint", moved, "--normalise", "mean", *QUIET)
    assert "2 of 2 points are recorded already" in same.stderr, same.output
    assert json.loads(same.stdout)["rounds"][1]["losses"] == losses


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--amount", "120%"), "above 0 %"),
        (("--amount", "much"), "such as 20% or 0.2"),
        (("--amount", "20"), "written 20% or 0.2"),
        (("--target", "size"), "no target 'size'"),
        (("--criterion", "luck"), "no criterion 'luck'"),
        (("--retrain", "again"), "no way of retraining"),
        (("--retrain-epochs", 3), "say how by --retrain"),
        (("--reference", "zero"), "cost compares with nothing"),
        (("--reference", "mean", "--criterion", "lrp"), "lrp compares with nothing"),
    ],
)
def test_wrong_options_are_one_line(
    invoke: Invoke, trained: Path, pictures: Path, tmp_path: Path, more: tuple[object, ...], says: str
) -> None:
    result = invoke(*words(trained, pictures, tmp_path / "out"), *more)
    assert result.exit_code == 2
    assert says in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_weights_that_do_not_fit_are_one_line(
    invoke: Invoke, trained: Path, pictures: Path, tmp_path: Path
) -> None:
    out = ("--data", pictures / "train.npz", "--test", pictures / "test.npz", "-o", tmp_path / "out")
    untrained = invoke("prune", "lenet5", *out)
    assert untrained.exit_code == 2
    assert "must be trained first" in untrained.stderr
    other = invoke("prune", "resnet20-cifar", "--weights", trained, *out)
    assert other.exit_code == 2
    assert "the weights are not of resnet20-cifar" in other.stderr
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"no archive")
    assert "is no checkpoint" in invoke("prune", "lenet5", "--weights", broken, *out).stderr
    alone = invoke(
        "prune", "lenet5", "--weights", trained, "--data", pictures / "train.npz", "-o", tmp_path / "out"
    )
    assert alone.exit_code == 2
    assert "--test" in alone.stderr


def test_amounts() -> None:
    assert (parse_share("20%"), parse_share("0.2"), parse_share("12.5 %")) == (0.2, 0.2, 0.125)
    for text in ("0", "1", "100%", "-3%", "nan", ""):
        with pytest.raises(UsageError, match="--amount"):
            parse_share(text)


def test_a_lottery_runs_resumes_and_tells_its_tickets(invoke: Invoke, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "study"
    asked = ("lottery", "lenet5", "--data", pictures / "train.npz", "--test", pictures / "test.npz", "-o", out,
             "--workers", 0, "--criteria", "l1", "--rounds", 1, "--set", "epochs=2", "--set", "batch=20",
             "--normalise", "mean", "--score-images", 20)  # fmt: skip
    first = invoke(*asked, "--retrain", "rewind")
    assert first.exit_code == 0, first.output
    assert "l1, rewind to 0" in first.stdout
    assert "above random filters" in " ".join(first.stdout.split())
    assert "40 test images, seeds 0, 1" in " ".join(first.stdout.split())
    more = invoke(*asked, "--retrain", "rewind,lr-rewind", "--schedules", "iterative,gradual", "--json")
    assert more.exit_code == 0, more.output
    assert "8 of 20 points are recorded already" in more.stderr
    said = json.loads(more.stdout)
    assert json.loads((out / "lottery.json").read_text())["provenance"] == said["provenance"]
    assert said["provenance"]["seed"] == [0, 1]
    assert sorted(said["unpruned"]["seeds"]) == ["0", "1"]
    assert list(said["unpruned_trained_on"]) == ["lr-rewind"]
    gone = {}
    for level in said["levels"]:
        assert level["left"]["filters"] == pytest.approx(0.8, abs=0.01)
        assert level["claim"]["of"] == 2
        gone[level["mode"], level["schedule"], level["control"]] = level["removed_now"]["1"]
    for mode, schedule in (("rewind", "iterative"), ("lr-rewind", "iterative"), ("none", "gradual")):
        own, fresh, random = (gone[mode, schedule, control] for control in ("", "fresh", "random"))
        assert fresh == own  # the very same architecture
        assert {layer: len(places) for layer, places in random.items()} == {k: len(v) for k, v in own.items()}
        assert random != own
    assert {path.name for path in out.glob("*.png")} >= {
        "tickets-global-iterative.png",
        "tickets-global-gradual.png",
    }


def test_a_collapsed_layer_is_a_result(invoke: Invoke, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "study"
    result = invoke("lottery", "lenet5", "--data", pictures / "train.npz", "--test", pictures / "test.npz", "-o", out,
                    "--workers", 0, "--criteria", "l1", "--rounds", 2, "--set", "epochs=2", "--set", "batch=20",
                    "--seeds", 1, "--retrain", "lr-rewind", "--amount", "60%", "--floor", 0, "--speed",
                    "--layers", "convolutions", "--all", "--json")  # fmt: skip
    assert result.exit_code == 0, result.output
    levels = json.loads(result.stdout)["levels"]
    assert [(level["control"], level["round"]) for level in levels] == [
        ("", 1), ("", 2), ("fresh", 1), ("fresh", 2), ("random", 1), ("random", 2),
    ]  # fmt: skip
    # L1 norms of thin layers are small: of 6 and 16 filters, the first round leaves 9 and the second 4 of c3.
    assert [round(22 * level["left"]["filters"]) for level in levels if not level["control"]] != []
    records = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    collapsed = [one["values"] for one in records if one["values"].get("collapsed")]
    assert collapsed
    for values in collapsed:
        assert values["collapsed"] == ["features.c1"]
        assert values["widths"]["features.c1"] == 0
    verdicts = (out / "lottery.md").read_text()
    assert "| collapsed |" in verdicts
    assert invoke("prune", "lenet5", "--floor", 0, "--data", "x", "-o", tmp_path / "p").exit_code == 2


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--scale", "huge"), "no scale"), (("--criteria", "l1,luck"), "luck"),
        (("--rewind-epochs", "x"), "--rewind-epochs"), (("--controls", "fesh"), "did you mean 'fresh'"),
        (("--score-images", "some"), "or all"), (("--reference", "zeros"), "did you mean 'zero'"),
        (("--set", "early_stopping=2"), "leave out early_stopping"),
        (("--reference", "zero", "--criteria", "l1,lrp"), "l1, lrp compares with nothing"),
        (("--scheduler", "tcp://x:1", "--workers", 1), "--workers"),
    ],
)  # fmt: skip
def test_a_lottery_that_cannot_be_is_one_line(
    invoke: Invoke, pictures: Path, tmp_path: Path, more: tuple[object, ...], says: str
) -> None:
    result = invoke("lottery", "lenet5", "--data", pictures / "train.npz", "--test", pictures / "test.npz",
                    "-o", tmp_path / "out", *more)  # fmt: skip
    assert result.exit_code == 2
    assert says in result.stderr


def test_a_pruned_network_keeps_the_preprocessing_that_it_was_trained_with(
    invoke: Invoke, trained: Path, pictures: Path, tmp_path: Path
) -> None:
    """On other images too, whose mean and deviation are not those of its training."""
    first = invoke(*words(trained, pictures, tmp_path / "one"), "--amount", "0.3", *QUIET)
    assert first.exit_code == 0, first.output
    second = invoke(
        "prune", tmp_path / "one" / "model.pt", "--data", pictures / "test.npz", "--test", pictures / "train.npz",
        "-o", tmp_path / "two", "--amount", "0.3", *QUIET,
    )  # fmt: skip
    assert second.exit_code == 0, second.output
    one, two = (
        preprocess_of(load_with_metadata(tmp_path / name / "model.onnx")[1]) for name in ("one", "two")
    )
    assert one == two is not None


def test_an_unknown_network_is_told_first(invoke: Invoke, pictures: Path, tmp_path: Path) -> None:
    result = invoke("prune", "lenet6", "--data", pictures / "train.npz", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "did you mean 'lenet5'" in result.stderr


def test_a_file_of_ones_own_network_needs_its_factory_by_name(
    invoke: Invoke, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the file calls its factory is not imported, though it lies in the current folder; what is given is."""
    monkeypatch.chdir(tmp_path)
    source = (
        "from torch import nn\n"
        "def net():\n"
        "    pool = nn.AdaptiveAvgPool2d(1)\n"
        "    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), pool, nn.Flatten(), nn.Linear(6, 4))\n"
    )
    (tmp_path / "own_to_prune.py").write_text(source)
    (tmp_path / "evil_to_prune.py").write_text(f"open('was-run', 'w')\n{source}")
    data = ("--data", pictures / "train.npz", "--test", pictures / "test.npz")
    first = invoke("prune", "own_to_prune:net", *data, "--amount", "30%", "-o", "one", *QUIET)
    assert first.exit_code == 0, first.output
    held = torch.load("one/model.pt", weights_only=True)
    held["architecture"]["name"] = "evil_to_prune:net"
    parts = {name: held[name] for name in ("architecture", "plan", "metadata", "model")}
    torch.save({**held, "digest": digest(parts)}, "small.pt")
    refused = invoke("prune", "small.pt", *data, "-o", "two", *QUIET)
    assert refused.exit_code == 2
    assert "evil_to_prune:net" in refused.stderr
    assert "--factory" in refused.stderr
    assert not Path("two").exists()
    assert invoke("prune", "lenet5", "--factory", "own_to_prune:net", *data, "-o", "two").exit_code == 2
    second = invoke(
        "prune", "small.pt", "--factory", "own_to_prune:net", *data, "--amount", "30%", "-o", "two", "--json"
    )
    assert second.exit_code == 0, second.output
    assert torch.load("two/model.pt", weights_only=True)["architecture"]["name"] == "own_to_prune:net"
    assert not Path("was-run").exists()


@pytest.mark.parametrize("debug", [True, False])
def test_debug_shows_where_a_round_failed(
    invoke: Invoke,
    trained: Path,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    debug: bool,
) -> None:
    def broken(*given: object, **named: object) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr("enxuto.studies.lottery.round._choose_filters", broken)
    words = ("prune", "lenet5", "--weights", trained, "--data", pictures / "train.npz", "--test", pictures / "test.npz",
             "-o", tmp_path / "out")  # fmt: skip
    result = invoke(*(["--debug"] if debug else []), *words)
    assert result.exit_code == 1
    assert "round 1 failed: ZeroDivisionError: a fault" in result.stderr
    assert ("Traceback" in result.stderr) == debug


@pytest.mark.parametrize("said", [True, False])
def test_classes_in_the_order_that_the_network_was_trained_in(
    invoke: Invoke, trained: Path, pictures: Path, tmp_path: Path, said: bool
) -> None:
    """Data that sort their classes otherwise score as before, by `--labels` or what `train` left beside the weights."""
    weights = Path(shutil.copy(trained, tmp_path / "best.pt"))
    for part in ("train", "test"):
        data = np.load(pictures / f"{part}.npz")
        for name, labels, classes in (
            ("plain", data["labels"], "abcd"),
            ("turned", 3 - data["labels"], "dcba"),
        ):
            (tmp_path / name).mkdir(exist_ok=True)
            np.savez(
                tmp_path / name / f"{part}.npz", images=data["images"], labels=labels, classes=list(classes)
            )

    def top1(name: str, *more: object) -> float:
        result = invoke(*words(weights, tmp_path / name, tmp_path / f"out-{name}"), *QUIET, *more)
        assert result.exit_code == 0, result.stderr
        return float(json.loads(result.stdout)["rounds"][0]["top1"])

    before = top1("plain")
    labels = tmp_path / ("order.txt" if said else "labels.txt")
    labels.write_text("a\nb\nc\nd\n")
    assert top1("turned", *(("--labels", labels) if said else ())) == before


@pytest.mark.parametrize("verb", ["train", "prune", "lottery", "study"])
def test_verbs_that_train_take_the_order_of_classes(invoke: Invoke, verb: str) -> None:
    assert "--labels" in invoke(verb, "--help").output

"""The Souza study on synthetic images: recorded once, resumed to the same weights, shown beside the source."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from enxuto import evaluate, zoo
from enxuto.api import load_with_metadata, preprocess_of
from enxuto.cli import app
from enxuto.data import open_dataset
from enxuto.errors import DataError, UsageError
from enxuto.runtime import Runner
from enxuto.study.souza import SCALES, Images, SouzaStudy, run_souza
from enxuto.study.souza_published import NETWORKS, PUBLISHED
from enxuto.study.souza_tables import as_csv, as_markdown, tables

DSC = ("squeezenet-dsc",)
FAST = {"epochs": 2, "batch": 24, "threads": 1}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """48 training and 20 test images of 4 classes, in two files."""
    folder = tmp_path_factory.mktemp("data")
    paths = (folder / "train.npz", folder / "test.npz")
    for seed, (path, count) in enumerate(zip(paths, (48, 20), strict=True)):
        pixels = np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), np.uint8)
        np.savez(path, images=pixels, labels=np.arange(count) % 4, classes=np.array(list("abcd")))
    return paths


@pytest.fixture(scope="module")
def finished(
    data: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """The folder and the record of a study of one network."""
    folder = tmp_path_factory.mktemp("finished")
    (record,) = run(study(), data, folder)
    return folder, record


def study(seed: int = 0, **settings: Any) -> SouzaStudy:
    return SouzaStudy(DSC, "smoke", seed, 1, FAST | settings)


def run(
    what: SouzaStudy, data: tuple[Path, Path], folder: Path, report: Callable[[Any], None] | None = None
) -> list[dict[str, Any]]:
    return list(run_souza(what, Images.open(what, *data), folder, report=report))


def test_a_record_says_what_was_done_on_what(
    finished: tuple[Path, dict[str, Any]], data: tuple[Path, Path]
) -> None:
    folder, record = finished
    assert record["measures"]["parameters"] == zoo.entry(DSC[0]).counts[10] - 6 * (512 + 1 + 2)
    assert (record["train"]["samples"], record["test"]["samples"], record["classes"]) == (48, 20, 4)
    assert record["train"]["hash"] == open_dataset(data[0]).hash
    assert (record["seed"], record["scale"], record["training"]["epochs"]) == (0, "smoke", 2)
    assert torch.__version__.startswith(record["versions"]["torch"])
    assert record["machine"]["cores"] >= 1
    files = {path.name for path in (folder / record["folder"]).iterdir()}
    assert files >= {"model.onnx", "model.pt", "last.pt", "history.jsonl", "training.png", "training.svg"}
    model, metadata = load_with_metadata(folder / record["folder"] / "model.onnx")
    assert metadata["labels"] == list("abcd")
    preprocess = preprocess_of(metadata)
    assert preprocess is not None
    found = evaluate(Runner(model).scores, open_dataset(data[1]), preprocess=preprocess)
    assert found.top1 == pytest.approx(record["measures"]["top1"])


def test_a_finished_network_is_not_trained_again_and_another_is_not_taken_for_it(
    finished: tuple[Path, dict[str, Any]], data: tuple[Path, Path]
) -> None:
    def never(_: object) -> None:
        raise AssertionError("trained again")

    folder, record = finished
    before = (folder / "records.jsonl").read_bytes()
    assert run(study(), data, folder, never) == [record]
    for what, where in ((study(seed=1), data), (study(lr=0.02), data), (study(), (data[1], data[1]))):
        with pytest.raises(AssertionError, match="trained again"):
            run(what, where, folder, never)
    assert (folder / "records.jsonl").read_bytes() == before


def test_an_interrupted_network_goes_on_to_the_same_weights(
    finished: tuple[Path, dict[str, Any]], data: tuple[Path, Path], tmp_path: Path
) -> None:
    def stop(at: Any) -> None:
        if at.record is not None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(study(), data, tmp_path / "cut", stop)
    assert not (tmp_path / "cut" / "records.jsonl").exists()
    resumed = study_verb(*verb_words(data, tmp_path / "cut"))
    assert resumed.exit_code == 0, resumed.output
    assert "epoch 2/2" in resumed.stderr
    assert "epoch 1/2" not in resumed.stderr
    assert "Accuracy, parameters, size" in resumed.stdout
    for name in ("souza.md", "souza.csv", "losses.png", "records.jsonl"):
        assert (tmp_path / "cut" / name).stat().st_size > 0
    folder, whole = finished
    same = [
        torch.load(place / whole["folder"] / "model.pt", weights_only=True)
        for place in (folder, tmp_path / "cut")
    ]
    assert all(torch.equal(same[0][key], same[1][key]) for key in same[0])


def test_images_come_from_parts_or_from_two_files(data: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--test"):
        Images.open(study(), data[0])
    for part in ("train", "test"):
        (tmp_path / "set" / part / "x").mkdir(parents=True)
        (tmp_path / "set" / part / "x" / "0.png").write_bytes(b"")
    images = Images.open(study(), tmp_path / "set")
    assert (images.train.part, images.test.part, images.classes) == ("train", "test", 1)


def test_the_scale_draws_samples_by_the_seed_and_keeps_the_classes(tmp_path: Path) -> None:
    labels = np.arange(3000) % 3000 // 30  # 100 classes
    np.savez(tmp_path / "all.npz", images=np.zeros((3000, 2, 2), np.uint8), labels=labels)
    opened = [
        Images.open(SouzaStudy(seed=seed), tmp_path / "all.npz", tmp_path / "all.npz") for seed in (0, 0, 1)
    ]
    assert [(len(images.train), len(images.test), images.classes) for images in opened] == [
        (512, 500, 100)
    ] * 3
    assert opened[0].train.labels.tolist() == opened[1].train.labels.tolist()
    assert opened[0].train.labels.tolist() != opened[2].train.labels.tolist()


def test_full_is_the_protocol() -> None:
    config = SouzaStudy(scale="full").config()
    assert (config.batch, config.epochs, config.lr, config.augment) == (128, 200, 0.01, "flip")
    assert (config.schedule, config.stable_change, config.stabilisations, config.lr_factor) == (
        "souza",
        0.01,
        4,
        0.1,
    )
    assert (SCALES["full"].train, SCALES["full"].test) == (None, None)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scale": "huge"}, "smoke, small, full"),
        ({"networks": ("resnet20-cifar",)}, "squeezenet-dsc"),
        ({"networks": ()}, "none"),
        ({"networks": DSC * 2}, "each once"),
        ({"seed": -1}, "seed -1"),
        ({"settings": {"lr": -1.0}}, "lr"),
        ({"settings": {"rate": 1.0}}, "rate"),
    ],
)
def test_senseless_studies_are_refused_before_anything_is_loaded(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        SouzaStudy(**values)


def test_published_counts_are_the_zoos_and_the_sources_sentences_hold() -> None:
    for classes, rows in PUBLISHED.items():
        assert tuple(rows) == NETWORKS
        for name, row in rows.items():
            assert row.parameters == zoo.entry(name).counts[classes]
            assert (row.top5 is None) == (classes == 10)
    ten, hundred = ([rows[name] for name in NETWORKS[:2]] for rows in (PUBLISHED[10], PUBLISHED[100]))
    assert ten[0].parameters / ten[1].parameters == pytest.approx(0.333, abs=5e-4)
    assert ten[0].size / ten[1].size == pytest.approx(0.361, abs=5e-4)
    assert ten[0].top1 - ten[1].top1 == pytest.approx(-1.07)
    assert hundred[0].top1 - hundred[1].top1 == pytest.approx(-5.71)
    assert (hundred[0].top5 or 0) - (hundred[1].top5 or 0) == pytest.approx(-3.06)


def test_published_numbers_and_tables_bring_no_torch() -> None:
    code = (
        "import sys, enxuto.study.souza_published, enxuto.study.souza_tables, enxuto.study.souza;"
        "assert not {'torch', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def made_up(classes: int) -> dict[str, Any]:
    times = {"batch": 1, "repeats": 9, "mean": 1.234, "std": 0.056, "median": 1.2, "p95": 1.5}
    return {
        "point": "p", "network": "squeezenet-dsc", "classes": classes, "seed": 7, "scale": "full",
        "train": {"hash": "h", "samples": 50_000}, "test": {"hash": "t", "samples": 10_000},
        "training": {"epochs": 93, "stopped": "schedule", "loss": 0.1, "seconds": 5.0},
        "machine": {"cpu": "A CPU", "cores": 2, "gpu": None},
        "measures": {
            "top1": 0.87654, "top5": 0.9, "loss": 0.4, "samples": 10_000, "data_hash": "t", "parameters": 248_670,
            "macs": 22_363_136, "onnx_bytes": 1_020_000, "state_bytes": 1_050_000, "threads": 0,
            "latency": {"PyTorch, CPU": times, "ONNX Runtime, CPU": times},
        },
    }  # fmt: skip


def test_tables_show_ours_beside_the_published() -> None:
    text = as_markdown(tables([made_up(10)]))
    assert "| squeezenet-dsc | 87.65 | 87.0 – 88.3 | 88.32 | 248,670 | 248,670 | 1.05 | 1.08 | 1.02 |" in text
    assert "| 22,363,136 | 93 | 5 |" in text
    assert "| squeezenet-dsc | PyTorch, GPU | – | – | – | 5.25 ± 0.10 |" in text
    assert "| squeezenet-dsc | PyTorch, CPU | 1.23 ± 0.06 | 1.20 | 1.50 | 6.06 ± 0.36 |" in text
    assert "| squeezenet-dsc | ONNX Runtime, CPU | 1.23 ± 0.06 | 1.20 | 1.50 | – |" in text
    assert "| --- | --- | ---: | ---: | ---: | ---: |" in text  # the runtime is a word
    for fact in ("Scale full", "50,000 images", "10,000", "seed 7", "A CPU, 2 cores"):
        assert fact in text
    assert "top-5" not in text
    assert "| 87.0 – 88.3 | 64.87 | 90.00 | 88.85 |" in as_markdown(tables([made_up(100)]))
    assert "| 87.0 – 88.3 | – |" in as_markdown(tables([made_up(4)]))  # data the source knows nothing of
    for table in tables([made_up(100)]):
        assert len(set(table.columns)) == len(table.columns)
        assert all(len(row) == len(table.columns) for row in table.rows)
    assert tables([])[0].rows == ()


def test_csv_keeps_full_numbers() -> None:
    (row,) = csv.DictReader(io.StringIO(as_csv([made_up(10)])))
    assert (row["top1"], row["published_top1"], row["published_gpu_mean_ms"]) == ("0.87654", "88.32", "5.25")
    assert (row["pytorch_cpu_mean_ms"], row["pytorch_gpu_mean_ms"]) == ("1.234", "")
    assert as_csv([]) == "network\n"


def study_verb(*words: object) -> Result:
    return CliRunner().invoke(app, ["study", *map(str, words)])


def verb_words(data: tuple[Path, Path], folder: Path) -> tuple[object, ...]:
    """What `study()` says, as words."""
    settings = [word for key, value in FAST.items() for word in ("--set", f"{key}={value}")]
    return ("souza", "--data", data[0], "--test", data[1], "--networks", "squeezenet-dsc", "--out", folder,
            "--threads", 1, *settings)  # fmt: skip


def test_the_verb_gives_records_and_published_numbers_as_json(
    finished: tuple[Path, dict[str, Any]], data: tuple[Path, Path]
) -> None:
    result = study_verb(*verb_words(data, finished[0]), "--json")
    assert "on record, not trained again" in result.stderr
    found = json.loads(result.stdout)
    assert found["records"] == [finished[1]]
    assert found["published"]["10"]["vgg19-cifar"]["top1"] == 91.13


def test_the_verb_refuses_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENXUTO_CACHE", str(tmp_path))
    missing = study_verb("souza", "--out", tmp_path / "out")
    assert missing.exit_code == 2
    assert "enxuto fetch cifar10" in missing.stderr
    for words in (
        ("tonin",),
        ("souza", "--scale", "huge"),
        ("souza", "--set", "x=1"),
        ("souza", "--networks", "x"),
    ):
        result = study_verb(*words)
        assert result.exit_code == 2
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()

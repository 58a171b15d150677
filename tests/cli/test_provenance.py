"""What verbs say of how their results were made, and that reports show it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

import enxuto
from enxuto.cli.shared.provenance import command_line
from enxuto.report import read_results

Invoke = Callable[..., Result]


def made_by(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)["provenance"]
    assert found["versions"]["enxuto"] == enxuto.__version__
    assert {"python", "numpy", "onnxruntime"} <= set(found["versions"])
    assert found["machine"]["cores"] >= 1
    assert found["machine"]["cpu"]
    return found


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("evaluate", "a.enx", "--data", "../x/b.npz"), "enxuto evaluate a.enx --data ../x/b.npz"),
        (("evaluate", "/home/ann/a b.enx", "--data=/mnt/b.npz"), "enxuto evaluate 'a b.enx' --data=b.npz"),
        (("curve", "C:\\Users\\ann\\a.onnx", "--data=D:\\b"), "enxuto curve a.onnx --data=b"),
        (
            ("curve", "a.onnx", "--scheduler", "tcp://10.1.2.3:8786"),
            "enxuto curve a.onnx --scheduler 'tcp://…'",
        ),
        (("export", "/"), "enxuto export /"),
        (("train", "--set", "lr=0.1"), "enxuto train --set lr=0.1"),
        ((), "enxuto"),
    ],
)
def test_commands_tell_names_but_neither_folders_from_the_root_nor_addresses(
    given: tuple[str, ...], told: str
) -> None:
    assert command_line(given) == told


def test_every_verb_that_measures_says_how(
    invoke: Invoke, digits: Path, images: Path, tmp_path: Path
) -> None:
    small = digits.with_suffix(".enx")
    made = made_by(invoke("compress", digits, "--bits", 4, "--threads", 1, "--json"))
    assert made["command"] == f"enxuto compress {digits.name} --bits 4 --threads 1 --json"
    assert made["machine"]["threads"] == 1
    assert "samples" not in made
    results = {
        "evaluate": invoke("evaluate", small, "--data", images, "--limit", 40, "--seed", 3, "--json"),
        "compare": invoke("compare", digits, small, "--data", images, "--limit", 40, "--seed", 3, "--json"),
        "bench": invoke("bench", digits, "--repeats", 2, "--warmup", 0, "--seed", 3, "--json"),
        "weights": invoke("weights", digits, "--seed", 3, "--output", tmp_path / "w", "--json"),
        "inspect": invoke("inspect", small, "--json"),
    }  # fmt: skip
    for verb, result in results.items():
        found = made_by(result)
        assert found["command"].startswith(f"enxuto {verb} ")
        assert found.get("seed") == (None if verb == "inspect" else 3)
        (tmp_path / f"{verb}.json").write_text(result.stdout)
    of_images = [made_by(results[verb]) for verb in ("evaluate", "compare")]
    assert [one["samples"] for one in of_images] == [40, 40]
    assert of_images[0]["data"] == of_images[1]["data"] == json.loads(results["evaluate"].stdout)["data_hash"]
    assert json.loads((tmp_path / "w" / "provenance.json").read_text()) == made_by(results["weights"])
    shown = read_results([tmp_path])
    assert shown.problems == ()
    told = {dict(one.origin)["command"].split()[1] for one in shown.exhibits}
    assert told == set(results)
    assert all("command, rebuilt" not in dict(one.origin) for one in shown.exhibits)


@pytest.mark.usefixtures("few_trials")
def test_calibrated_compression_says_which_images_did_what(
    invoke: Invoke, digits: Path, images: Path
) -> None:
    words = (
        "compress",
        digits,
        "--data",
        images,
        "--images",
        30,
        "--max-kl",
        0.5,
        "--seed",
        2,
        "--threads",
        1,
        "--json",
    )
    made = made_by(invoke(*words))
    assert made["samples"] == {"calibration": 30, "judging": 165, "reporting": 165}
    assert set(made["data"]) == {"calibration", "judging", "reporting"}
    assert len(set(made["data"].values())) == 3
    assert made["seed"] == 2


def test_a_studys_folder_tells_the_command_of_its_records(
    invoke: Invoke, digits: Path, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "study"
    words = (
        "curve",
        digits,
        "--data",
        images,
        "--limit",
        30,
        "--methods",
        "half",
        "--workers",
        0,
        "--output",
        out,
    )
    made = made_by(invoke(*words, "--json"))
    assert (made["samples"], made["seed"]) == (30, 0)
    assert json.loads((out / "provenance.json").read_text()) == made
    (shown,) = read_results([out]).exhibits
    told = dict(shown.origin)
    assert told["command"] == made["command"]
    assert told["samples"] == "30"
    for damage in ("", "[]", '{"command": 3}'):
        (out / "provenance.json").write_text(damage)
        (shown,) = read_results([out]).exhibits
        assert "command, rebuilt" in dict(shown.origin)


def test_results_of_the_same_command_are_the_same_bytes(invoke: Invoke, digits: Path) -> None:
    first, second = (invoke("weights", digits, "--json").stdout for _ in range(2))
    assert first == second

"""The verbs summary, zoo and export, as a user calls them."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from typer.testing import Result

from enxuto import zoo
from enxuto.runtime import Runner

Invoke = Callable[..., Result]
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def printed(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(result: Result) -> str:
    """The one line on stderr of a run that ends with 2."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert "internal error" not in line
    return line


def test_zoo_lists_every_network_with_its_numbers(invoke: Invoke) -> None:
    listed = printed(invoke("zoo", "--json"))["networks"]
    assert [item["name"] for item in listed] == zoo.names()
    by_name = {item["name"]: item for item in listed}
    assert by_name["vgg16"]["parameters"] == 138_357_544
    assert by_name["vgg16"]["macs"] == 15_470_264_320
    assert by_name["lenet5"]["input_shape"] == [1, 32, 32]
    assert by_name["squeezenet-dsc"]["parameters_by_classes"] == {"10": 248_670, "100": 295_020}
    shown = invoke("zoo").stdout
    assert all(name in shown for name in zoo.names())
    assert "138,357,544" in shown


def test_zoo_filters_and_shows_one(invoke: Invoke) -> None:
    found = printed(invoke("zoo", "ResNet", "cifar", "--json"))["networks"]
    assert {item["family"] for item in found} == {"resnet"}
    assert all("cifar" in item["name"] for item in found)
    one = printed(invoke("zoo", "mobilenet", "--json"))
    assert one["variants"][0]["options"] == {"width": 0.75}
    shown = invoke("zoo", "mobilenet").stdout
    assert "4,231,976" in shown
    assert "Howard et al. 2017" in shown
    assert "no network matches 'resnot'" in refused(invoke("zoo", "resnot"))


def test_zoo_takes_under_a_second_and_no_torch() -> None:
    code = (
        "import sys; from enxuto.cli import app; app(['zoo'], standalone_mode=False);"
        "assert not {'torch', 'numpy', 'onnx'} & set(sys.modules), 'heavy imports'"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Time on the processor: other work on the machine is not the verb's.
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 1


def test_summary_of_a_zoo_network(invoke: Invoke) -> None:
    found = printed(invoke("summary", "lenet5", "--json"))
    assert found["totals"]["parameters"] == 61_706
    assert found["totals"]["parameters_without_bias"] == 61_470
    assert found["totals"]["macs"] == 416_520
    assert "multiply–accumulate" in found["convention"]
    first = found["layers"][0]
    assert (first["name"], first["operator"], first["kernel"]) == ("features.c1", "Conv", [5, 5])
    assert (first["inputs"], first["output"]) == ([[1, 32, 32]], [6, 28, 28])
    assert first["receptive_field"] == [5, 5]
    shown = invoke("summary", "lenet5").stdout
    assert "6×28×28" in shown
    assert "61,706" in shown
    assert "FLOPs = 2·MACs" in " ".join(shown.split())
    assert "█" in shown


def test_summary_counts_classes_and_stages(invoke: Invoke) -> None:
    found = printed(invoke("summary", "squeezenet-dsc", "--classes", 100, "--depth", 2, "--json"))
    assert found["totals"]["parameters"] == 295_020
    assert [stage["name"] for stage in found["stages"]][:3] == [
        "features.conv1",
        "features.pool1",
        "features.fire2",
    ]
    shown = invoke("summary", "squeezenet-dsc", "--depth", 2).stdout
    assert "features.fire9" in shown
    assert "depthwise" not in shown


def test_summary_of_vgg16_by_the_lecture_s_count(invoke: Invoke) -> None:
    found = printed(invoke("summary", "vgg16", "--count", "lecture", "--json"))
    assert found["totals"]["activation_bytes"] == 96_638_976


def test_summary_of_an_onnx_file_as_markdown(invoke: Invoke) -> None:
    result = invoke("summary", LIGHT / "light_squeezenet.onnx", "--markdown")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].endswith("input 3×224×224")
    assert lines[2].startswith("| layer | operator |")
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    assert "- parameters 1,235,496" in result.stdout
    staged = invoke("summary", LIGHT / "light_squeezenet.onnx", "--markdown", "--depth", 1)
    assert staged.stdout.splitlines()[2].startswith("| stage |")


FACTORY = """
import torch
from torch import nn

def small():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))

def broken():
    raise OSError("no such disk")

number = 3
nothing = dict
"""


@pytest.fixture
def mynets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's in the current folder; its name is new for each test, since imports are kept."""
    name = f"mynets_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    return name


def test_summary_of_a_factory(invoke: Invoke, mynets: str) -> None:
    found = printed(invoke("summary", f"{mynets}:small", "--input-shape", "3,8,8", "--json"))
    assert found["totals"]["parameters"] == 112 + 725
    assert str(Path.cwd()) not in sys.path


def test_summary_refuses_in_one_line(invoke: Invoke, mynets: str, tmp_path: Path) -> None:
    assert "give --input-shape" in refused(invoke("summary", f"{mynets}:small"))
    assert "no such disk" in refused(invoke("summary", f"{mynets}:broken", "--input-shape", "3,8,8"))
    assert "nothing to call" in refused(invoke("summary", f"{mynets}:number", "--input-shape", "3,8,8"))
    assert "not a torch.nn.Module" in refused(
        invoke("summary", f"{mynets}:nothing", "--input-shape", "3,8,8")
    )
    assert "cannot import" in refused(invoke("summary", "no_such_module:f", "--input-shape", "3,8,8"))
    assert "does not exist" in refused(invoke("summary", tmp_path / "none.onnx"))
    assert "did you mean 'resnet50'" in refused(invoke("summary", "resnet5O"))
    assert "--input-shape takes" in refused(invoke("summary", "lenet5", "--input-shape", "3,big"))
    assert "--count is" in refused(invoke("summary", "lenet5", "--count", "some"))
    assert "exclude each other" in refused(invoke("summary", "lenet5", "--json", "--markdown"))
    assert "depth must be" in refused(invoke("summary", "lenet5", "--depth", 0))
    (tmp_path / "not.onnx").write_bytes(b"not a model")
    assert "not an ONNX model" in refused(invoke("summary", tmp_path / "not.onnx"))


def test_export_of_a_factory_with_everything(invoke: Invoke, mynets: str, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("um\ndois\ntrês\nquatro\ncinco\n")
    words = ("--input-shape", "3,8,8", "--preprocess", "resnet-cifar", "--labels", "labels.txt", "--json")
    made = printed(invoke("export", f"{mynets}:small", "-o", "small.onnx", *words))
    assert made["parameters"] == 837
    assert made["largest_relative_difference_to_torch"] < 1e-5
    assert made["bytes"] == (tmp_path / "small.onnx").stat().st_size
    held = {item.key: item.value for item in onnx.load("small.onnx").metadata_props}
    assert json.loads(held["enxuto.labels"])[2] == "três"
    assert json.loads(held["enxuto.preprocess"])["mean"] == [0.485, 0.456, 0.406]
    assert Runner("small.onnx").scores(np.zeros((3, 3, 8, 8), np.float32)).shape == (3, 5)
    again = printed(invoke("summary", "small.onnx", "--json"))
    assert again["totals"]["parameters"] == 837


def test_export_of_a_checkpoint(invoke: Invoke, tmp_path: Path) -> None:
    torch.save(zoo.build("lenet5", classes=3, seed=1).state_dict(), tmp_path / "best.pt")
    result = invoke(
        "export", "lenet5", "-o", tmp_path / "a.onnx", "--classes", 3, "--weights", tmp_path / "best.pt"
    )
    assert result.exit_code == 0
    assert "largest difference to torch" in result.stdout
    assert result.stderr == ""


def test_export_refuses_in_one_line(invoke: Invoke, mynets: str, tmp_path: Path) -> None:
    out = tmp_path / "a.onnx"
    assert "needs an input shape" in refused(invoke("export", f"{mynets}:small", "-o", out))
    assert "opset" in refused(invoke("export", "lenet5", "-o", out, "--opset", 7))
    assert "does not exist" in refused(invoke("export", "lenet5", "-o", out, "--weights", tmp_path / "no.pt"))
    (tmp_path / "labels.json").write_text('["one", 2]')
    assert "must list names" in refused(
        invoke("export", "lenet5", "-o", out, "--labels", tmp_path / "labels.json")
    )
    (tmp_path / "deep.json").write_text("[" * 100_000)
    assert "[E042]" in refused(invoke("export", "lenet5", "-o", out, "--labels", tmp_path / "deep.json"))
    (tmp_path / "digits.json").write_text(f"[{'9' * 5000}]")
    assert "[E042]" in refused(invoke("export", "lenet5", "-o", out, "--labels", tmp_path / "digits.json"))
    os.mkfifo(tmp_path / "pipe")
    assert "is a pipe" in refused(invoke("export", "lenet5", "-o", out, "--labels", tmp_path / "pipe"))
    assert "is a device" in refused(invoke("export", "lenet5", "-o", out, "--labels", "/dev/zero"))
    assert "preprocessing" in refused(invoke("export", "lenet5", "-o", out, "--preprocess", "what"))
    assert not out.exists()

"""Commands that are printed run as they are printed."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import typer
from typer.testing import Result

from enxuto.cli import app
from enxuto.cli.demo import _NEXT
from enxuto.cli.shared.terminal import note_command
from enxuto.data.published import locate
from enxuto.errors import DataError
from enxuto.escaping import shell_words

pytestmark = pytest.mark.usefixtures("remembered_exports")

Invoke = Callable[..., Result]
FAST = ("--epochs", 1, "--set", "batch=16", "--set", "threads=1", "--set", "device=cpu")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """32 images of 32×32 pixels in four classes."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (32, 32, 32, 3), dtype=np.uint8)
    np.savez(
        tmp_path / "i.npz", images=pixels, labels=np.arange(32) % 4, classes=np.array(["a", "b b", "c", "d"])
    )
    return tmp_path / "i.npz"


def printed_command(text: str) -> list[str]:
    """The words after `enxuto` of the one command on a line of its own, as a shell parts them."""
    (line,) = [line for line in text.splitlines() if line.startswith("export: ")]
    words = shlex.split(line.removeprefix("export: "))
    assert words[0] == "enxuto"
    return words[1:]


@pytest.mark.parametrize(
    ("network", "options", "built"),
    [
        ("lenet5-cifar", ("--activation", "prelu"), {"activation": "prelu"}),
        ("lenet5-cifar", ("--option", "activation=elu", "--option", "pool=max"), {"activation": "elu", "pool": "max"}),
        ("mobilenet-cifar", ("--option", "width=0.1", "--activation", "relu6"), {"width": 0.1, "activation": "relu6"}),
    ],
)  # fmt: skip
def test_the_export_that_train_prints_makes_the_network_that_was_trained(
    invoke: Invoke, images: Path, tmp_path: Path, network: str, options: tuple[str, ...], built: dict[str, object]
) -> None:  # fmt: skip
    run = tmp_path / "seed=3 of it's" / "activation=x"
    trained = invoke("train", network, *options, "--data", images, *FAST, "-o", run)
    assert trained.exit_code == 0, trained.stderr
    exported = invoke(*printed_command(trained.stderr))
    assert exported.exit_code == 0, exported.stderr
    metadata = {prop.key: prop.value for prop in onnx.load(run / "model.onnx").metadata_props}
    assert json.loads(metadata["enxuto.network_options"]) == built
    assert metadata["enxuto.network"] == network


def test_names_that_are_no_lines_are_left_out_of_an_export(
    invoke: Invoke, images: Path, tmp_path: Path
) -> None:
    held = dict(np.load(images))
    held["classes"] = np.array(["a", "b\x0bb", "c", "d"])
    np.savez(images, **held)
    trained = invoke("train", "lenet5-cifar", "--data", images, *FAST, "-o", tmp_path / "run")
    assert "--labels" not in printed_command(trained.stderr)
    exported = invoke(*printed_command(trained.stderr))
    assert exported.exit_code == 0, exported.stderr


@pytest.mark.parametrize("command", _NEXT)
def test_commands_after_the_demo_are_verbs_with_options_that_exist(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    note_command(command, "  ", _NEXT[command])
    program, verb, *words = shlex.split(capsys.readouterr().err, comments=True)
    assert [program, verb, *words] == shlex.split(command)
    parameters = typer.main.get_command(app).commands[verb].params  # type: ignore[attr-defined]
    known = {name for one in parameters for name in one.opts}
    assert {word for word in words if word.startswith("-")} <= known


def test_a_command_is_one_line_at_any_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "30")
    command = "enxuto export lenet5 -o a/long/folder/model.onnx --weights a/long/folder/best.pt"
    note_command(command, "export: ")
    assert capsys.readouterr().err == f"export: {command}\n"


def test_words_reach_the_program_as_they_are() -> None:
    words = [
        "plain",
        "a b",
        "it's",
        "",
        "$HOME",
        "*",
        "line\nbreak",
        "esc\x1b[1m\\'",
        "ünïcode",
        "hidden\u200bé'",
    ]
    quoted = shell_words(words)
    assert quoted.isprintable()
    shell = ["bash", "-c", f"printf '%s\\0' {quoted}"]
    found = subprocess.run(shell, check=True, capture_output=True).stdout.decode()
    assert found.split("\0")[:-1] == words


def test_commands_in_advice_quote_names(invoke: Invoke, digits: Path, tmp_path: Path) -> None:
    target = tmp_path / "my net.onnx"
    refused = invoke("compress", digits, "-o", target)
    assert refused.exit_code == 2
    (command,) = re.findall(r"`(enxuto [^`]*)`", refused.stderr)
    small = target.with_suffix(".enx")
    assert shlex.split(command) == ["enxuto", "decompress", str(small), "-o", str(target)]
    assert invoke("compress", digits, "-o", small).exit_code == 0
    assert invoke(*shlex.split(command)[1:]).exit_code == 0
    with pytest.raises(DataError, match=re.escape(f"enxuto fetch cifar10 -o '{tmp_path / 'my data'}'")):
        locate("cifar10", tmp_path / "my data")

"""What verbs say: names never steer the terminal, any encoding and any pipe will do, findings go to stdout."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from typer.testing import Result

import enxuto
from enxuto.cli import _VERBS
from enxuto.cli.evaluate import _as_json
from enxuto.cli.shared.progress import PlainProgress, Stages, time_left
from enxuto.compression.data_free import compress
from enxuto.enx.ledger import ledger_of
from enxuto.errors import install, needs
from enxuto.evaluation import Evaluation
from enxuto.machine import compiling
from enxuto.metrics import ClassificationMetrics
from enxuto.onnx_model import Model
from enxuto.progress import ProgressCounter
from enxuto.quantize.scalar import DeadZone
from enxuto.quantize.schemes import SameQuantizer
from enxuto.weights.tonin_published import BEST, SIMILAR, find_published
from warm import WITH_TORCH, Warm

Invoke = Callable[..., Result]

STEERING = "\x1b]0;PWNED\x07\x1b[31mred\x1b[2A\x1b]52;c;ZWNobyBoaQ==\x07\u202egnp.exe\rover\nnewline [bold]:cat: \x9b1m"
UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def steering_model(path: Path) -> Path:
    """An ONNX model whose weight and metadata have names that steer terminals."""
    weight = numpy_helper.from_array(
        np.random.default_rng(0).normal(size=(5, 96)).astype(np.float32), "fc" + STEERING
    )
    node = helper.make_node("Gemm", ["x", weight.name], ["y"], transB=1, name="n" + STEERING)
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", 1, ["N", 96])],
        [helper.make_tensor_value_info("y", 1, ["N", 5])], [weight],
    )  # fmt: skip
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    model.metadata_props.add(key="enxuto.labels", value=json.dumps(["a" + STEERING]))
    onnx.save(model, path)
    return path


def plain(text: str) -> bool:
    return not {unicodedata.category(one) for one in text if one != "\n"} & UNSEEN


@pytest.mark.parametrize(
    "words",
    ["inspect m.onnx", "inspect m.onnx --json", "inspect m.enx", "inspect m.enx --json", "verify m.enx m.onnx",
     "summary m.onnx", "summary m.onnx --markdown", "summary m.onnx --json", "compare m.onnx m.enx --data none",
     "bench m.onnx --repeats 1 --warmup 0", "weights m.onnx --layers", "inspect bad.enx", "verify bad.enx"],
)  # fmt: skip
def test_names_never_steer_the_terminal(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = steering_model(tmp_path / "m.onnx")
    made = compress(Model.read(path), metadata={"made_by": STEERING, "k" + STEERING: ["v" + STEERING]})
    made.save(tmp_path / "m.enx")
    data = bytearray((tmp_path / "m.enx").read_bytes())
    data[-20] ^= 1
    (tmp_path / "bad.enx").write_bytes(data)
    result = invoke(*words.split())
    assert plain(result.stdout), words
    assert plain(result.stderr), words
    if words.split()[0] in ("inspect", "weights") and "bad" not in words:
        assert "[bold]:cat:" in result.output  # no markup, no emoji: the name as it is
    if "--json" in words and "inspect" in words:
        found = json.loads(result.stdout)
        names = [one["name"] for one in found.get("weights", found.get("tensors"))]
        assert "fc" + STEERING in names  # nothing is lost there


@pytest.mark.parametrize("words", [["x" + STEERING], ["zoo", "--x" + STEERING], ["inspect", "a", "b" + STEERING],
                                   ["inspect", "b" + STEERING], ["bench", "m", "--repeats", STEERING]])  # fmt: skip
def test_what_a_refusal_repeats_is_visible(invoke: Invoke, words: list[str]) -> None:
    result = invoke(*words)
    assert result.exit_code == 2
    assert plain(result.output)


def run(words: str, *, folder: Path, **more: str) -> subprocess.CompletedProcess[bytes]:
    """A shell line with `enxuto` in it; `more` are environment variables."""
    root = Path(enxuto.__file__).parents[1]
    line = words.replace("enxuto", f"{shlex.quote(sys.executable)} -m enxuto")
    there = {**os.environ, "PYTHONPATH": str(root), **more}
    return subprocess.run(["bash", "-o", "pipefail", "-c", line], cwd=folder, env=there, capture_output=True)


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    with Warm(*WITH_TORCH) as process:
        yield process


@pytest.mark.torch
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_any_encoding_will_do(tmp_path: Path, encoding: str, warm: Warm) -> None:
    name = os.fsdecode(b"m\xff\xe2\x98\x83.onnx")
    os.rename(steering_model(tmp_path / "m.onnx"), tmp_path / name)
    lines = (["compress", name, "-o", "m.enx", "--no-xz"], ["inspect", "m.enx"], ["summary", "lenet5"])
    done = warm.start(*lines, cwd=tmp_path, encoding=encoding)
    assert (done.wait(), b"internal" in done.stderr) == (0, False), done.stderr
    assert (tmp_path / "m.enx").exists()
    text = done.stdout.decode(encoding)
    assert "order-0 entropy" in text
    assert plain(text)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("enxuto zoo | head -1", 0),
        ("enxuto zoo --json | head -1", 0),
        ("enxuto summary vgg16 --markdown | head -1", 0),
        ("enxuto zoo nonesuch 2>&1 | head -0", 2),  # a closed pipe does not make an error a success
        ("enxuto zoo > /dev/full", 2),
        ("enxuto zoo --json > /dev/full", 2),
        ("enxuto zoo --help > /dev/full", 2),
        ("enxuto zoo >&-", 0),
        ("enxuto zoo nonesuch 2>&-", 2),
    ],
)
def test_pipes_that_close_and_disks_that_are_full(tmp_path: Path, line: str, code: int) -> None:
    done = run(line, folder=tmp_path)
    assert done.returncode == code, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"internal error" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == (code == 2 and "2>" not in line)


def test_what_inspect_finds_goes_to_stdout(invoke: Invoke, digits: Path) -> None:
    small = digits.with_suffix(".enx")
    assert invoke("compress", digits, "--bits", 4, "--no-xz").exit_code == 0
    result = invoke("inspect", small)
    assert result.stderr == ""
    assert "preprocess" in result.stdout
    assert invoke("inspect", digits).stderr == ""


@pytest.mark.parametrize("verb", _VERBS)
def test_examples_in_help_stand_on_lines_of_their_own(invoke: Invoke, verb: str) -> None:
    examples = re.findall(
        rf"^\s*(enxuto {verb}\b.*?)$", import_module(f"enxuto.cli.{verb}").HELP, re.MULTILINE
    )
    lines = [line.strip() for line in invoke(verb, "--help").stdout.splitlines()]
    assert len(examples) >= 2
    for example in (one for one in examples if "`" not in one):
        begun = [
            line for line in lines if line and example.startswith(line) and line.startswith(f"enxuto {verb}")
        ]
        assert begun, (example, lines[:30])


def test_hints_name_what_can_be_installed() -> None:
    assert install("train", "report") == "pip install '.[train,report]'"
    assert needs("charts", "matplotlib", "report").startswith("charts need matplotlib: ")
    source = Path(enxuto.__file__).parent
    for path in source.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "install 'enxuto[" not in text, path
        if path.name not in ("errors.py", "doctor.py"):
            assert not re.search(r"[\"'][^`\n]*pip install (?!'\.\[\w+(,\w+)*\]'`)", text), path


def test_no_level_costs_less_than_nothing(tmp_path: Path) -> None:
    """Where all levels are 0 the bound is 0 bytes, and there is no ratio to it."""
    weight = numpy_helper.from_array(np.full((64, 96), 1e-3, np.float32), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("x", 1, ["N", 64])],
                              [helper.make_tensor_value_info("y", 1, ["N", 96])], [weight])  # fmt: skip
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, tmp_path / "m.onnx")
    ledger = ledger_of(compress(Model.read(tmp_path / "m.onnx"), SameQuantizer(DeadZone(1.0))))
    bound = next(row for row in ledger.rows if "entropy" in row.name)
    assert bound.bytes == 0
    assert str(bound.bytes) == "0.0"  # not -0.0
    facts = next(row for row in ledger.to_dict()["rows"] if "entropy" in row["name"])
    assert (facts["bytes"], facts["ratio"]) == (0.0, None)
    json.dumps(ledger.to_dict(), allow_nan=False)


def evaluation(classes: int, samples: int) -> Evaluation:
    generator = np.random.default_rng(0)
    measured = ClassificationMetrics(classes, (1, 5))
    for _ in range(samples // 1000):
        labels = generator.integers(0, classes, 1000)
        scores = generator.normal(size=(1000, classes)).astype(np.float32)
        scores[np.arange(1000), labels] += 2.5
        measured.update(scores, labels)
    result = measured.result()
    return Evaluation(result.to_dict(), samples, "beef", 0, classes, (0.4, 0.6))


def test_many_classes_fit_into_json(capsys: pytest.CaptureFixture[str]) -> None:
    from enxuto.cli.shared.terminal import print_json

    whole = evaluation(1000, 20_000)
    found = _as_json(whole)
    print_json(found)
    text = capsys.readouterr().out
    assert len(text) < 600_000
    metrics = json.loads(text)["metrics"]
    assert metrics["confusion"] is None
    assert "confusion_cells" in metrics["confusion_note"]
    cells = metrics["confusion_cells"]
    matrix = whole.metrics["confusion"]
    assert all(matrix[row][column] == count for row, column, count in cells["cells"])
    assert cells["nonzero"] == sum(count > 0 for row in matrix for count in row)
    assert len(cells["cells"]) == min(10_000, cells["nonzero"])
    small = evaluation(10, 1000)
    assert _as_json(small) == small.to_dict()


def test_stages_are_numbered_and_trials_counted() -> None:
    stages = Stages(("watching", "rounding", "coding"))
    told = [
        stages.label(what) for what in ("watching", "rounding", "rounding", "coding", "rounding", "other")
    ]
    assert told == [
        "stage 1 of 3: watching", "stage 2 of 3: rounding", "stage 2 of 3: rounding", "stage 3 of 3: coding",
        "trial 2, stage 2 of 3: rounding", "other",
    ]  # fmt: skip


def test_time_left_is_by_work_that_is_left() -> None:
    assert time_left(10, 0, 100) is None
    assert time_left(10, 0.5, 100) is None  # too little to tell
    assert time_left(10, 50, None) is None
    assert time_left(10, 50, 100) == 10
    # While a large piece is under way the estimate grows, as nothing says that it will soon be done.
    assert time_left(600, 50, 100) == 600
    assert time_left(10, 200, 100) == 0


def test_work_of_all_pieces_is_the_whole() -> None:
    told: list[tuple[int, int]] = []
    work = ProgressCounter(10, lambda done, total: told.append((done, total)))
    for amount in (1, 4, 5, 7):
        work.add(amount)
    assert told == [(0, 10), (1, 10), (5, 10), (10, 10), (10, 10)]
    ProgressCounter(0, None).add(3)


def test_calibration_tells_work_that_adds_up(digits: Path) -> None:
    from enxuto.calibration.calibrate import calibrate

    told: dict[str, list[tuple[int, int]]] = {}

    def progress(what: str, done: int, total: int) -> None:
        told.setdefault(what, []).append((done, total))

    images = np.random.default_rng(0).normal(size=(8, 1, 8, 8)).astype(np.float32)
    calibration = calibrate(Model.read(digits), images, progress=progress)
    calibration.round_at(1e-4, progress=progress)
    for what in ("watching layers", "factoring", "measuring sensitivities", "rounding"):
        done = [one for one, _ in told[what]]
        (total,) = {total for _, total in told[what]}
        assert done == sorted(done), what
        assert done[-1] == total, what
    # The largest layer is most of the work, however many layers there are.
    steps = np.diff([done for done, _ in told["factoring"]])
    assert steps.max() > 0.3 * told["factoring"][-1][1]


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("image_googlenet", "GoogLeNet"), ("googlenet", "GoogLeNet"), ("age_googlenet", "Age-GoogLeNet"),
        ("AgeGoogLeNet", "Age-GoogLeNet"), ("gender-googlenet-v2", "Gender-GoogLeNet"),
        ("stage_googlenet", "GoogLeNet"),
        ("models/bvlc_googlenet-9", "GoogLeNet"), ("ResNet50", "ResNet-101"), ("shufflenetv2", "ShuffleNet"),
        ("imagegooglenet", None), ("unresnetted", None), ("", None),
    ],
)  # fmt: skip
def test_published_rows_are_of_the_family_a_name_begins_with(model: str, name: str | None) -> None:
    tables: list[Any] = [BEST, SIMILAR]
    for rows in tables:
        found = find_published(rows, model)
        assert (None if found is None else found.network) == name


@pytest.mark.parametrize("closed", [False, True], ids=["full", "closed"])
def test_a_file_that_does_not_fit_into_stdout_is_one_line(closed: bool, tmp_path: Path) -> None:
    """`-o -` writes bytes, past what writes texts."""
    model = Path(enxuto.__file__).parent / "demo" / "digits.onnx"
    where = ">&-" if closed else "> /dev/full"
    command = f'"{sys.executable}" -m enxuto compress "{model}" --keep-exact "*" --no-xz -o - {where}'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=tmp_path)
    said = "stdout, which is closed" if closed else "cannot write the file to stdout: No space left"
    assert done.returncode == 2
    assert [said in line for line in done.stderr.splitlines() if line.startswith("error: ")] == [True]
    assert not list(tmp_path.iterdir())


def test_progress_away_from_a_terminal_is_a_line_now_and_then() -> None:
    times, lines = iter((0, 1, 9, 12, 20, 44, 80)), list[str]()
    progress = PlainProgress(("watching", "rounding"), lines.append, lambda: next(times))
    for what, done in (("watching", 5), ("watching", 90), ("rounding", 0), ("rounding", 10)):
        progress.report(what, done, 100)
    assert lines == ["stage 2 of 2: rounding, 0% done"]
    progress.report("rounding", 40, 100)
    assert lines[1:] == ["stage 2 of 2: rounding, 40% done, 0:48 left"]
    progress.report("points", 3, 4, detail="3 of 4 points", left=75)
    assert lines[2:] == ["points, 3 of 4 points, 75% done, 1:15 left"]


def test_the_first_use_says_that_it_compiles(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = False
    monkeypatch.setattr("enxuto.cli._is_announcing", False)
    monkeypatch.setattr("enxuto.machine.kernels.is_anything_kept", lambda: kept)
    assert "compiling" not in invoke("zoo", "resnet20").stderr  # nothing there is compiled
    with redirect_stderr(io.StringIO()) as stderr:
        compiling.announce_compiling()
        compiling.announce_compiling()
    assert stderr.getvalue().count("first use: compiling") == 1
    kept = True
    monkeypatch.setattr("enxuto.cli._is_announcing", False)
    invoke("zoo", "resnet20")
    with redirect_stderr(io.StringIO()) as stderr:
        compiling.announce_compiling()
    assert "compiling" in stderr.getvalue()
    assert "first use" not in stderr.getvalue()

"""Steps that a few runs on synthetic inputs check: finer where outputs need it, coarser where they may, or as usual."""

from __future__ import annotations

import json
import math
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from typer.testing import CliRunner

import enxuto
from enxuto.cli import app
from enxuto.compression import data_free
from enxuto.compression.promise import StepsReport
from enxuto.demo import MODEL, TEST_IMAGES
from enxuto.enx.file import CompressedModel
from enxuto.errors import UsageError
from enxuto.metrics.divergence import divergences, log_probabilities
from enxuto.metrics.losses import OutputLoss
from enxuto.onnx_model import Model
from enxuto.runtime import Runner
from response_networks import network, noise, normalised, steps_of, two_branches


def checked(model: Model, threads: int = 1) -> tuple[CompressedModel, StepsReport]:
    told: list[StepsReport] = []
    made = data_free.compress(model, steps="checked", threads=threads, tell=told.append)
    (report,) = told
    return made, report


def signal_to_noise(model: Model, made: CompressedModel) -> float:
    """Decibels on inputs that chose nothing."""
    x = noise(3, 256, 16)
    before, after = Runner(model).scores(x), Runner(made.to_model()).scores(x)
    return float(10 * math.log10(before.var() / np.square(after - before).mean()))


@pytest.mark.parametrize("model", [two_branches(1.0), two_branches(30.0), normalised()])
def test_values_keep_forty_decibels_where_the_usual_steps_do_not(model: Model) -> None:
    made, report = checked(model)
    assert report.octaves_finer is not None
    assert report.octaves_finer > 0
    assert report.fits
    assert signal_to_noise(model, data_free.compress(model)) < 40 < signal_to_noise(model, made)
    usual, found = steps_of(data_free.compress(model)), steps_of(made)
    for name in usual:  # all by one factor, to three bits
        assert found[name] / usual[name] == pytest.approx(2**-report.octaves_finer, rel=0.13)


def test_answers_of_yes_are_told_of_apart() -> None:
    model = network({"w": noise(1, 16, 24)}, [("MatMul", ["x", "w"], "a"), ("Sigmoid", ["a"], "y")], 24)
    _, report = checked(model)
    found = re.fullmatch(r"a divergence of ([\d.e-]+) nats; an IoU of ([\d.]+) % of what is yes", report.kept)
    assert found is not None
    assert float(found[1]) <= 1e-3
    assert 90 < float(found[2]) < 100


def test_steps_get_coarser_where_answers_are_far_from_changing() -> None:
    model = Model.read(MODEL)
    made, report = checked(model)
    assert report.octaves_finer is not None
    assert -1 <= report.octaves_finer < 0
    assert made.metadata["steps"] == {"octaves_finer": report.octaves_finer}
    assert made.file_bytes < data_free.compress(model).file_bytes
    with np.load(TEST_IMAGES) as archive:
        images = archive["images"].astype(np.float32).reshape(-1, 1, 8, 8) / 255
    before, after = (Runner(one).scores(images).argmax(1) for one in (model, made.to_model()))
    assert np.mean(before == after) >= 0.99
    assert report.inputs == "'image': images (1, 8, 8), preprocessed"
    assert made.to_bytes() == checked(model, threads=3)[0].to_bytes()


def test_steps_that_keep_the_promise_stay_and_the_file_is_that_of_balanced_steps() -> None:
    layers = {"w": noise(1, 16, 24), "v": np.float32(0.16) * noise(2, 24, 24)}
    scores = network(
        layers, [("MatMul", ["x", "w"], "a"), ("Relu", ["a"], "b"), ("MatMul", ["b", "v"], "y")], 24
    )
    made, report = checked(scores)
    assert report.fits
    assert report.octaves_finer == 0
    assert report.kept.startswith("about 99.")
    assert report.describe().endswith("steps are the usual")
    assert made.to_bytes() == data_free.compress(scores).to_bytes()


def wide_input() -> Model:
    model = two_branches(1.0)
    model.proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1 << 19
    return model


@pytest.mark.parametrize(
    ("kind", "domain", "reason"),
    [("NoSuch", "", "cannot run this model"), ("Own", "some.where", "cannot run this model")],
)
def test_a_model_that_cannot_be_run_says_why_and_keeps_balanced_steps(
    kind: str, domain: str, reason: str
) -> None:
    model = network({"w": noise(0, 16, 64)}, [("MatMul", ["x", "w"], "a"), ("Relu", ["a"], "y")], 64)
    model.proto.graph.node[1].CopyFrom(helper.make_node(kind, ["a"], ["y"], domain=domain))
    if domain:
        model.proto.opset_import.append(helper.make_opsetid(domain, 1))
    made, report = checked(model)
    assert reason in report.reason
    assert report.fits is None
    assert "by the weights alone" in report.describe()
    assert reason in report.describe()
    assert made.to_bytes() == data_free.compress(model).to_bytes()


def test_inputs_that_would_take_too_long_are_not_made() -> None:
    made, report = checked(wide_input())
    assert "its inputs have 8,388,608 values" in report.reason
    assert made.to_bytes() == data_free.compress(wide_input()).to_bytes()


def one_value() -> Model:
    layers = {"w": noise(1, 16, 512), "v": noise(2, 512, 1)}
    return network(
        layers, [("MatMul", ["x", "w"], "a"), ("Relu", ["a"], "b"), ("MatMul", ["b", "v"], "y")], 1
    )


@pytest.mark.parametrize(
    ("model", "bits", "figure"),
    [(two_branches(1.0, 256), 3, r"KL .* nats"), (one_value(), 2.5, r"SNR [0-9.]+ dB")],
)
def test_a_size_that_ruins_the_model_is_told_with_the_figure_and_the_way_out(
    model: Model, bits: float, figure: str
) -> None:
    with pytest.warns(UserWarning, match=rf"may ruin .* keep .*{figure}; .*calibration= or data="):
        enxuto.compress(model, bits=bits)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        enxuto.compress(model, bits=20)
        enxuto.compress(model, bits=bits, steps="balanced")


def test_a_size_is_spent_on_all_tensors_together_and_normalisation_is_folded() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small, plain = (enxuto.compress(normalised(), bits=9, steps=how) for how in ("checked", "balanced"))
    assert "BatchNormalization" not in {node.op_type for node in small.model.proto.graph.node}
    assert "BatchNormalization" in {node.op_type for node in plain.model.proto.graph.node}
    assert set(steps_of(small.compressed)) == {"first", "second", "bias"}
    assert enxuto.verify(small.compressed, normalised()).ok
    errors = [signal_to_noise(normalised(), made.compressed) for made in (small, plain)]
    assert errors[0] > errors[1] + 3
    assert small.steps is not None
    assert small.steps.octaves_finer is None
    assert plain.steps is None


@pytest.mark.parametrize(
    ("finer", "says"),
    [(0.0, "the usual"), (-1.0, "twice the usual"), (1.0, "half the usual"), (-0.75, "1.68 times the usual")],
)
def test_steps_are_told_in_words(finer: float, says: str) -> None:
    told = StepsReport(inputs="noise", octaves_finer=finer, kept="40.0 dB", fits=True).describe()
    assert told.endswith(f"keep 40.0 dB; steps are {says}")


def test_the_command_says_what_was_fed_and_what_outputs_keep(tmp_path: Path) -> None:
    def run(*options: str) -> str:
        found = CliRunner().invoke(
            app, ["compress", str(MODEL), "-o", str(tmp_path / "a.enx"), "--force", "--no-xz", *options]
        )
        assert found.exit_code == 0, found.output
        return found.stdout if "--json" in options else " ".join(found.output.split())

    told = run()
    assert (
        "on synthetic inputs ('image': images (1, 8, 8), preprocessed) the file's outputs keep about 99."
        in told
    )
    assert re.search(r"steps are (twice|half|[0-9.]+ times) the usual$", told)
    assert "an estimate that is low where true data give surer answers" in told
    assert "synthetic inputs" not in run("--steps", "balanced")
    steps = json.loads(run("--json"))["steps"]
    assert steps["fits"] is True
    assert steps["octaves_finer"] < 0
    assert "steps" not in json.loads(run("--json", "--steps", "balanced"))


def test_checked_steps_and_a_quantizer_of_ones_own_contradict_each_other(tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["compress", str(MODEL), "--steps", "checked", "--step", "0.1"])
    assert found.exit_code == 2
    assert "--steps checked" in found.output
    with pytest.raises(UsageError, match="steps are checked or balanced or measured"):
        enxuto.compress(MODEL, steps="cheked")  # type: ignore[arg-type]


def test_noise_in_logits_costs_half_its_variance_times_the_uncertainty() -> None:
    generator = np.random.default_rng(0)
    logits = 2 * generator.standard_normal((20000, 10))
    moved = logits + 0.03 * generator.standard_normal(logits.shape)
    unsure = OutputLoss("y", "classes", "y").uncertainty(logits, len(logits)).mean()
    lost = divergences(log_probabilities(logits, "logits"), log_probabilities(moved, "logits")).mean()
    assert lost == pytest.approx(0.03**2 / 2 * unsure, rel=0.05)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("classes", [[0.0, 0.0]], 0.5),
        ("classes", [[50.0, 0.0]], 0.0),
        ("binary", [[0.0, 0.0]], 0.5),
        ("values", [[1.0, 2.0]], 0.0),
    ],
)
def test_uncertainty_of_a_sample(kind: str, value: list[list[float]], expected: float) -> None:
    loss = OutputLoss("y", kind, "y")  # type: ignore[arg-type]
    assert loss.uncertainty(np.array(value), 1) == pytest.approx([expected])

"""Rate against what is lost of all outputs, for models of any kind: points of a study, as `studies.curve.points`.

Data are named arrays, sequences of such, or images. Distortion: signal-to-noise ratio of values, divergence and equal
answers of classes, and top-1 where arrays have labels, by `compression.output_judge`, as `compress`, `evaluate` and
`compare` measure them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from enxuto._version import __version__
from enxuto.calibration.cache import cached_calibration
from enxuto.calibration.calibrate import calibrate
from enxuto.calibration.calibration import Calibration
from enxuto.calibration.outputs import run_together
from enxuto.calibration.running import samples_of
from enxuto.calibration.sequences import single_steps
from enxuto.compression.arguments import named_samples
from enxuto.compression.images import images_of
from enxuto.compression.judge import Judgement
from enxuto.compression.output_judge import OutputJudge
from enxuto.data import Preprocess, open_dataset
from enxuto.data.samples import Samples
from enxuto.errors import DataError
from enxuto.metrics import wilson_interval
from enxuto.onnx_model import Model
from enxuto.opening import load
from enxuto.studies.curve.calibration import CalibrationSplit
from enxuto.studies.curve.modes import ModeInput, compress_by_mode
from enxuto.studies.curve.points import ORIGINAL, measure_rate, resolve
from enxuto.studies.curve.prepared import facts_of_task, hash_model
from enxuto.studies.kinds import CURVE_OUTPUTS, make_point
from enxuto.study.point import Point, Task

__all__ = ["OutputSubject", "measure_outputs", "output_points"]

_CODE = f"enxuto {__version__}, curve of outputs 2"


@dataclass(frozen=True)
class OutputSubject:
    """A model and the data that it is measured on.

    name: of the model, for people. model, data: paths. calibration: of the data that calibrate, None for some of
    `data`. opening: what `open_dataset` is given, where data are images, and `preprocess` is theirs; of
    arrays what the model's file says, or None. choices: by output
    what it is judged as. feedback: by output's name the input that it is at the next step. split: which samples
    calibrate, None for no calibrated points. labels: name of the array of classes, None for the usual ones.
    """

    name: str
    model: Path
    data: str
    opening: Mapping[str, Any]
    preprocess: Preprocess | None
    choices: Mapping[str, tuple[str, float]] | None = None
    feedback: Mapping[str, str] | None = None
    split: CalibrationSplit | None = None
    calibration: str | None = None
    labels: str | None = None

    def settings(self) -> dict[str, Any]:
        """Return what determines all points, besides the data's hash."""
        return {
            "model_hash": hash_model(self.model), "data": dict(self.opening),
            "preprocess": None if self.preprocess is None else self.preprocess.to_dict(),
            "outputs": None if self.choices is None else {name: list(one) for name, one in self.choices.items()},
            "feedback": None if self.feedback is None else dict(self.feedback),
            "calibration": None if self.split is None else self.split.to_dict(), "labels": self.labels,
        }  # fmt: skip

    def paths(self) -> dict[str, str]:
        """Return where model and data are, and what the model is called."""
        found = {"model": str(self.model.resolve()), "data": resolve(self.data), "name": self.name}
        return found if self.calibration is None else {**found, "calibration": resolve(self.calibration)}


def output_points(subject: OutputSubject, settings: Iterable[Mapping[str, Any]]) -> list[Point]:
    """Return a point for the original, then one for each setting. Raises `DataError` for data that do not fit."""
    shared, paths = subject.settings(), subject.paths()
    model = load(subject.model)
    _, judging = _samples(model, shared, paths)
    run_together(model, judging)  # what does not run is told before anything is written
    return [
        make_point(CURVE_OUTPUTS, {**shared, "compress": one}, subject.opening.get("seed", 0), judging.hash,
                   code=_CODE, paths=paths)
        for one in (ORIGINAL, *settings)
    ]  # fmt: skip


def measure_outputs(task: Task) -> dict[str, Any]:
    """Compress, decode, compare: the values of one point; shares in percent, divergence in nats, ratios in dB."""
    shared = {name: value for name, value in task.settings.items() if name != "compress"}
    prepared = _prepare(json.dumps(shared), json.dumps(dict(task.paths)), task.threads)
    if (
        prepared.judging.hash != task.data_hash
        or hash_model(Path(task.paths["model"])) != shared["model_hash"]
    ):
        raise DataError(
            "the model or the data are not those that this study began with; use another folder for them",
            code="E080",
        )
    source = ModeInput(prepared.model, task.threads, prepared.calibration, facts_of_task(task))
    compressed = compress_by_mode(task.settings["compress"], source)
    judged = prepared.judge(compressed)
    return {
        "model": task.paths["name"],
        **measure_rate(prepared.model, compressed),
        **{name: value for name, value in judged.to_dict().items() if name in _SHOWN},
        **_top1(prepared.judge, judged),
        "seed": int(task.settings["data"].get("seed", 0)),
        **({"calibrated": compressed.metadata["calibrated"]} if "calibrated" in compressed.metadata else {}),
    }


_SHOWN = ("samples", "agreement", "kl", "values_loss", "outputs")


def _top1(judge: OutputJudge, judged: Judgement) -> dict[str, Any]:
    """Return right answers, and how many fewer than the original's, as shares with 95 % intervals, if labels tell."""
    if judged.top1 is None or judge.by_chance is None:
        return {}
    low, high = judged.drop_interval or (0.0, 0.0)
    return {
        "top1": judged.top1 / 100,
        "top1_interval": list(wilson_interval(round(judged.top1 / 100 * judged.samples), judged.samples)),
        "lost": (judged.drop or 0.0) / 100, "lost_interval": [low / 100, high / 100],
        "above_chance": judge.by_chance.better,
    }  # fmt: skip


@dataclass(frozen=True)
class _Prepared:
    """What all points of a model and its data share."""

    model: Model
    judging: Samples
    calibrating: Samples | None
    judge: OutputJudge
    choices: Mapping[str, tuple[str, float]] | None
    seed: int
    threads: int

    def calibration(self) -> Calibration:
        """Return the calibration, as it is kept in the user's cache: the same rounded numbers in all processes."""
        assert self.calibrating is not None, "calibrated points have samples to calibrate by"
        samples, choices = self.calibrating, self.choices
        source = f"{samples.hash} of {Path(samples.path).name}"

        def measure() -> Calibration:
            return calibrate(
                self.model, samples, choices=choices, source=source, seed=self.seed, threads=self.threads
            )

        def cache(make: Callable[[], Calibration]) -> Calibration:
            return cached_calibration(
                self.model,
                samples,
                make,
                source=source,
                seed=self.seed,
                threads=self.threads,
                choices=choices,
            )

        first = cache(measure)
        return cache(lambda: first)


@lru_cache(maxsize=1)
def _prepare(settings: str, paths: str, threads: int) -> _Prepared:
    shared, places = json.loads(settings), json.loads(paths)
    model = load(places["model"], threads=threads)
    calibrating, judging = _samples(model, shared, places)
    judging = run_together(model, judging, threads=threads)
    choices = (
        None if shared["outputs"] is None else {name: tuple(one) for name, one in shared["outputs"].items()}
    )
    split = shared["calibration"] or {}
    seed = int(split.get("seed", 0))
    if calibrating is not None:
        calibrating = run_together(model, calibrating, threads=threads)
        calibrating = single_steps(model, calibrating, int(split["images"]), seed=seed, threads=threads)
    judge = OutputJudge(model, judging, choices, threads=threads)
    return _Prepared(model, judging, calibrating, judge, choices, seed, threads)


def _samples(
    model: Model, settings: Mapping[str, Any], paths: Mapping[str, str]
) -> tuple[Samples | None, Samples]:
    """Return the samples that calibrate (or None), and those that judge."""
    data = _open(model, settings, paths["data"], settings["labels"])
    if settings["calibration"] is None:
        return None, data
    other = _open(model, settings, paths["calibration"]) if "calibration" in paths else None
    parts = CalibrationSplit(**settings["calibration"]).split(data, other)
    return parts.calibration, parts.held_out


def _open(model: Model, settings: Mapping[str, Any], path: str, labels: str | None = None) -> Samples:
    found = named_samples(path, model, settings["feedback"], labels=labels)
    if found is not None:
        return found.draw(settings["data"].get("limit"), settings["data"]["seed"])
    images = open_dataset(path, require_labels=False, **settings["data"])
    return samples_of(model, images_of(model, images, Preprocess.from_dict(settings["preprocess"])))

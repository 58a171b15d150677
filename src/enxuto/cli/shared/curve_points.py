"""The points of `curve` for models that are judged by all of their outputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from enxuto.cli.shared.judging import may_hold_arrays, named_arrays, parse_feedback, parse_outputs
from enxuto.cli.shared.terminal import note

if TYPE_CHECKING:
    from enxuto.cli.shared.data_options import DataOptions
    from enxuto.cli.shared.preprocess_options import PreprocessOptions
    from enxuto.studies.curve.calibration import CalibrationSplit
    from enxuto.study import Point

__all__ = ["Given", "add_name", "make_output_points"]


@dataclass(frozen=True)
class Given:
    """What points are made of: models, data and how to open them, settings, and which samples calibrate."""

    sources: list[Path]
    data: str
    image_options: DataOptions
    preprocess: PreprocessOptions
    settings: list[dict[str, Any]]
    calibrating: CalibrationSplit | None


class OutputOptions(Protocol):
    """The options of `curve` that say how outputs are judged."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """What outputs are judged as."""

    @property
    def feedback(self) -> tuple[str, ...]:
        """Which outputs are fed back."""

    @property
    def calibration(self) -> str | None:
        """Data that calibrate."""


def make_output_points(given: Given, options: OutputOptions) -> tuple[list[Point], dict[str, str]] | None:
    """Return points judged by all outputs, and names of models by hash; None where classes and labels are judged."""
    from enxuto.opening import class_count, load_with_metadata, preprocess_of
    from enxuto.studies.curve.outputs import OutputSubject, output_points

    points: list[Point] = []
    names: dict[str, str] = {}
    labels = given.image_options.label_column
    labelled = False
    for source in given.sources:
        model, metadata = load_with_metadata(source)
        asked = bool(options.outputs or options.feedback)
        arrays = asked or may_hold_arrays(given.data)
        samples = (
            named_arrays(given.data, model, options.feedback, labels, options=given.image_options)
            if arrays
            else None
        )
        arrays = samples is not None
        labelled = labelled or (samples is not None and samples.labelled)
        if not (arrays or asked or class_count(model) is None):
            return None
        stored = preprocess_of(metadata)
        chosen = given.preprocess.build(stored, model) if arrays else given.preprocess.choose(stored, model)
        few = {} if given.image_options.limit is None else {"limit": given.image_options.limit}
        opening = few if arrays else given.image_options.arguments()
        subject = OutputSubject(
            source.stem, source, given.data, {"seed": given.image_options.seed, **opening}, chosen,
            parse_outputs(options.outputs), parse_feedback(options.feedback), given.calibrating, options.calibration,
            labels if arrays else None,
        )  # fmt: skip
        points += output_points(subject, given.settings)
        add_name(names, source, str(points[-1].settings["model_hash"]))
    used = "labels count right answers" if labelled else "no labels are used"
    note(f"points are judged by all outputs, and {used}")
    return points, names


def add_name(names: dict[str, str], source: Path, model_hash: str) -> None:
    """Name a model by its file; equal names of different models get a part of the hash."""
    taken = any(name == source.stem and known != model_hash for known, name in names.items())
    names.setdefault(model_hash, f"{source.stem}-{model_hash[:8]}" if taken else source.stem)

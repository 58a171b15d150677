"""`enxuto curve`: rate against every metric for the source's grid of quantizers and enxuto's own modes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enxuto.cli.shared.calibration_options import CalibrationImages
from enxuto.cli.shared.common_options import All, Json
from enxuto.cli.shared.curve_points import Given, add_name, make_output_points
from enxuto.cli.shared.data_options import DATA, DataOptions, class_names, match_labels
from enxuto.cli.shared.judging import Feedback, Outputs
from enxuto.cli.shared.outputs import check_folder
from enxuto.cli.shared.preprocess_options import PreprocessOptions
from enxuto.cli.shared.provenance import provenance, write_provenance
from enxuto.cli.shared.study_options import (
    ComputingOptions,
    Svg,
    data_name,
    exit_on_failures,
    merge_records,
    show_study_table,
    tables_folder,
)
from enxuto.cli.shared.study_progress import study_progress
from enxuto.cli.shared.terminal import note, print_json
from enxuto.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from enxuto.studies.curve.calibration import CalibrationSplit
    from enxuto.studies.curve.tables import Curve
    from enxuto.study import Point, Result, StudyResults
    from enxuto.tables import Table

HELP = """Compress models in many ways, evaluate each file, and show rate against accuracy beside published results.

The ways are the source's grid (dead-zone with six δ, μ-law, 2^2 to 2^24 levels, minifloats, half), the files that
`enxuto compress` makes by default and with `--bits`, and calibrated rounding at several prices. The row of the original
is an `.enx` file of exact weights. Images that calibrate judge no point: they are `--images` of `--data`, or as many of
`--calibration`. `--images 0` leaves out calibrated rounding.

With arrays by input name as data, with `--outputs`, and where a model gives no scores of classes, points show the
signal-to-noise ratio of values and the divergence of classes instead; of arrays with labels top-1 too.

Each point is recorded in the folder `--output`. The same command resumes there, with a wider grid too. `--workers`
computes in several processes, `--scheduler` on a Dask cluster, and `--merge` takes in what other machines recorded.
The folder also gets tables as Markdown and CSV, and charts.

    enxuto curve resnet20.onnx --data cifar10-test.parquet --preprocess resnet-cifar --workers 2
    enxuto curve model.onnx --data photos/ --limit 500 --levels 6:10 --methods midtread,enxuto --bits 5
"""

_GRID = "Grid"


@dataclass(frozen=True, kw_only=True)
class CurveOptions:
    """Which ways of compressing are tried, and how they are shown."""

    folder: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="DIR", help="Folder of the study; by default studies/curve-NAME-DATA."
        ),
    ] = None
    methods: Annotated[
        tuple[str, ...] | None,
        typer.Option(
            rich_help_panel=_GRID, metavar="NAME,…", help="Methods such as midtread,enxuto; by default all."
        ),
    ] = None
    levels: Annotated[
        str, typer.Option(rich_help_panel=_GRID, metavar="LOW:HIGH", help="Try 2^LOW to 2^HIGH levels.")
    ] = "2:24"
    bits: Annotated[
        tuple[float, ...],
        typer.Option(rich_help_panel=_GRID, metavar="X,…", help="Bits per weight of enxuto's own methods."),
    ] = (2, 3, 4, 5, 6, 8)
    calibration: CalibrationImages = None
    images: Annotated[
        int,
        typer.Option(
            min=0,
            rich_help_panel="Calibration",
            metavar="N",
            help="Calibrate with N images; 0 leaves out calibrated rounding.",
        ),
    ] = 256
    max_drop: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="X",
            help="Show the smallest file of each method that loses at most X points of top-1.",
        ),
    ] = 0.8
    outputs: Outputs = ()
    feedback: Feedback = ()
    svg: Svg = False
    all: All = False
    json: Json = False


def run(
    sources: Annotated[list[Path], typer.Argument(metavar="MODEL...", help="ONNX models or .enx files.")],
    data: Annotated[str, typer.Option(rich_help_panel=DATA, metavar="DATA", help="Data file or folder.")],
    options: CurveOptions,
    image_options: DataOptions,
    preprocess: PreprocessOptions,
    computing: ComputingOptions,
) -> None:
    """Make the points, compute them, show what came out."""
    from enxuto.studies.curve.tables import curves_of
    from enxuto.studies.kinds import CURVE_MEASURE, CURVE_OUTPUTS
    from enxuto.study import Study

    json = options.json
    folder = options.folder or check_folder(
        "curve", Path("studies") / f"curve-{sources[0].stem}-{data_name(data)}"
    )
    calibrating = _calibration(options, image_options.seed)
    settings = _settings(options, calibrating)
    given = Given(sources, data, image_options, preprocess, settings, calibrating)
    found = make_output_points(given, options)
    points, names = _points(given, options.calibration) if found is None else found
    kind = CURVE_MEASURE if found is None else CURVE_OUTPUTS
    merge_records(folder, computing.merge)

    def name(result: Result) -> str:
        return _name(result, names)

    with study_progress("curve", name) as report:
        results = Study(points, folder).run(computing.executor(), report)
    curves = curves_of(results, names, kind)
    place = tables_folder(folder, data, {"data": curves[0].data_hash}, _data_of)
    _write(place, curves, options.max_drop, ".svg" if options.svg else ".png")
    made = provenance(
        samples=curves[0].original["samples"], seed=image_options.seed, data=curves[0].data_hash,
        threads=computing.thread_count,
    )  # fmt: skip
    write_provenance(place, made)
    if json:
        print_json({**_as_json(curves, results), "provenance": made})
    else:
        for table in _tables(curves, options.max_drop, all_points=options.all):
            show_study_table(table)
        note(f"tables and charts are in {place}, records in {folder}")
    exit_on_failures(results)


def _name(result: Result, names: Mapping[str, str]) -> str:
    """What a point that failed is called."""
    return f"{names[result.settings['model_hash']]}, {result.settings.get('compress', 'calibration')}"


def _data_of(result: Result) -> dict[str, Any] | None:
    from enxuto.studies.kinds import CURVE_MEASURE, CURVE_OUTPUTS

    return {"data": result.data_hash} if result.kind in (CURVE_MEASURE, CURVE_OUTPUTS) else None


def _calibration(options: CurveOptions, seed: int) -> CalibrationSplit | None:
    """Which images calibrate; None where nothing is to be calibrated. Raises `UsageError` for options without use."""
    from enxuto.studies.curve.calibration import CalibrationSplit
    from enxuto.studies.curve.modes import CALIBRATED_METHOD

    methods, calibration, images = options.methods, options.calibration, options.images
    if methods is not None and CALIBRATED_METHOD not in methods:
        if calibration is not None:
            raise UsageError(
                f"--calibration is of the method {CALIBRATED_METHOD!r}, which --methods leaves out",
                code="E024",
            )
        return None
    if images == 0:
        if calibration is not None or methods is not None:
            raise UsageError(
                "--images 0 leaves no images to calibrate; give 2 or more, some hundreds are best",
                code="E022",
            )
        return None
    return CalibrationSplit(images, seed, own=calibration is not None)


def _settings(options: CurveOptions, calibrating: CalibrationSplit | None) -> list[dict[str, Any]]:
    """The settings of all points that the options ask for. Raises `UsageError`."""
    from enxuto.studies.curve.modes import (
        DEFAULT_METHOD,
        calibrated_settings,
        default_settings,
        grid_settings,
        method_names,
    )

    methods, levels, bits = options.methods, options.levels, options.bits
    low, colon, high = levels.partition(":")
    if not (colon and low.isdigit() and high.isdigit() and 1 <= int(low) <= int(high) <= 24):
        raise UsageError(f"--levels is LOW:HIGH between 1 and 24, such as 4:12, not {levels!r}")
    strange = [name for name in methods or () if name not in method_names()]
    if strange:
        raise UsageError(
            f"no method is called {strange[0]!r}{did_you_mean(strange[0], method_names())}; "
            f"there are {', '.join(method_names())}",
            code="E021",
        )
    if any(not 0 < value < math.inf for value in bits):
        raise UsageError("--bits are positive numbers")
    settings = grid_settings(range(int(low), int(high) + 1), methods)
    if methods is None or DEFAULT_METHOD in methods:
        settings += default_settings(bits)
    return settings + ([] if calibrating is None else calibrated_settings(bits, calibrating.to_dict()))


def _points(given: Given, calibration: str | None) -> tuple[list[Point], dict[str, str]]:
    """The points of all models, and the models' names by their hashes; equal file names get their folders too."""
    from enxuto.opening import load_with_metadata, preprocess_of
    from enxuto.studies.curve.points import Subject, points

    image_options = given.image_options
    all_points: list[Point] = []
    names: dict[str, str] = {}
    dataset = image_options.open(given.data)
    for source in given.sources:
        model, metadata = load_with_metadata(source)
        # Said only where it moves labels: it is a part of what the points are known by.
        opening = image_options.arguments()
        if match_labels(dataset, model, metadata, image_options.labels)[1].output_by_label is not None:
            opening["names"] = list(class_names(image_options.labels, model, metadata) or ())
        chosen = given.preprocess.choose(preprocess_of(metadata), model)
        subject = Subject.open(
            source.stem, source, given.data, opening, chosen, given.calibrating, calibration
        )
        all_points += points(subject, given.settings)
        add_name(names, source, subject.model_hash)
    return all_points, names


def _tables(curves: list[Curve], max_drop: float, *, all_points: bool) -> list[Table]:
    from enxuto.studies.curve.output_tables import outputs_table
    from enxuto.studies.curve.tables import best_table, points_table

    if any("outputs" in curve.original for curve in curves):
        labelled = [curve for curve in curves if curve.original.get("top1") is not None]
        return [
            *([best_table(labelled, max_drop)] if labelled else []),
            *(outputs_table(curve) for curve in curves),
        ]
    return [best_table(curves, max_drop)] + ([points_table(curve) for curve in curves] if all_points else [])


def _write(folder: Path, curves: list[Curve], max_drop: float, ending: str) -> None:
    """Tables and charts into the folder of the study."""
    from enxuto.files import atomic_write
    from enxuto.report.figures.curve import draw_curve, draw_outputs
    from enxuto.studies.curve.output_tables import outputs_csv
    from enxuto.studies.curve.tables import curve_csv
    from enxuto.tables import as_markdown

    of_outputs = any("outputs" in curve.original for curve in curves)
    texts = {
        "curve.md": as_markdown(_tables(curves, max_drop, all_points=True)),
        "curve.csv": outputs_csv(curves) if of_outputs else curve_csv(curves),
    }
    for name, text in texts.items():
        with atomic_write(folder / name) as file:
            file.write(text.encode())
    for curve in curves:
        draw_outputs(curve, folder, ending) if of_outputs else draw_curve(curve, folder, ending)


def _as_json(curves: list[Curve], results: StudyResults) -> dict[str, Any]:
    return {
        "models": [
            {
                "model": curve.model,
                "data": curve.data_hash,
                "original": dict(curve.original),
                "points": list(curve.rows),
            }
            for curve in curves
        ],
        "failed": [
            {"settings": result.settings.get("compress", "calibration"), "error": result.error}
            for result in results.failed
        ],
        "not_run": dict(results.not_run),
    }

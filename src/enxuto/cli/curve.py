"""`enxuto curve`: rate against every metric for the source's grid of quantizers and enxuto's own modes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enxuto.cli.evaluate import choose_preprocess
from enxuto.cli.shared import data_options as opts
from enxuto.cli.shared import preprocessing as pre
from enxuto.cli.shared.outputs import own_folder
from enxuto.cli.shared.provenance import provenance, write_provenance
from enxuto.cli.shared.study_options import (
    Merge,
    Scheduler,
    Threads,
    Workers,
    data_name,
    end,
    executor,
    show,
    tables_folder,
)
from enxuto.cli.shared.study_options import merge as take_in
from enxuto.cli.shared.study_progress import study_progress
from enxuto.cli.shared.terminal import note, print_json
from enxuto.errors import UsageError

if TYPE_CHECKING:
    from enxuto.studies.curve.calibration import CalibrationSplit
    from enxuto.studies.curve.tables import Curve
    from enxuto.study import Point, Result, StudyResults
    from enxuto.tables import Table

HELP = """Compress models in many ways, evaluate each, and show rate against accuracy beside published results.

The ways are the source's grid (dead-zone with six δ, μ-law, 2^2 to 2^24 levels, minifloats, half), enxuto's default
scheme at several bits per weight, and its calibrated rounding at several prices. Images that calibrate judge no
point: `--images` of `--data`, or as many of `--calibration`; `--images 0` leaves calibrated rounding out. Each point is
recorded in the folder `--out`; the same command goes on where it was stopped, with a wider grid too. `--workers`
computes in several processes, `--scheduler` on a Dask cluster, and `--merge` takes in what other machines recorded.
Tables as Markdown and CSV and charts are written into the folder.

    enxuto curve resnet20.onnx --data cifar10-test.parquet --preprocess resnet-cifar --workers 2
    enxuto curve model.onnx --data photos/ --limit 500 --levels 6:10 --methods midtread --methods enxuto --bits 5
"""

_DATA, _GRID = "Data", "Grid"
_BITS = (2, 3, 4, 5, 6, 8)


def run(
    sources: Annotated[list[Path], typer.Argument(metavar="MODEL...", help="ONNX models or .enx files.")],
    data: Annotated[str, typer.Option(rich_help_panel=_DATA, help="Data file or folder.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the study; by default studies/curve-NAME-DATA.")
    ] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            rich_help_panel=_GRID, help="A method, such as midtread or enxuto; can be repeated. Default: all."
        ),
    ] = None,
    levels: Annotated[
        str, typer.Option(rich_help_panel=_GRID, help="LOW:HIGH, the i of 2^i levels.")
    ] = "2:24",
    bits: Annotated[
        list[float] | None,
        typer.Option(
            rich_help_panel=_GRID,
            help="Bits per weight of enxuto's ways; can be repeated. Default: 2 3 4 5 6 8.",
        ),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_GRID,
            help="Any folder of images, or data, to calibrate by; default: from --data.",
        ),
    ] = None,
    images: Annotated[
        int,
        typer.Option(min=0, rich_help_panel=_GRID, help="How many calibrate; 0: none, nothing calibrated."),
    ] = 256,
    within: Annotated[
        float, typer.Option(min=0, rich_help_panel=_GRID, help="Points of top-1 that the best may lose.")
    ] = 0.8,
    split: opts.Split = None,
    format_: opts.Format = None,
    limit: opts.Limit = None,
    seed: opts.Seed = 0,
    image_column: opts.ImageColumn = None,
    label_column: opts.LabelColumn = None,
    labels: opts.Labels = None,
    preprocess: pre.Base = None,
    resize: pre.Resize = None,
    interpolation: pre.Interpolation = None,
    crop: pre.Crop = None,
    divide_by: pre.DivideBy = None,
    mean: pre.Mean = None,
    std: pre.Std = None,
    channels: pre.Channels = None,
    layout: pre.Layout = None,
    workers: Workers = None,
    threads: Threads = 1,
    scheduler: Scheduler = None,
    merge: Merge = None,
    svg: Annotated[bool, typer.Option("--svg", help="Charts as SVG instead of PNG.")] = False,
    all_points: Annotated[
        bool, typer.Option("--points", help="Show every point, not the best alone.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print every point as JSON.")] = False,
) -> None:
    """Make the points, compute them, show what came out."""
    from enxuto.studies.curve.tables import curves_of
    from enxuto.study import Study

    folder = out or own_folder("curve", Path("studies") / f"curve-{sources[0].stem}-{data_name(data)}")
    calibrating = _calibrating(methods, calibration, images, seed)
    settings = _settings(methods, levels, bits, calibrating)
    options = opts.DataOptions(split, format_, limit, seed, image_column, label_column, labels)
    said = pre.PreprocessOptions(
        preprocess, resize, interpolation, crop, divide_by, mean, std, channels, layout
    )
    points, names = _points(sources, data, options, said, settings, calibrating, calibration)
    take_in(folder, merge)

    def name(result: Result) -> str:
        return _name(result, names)

    with study_progress("curve", name) as report:
        results = Study(points, folder).run(executor(workers, threads, scheduler), report)
    curves = curves_of(results, names)
    place = tables_folder(folder, data, {"data": curves[0].data_hash}, _data_of)
    _write(place, curves, within, ".svg" if svg else ".png")
    made = provenance(
        samples=curves[0].original["samples"], seed=seed, data=curves[0].data_hash, threads=threads,
    )  # fmt: skip
    write_provenance(place, made)
    if json:
        print_json({**_as_json(curves, results), "provenance": made})
    else:
        for table in _tables(curves, within, all_points=all_points):
            show(table)
        note(f"tables and charts are in {place}, records in {folder}")
    end(results)


def _name(result: Result, names: Mapping[str, str]) -> str:
    """What a point that failed is called."""
    return f"{names[result.settings['model_hash']]}, {result.settings.get('compress', 'calibration')}"


def _data_of(result: Result) -> dict[str, Any] | None:
    from enxuto.studies.kinds import CURVE_MEASURE

    return {"data": result.data_hash} if result.kind == CURVE_MEASURE else None


def _calibrating(
    methods: list[str] | None, calibration: str | None, images: int, seed: int
) -> CalibrationSplit | None:
    """Which images calibrate; None where nothing is to be calibrated. Raises `UsageError` for options without use."""
    from enxuto.studies.curve.calibration import CalibrationSplit
    from enxuto.studies.curve.modes import CALIBRATED_METHOD

    if methods is not None and CALIBRATED_METHOD not in methods:
        if calibration is not None:
            raise UsageError(
                f"--calibration is of the method {CALIBRATED_METHOD!r}, which --methods leaves out"
            )
        return None
    if images == 0:
        if calibration is not None or methods is not None:
            raise UsageError(
                "--images 0 leaves nothing to calibrate by; give 2 or more, some hundreds are best"
            )
        return None
    return CalibrationSplit(images, seed, own=calibration is not None)


def _settings(
    methods: list[str] | None, levels: str, bits: list[float] | None, calibrating: CalibrationSplit | None
) -> list[dict[str, Any]]:
    """The settings of all points that the options ask for. Raises `UsageError`."""
    from enxuto.studies.curve.modes import (
        DEFAULT_METHOD,
        calibrated_settings,
        default_settings,
        grid_settings,
        method_names,
    )

    low, colon, high = levels.partition(":")
    if not (colon and low.isdigit() and high.isdigit() and 1 <= int(low) <= int(high) <= 24):
        raise UsageError(f"--levels is LOW:HIGH between 1 and 24, such as 4:12, not {levels!r}")
    strange = [name for name in methods or () if name not in method_names()]
    if strange:
        raise UsageError(f"no method is called {strange[0]!r}; there are {', '.join(method_names())}")
    if any(not 0 < value < math.inf for value in bits or ()):
        raise UsageError("--bits are positive numbers")
    found = grid_settings(range(int(low), int(high) + 1), methods)
    if methods is None or DEFAULT_METHOD in methods:
        found += default_settings(bits or _BITS)
    return found + ([] if calibrating is None else calibrated_settings(bits or _BITS, calibrating.to_dict()))


def _points(
    sources: list[Path],
    data: str,
    options: opts.DataOptions,
    said: pre.PreprocessOptions,
    settings: list[dict[str, Any]],
    calibrating: CalibrationSplit | None,
    calibration: str | None,
) -> tuple[list[Point], dict[str, str]]:
    """The points of all models, and what models are called by their hashes: by their files, told apart if need be."""
    from enxuto.opening import load_with_metadata, preprocess_of
    from enxuto.studies.curve.points import Subject, points

    found: list[Point] = []
    names: dict[str, str] = {}
    dataset = options.open(data)
    for source in sources:
        model, metadata = load_with_metadata(source)
        # Said only where it moves labels: it is a part of what the points are known by.
        how = options.how()
        if opts.fitted(dataset, model, metadata, options.labels)[1].order is not None:
            how["names"] = list(opts.given_names(options.labels, model, metadata) or ())
        chosen = choose_preprocess(said, preprocess_of(metadata))
        subject = Subject.open(source.stem, source, data, how, chosen, calibrating, calibration)
        found += points(subject, settings)
        taken = any(name == source.stem and known != subject.model_hash for known, name in names.items())
        names.setdefault(
            subject.model_hash, f"{source.stem}-{subject.model_hash[:8]}" if taken else source.stem
        )
    return found, names


def _tables(curves: list[Curve], within: float, *, all_points: bool) -> list[Table]:
    from enxuto.studies.curve.tables import best_table, points_table

    return [best_table(curves, within)] + ([points_table(curve) for curve in curves] if all_points else [])


def _write(folder: Path, curves: list[Curve], within: float, ending: str) -> None:
    """Tables and charts into the folder of the study."""
    from enxuto.files import atomic_write
    from enxuto.report.figures.curve import draw_curve
    from enxuto.studies.curve.tables import curve_csv
    from enxuto.tables import as_markdown

    texts = {
        "curve.md": as_markdown(_tables(curves, within, all_points=True)),
        "curve.csv": curve_csv(curves),
    }
    for name, text in texts.items():
        with atomic_write(folder / name) as file:
            file.write(text.encode())
    for curve in curves:
        draw_curve(curve, folder, ending)


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

"""`enxuto study tonin FILE`: two stages of points, the tables of the source, and what is written into the folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from enxuto.cli.shared.outputs import check_folder
from enxuto.cli.shared.provenance import provenance, write_provenance
from enxuto.cli.shared.study_options import (
    choose_executor,
    exit_on_failures,
    merge_records,
    share_threads,
    show_study_table,
)
from enxuto.cli.shared.study_progress import study_progress
from enxuto.cli.shared.terminal import note, print_json, warn
from enxuto.machine.processors import processors
from enxuto.machine.signals import exit_code

if TYPE_CHECKING:
    from enxuto.cli.study import StudyOptions
    from enxuto.studies.tonin.config import ToninConfig
    from enxuto.studies.tonin.points import ToninNetwork
    from enxuto.studies.tonin.results import NetworkResults
    from enxuto.study import Executor, Point, Result, StudyResults

__all__ = ["run_tonin"]

_STOPPED = "interrupted; what is finished is in {}: the same command resumes"


def run_tonin(config_file: Path, options: StudyOptions) -> None:
    """Run the study of a TOML file, write its tables and pictures, and print the tables or JSON."""
    from enxuto.studies.tonin.config import read_config
    from enxuto.studies.tonin.points import open_networks
    from enxuto.studies.tonin.results import collect

    config = read_config(config_file)
    folder = options.folder or check_folder("study", Path("studies") / f"tonin-{config_file.stem}")
    workers = 0 if options.workers == 0 else options.workers or processors()
    threads = share_threads(options.threads, workers, options.scheduler)
    executor = choose_executor(options.workers, threads, options.scheduler)
    networks = open_networks(config)
    for network in networks:
        _say_matching(network)
    merge_records(folder, options.merge)
    first, second = _compute(config, networks, folder, executor)
    found = collect([*first, *second])
    made = provenance(
        samples=[one.reported.original["samples"] for one in found],
        seed=config.seed,
        data=[one.reported.data_hash for one in found],
        threads=threads,
    )
    _show(found, [first, second], folder, made, as_json=options.json)
    exit_on_failures(second if second.exit_code else first)


def _say_matching(network: ToninNetwork) -> None:
    for text in network.warnings:
        warn(f"{network.name}: {text}")
    for text in network.notes:
        note(f"{network.name}: {text}")


def _compute(
    config: ToninConfig, networks: Sequence[ToninNetwork], folder: Path, executor: Executor
) -> tuple[StudyResults, StudyResults]:
    """Every setting on the images that choose, then the best ones on the images that report."""
    from enxuto.studies.tonin.points import choosing_points, reporting_points
    from enxuto.studies.tonin.results import best_settings, collect

    by_network = [choosing_points(config, network) for network in networks]
    first = _run([point for points in by_network for point in points], folder, executor, "choosing")
    second: list[Point] = []
    for network, points in zip(networks, by_network, strict=True):
        (found,) = collect(first[point] for point in points if point.id in first.results)
        settings = [
            point.settings["compress"] for point in points if point.settings["compress"]["mode"] != "original"
        ]
        best = {row["setting"] for row in best_settings(found.choosing, config.max_drop, network.use)}
        second += reporting_points(config, network, [one for one in settings if _setting(one) in best])
    return first, _run(second, folder, executor, "reporting")


def _setting(settings: Mapping[str, Any]) -> str:
    from enxuto.studies.curve.tables import setting_name

    return setting_name(settings)


def _run(points: Sequence[Point], folder: Path, executor: Executor, stage: str) -> StudyResults:
    from enxuto.study import Study

    try:
        with study_progress(f"tonin, {stage}", _name) as report:
            return Study(points, folder).run(executor, report)
    except KeyboardInterrupt as interrupt:
        note(_STOPPED.format(folder))
        raise typer.Exit(exit_code(interrupt)) from None


def _name(result: Result) -> str:
    """What a point that failed is called."""
    return str(result.settings.get("compress", "calibration"))


def _show(
    found: Sequence[NetworkResults],
    stages: Sequence[StudyResults],
    folder: Path,
    made: Mapping[str, Any],
    *,
    as_json: bool,
) -> None:
    from enxuto.files import atomic_write
    from enxuto.report.figures.tonin import draw_networks, draw_staircases
    from enxuto.studies.tonin.tables import tables, tonin_csv
    from enxuto.tables import as_markdown

    shown = tables(found)
    for name, text in (("tonin.md", as_markdown(shown)), ("tonin.csv", tonin_csv(found))):
        with atomic_write(folder / name) as file:
            file.write(text.encode())
    write_provenance(folder, made)
    try:
        draw_networks(found, folder, ".png")
        draw_staircases(folder)
    except KeyboardInterrupt as interrupt:
        note(_STOPPED.format(folder))
        raise typer.Exit(exit_code(interrupt)) from None
    if as_json:
        print_json({**_as_json(found, stages), "folder": str(folder), "provenance": made})
        return
    for table in shown:
        show_study_table(table)
    note(f"in {folder}: tonin.md, tonin.csv, quantizers.svg, records.jsonl and curves of each network")


def _as_json(found: Sequence[NetworkResults], stages: Sequence[StudyResults]) -> dict[str, Any]:
    from enxuto.studies.tonin.published import CORRECTIONS, LITERATURE, MEANS

    return {
        "study": "tonin",
        "networks": [
            {
                "network": one.name,
                "use": one.use,
                "published": None if one.published is None else vars(one.published),
                "max_drop": one.max_drop,
                "split": one.split,
                **{
                    part: None
                    if curve is None
                    else {
                        "data": curve.data_hash,
                        "original": dict(curve.original),
                        "points": [dict(row) for row in curve.rows],
                    }
                    for part, curve in (("choosing", one.choosing), ("reporting", one.reporting))
                },
            }
            for one in found
        ],
        "failed": [
            {"settings": one.settings.get("compress", "calibration"), "error": one.error}
            for stage in stages
            for one in stage.failed
        ],
        "not_run": {key: why for stage in stages for key, why in stage.not_run.items()},
        "corrections": [vars(one) for one in CORRECTIONS],
        "literature": [vars(one) for one in LITERATURE],
        "published_means": dict(MEANS),
    }

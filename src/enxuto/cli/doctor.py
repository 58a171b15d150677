"""`enxuto doctor`: what there is to work with, and what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from enxuto.cli.shared.common_options import Json
from enxuto.cli.shared.terminal import human_bytes, print_json, say, show_table, warn

if TYPE_CHECKING:
    from enxuto.doctor import Report

HELP = """Show versions, devices, threads and caches, and name known problems.

The packaged network is compressed, decoded and run as a trial. The exit code is 1 where something cannot work. Nothing
leaves the machine. If you report an error, add the output of `--json`.

    enxuto doctor
    enxuto doctor --no-trial --json
"""


def run(
    trial: Annotated[
        bool, typer.Option("--trial/--no-trial", help="Compress and run the packaged network as a trial.")
    ] = True,
    json: Json = False,
) -> None:
    """Examine the installation and show what was found."""
    from enxuto.doctor import examine

    report = examine(trial=trial)
    if json:
        print_json(report.to_dict())
    else:
        _show(report, trial=trial)
    if not report.healthy:
        raise typer.Exit(1)


def _show(report: Report, *, trial: bool) -> None:
    packages = [("enxuto", report.enxuto, "", ""), ("python", report.python, ">=3.11", "")]
    packages += [
        (package.name, package.version or "missing", package.needed, package.extra)
        for package in report.packages
    ]
    show_table(
        "versions", {"package": "left", "installed": "left", "needed": "left", "for": "left"}, packages
    )
    facts = report.machine
    memory = "unknown" if facts["memory"] is None else human_bytes(facts["memory"])
    quota = "" if facts["quota"] is None else f", of which this container may use {facts['quota']:g}"
    show_table(
        "machine",
        {"what": "left", "value": "left"},
        [
            ("processor", facts["cpu"]), ("processors usable", f"{facts['cores']}{quota}"), ("memory", memory),
            ("system", facts["system"]), ("GPU for PyTorch", facts["gpu"] or "none"),
            ("ONNX Runtime could use", ", ".join(facts["providers"]) or "–"),
            (".enx files are decoded by", report.decoder),
        ],
    )  # fmt: skip
    rows = [(name, "not set" if value is None else str(value)) for name, value in report.threads.items()]
    show_table("threads", {"what": "left", "value": "right"}, rows)
    show_table(
        "caches",
        {"what": "left", "folder": "left", "files": "right", "size": "right"},
        [(cache.name, cache.path, f"{cache.files:,}", human_bytes(cache.bytes)) for cache in report.caches],
    )
    for problem in report.problems:
        warn(problem.message)
    if not report.problems:
        passed = "; the packaged network was compressed, decoded and run" if trial else ""
        say(f"no known problem{passed}")

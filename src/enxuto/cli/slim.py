"""`enxuto slim`: an ONNX classifier pruned and compressed within one bound on what it loses."""

from __future__ import annotations

import json as jsonlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enxuto.cli.shared.calibration_options import CalibrationImages
from enxuto.cli.shared.calibration_results import say_trial
from enxuto.cli.shared.common_options import Json, Threads
from enxuto.cli.shared.data_options import DATA, DataOptions, match_labels
from enxuto.cli.shared.preprocess_options import PreprocessOptions
from enxuto.cli.shared.provenance import provenance, write_provenance
from enxuto.cli.shared.slimming_results import say_candidate, show_slim
from enxuto.cli.shared.terminal import note, print_json, progress_bar, warnings_as_remarks
from enxuto.cli.shared.training_options import check_packages
from enxuto.errors import BudgetError, DataError
from enxuto.machine.signals import exit_code

if TYPE_CHECKING:
    from enxuto.data import Dataset
    from enxuto.onnx_model import Model
    from enxuto.slimming.result import SlimResult

__all__ = ["HELP", "run"]

HELP = """Make a trained classifier small and faster: prune, refit, calibrate, quantize and code, all within one bound.

MODEL is an ONNX or .enx file. State what may be lost: `--max-drop 1` (points of top-1, needs labels), `--min-agreement
99` (percent of equal answers) or `--max-kl 0.02`. Pruning and rounding share that loss, and how is searched: a few
shares of the multiplications are tried, each pruned, refitted by least squares on images without labels, with
`--minutes` also trained to give the original's answers, and compressed at what is left of the bound. By default the
smallest file wins. `--macs 50%` or `--target-latency 50%` fixes how much is pruned instead.

The last table compares original, pruned network and file on images that chose nothing. The folder gets `model.enx`,
`pruned.onnx`, `slim.json` and `report.html`. The same command resumes there. Needs PyTorch: `pip install '.[train]'` in
a checkout.

```
enxuto slim model.onnx --data photos/ --preprocess imagenet --max-drop 1 -o slim
enxuto slim model.onnx --data test/ --calibration train/ --min-agreement 98 --macs 50% --minutes 30 -o slim
```
"""

_STAGES = ("watching filters", "comparing filters", "measuring filters", "timing", "removing", "refitting",
           "distilling", "watching layers", "factoring", "measuring sensitivities", "measuring means",
           "measuring other weights", "trying refits", "rounding", "correcting biases", "trying corrected biases",
           "coding", "judging", "measuring")  # fmt: skip
_BOUND = "What may be lost"


@dataclass(frozen=True, kw_only=True)
class SlimOptions(DataOptions):
    """The bound, the aim, and the images."""

    max_drop: Annotated[
        float | None,
        typer.Option(rich_help_panel=_BOUND, metavar="X", help="Lose at most X points of top-1."),
    ] = None
    min_agreement: Annotated[
        float | None,
        typer.Option(rich_help_panel=_BOUND, metavar="X", help="Keep at least X percent of the answers."),
    ] = None
    max_kl: Annotated[
        float | None,
        typer.Option(rich_help_panel=_BOUND, metavar="X", help="Let answers diverge by at most X nats."),
    ] = None
    macs: Annotated[
        str | None, typer.Option(metavar="SHARE", help="Leave this share of the multiplications: 50%.")
    ] = None
    target_latency: Annotated[
        str | None, typer.Option(metavar="SHARE", help="Leave this share of the latency for one image: 50%.")
    ] = None
    multiple: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Keep a multiple of N filters in each layer, as odd numbers save little time. By default 4; 8 with "
            "--target-latency.",
        ),
    ] = None
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0.01, metavar="X", help="Train each pruned network X minutes to give the original's answers."
        ),
    ] = None
    calibration: CalibrationImages = None
    calibration_split: Annotated[
        str | None,
        typer.Option(
            rich_help_panel="Calibration",
            metavar="NAME",
            help="The part of --calibration to use: train, test, ….",
        ),
    ] = None
    images: Annotated[
        int,
        typer.Option(
            min=2, rich_help_panel="Calibration", metavar="N", help="Refit and calibrate with N images."
        ),
    ] = 512


def run(
    source: Annotated[Path, typer.Argument(metavar="MODEL", help="An ONNX or .enx file of a classifier.")],
    data: Annotated[
        str,
        typer.Option(
            rich_help_panel=DATA,
            metavar="DATA",
            help="Images: some judge the search, the others report the result; without --calibration a third at most "
            "refits and calibrates.",
        ),
    ],
    folder: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder of the results.")],
    options: SlimOptions,
    preprocess: PreprocessOptions,
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """Open, search, write, show."""
    check_packages("torch", "onnxscript")
    from enxuto.enx.ledger import original_sizes
    from enxuto.opening import preprocess_of
    from enxuto.slimming.aims import parse_aim
    from enxuto.slimming.entry import SlimWork, open_model, slim_bounds

    bounds = slim_bounds(options.max_drop, options.min_agreement, options.max_kl)
    aim = parse_aim(options.macs, options.target_latency)
    model, metadata = open_model(source)
    metadata["original"] = original_sizes(source, xz=False)
    chosen = preprocess.choose(preprocess_of(metadata), model)
    judging = _open_data(options, data, model, metadata)
    calibrating = None
    if options.calibration is not None:
        own = DataOptions(seed=options.seed, split=options.calibration_split)
        calibrating = own.open(options.calibration, labelled=False)
    try:
        with warnings_as_remarks(), progress_bar("opening", _STAGES) as progress:
            work = SlimWork(
                model, metadata, bounds, aim, options.minutes, options.images, folder, options.seed, threads, progress,
                say_candidate, say_trial, options.multiple, source.stem,
            )  # fmt: skip
            result = work.run(judging, calibrating, chosen)
    except KeyboardInterrupt as interrupt:
        kept = f"pruned networks are kept in {folder}" if folder.exists() else "no pruned network is finished"
        note(f"interrupted; {kept}, and files that were judged are remembered: the same command resumes")
        raise typer.Exit(exit_code(interrupt)) from None
    made = provenance(
        samples=result.facts["samples"], seed=options.seed, data=result.facts["data"], threads=threads
    )
    values = _write(folder, result, made)
    if json:
        print_json(values)
    else:
        show_slim(result, folder)
    if result.violation is not None:
        raise BudgetError(
            f"{folder / 'model.enx'}: the bound cannot be met: {result.violation}; the nearest found was written"
        )


def _open_data(options: SlimOptions, data: str, model: Model, metadata: dict[str, Any]) -> Dataset:
    """The images of --data, with labels that count the model's outputs, or without where they need none."""
    opened = options.open(data, labelled=options.max_drop is not None)
    if not opened.labelled:
        note(f"{data} has no labels: answers are compared with the original's, and no top-1 is shown")
        return opened
    try:
        return match_labels(opened, model, metadata, options.labels)[0]
    except DataError as error:  # folders of images need not be classes where nothing counts them
        if options.max_drop is not None or options.labels is not None:
            raise
        note(f"{data} has no labels for this model ({error}): no top-1 is shown")
        return opened.without_labels()


def _write(folder: Path, result: SlimResult, made: dict[str, Any]) -> dict[str, Any]:
    """Write file, pruned network, figures and page into the folder; what was written as `slim.json`."""
    from enxuto.escaping import json_text
    from enxuto.files import atomic_write
    from enxuto.report import read_results, write_page

    folder.mkdir(parents=True, exist_ok=True)
    result.save(folder / "model.enx")
    result.pruned.write(folder / "pruned.onnx")
    values = {"folder": str(folder), **result.to_dict(), "provenance": made}
    with atomic_write(folder / "slim.json") as file:
        text = jsonlib.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
        file.write((json_text(text) + "\n").encode())
    write_page(
        read_results([folder / "slim.json"]), folder / "report.html", title=f"slim {result.facts['model']}"
    )
    write_provenance(folder, made)
    return values

"""What verbs take to judge models of any kind: named arrays, what outputs are judged as, a caller's own judge."""

from __future__ import annotations

import importlib
import math
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enxuto.cli.shared.array_options import limited
from enxuto.cli.shared.provenance import provenance
from enxuto.cli.shared.terminal import note, print_json, show_table, warn
from enxuto.errors import EnxutoError, UsageError, error_reason
from enxuto.tables import as_percent, interval_in_percent

if TYPE_CHECKING:
    from enxuto.cli.shared.data_options import DataOptions, ImageOptions
    from enxuto.compression.judge import Judgement, Measure, ScoreJudge
    from enxuto.data import Dataset, Preprocess
    from enxuto.data.samples import Samples
    from enxuto.onnx_model import Model

__all__ = [
    "Feedback",
    "Outputs",
    "image_arrays",
    "load_judge",
    "load_measure",
    "may_hold_arrays",
    "named_arrays",
    "open_for_outputs",
    "output_rows",
    "parse_feedback",
    "parse_outputs",
    "right_rows",
    "show_outputs",
    "show_right_answers",
]

Outputs = Annotated[
    tuple[str, ...],
    typer.Option(
        metavar="NAME=KIND,…",
        help="Judge these outputs as values, binary or classes, or ignore them. A weight may follow: NAME=values:2. "
        "By default the graph tells.",
    ),
]


Feedback = Annotated[
    tuple[str, ...],
    typer.Option(
        metavar="OUTPUT=INPUT,…",
        help="Feed outputs of a recurrent model back to inputs, step by step. Arrays are then sequences: samples "
        "first, then steps. Other states are zeros.",
    ),
]


def named_arrays(
    path: str | Path,
    model: Model,
    feedback: Sequence[str] = (),
    labels: str | None = None,
    *,
    options: ImageOptions | None = None,
) -> Samples | None:
    """Return the arrays by input name that a path holds, as the model takes them; None where it holds images.

    labels: name of the array of classes. options: of which --limit counts, and others are a `UsageError`.
    """
    from enxuto.compression.arguments import named_samples

    found = named_samples(str(path), model, parse_feedback(feedback), labels=labels)
    if found is None:
        if feedback:
            raise UsageError(
                f"--feedback is of arrays by input name, in sequences; {path} holds images", code="E024"
            )
        return None
    if options is not None:
        found = limited(found, options)
    given = [name for name in found.inputs if name not in found.feedback]
    steps = f" in sequences, {', '.join(found.feedback)} fed back" if found.feedback else ""
    note(f"{path}: {len(found):,} samples of {', '.join(given)}{steps}")
    for remark in found.remarks:
        note(remark)
    return found


def parse_feedback(asked: Sequence[str]) -> dict[str, str] | None:
    """Return what is fed back, from `OUTPUT=INPUT`: by output's name the input; None where nothing is asked."""
    found = {}
    for text in asked:
        output, equals, name = text.partition("=")
        if not output or not equals or not name:
            raise UsageError(f"--feedback takes OUTPUT=INPUT, such as stateN=state, not {text!r}")
        found[output] = name
    return found or None


def may_hold_arrays(path: str | Path) -> bool:
    """Say whether a path may hold arrays by input name, whatever the model's inputs are called."""
    from enxuto.data.feeding import holds_named_arrays

    return holds_named_arrays(path, ["images"]) or Path(path).suffix == ".parquet"


def open_for_outputs(
    source: Path, data: Path, asked: Sequence[str], feedback: Sequence[str], options: DataOptions
) -> tuple[Model, dict[str, Any], Samples | None] | None:
    """Open a model and its arrays by input name, where all outputs are judged; None where images with labels are.

    Args:
        source: of the model.
        data: named arrays, or images.
        asked, feedback: the options --outputs and --feedback.
        options: how data are opened.

    Returns:
        The model, its metadata, and the samples; None for these where --outputs asks and data are images.
    """
    from enxuto.opening import load_with_metadata

    if not (asked or feedback or may_hold_arrays(data)):
        return None
    model, metadata = load_with_metadata(source)
    samples = named_arrays(data, model, feedback, options.label_column, options=options)
    return None if samples is None and not asked else (model, metadata, samples)


def image_arrays(dataset: Dataset, preprocess: Preprocess, model: Model) -> Samples:
    """Return a data set's images as what a model of one input takes."""
    from enxuto.compression.images import images_of
    from enxuto.data.samples import Samples
    from enxuto.runtime import Runner

    found = images_of(model, dataset, preprocess)
    if isinstance(found, Samples):
        return found
    return Samples({Runner(model, threads=1).inputs[0].name: found}, str(dataset.path))


def show_outputs(
    source: Path,
    reference: Model,
    model: Model,
    samples: Samples,
    asked: Sequence[str],
    *,
    threads: int,
    json: bool,
    kinds: Mapping[str, str] | None = None,
) -> None:
    """Compare a model's outputs with a reference's on samples, and show what is lost of each.

    kinds: by output what a file keeps of how it was made.
    """
    from enxuto.compression.output_judge import compare_outputs

    judgement, judged = compare_outputs(
        reference, model, samples, parse_outputs(asked), threads=threads, kinds=kinds
    )
    for remark in judged.remarks:
        (warn if remark in judged.doubts else note)(remark)
    if json:
        made = provenance(samples=judgement.samples, data=judgement.data_hash, threads=threads)
        exact = judgement.snr_db is None or math.isinf(judgement.snr_db)  # JSON has no infinity
        values = {**judgement.to_dict(), "snr_db": None if exact else judgement.snr_db}
        print_json({"model": str(source), **values, "remarks": list(judged.remarks), "provenance": made})
        return
    rows = [("samples", f"{judgement.samples:,} (data {judgement.data_hash})")]
    rows += [
        *right_rows(judgement, "reference"),
        *output_rows(judgement, "reference"),
        *signal_rows(judgement),
    ]
    show_table(f"{source} beside the reference", {"measure": "left", "value": "left"}, rows)
    note(f"the outputs were taken for {judged.describe()}")


def show_right_answers(
    source: Path,
    model: Model,
    samples: Samples,
    asked: Sequence[str],
    *,
    threads: int,
    json: bool,
    kinds: Mapping[str, str] | None = None,
) -> None:
    """Show how many answers of a model are right, on samples with labels."""
    from enxuto.calibration.outputs import run_together
    from enxuto.compression.output_judge import OutputJudge, with_kept_kinds
    from enxuto.metrics import wilson_interval

    known, choices = with_kept_kinds(model, parse_outputs(asked), kinds)
    judge = OutputJudge(
        model, run_together(model, samples, threads=threads), choices, threads=threads, known=known
    )
    chance = judge.by_chance
    if chance is None:
        raise UsageError(
            f"{source} has no output that is a single list of classes, which labels could count "
            f"({judge.judged_outputs.describe()}); give --reference",
            code="E035",
        )
    low, high = wilson_interval(chance.right, chance.samples)
    if not chance.better:
        warn(
            f"{source}: top-1, {chance.right} of {chance.samples}, is no better than chance "
            f"({as_percent(chance.expected, 1)}): "
            "are the labels those of the model, in its order?"
        )
    elif chance.order_doubt is not None:
        warn(f"{source}: {chance.order_doubt}")
    if json:
        made = provenance(samples=chance.samples, data=samples.hash, threads=threads)
        print_json({"model": str(source), "samples": chance.samples, "top1": 100 * chance.right / chance.samples,
                    "top1_interval": [100 * low, 100 * high], "provenance": made})  # fmt: skip
        return
    rows = [
        ("samples", f"{chance.samples:,} (data {samples.hash})"),
        ("top-1", f"{as_percent(chance.right / chance.samples)} {interval_in_percent(low, high)}"),
    ]
    show_table(f"{source} on {samples.path}", {"measure": "left", "value": "left"}, rows)


def right_rows(judgement: Judgement, other: str = "original") -> list[tuple[str, str]]:
    """Top-1 and what was lost of it; nothing where images have no labels. other: what a model is compared with."""
    if judgement.top1 is None or judgement.drop is None or judgement.drop_interval is None:
        return []
    from enxuto.metrics import wilson_interval

    low, high = judgement.drop_interval
    right = wilson_interval(round(judgement.top1 / 100 * judgement.samples), judgement.samples)
    return [
        (f"{other}'s top-1", f"{judgement.original_top1:.2f} %"),
        ("top-1", f"{judgement.top1:.2f} % {interval_in_percent(*right)}"),
        ("lost", f"{judgement.drop:+.2f} points (95 % interval {low:+.2f} to {high:+.2f})"),
    ]


def signal_rows(judgement: Judgement) -> list[tuple[str, str]]:
    """Return the errors of outputs that are images."""
    rows = []
    for one in judgement.outputs:
        if one.signal is None or one.signal.ssim is None:
            continue
        of = f" {one.name}" if len(judgement.outputs) > 1 else ""
        figures = one.signal.figures
        rows += [
            (f"{name}{of}", f"{getattr(figures, name.lower()):.6g}")
            for name in ("SSE", "MSE", "RMSE", "SAE", "MAE")
        ]
        rows.append((f"PSNR{of}", f"{figures.psnr_db:.2f} dB (peak {figures.peak:g})"))
        rows.append((f"SSIM{of}", f"{one.signal.ssim:.6f}"))
    return rows


def output_rows(judgement: Judgement, other: str = "original") -> list[tuple[str, str]]:
    """Return what of another model's answers and values is kept: over all outputs, and of several each apart."""
    rows = []
    if judgement.agreement is not None:
        interval = ""
        if judgement.agreement_interval is not None:
            least, most = judgement.agreement_interval
            interval = f" (95 % interval {least:.2f} to {most:.2f})"
        rows.append(("same answers", f"{judgement.agreement:.2f} %{interval}"))
        rows.append((f"KL from the {other}", f"{judgement.kl:.3g} nats"))
    if judgement.snr_db is not None:
        rows.append(("signal to error (SNR)", f"{judgement.snr_db:.2f} dB"))
    if len(judgement.outputs) > 1:
        rows += [(f"{one.kind} {one.name}", one.describe()) for one in judgement.outputs]
    return rows


def parse_outputs(asked: Sequence[str]) -> dict[str, tuple[str, float]] | None:
    """Return what outputs are judged as, from `NAME=KIND` and `NAME=KIND:WEIGHT`; None where nothing is asked."""
    found = {}
    for text in asked:
        name, equals, rest = text.rpartition("=")
        kind, colon, weight = rest.partition(":")
        if not name or not equals or not kind:
            raise UsageError(f"--outputs takes NAME=values, NAME=classes:2 and the like, not {text!r}")
        if name in found:
            raise UsageError(f"--outputs says twice what {name!r} is judged as; leave one out", code="E022")
        try:
            found[name] = (kind, float(weight) if colon else 1.0)
        except ValueError as error:
            raise UsageError(f"--outputs {text}: the weight {weight!r} is no number") from error
    return found or None


def load_judge(spec: str, model: Model, *, threads: int) -> ScoreJudge:
    """Return a judge by the function that `module:function` names; see `load_measure`."""
    from enxuto.compression.judge import ScoreJudge

    return ScoreJudge(load_measure(spec), model, threads=threads)


def load_measure(spec: str) -> Measure:
    """Return the function that `module:function` names; the working directory is searched first.

    What the function raises is a `UsageError` that says so, after its traceback on stderr.
    """
    module, colon, function = spec.partition(":")
    if not colon or not module or not function:
        raise UsageError(f"--judge takes module:function, such as scores:accuracy, not {spec!r}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        measure: Any = importlib.import_module(module)
        for part in function.split("."):
            measure = getattr(measure, part)
    except SystemExit as error:
        raise UsageError(f"--judge {spec} cannot be loaded: {_exit_text(error)}", code="E021") from error
    except Exception as error:
        raise UsageError(f"--judge {spec} cannot be loaded: {error_reason(error)}", code="E021") from error
    if not callable(measure):
        raise UsageError(f"--judge {spec} is no function")

    def judged(one: Any, other: Any) -> float:
        try:
            return measure(one, other)  # type: ignore[no-any-return]
        except EnxutoError:
            raise
        except SystemExit as error:
            raise UsageError(f"--judge {spec}: {_exit_text(error)}; nothing was written") from error
        except Exception as error:
            for line in traceback.format_exc().rstrip().splitlines():
                note(line)  # one by one: a line break within a remark is written as an escape
            raise UsageError(
                f"--judge {spec} raised {type(error).__name__}: {error_reason(error)}; nothing was written"
            ) from error

    return judged


def _exit_text(error: SystemExit) -> str:
    """Return what to say of a caller's code that ends the process instead of giving something back."""
    return f"it ends the process (sys.exit({'' if error.code is None else repr(error.code)}))"

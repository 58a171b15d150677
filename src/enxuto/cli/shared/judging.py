"""What verbs take to judge models of any kind: named arrays, what outputs are judged as, a caller's own judge."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enxuto.cli.shared.provenance import provenance
from enxuto.cli.shared.terminal import note, print_json, show_table
from enxuto.errors import EnxutoError, UsageError, error_reason

if TYPE_CHECKING:
    from enxuto.compression.judge import Judgement, ScoreJudge
    from enxuto.data import Dataset, Preprocess
    from enxuto.data.samples import Samples
    from enxuto.onnx_model import Model

__all__ = [
    "Outputs",
    "image_arrays",
    "load_judge",
    "may_hold_arrays",
    "named_arrays",
    "output_rows",
    "parse_outputs",
    "show_outputs",
]

Outputs = Annotated[
    tuple[str, ...],
    typer.Option(
        metavar="NAME=KIND,…",
        help="Judge these outputs as values, binary, classes or ignore them, with a weight: NAME=values:2. Found out "
        "by default.",
    ),
]


def named_arrays(path: str | Path, model: Model) -> Samples | None:
    """Return the arrays by input name that a path holds, as the model takes them; None where it holds images."""
    from enxuto.data.feeding import holds_named_arrays, read_samples
    from enxuto.onnx_model import id_limits
    from enxuto.runtime import Runner

    names = [item.name for item in model.proto.graph.input if item.name not in model]
    if not holds_named_arrays(path, names):
        return None
    found = read_samples(path, Runner(model, threads=1).inputs, limits=id_limits(model))
    note(f"{path}: {len(found):,} samples of {', '.join(found.inputs)}")
    return found


def may_hold_arrays(path: str | Path) -> bool:
    """Say whether a path may hold arrays by input name, whatever the model's inputs are called."""
    from enxuto.data.feeding import holds_named_arrays

    return holds_named_arrays(path, ["images"]) or Path(path).suffix == ".parquet"


def image_arrays(dataset: Dataset, preprocess: Preprocess, model: Model) -> Samples:
    """Return a data set's images as what a model of one input takes."""
    from enxuto.compression.calibrated import images_of
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
) -> None:
    """Compare a model's outputs with a reference's on samples, and show what is lost of each."""
    from enxuto.compression.output_judge import compare_outputs

    judgement, judged = compare_outputs(reference, model, samples, parse_outputs(asked), threads=threads)
    for remark in judged.remarks:
        note(remark)
    if json:
        made = provenance(samples=judgement.samples, data=judgement.data_hash, threads=threads)
        values = {**judgement.to_dict(), "snr_db": judgement.snr_db}
        print_json({"model": str(source), **values, "remarks": list(judged.remarks), "provenance": made})
        return
    rows = [("samples", f"{judgement.samples:,} (data {judgement.data_hash})"), *output_rows(judgement)]
    show_table(f"{source} beside the reference", {"measure": "left", "value": "left"}, rows)
    note(f"the outputs were taken for {judged.describe()}")


def output_rows(judgement: Judgement) -> list[tuple[str, str]]:
    """Return what of the original's answers and values is kept: over all outputs, and of several each apart."""
    rows = []
    if judgement.agreement is not None:
        interval = ""
        if judgement.agreement_interval is not None:
            least, most = judgement.agreement_interval
            interval = f" (95 % interval {least:.2f} to {most:.2f})"
        rows.append(("same answers", f"{judgement.agreement:.2f} %{interval}"))
        rows.append(("KL from the original", f"{judgement.kl:.3g} nats"))
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
        try:
            found[name] = (kind, float(weight) if colon else 1.0)
        except ValueError as error:
            raise UsageError(f"--outputs {text}: the weight {weight!r} is no number") from error
    return found or None


def load_judge(spec: str, model: Model, *, threads: int) -> ScoreJudge:
    """Return a judge by the function that `module:function` names; the working directory is searched first.

    What the function raises is a `UsageError` that says so, after its traceback on stderr.
    """
    from enxuto.compression.judge import ScoreJudge

    module, colon, function = spec.partition(":")
    if not colon or not module or not function:
        raise UsageError(f"--judge takes module:function, such as scores:accuracy, not {spec!r}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        measure: Any = importlib.import_module(module)
        for part in function.split("."):
            measure = getattr(measure, part)
    except Exception as error:
        raise UsageError(f"--judge {spec} cannot be loaded: {error_reason(error)}", code="E021") from error
    if not callable(measure):
        raise UsageError(f"--judge {spec} is no function")

    def judged(one: Any, other: Any) -> float:
        try:
            return measure(one, other)  # type: ignore[no-any-return]
        except EnxutoError:
            raise
        except Exception as error:
            note(traceback.format_exc().rstrip())
            raise UsageError(f"--judge {spec} raised {error_reason(error)}; nothing was written") from error

    return ScoreJudge(judged, model, threads=threads)

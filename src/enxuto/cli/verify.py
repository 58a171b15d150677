"""`enxuto verify`: test checksums and decoding; compare weights and outputs with the original's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enxuto.cli.shared.common_options import InputShape, Json
from enxuto.cli.shared.data_options import DATA, ImageOptions
from enxuto.cli.shared.judging import named_arrays
from enxuto.cli.shared.provenance import provenance
from enxuto.cli.shared.terminal import note, print_json, progress_bar, say, show_table
from enxuto.cli.shared.values import counted, parse_input_shape
from enxuto.errors import EnxutoError, FormatError, UsageError
from enxuto.tables import as_percent

if TYPE_CHECKING:
    from enxuto.compare.trial_run import TrialRun
    from enxuto.data.samples import Samples
    from enxuto.enx.file import CompressedModel
    from enxuto.enx.verify import Verification
    from enxuto.onnx_model import Model

HELP = """Check an `.enx` file: checksums, decoding and, with the original model, every weight against it.

The exit code is 1 where anything is wrong. Exact tensors must be equal bit for bit, quantized ones within their step.
The file must have been made from this original: it holds a hash of its weights. Files made by calibrated rounding
before there were such hashes cannot be compared.

`--run N` also runs both models on N inputs and compares their outputs. The inputs are random, or those of `--data`.
Where a model leaves sizes open, synthetic inputs have a size that it runs on, unless `--input-shape` says one.
An error as large as the output itself is wrong; smaller ones are for you to judge. Both models run alike where no
relative error is above 0.1 and, of every output, three quarters of the answers are the same.

```
enxuto verify model.enx
enxuto verify model.enx model.onnx
enxuto verify model.enx model.onnx --run 64 --data photos/
```
"""

_NAMED = 3  # outputs in a sentence


def run(
    source: Annotated[Path, typer.Argument(metavar="FILE.enx", help="The compressed model.")],
    *,
    original: Annotated[
        Path | None, typer.Argument(metavar="MODEL.onnx", help="The model it was made from.")
    ] = None,
    inputs: Annotated[
        int | None, typer.Option("--run", min=1, metavar="N", help="Run both models on N inputs.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=DATA,
            metavar="DATA",
            help="Images, or arrays by input name, for --run, instead of random inputs.",
        ),
    ] = None,
    image_options: ImageOptions,
    input_shape: InputShape = None,
    json: Json = False,
) -> None:
    """Verify the file and show what was found."""
    from enxuto.enx.file import CompressedModel
    from enxuto.enx.verify import Verification, verify
    from enxuto.onnx_model import Model

    if inputs is None and (data is not None or input_shape is not None):
        raise UsageError("--data and --input-shape say what to run on; give --run N too", code="E023")
    if data is None and image_options != ImageOptions(seed=image_options.seed):
        raise UsageError("--format, --split, --limit and --image-column need --data", code="E023")
    if inputs is not None and original is None:
        raise UsageError("--run compares with the original; name it behind the .enx file", code="E023")
    shape = parse_input_shape(input_shape)
    compressed = other = trial = None
    stages = () if inputs is None else ("verifying", "running both models")
    with progress_bar("verifying", stages) as progress:
        try:
            compressed = CompressedModel.read(source)
            other = Model.read(original) if original else None
            result = verify(compressed, other, progress=progress)
        except FormatError as error:
            result = Verification(0, 0, False, (), (str(error),))
        if inputs is not None and compressed is not None and other is not None:
            progress("running both models", 0, 1)
            trial = _run_both(compressed, other, inputs, data, image_options, shape)
    problems = (*result.problems, *(() if trial is None else trial.problems))
    if json:
        print_json({**result.to_dict(), "ok": not problems, "problems": list(problems),
                    "run": None if trial is None else trial.to_dict(),
                    "provenance": provenance(samples=inputs, seed=None if trial is None else trial.seed,
                                             data=None if trial is None else trial.data)})  # fmt: skip
    else:
        _show(result, source, trial)
    if problems:
        raise typer.Exit(1)


def _run_both(
    compressed: CompressedModel,
    original: Model,
    inputs: int,
    data: Path | None,
    image_options: ImageOptions,
    shape: tuple[int, ...] | None,
) -> TrialRun | None:
    """Run both models; None where payloads do not decode, or models of other names, which `verify` has reported."""
    from enxuto.compare.trial_run import compare_outputs
    from enxuto.opening import preprocess_of

    try:
        decoded = compressed.to_model()
    except FormatError:
        return None
    if _ends(decoded) != _ends(original):
        return None
    images = None
    samples = None if data is None else named_arrays(data, original, options=image_options)
    if data is None and shape is None:
        samples = _synthetic(original, image_options.seed, inputs)
    if data is not None and samples is None:
        images = replace(image_options, limit=min(inputs, image_options.limit or inputs)).open(
            data, labelled=False
        )
    return compare_outputs(
        original,
        decoded,
        inputs,
        images=images,
        samples=samples,
        preprocess=preprocess_of(compressed.metadata),
        seed=image_options.seed,
        shape=shape,
    )


def _ends(model: Model) -> list[str]:
    """Return the names of inputs and outputs."""
    graph = model.proto.graph
    return [
        *(item.name for item in graph.input if item.name not in model),
        *(item.name for item in graph.output),
    ]


def _synthetic(model: Model, seed: int, count: int) -> Samples | None:
    """Return inputs for a model that leaves sizes open; None where it does not, or runs on none that were tried."""
    from enxuto.calibration.synthetic_inputs import synthetic_inputs

    graph = model.proto.graph
    fed = [item for item in graph.input if item.name not in model]
    if all(dim.HasField("dim_value") for item in fed for dim in item.type.tensor_type.shape.dim[1:]):
        return None
    try:
        made = synthetic_inputs(model, seed=seed)
        found = [made.samples]
        while sum(map(len, found)) < count:
            found.append(synthetic_inputs(model, seed=seed + len(found)).samples)
    except EnxutoError:
        return None  # what runs the models says which sizes it needs
    note(f"the model leaves sizes open; both run on synthetic inputs: {made.description}")
    return found[0].joined(found[1:])


def _show(result: Verification, source: Path, trial: TrialRun | None) -> None:
    quantized = [check for check in result.checks if not check.exact]
    if quantized:
        show_table(
            "quantized tensors against the original",
            {"name": "left", "largest error": "right", "allowed": "right", "SQNR dB": "right", "": "left"},
            [
                (check.name, f"{check.largest_error:.4g}", "–" if check.bound is None else f"{check.bound:.4g}",
                 "–" if check.sqnr is None else f"{check.sqnr:.1f}", "" if check.ok else "WRONG")
                for check in quantized
            ],
            give_way=("SQNR dB", "allowed"),
        )  # fmt: skip
    if trial is not None:
        _show_trial(trial)
    for problem in (*result.problems, *(() if trial is None else trial.problems)):
        say(f"problem: {problem}")
    if result.ok and (trial is None or not trial.problems):
        exact = sum(check.exact for check in result.checks)
        moved = sum(check.bound is None for check in quantized)
        known = sum(check.same is True for check in quantized)
        more = ""
        if result.compared:
            more = f"; {counted(exact, 'exact tensor')} equal bit for bit, {len(quantized) - moved} within their steps"
            more += f", {moved} moved by calibrated rounding, which has no bound" if moved else ""
            more += "; made from these weights, by their hash" if known else ""
        say(
            f"{source} is sound: {counted(result.payloads, 'payload')}, {counted(result.tensors, 'tensor')}{more}"
        )


def _show_trial(trial: TrialRun) -> None:
    what = f"random inputs, seed {trial.seed}" if trial.data is None else f"inputs, data {trial.data}"
    show_table(
        f"outputs on {trial.inputs} {what}",
        {"output": "left", "largest error": "right", "relative error": "right", "same largest": "right"},
        [
            (one.name, _three_digits(one.largest_error), _three_digits(one.relative_error),
             "–" if one.agreement is None else as_percent(one.agreement, 1))
            for one in trial.outputs
        ],
        caption=None if trial.data is not None else (
            f"{_said_by_random_inputs(trial)} They are not what the model was made for: with --data these figures "
            "say what the file keeps."
        ),
    )  # fmt: skip


def _said_by_random_inputs(trial: TrialRun) -> str:
    if trial.alike:
        return "Random inputs show that both models run alike."
    named = ", ".join(repr(name) for name in trial.unlike[:_NAMED])
    more = f" and {len(trial.unlike) - _NAMED} more" if len(trial.unlike) > _NAMED else ""
    about = f" (output {named}{more})" if named else ""
    return f"Random inputs do not show that both models run alike{about}."


def _three_digits(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"

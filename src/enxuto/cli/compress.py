"""`enxuto compress`: an ONNX model becomes an `.enx` file."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enxuto.cli.shared.calibration_options import (
    CALIBRATED_STAGES,
    PLAIN_STAGES,
    SEARCH_STAGES,
    CalibrationOptions,
    SizeOptions,
)
from enxuto.cli.shared.common_options import Force, Json, Threads
from enxuto.cli.shared.judging import load_measure
from enxuto.cli.shared.ledger import show_ledger
from enxuto.cli.shared.outputs import default_file, write_to_stdout, writes_to_stdout
from enxuto.cli.shared.preprocess_options import PreprocessOptions
from enxuto.cli.shared.provenance import provenance
from enxuto.cli.shared.retraining_options import RetrainingOptions
from enxuto.cli.shared.scheme_options import SchemeOptions
from enxuto.cli.shared.terminal import note, print_json, progress_bar, warnings_as_remarks
from enxuto.errors import BudgetError, UsageError

if TYPE_CHECKING:
    from enxuto.compression.calibrated import CalibratedResult
    from enxuto.compression.promise import StepsReport
    from enxuto.compression.result import CompressionResult
    from enxuto.enx.ledger import Ledger
    from enxuto.onnx_model import Model
    from enxuto.quantize.schemes import Scheme

HELP = """Make an ONNX model several times smaller; with a few images twice as small again; by retraining smaller still.

Without options, the steps are so fine that nearly all answers stay as they are (`docs/results.md` has measurements).
A few runs of the model on synthetic inputs check that: its outputs have to keep 40 dB, or 99 % of the answers. Where
they keep less, or far more, all steps become finer or coarser. `--steps balanced` does not run the model.
`--bits 4` or `--target-size 300KB` fixes the size instead; synthetic inputs then tell which layers need it most.

With images, rounding is calibrated: it steers errors to where the model does not notice them. `--calibration` takes
any folder of images of the kind that the model will meet. `--data` takes images that also judge the result; only
`--max-drop` needs labels. State the loss that you allow: `--max-drop 0.5` (points of top-1), `--min-agreement 99`
(percent of equal answers) or `--max-kl 0.02`. The smallest file that keeps the bound is searched, and its answers on
held-out images are shown. `--synthetic` calibrates without any images.

With many images and time, `--retrain --minutes 30` goes on from there: weights are trained to be coded in fewer bits,
and the original is the teacher. Most of `--data` then trains (or all of `--calibration`), the rest chooses and reports.
Ctrl-C keeps the best file so far; the same command goes on from the last checkpoint.

`--levels 8 --range -1,1` is the grid of the source documents: one quantizer for the whole network with step 2/2^8.
Then biases and normalisation stay exact unless `--quantize-roles` names them. Measured steps, and those of a size, fold
normalisation into the weights, round biases finely, and quantize what is added to features or joined to them, such as
positions, class tokens and vectors of layer norms. Calibrated rounding folds it too and corrects biases.

    enxuto compress model.onnx -o model.enx
    enxuto compress model.onnx --data photos.parquet --preprocess imagenet --max-drop 0.5 --report
    enxuto compress model.onnx --retrain --minutes 30 --data photos/ --preprocess imagenet --bits 1
    enxuto compress model.onnx -o small.enx --bits 2.5 --calibration photos/ --preprocess imagenet
"""


@dataclass(frozen=True, kw_only=True)
class TensorOptions:
    """What becomes of which tensors."""

    keep_exact: Annotated[
        tuple[str, ...],
        typer.Option(
            metavar="NAME,…", help="Leave the tensors of these names exact; * and ? match any text."
        ),
    ] = ()
    quantize_roles: Annotated[
        tuple[str, ...],
        typer.Option(metavar="ROLE,…", help="Quantize tensors of these roles too: bias, norm, other."),
    ] = ()
    fold_bn: Annotated[
        bool | None,
        typer.Option(
            "--fold-bn/--no-fold-bn",
            help="Fold batch normalisation into convolutions; by default where steps are measured, or a size is given.",
        ),
    ] = None
    keep_docs: Annotated[
        bool, typer.Option("--keep-docs", help="Keep documentation strings and stack traces in the graph.")
    ] = False


def run(
    source: Annotated[
        Path, typer.Argument(metavar="MODEL.onnx", help="The model; external data is found beside it.")
    ],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="The file; by default the same name with .enx. - writes to stdout.",
        ),
    ] = None,
    force: Force = False,
    size: SizeOptions,
    tensors: TensorOptions,
    calibration: CalibrationOptions,
    preprocess: PreprocessOptions,
    quantizer: SchemeOptions,
    retraining: RetrainingOptions,
    threads: Threads = 0,
    xz: Annotated[
        bool,
        typer.Option(
            "--xz/--no-xz",
            help="Measure what xz makes of the original, for the ledger; the file keeps it (10 bytes).",
        ),
    ] = True,
    json: Json = False,
) -> None:
    """Read, quantize, code, write, and show the ledger."""
    from enxuto.compression.data_free import compress
    from enxuto.compression.left_exact import describe_left_exact
    from enxuto.compression.selection import DEFAULT_ROLES, check_roles, matching_names
    from enxuto.enx.ledger import ledger_of, original_sizes
    from enxuto.onnx_model import Model
    from enxuto.opening import onnx_metadata, preprocess_of

    _refuse_contradictions(size, quantizer, tensors, calibration)
    retraining.check_fits(calibration, sized=size != SizeOptions())
    scheme, streamed = quantizer.scheme(), writes_to_stdout(output, json=json)
    model = Model.read(source, keep_docs=tensors.keep_docs)
    metadata: dict[str, Any] = onnx_metadata(model)
    stored = preprocess_of(metadata)
    if (chosen := preprocess.build(stored, model)) is not None:
        metadata["preprocess"] = chosen.to_dict()
    roles, rounding = (*DEFAULT_ROLES, *tensors.quantize_roles), quantizer.choose_rounding()
    check_roles(roles)
    matching_names(model, tensors.keep_exact)
    target = output or default_file(source.with_suffix(".enx"), force=force)
    result = judged = None
    checked: list[StepsReport] = []
    with (
        warnings_as_remarks(),
        progress_bar("measuring the original", _stages(size, calibration)) as progress,
    ):
        progress("measuring the original", 0, 1)
        metadata["original"] = original_sizes(source, xz=xz)
        if calibration.is_calibrated:
            result = calibration.compress(
                model, size, calibration.inputs_of_images(preprocess, stored, model), metadata=metadata, roles=roles,
                keep_exact=tensors.keep_exact, threads=threads, progress=progress, retrain=retraining.retrainer(),
            )  # fmt: skip
            compressed = result.outcome.model
        else:
            how: dict[str, Any] = {
                "rounding": rounding, "roles": roles, "keep_exact": tensors.keep_exact, "fold_bn": tensors.fold_bn,
                "metadata": metadata, "threads": threads, "progress": progress,
                "steps": quantizer.chosen_steps(),
            }  # fmt: skip
            if calibration.judge is not None:
                judged = _search_by_judge(model, scheme, calibration, how)
                compressed = judged.result.compressed
            else:
                compressed = compress(
                    model, scheme, bits=size.bits_per_parameter(model), tell=checked.append, **how
                )
        if judged is None and (remark := describe_left_exact(model, compressed, tensors.keep_exact)):
            warnings.warn(remark, stacklevel=1)
    written = write_to_stdout([compressed.to_bytes()]) if streamed else compressed.save(target)
    ledger = ledger_of(compressed, file_bytes=written)
    if streamed:
        note(f"wrote {written:,} B to stdout")
    elif json:
        print_json(
            _as_json(target, ledger, model, result, threads)
            | ({} if judged is None else judged.to_dict())
            | ({"steps": checked[0].to_dict()} if checked else {})
        )
    else:
        show_ledger(ledger, f"{source.name} → {target}")
        _say_if_larger(ledger, written)
        _show_remarks(model, result, checked, report=calibration.report)
        if judged is not None:
            note(judged.describe())
    violation = None if judged is None else judged.violation
    if result is not None and not result.search.fits:
        violation = result.search.violation
    if violation is not None:
        raise BudgetError(f"{target}: the bound cannot be met: {violation}; the nearest found was written")


@dataclass(frozen=True)
class _Judged:
    """What a search by a judge alone found. violation: why its bound does not hold, None where it does."""

    result: CompressionResult
    violation: str | None = None

    def describe(self) -> str:
        """Return what the judge gave, for a remark."""
        report = self.result.report
        assert report is not None, "there is a judge"
        return (
            f"the judge gives {report.judge_compressed:.6g}, and the original {report.judge_original:.6g} "
            f"({len(self.result.trials)} trials)"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-safe values."""
        report = self.result.report
        assert report is not None, "there is a judge"
        return {
            "fits": self.violation is None,
            "judge": {"original": report.judge_original, "compressed": report.judge_compressed},
            "trials": [
                {"price": one.price, "bytes": one.bytes, "fits": one.fits, "judged": None}
                for one in self.result.trials
            ],
        }


def _search_by_judge(
    model: Model, scheme: Scheme | None, calibration: CalibrationOptions, how: dict[str, Any]
) -> _Judged:
    """Search the coarsest steps that a caller's judge allows, without data."""
    from enxuto.compression.compress import compress
    from enxuto.compression.result import CompressionResult

    assert calibration.judge is not None, "only searches by a judge come here"
    try:
        found = compress(
            model,
            scheme,
            judge=load_measure(calibration.judge),
            max_judge_drop=calibration.max_judge_drop,
            **how,
        )
    except BudgetError as error:
        if not isinstance(error.result, CompressionResult):
            raise
        return _Judged(error.result, str(error).partition(": ")[2].partition(";")[0])
    return _Judged(found)


def _stages(size: SizeOptions, calibration: CalibrationOptions) -> tuple[str, ...]:
    if calibration.is_calibrated:
        return CALIBRATED_STAGES
    return PLAIN_STAGES if size == SizeOptions() and calibration.judge is None else SEARCH_STAGES


def _refuse_contradictions(
    size: SizeOptions, quantizer: SchemeOptions, tensors: TensorOptions, calibration: CalibrationOptions
) -> None:
    """Raise `UsageError` where one option takes away what another asks for."""
    if calibration.is_bounded and size != SizeOptions():
        raise UsageError(
            "a size and a bound on the answers cannot both be searched; give one of them", code="E022"
        )
    if calibration.judge is not None and size != SizeOptions():
        raise UsageError("a size and --max-judge-drop cannot both be searched; give one of them", code="E022")
    if calibration.is_bounded and calibration.data is None:
        raise UsageError("a bound on the answers needs images to judge by; give --data", code="E023")
    if calibration.is_calibrated and (quantizer != SchemeOptions() or tensors.fold_bn):
        raise UsageError(
            "calibrated rounding chooses its own quantizers and levels, and folds; leave out --quantizer and the like",
            code="E022",
        )
    if size.bits is not None and (quantizer.levels is not None or quantizer.step is not None):
        raise UsageError(
            "--bits searches the step that --levels and --step fix; give one of them", code="E022"
        )


def _as_json(
    target: Path, ledger: Ledger, model: Model, result: CalibratedResult | None, threads: int
) -> dict[str, Any]:
    from enxuto.cli.shared.calibration_results import image_counts, result_json

    search = result_json(result) if result is not None else {}
    counts = image_counts(result) if result is not None else {}
    return {
        "output": str(target), **ledger.to_dict(), "left_out_bytes": model.stripped_bytes, **search,
        "provenance": provenance(
            samples=counts.get("samples"), data=counts.get("data"), seed=counts.get("seed"), threads=threads
        ),
    }  # fmt: skip


def _say_if_larger(ledger: Ledger, size: int) -> None:
    before = next((row.bytes for row in ledger.rows if row.name == "ONNX file"), None)
    if before is not None and size > before:
        note(
            f"the file is larger than the ONNX file, {before:,.0f} B: hardly anything in that becomes shorter"
        )


def _show_remarks(
    model: Model, result: CalibratedResult | None, checked: Sequence[StepsReport], *, report: bool
) -> None:
    """Show what the ledger does not: the answers on held-out images, how steps were chosen, what was left out."""
    from enxuto.cli.shared.calibration_results import show_result
    from enxuto.cli.shared.retraining_results import show_retraining
    from enxuto.compression.left_exact import describe_without_feedback

    if result is not None:
        show_result(result, report=report)
        show_retraining(result)
        if remark := describe_without_feedback(model, result.outcome):
            note(remark)
    for report_on_steps in checked:
        note(report_on_steps.describe())
    if model.stripped_bytes:
        note(
            f"left out {model.stripped_bytes:,} B of documentation and value types "
            "(--keep-docs keeps documentation)"
        )

"""`enxuto compress`: an ONNX model becomes an `.enx` file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enxuto.cli.shared import data_options as opts
from enxuto.cli.shared import preprocessing as pre
from enxuto.cli.shared.ledger import show_ledger
from enxuto.cli.shared.outputs import default_file, refuse_terminal, to_stdout
from enxuto.cli.shared.provenance import provenance
from enxuto.cli.shared.terminal import note, print_json, progress_bar

if TYPE_CHECKING:
    from enxuto.cli.shared.calibrated import CalibratedOptions
    from enxuto.cli.shared.scheme import SchemeOptions
    from enxuto.compression.calibrated import CalibratedResult
    from enxuto.enx.ledger import Ledger
    from enxuto.onnx_model import Model

HELP = """Make an ONNX model several times smaller, without retraining; with a few images, twice as small again.

Without options, steps are chosen so that nearly all answers stay as they are (`docs/results.md` has measurements).
`--bits 4` or `--target-size 300KB` fixes the size instead.

With images, rounding is calibrated: errors are steered to where the model does not notice them. `--calibration`
takes any folder of images of the kind the model may meet; `--data` images that also judge, labelled where top-1 is
asked about. Then a loss can be
stated: `--max-drop 0.5` (points of top-1), `--min-agreement 99` (percent of equal answers), `--max-kl 0.02`. The
smallest file within it is searched; the figures shown are of images that the search did not use. `--synthetic`
calibrates without any images.

`--levels 8 --range -1 1` is the grid of the source documents: one quantizer for the whole network with step 2/2^8.
Biases and normalisation stay exact unless `--also` names them; calibrated rounding folds and corrects them.

    enxuto compress model.onnx -o model.enx
    enxuto compress model.onnx --data photos.parquet --preprocess imagenet --max-drop 0.5 --report
    enxuto compress model.onnx -o small.enx --bits 2.5 --calibration photos/ --preprocess imagenet
"""

_GRID = "Quantizer"
_CALIBRATED = "Calibrated"


def run(
    source: Annotated[
        Path, typer.Argument(metavar="MODEL.onnx", help="The model; external data is found beside it.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Default: the same name with .enx; - is stdout.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write over a file that has the default name.")
    ] = False,
    bits: Annotated[
        float | None,
        typer.Option(help="Search steps so that the file has at most this many bits per parameter."),
    ] = None,
    quantizer: Annotated[
        str,
        typer.Option(rich_help_panel=_GRID, help="dead-zone, midrise, midtread, mu-law, minifloat or half."),
    ] = "dead-zone",
    delta: Annotated[
        float | None,
        typer.Option(rich_help_panel=_GRID, help="Half-width of the zero bin in steps (dead-zone)."),
    ] = None,
    step: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=_GRID,
            help="Step; with --per tensor or channel in units of their root mean square.",
        ),
    ] = None,
    levels: Annotated[
        int | None, typer.Option(rich_help_panel=_GRID, help="i: 2^i steps over the range.")
    ] = None,
    range_: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--range",
            rich_help_panel=_GRID,
            help="Range for --levels; default -1 1, or by --per the weights' own.",
        ),
    ] = None,
    clip: Annotated[
        bool, typer.Option("--clip", rich_help_panel=_GRID, help="Limit weights to the range first.")
    ] = False,
    per: Annotated[
        str | None,
        typer.Option(rich_help_panel=_GRID, help="What shares a step: network, tensor or channel."),
    ] = None,
    mu: Annotated[float | None, typer.Option(rich_help_panel=_GRID, help="μ of mu-law; default 2^i.")] = None,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            rich_help_panel=_GRID,
            help="P,Q of minifloat: exponent and mantissa bits. With images, their format: "
            f"{opts.FORMATS_HELP}",
        ),
    ] = None,
    rounding: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_GRID,
            help="trellis: smallest, the default; nearest: the default with a setting above, but --per; "
            "rate: errors against bits.",
        ),
    ] = None,
    keep_exact: Annotated[
        list[str] | None,
        typer.Option(help="Name (with * and ?) of tensors not to quantize; may be repeated."),
    ] = None,
    also: Annotated[
        list[str] | None, typer.Option(help="Quantize these roles too: bias, norm, other; may be repeated.")
    ] = None,
    fold_bn: Annotated[
        bool, typer.Option("--fold-bn", help="Fold batch normalisation into convolutions.")
    ] = False,
    keep_docs: Annotated[
        bool, typer.Option("--keep-docs", help="Keep documentation strings and stack traces in the graph.")
    ] = False,
    preprocess: pre.Base = None,
    resize: pre.Resize = None,
    interpolation: pre.Interpolation = None,
    crop: pre.Crop = None,
    divide_by: pre.DivideBy = None,
    mean: pre.Mean = None,
    std: pre.Std = None,
    channels: pre.Channels = None,
    layout: pre.Layout = None,
    data: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_CALIBRATED,
            help="Images: some calibrate, some judge, the rest is reported on. Only --max-drop needs labels.",
        ),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_CALIBRATED,
            help="Any folder of images, or data, to calibrate by; labels unused; default: from --data.",
        ),
    ] = None,
    calibration_split: Annotated[
        str | None,
        typer.Option(rich_help_panel=_CALIBRATED, help="The part of --calibration: train, test, …."),
    ] = None,
    split: opts.Split = None,
    limit: opts.Limit = None,
    image_column: opts.ImageColumn = None,
    label_column: opts.LabelColumn = None,
    labels: opts.Labels = None,
    synthetic: Annotated[
        bool,
        typer.Option("--synthetic", rich_help_panel=_CALIBRATED, help="Calibrate by synthetic images."),
    ] = False,
    images: Annotated[
        int, typer.Option(min=2, rich_help_panel=_CALIBRATED, help="How many images calibrate.")
    ] = 256,
    max_drop: Annotated[
        float | None,
        typer.Option(rich_help_panel=_CALIBRATED, help="Points of top-1 that may be lost on --data."),
    ] = None,
    min_agreement: Annotated[
        float | None,
        typer.Option(rich_help_panel=_CALIBRATED, help="Percent of --data's answers that must stay."),
    ] = None,
    max_kl: Annotated[
        float | None,
        typer.Option(rich_help_panel=_CALIBRATED, help="Divergence of the answers on --data, in nats."),
    ] = None,
    target_size: Annotated[
        str | None, typer.Option(help="Bytes the file may take: 300KB, 1.5MB, 65536.")
    ] = None,
    report: Annotated[
        bool,
        typer.Option("--report", rich_help_panel=_CALIBRATED, help="Show what every tensor got, and trials."),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, rich_help_panel=_CALIBRATED, help="Which images do what.")] = 0,
    threads: Annotated[int, typer.Option(min=0, help="Threads; 0 takes one per processor.")] = 0,
    xz: Annotated[bool, typer.Option(help="Measure xz on the original, for the ledger.")] = True,
    json: Annotated[bool, typer.Option("--json", help="Print the ledger as JSON.")] = False,
) -> None:
    """Read, quantize, code, write, and show the ledger."""
    from enxuto.cli.evaluate import choose_preprocess
    from enxuto.cli.shared.calibrated import CALIBRATED_STAGES, CalibratedOptions
    from enxuto.cli.shared.scheme import SchemeOptions
    from enxuto.compression.plain import DEFAULT_ROLES, compress
    from enxuto.enx.ledger import ledger_of, original_sizes
    from enxuto.errors import BudgetError
    from enxuto.onnx_model import Model
    from enxuto.opening import onnx_metadata, preprocess_of
    from enxuto.rounding.plain import check_rounding

    # Images and minifloat exclude each other, so one --format serves both.
    of_images = data is not None or calibration is not None
    grid = None if of_images else format_
    options = SchemeOptions(quantizer, delta, step, levels, range_, clip, per, mu, grid)  # type: ignore[arg-type]
    scheme = options.scheme()
    how = opts.DataOptions(
        split, format_ if of_images else None, limit, seed, image_column, label_column, labels
    )
    wish = CalibratedOptions(data, calibration, synthetic, images, max_drop, min_agreement, max_kl, bits, target_size,
                             seed, how, calibration_split)  # fmt: skip
    _refuse_contradictions(options, wish, own=fold_bn or rounding is not None, report=report)
    streamed = refuse_terminal(output, json=json)
    target = output or default_file(source.with_suffix(".enx"), force=force)
    model = Model.read(source, keep_docs=keep_docs)
    known = onnx_metadata(model)
    said = pre.PreprocessOptions(
        preprocess, resize, interpolation, crop, divide_by, mean, std, channels, layout
    )
    chosen = said.build(preprocess_of(known))
    metadata: dict[str, Any] = known | ({"preprocess": chosen.to_dict()} if chosen else {})
    within = None
    wanted_roles, kept = (*DEFAULT_ROLES, *(also or ())), tuple(keep_exact or ())
    stages = CALIBRATED_STAGES if wish.wanted else ()
    with progress_bar("measuring the original", stages) as progress:
        progress("measuring the original", 0, 1)
        metadata["original"] = original_sizes(source, xz=xz)
        if wish.wanted:
            within = wish.compress(model, choose_preprocess(said, preprocess_of(known)), metadata, wanted_roles, kept,
                                   threads, progress)  # fmt: skip
            compressed = within.outcome.model
        else:
            if fold_bn:
                metadata["folded"] = True
            compressed = compress(
                model, scheme, bits=wish.bits_of(model), rounding=check_rounding(rounding or options.rounding()),
                roles=wanted_roles, keep_exact=kept, fold_bn=fold_bn, metadata=metadata, threads=threads,
                progress=progress,
            )  # fmt: skip
    written = to_stdout([compressed.to_bytes()]) if streamed else compressed.save(target)
    ledger = ledger_of(compressed, file_bytes=written)
    if streamed:
        note(f"wrote {written:,} B to stdout")
    elif json:
        print_json(_as_json(target, ledger, model, within, threads))
    else:
        show_ledger(ledger, f"{source.name} → {target}")
        _remark(model, within, report=report)
    if within is not None and not within.search.fits:
        raise BudgetError(
            f"{target}: the bound cannot be met: {within.search.violation}; the nearest found was written"
        )


def _refuse_contradictions(
    options: SchemeOptions, wish: CalibratedOptions, *, own: bool, report: bool
) -> None:
    """Raise `UsageError` where one option takes away what another asks for."""
    from enxuto.cli.shared.scheme import SchemeOptions
    from enxuto.errors import UsageError

    if wish.wanted and (options != SchemeOptions() or own):
        raise UsageError(
            "calibrated rounding chooses its own quantizers and levels, and folds; leave out --quantizer and the like"
        )
    if wish.bits is not None and (options.levels is not None or options.step is not None):
        raise UsageError("--bits searches the step that --levels and --step fix; give one of them")
    if report and not wish.wanted:
        raise UsageError("--report is of calibrated rounding; give --data, --calibration or --synthetic")


def _as_json(
    target: Path, ledger: Ledger, model: Model, within: CalibratedResult | None, threads: int
) -> dict[str, Any]:
    from enxuto.cli.shared.calibrated import calibrated_json, calibrated_parts

    found = calibrated_json(within) if within is not None else {}
    parts = calibrated_parts(within) if within is not None else {}
    return {
        "output": str(target), **ledger.to_dict(), "left_out_bytes": model.stripped_bytes, **found,
        "provenance": provenance(
            samples=parts.get("samples"), data=parts.get("data"), seed=parts.get("seed"), threads=threads
        ),
    }  # fmt: skip


def _remark(model: Model, within: CalibratedResult | None, *, report: bool) -> None:
    """Say what the ledger does not: the answers on other images, and what was left out."""
    from enxuto.cli.shared.calibrated import show_calibrated

    if within is not None:
        show_calibrated(within, report=report)
    if model.stripped_bytes:
        note(
            f"left out {model.stripped_bytes:,} B of documentation and value types "
            "(--keep-docs keeps documentation)"
        )

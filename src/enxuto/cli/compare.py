"""`enxuto compare`: two models side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enxuto.cli.shared.answers import check_class_scores, kind_of_scores, sample_batch, warn_of_other_outputs
from enxuto.cli.shared.array_options import preprocess_given, refuse_options_of_images
from enxuto.cli.shared.common_options import All, Json, Threads
from enxuto.cli.shared.data_options import DATA, DataOptions, match_labels
from enxuto.cli.shared.judging import (
    Feedback,
    Outputs,
    image_arrays,
    open_for_outputs,
    show_outputs,
)
from enxuto.cli.shared.preprocess_options import PreprocessOptions
from enxuto.cli.shared.provenance import provenance
from enxuto.cli.shared.terminal import note, print_json, progress_bar, say, show_table, warn
from enxuto.errors import DataError, ModelError, UsageError
from enxuto.tables import as_percent

if TYPE_CHECKING:
    from enxuto.compare import AnswerComparison, LayerDifference
    from enxuto.onnx_model import Model

HELP = """Compare two models, such as an original and its `.enx`: weights, layer outputs, answers, confused classes.

Errors of weights and of layers' outputs are signal-to-noise ratios in dB (20 dB: an error of a tenth; 60 dB: of a
thousandth). `--sheet` draws the images whose answer changed, with both answers. With arrays by input name as data
(.npz, a folder of .npz or .npy, .jsonl, Parquet), or with `--outputs`, all outputs are compared and nothing else.

    enxuto compare model.onnx model.enx --data test.parquet --sheet changed.png
    enxuto compare model.onnx small.onnx --data photos/ --preprocess imagenet --limit 500 --all
    enxuto compare model.onnx model.enx        # weights alone
"""

_STAGES = ("comparing answers", "comparing layers")
_WORST = 15
_KINDS = 12


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """What is compared and shown."""

    layer_images: Annotated[
        int, typer.Option(min=0, metavar="N", help="Compare layers' outputs on N images; 0 on none.")
    ] = 64
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the images whose answer changed into a PNG.")
    ] = None
    sheet_images: Annotated[int, typer.Option(min=1, metavar="N", help="Draw at most N images into it.")] = 60
    outputs: Outputs = ()
    feedback: Feedback = ()
    all: All = False
    threads: Threads = 0
    json: Json = False


def run(
    first: Annotated[Path, typer.Argument(metavar="A", help="An ONNX model or .enx file: the original.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="The model that is compared with it.")],
    image_options: DataOptions,
    preprocess: PreprocessOptions,
    options: CompareOptions,
    data: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=DATA,
            metavar="DATA",
            help="Data file or folder; without it, weights alone are compared.",
        ),
    ] = None,
) -> None:
    """Load models and images, compare, show."""
    if data is None:
        _compare_weights(first, second, options)
        return
    from enxuto.compare import compare_answers, compare_layers, contact_sheet
    from enxuto.opening import load_with_metadata, output_kinds_of, preprocess_of
    from enxuto.runtime import Runner

    threads, images, sheet = options.threads, options.layer_images, options.sheet
    if _shows_outputs(first, second, data, image_options, preprocess, options):
        return
    dataset = image_options.open(data)
    (one, metadata), (other, others_metadata) = load_with_metadata(first), load_with_metadata(second)
    chosen = preprocess.choose(preprocess_of(metadata), one, beside=(second, preprocess_of(others_metadata)))
    sample = sample_batch(dataset, chosen)
    (kind, reason), (other_kind, other_reason) = (
        kind_of_scores(model, sample, threads) for model in (one, other)
    )
    try:
        check_class_scores(one, str(first))
        dataset, _ = match_labels(dataset, one, metadata, image_options.labels)
    except (DataError, ModelError) as error:
        if reason is None:
            raise
        note(f"outputs are compared, and nothing with labels: {error}")
        show_outputs(
            second, one, other, image_arrays(dataset, chosen, one), (), threads=threads, json=options.json,
            kinds=output_kinds_of(metadata) | output_kinds_of(others_metadata),
        )  # fmt: skip
        return
    with progress_bar("comparing answers", _STAGES) as progress:
        answers = compare_answers(
            Runner(one, threads=threads).scores, Runner(other, threads=threads).scores, dataset, preprocess=chosen,
            first_score_kind=kind, second_score_kind=other_kind,
            progress=lambda done, total: progress("comparing answers", done, total),
        )  # fmt: skip
        remarks = warn_of_other_outputs({str(first): reason, str(second): other_reason})
        if remarks:
            answers = replace(answers, kl=None)
        try:
            layers = compare_layers(
                one, other, dataset if images else None, chosen, images=images, threads=threads,
                progress=lambda done, total: progress("comparing layers", done, total),
            )  # fmt: skip
        except ModelError as error:
            layers = []
            warn(str(error))
    _warn_of_chance(answers, one, str(first))
    drawn = None
    if sheet is not None:
        titles = first.name, second.name
        drawn = contact_sheet(dataset, answers, sheet, names=titles, max_images=options.sheet_images)
    if options.json:
        values = answers.to_dict()
        made = provenance(
            samples=values["samples"], seed=values["seed"], data=values["data_hash"], threads=threads
        )
        print_json({"first": str(first), "second": str(second), "preprocess": chosen.to_dict(),
                    "images_for_outputs": min(images, len(dataset)), "layers": [layer.to_dict() for layer in layers],
                    **values, "remarks": remarks, "provenance": made})  # fmt: skip
        return
    _show_answers(answers, f"A: {first.name}, B: {second.name}")
    _show_changes(answers, every=options.all)
    if layers:
        _show_layers(layers, min(images, len(dataset)), every=options.all)
    if left_out := _unmatched(one, other):
        note(f"not compared, as only one model has a weight of this name and shape: {left_out}")
    if drawn is not None:
        note(f"{sheet}: {drawn} of {len(answers.changed_images())} images whose answer changed")


def _compare_weights(first: Path, second: Path, options: CompareOptions) -> None:
    """Compare without running the models."""
    from enxuto.compare import compare_layers
    from enxuto.opening import load

    if options.sheet is not None:
        raise UsageError("--sheet draws images whose answer changed; give --data", code="E023")
    one, other = load(first), load(second)
    layers = compare_layers(one, other, threads=options.threads)
    if options.json:
        print_json({"first": str(first), "second": str(second), "layers": [layer.to_dict() for layer in layers],
                    "provenance": provenance(threads=options.threads)})  # fmt: skip
        return
    _show_layers(layers, 0, every=options.all)
    if left_out := _unmatched(one, other):
        note(f"not compared, as only one model has a weight of this name and shape: {left_out}")
    note("only weights were compared; --data compares answers too")


def _shows_outputs(
    first: Path,
    second: Path,
    data: Path,
    image_options: DataOptions,
    preprocess: PreprocessOptions,
    options: CompareOptions,
) -> bool:
    """Compare all outputs and show them, where data are named arrays or what outputs are is said."""
    from enxuto.opening import load_with_metadata, output_kinds_of, preprocess_of

    opened = open_for_outputs(first, data, options.outputs, options.feedback, image_options)
    if opened is None:
        return False
    model, metadata, samples = opened
    prepared = {} if samples is None else preprocess_given(preprocess)
    refuse_options_of_images(
        {"sheet": options.sheet, "labels": image_options.labels, **prepared},
        None if samples is None else data,
    )
    other, others_metadata = load_with_metadata(second)
    if samples is None:
        beside = (second, preprocess_of(others_metadata))
        chosen = preprocess.choose(preprocess_of(metadata), model, beside=beside)
        samples = image_arrays(image_options.open(data, labelled=False), chosen, model)
    show_outputs(
        second, model, other, samples, options.outputs, threads=options.threads, json=options.json,
        kinds=output_kinds_of(metadata) | output_kinds_of(others_metadata),
    )  # fmt: skip
    return True


def _warn_of_chance(answers: AnswerComparison, model: Model, name: str) -> None:
    """Warn where the first model's answers have nothing to do with the labels."""
    from enxuto.metrics import compare_with_chance
    from enxuto.opening import class_count

    chance = compare_with_chance(
        answers.first,
        answers.expected,
        class_count(model) or int(max(answers.first.max(), answers.expected.max())) + 1,
    )
    if not chance.better:
        warn(
            f"{name}: top-1, {chance.right} of {chance.samples}, is no better than chance "
            f"({as_percent(chance.expected, 1)}): "
            "are the labels those of the model, in its order, and the preprocessing its own?"
        )
    elif chance.order_doubt is not None:
        warn(f"{name}: {chance.order_doubt}")


def _show_answers(answers: AnswerComparison, title: str) -> None:
    values = answers.to_dict()
    counts = answers.counts
    least, most = (100 * end for end in answers.accuracy_drop_interval)
    rows = [
        ("samples", f"{values['samples']:,} (seed {values['seed']}, data {values['data_hash']})"),
        ("top-1 of A", as_percent(values["top1"][0])),
        ("top-1 of B", as_percent(values["top1"][1])),
        (
            "lost by B",
            f"{100 * answers.accuracy_drop:+.2f} points (95 % interval {least:+.2f} to {most:+.2f})",
        ),
        ("right in both", f"{counts['both']:,}"),
        ("right in A only", f"{counts['only first']:,}"),
        ("right in B only", f"{counts['only second']:,}"),
        ("wrong in both", f"{counts['neither']:,}"),
        ("chance of such a difference", f"{answers.p_value:.3g} (McNemar, exact)"),
        ("same answers", as_percent(answers.agreement)),
    ]
    if answers.kl is not None:
        kinds = " and ".join(dict.fromkeys(answers.scores_are))
        rows.append(("KL of B from A", f"{answers.kl:.3g} nats (scores are {kinds})"))
    show_table(title, {"measure": "left", "value": "left"}, rows)


def _show_changes(answers: AnswerComparison, *, every: bool) -> None:
    """Changed answers by kind, and cells of the confusion matrix."""
    changes, cells = answers.changes(), answers.confusions()
    most = None if every else _KINDS
    if changes:
        show_table(
            "changed answers",
            {"is": "left", "A says": "left", "B says": "left", "images": "right"},
            [
                (
                    answers.name(one.expected),
                    answers.name(one.first),
                    answers.name(one.second),
                    str(one.count),
                )
                for one in changes[:most]
            ],
            caption=None
            if most is None or len(changes) <= most
            else f"the {most} most frequent of {len(changes)} kinds; --all shows all",
        )
        show_table(
            "confusion",
            {"is": "left", "called": "left", "by A": "right", "by B": "right", "difference": "right"},
            [
                (answers.name(one.expected), answers.name(one.answered), str(one.first), str(one.second),
                 f"{one.second - one.first:+d}")
                for one in cells[:most]
            ],
            caption=None if most is None or len(cells) <= most else f"the {most} largest of {len(cells)} differences",
        )  # fmt: skip


def _show_layers(layers: list[LayerDifference], images: int, *, every: bool) -> None:
    """Weights that differ: the worst by the output of their layer, or all in the order of the model."""
    differ = [layer for layer in layers if layer.changed]
    if not differ:
        say("all weights are equal")
        return
    shown = differ
    if not every:
        shown = sorted(differ, key=lambda layer: min(layer.weight_snr, layer.output_snr or math.inf))[:_WORST]
    show_table(
        "weights, and outputs of their layers: signal over error in dB",
        {
            "weight": "left", "role": "left", "shape": "left", "weight, dB": "right", "largest change / rms": "right",
            "changed": "right", "output, dB": "right",
        },
        [
            (
                layer.name, layer.role, "×".join(map(str, layer.shape)), _decibel(layer.weight_snr),
                f"{layer.largest / layer.rms:.3g}" if layer.rms else "–", as_percent(layer.changed, 1),
                "–" if layer.output_snr is None else _decibel(layer.output_snr),
            )
            for layer in shown
        ],
        caption=_count_layers(len(shown), len(differ), len(layers))
        + (f"Outputs of layers on {images} images." if images else "Outputs of layers need --data."),
        give_way=("role", "shape", "largest change / rms", "changed"),
    )  # fmt: skip


def _count_layers(shown: int, differ: int, layers: int) -> str:
    """Say how many weights differ, and which of them are shown."""
    equal = f"{differ} weights differ, {layers - differ} are equal. "
    return equal if shown == differ else f"{equal}Shown are the {shown} worst; --all shows all. "


def _decibel(ratio: float) -> str:
    return "equal" if math.isinf(ratio) and ratio > 0 else f"{ratio:.1f}"


def _unmatched(first: Model, second: Model) -> str:
    """Names of weights that cannot be compared, some of them."""
    apart = [
        name
        for model, rest in ((first, second), (second, first))
        for name in model.weight_names
        if name not in rest or rest.info(name).shape != model.info(name).shape
    ]
    return ", ".join(apart[:5]) + (f" and {len(apart) - 5} more" if len(apart) > 5 else "")

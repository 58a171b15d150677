"""What `compress` shows and prints of calibrated rounding: trials, answers on held-out images, tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from enxuto.cli.shared.judging import output_rows, right_rows
from enxuto.cli.shared.terminal import note, show_table, warn
from enxuto.tables import as_percent

if TYPE_CHECKING:
    from enxuto.compression.calibrated import CalibratedResult
    from enxuto.compression.judge import Judgement, JudgeScore
    from enxuto.compression.search import Trial

__all__ = ["describe_answers", "image_counts", "result_json", "say_trial", "show_result"]

_BAR = 8  # characters


def say_trial(trial: Trial, most: int | None = None) -> None:
    """Write on stderr what a trial of the search came to, in a line of 80 columns. most: the bytes asked for."""
    judged = "" if trial.judgement is None else "  " + describe_answers(trial.judgement)
    if trial.score is not None:
        judged += f"  judge {trial.score.compressed:.6g} of {trial.score.original:.6g}"
    end = "fits" if trial.fits else "too lossy"
    if most is not None and trial.bytes > most:
        end = f"larger than the {most:,} B asked for"
    note(f"tried {trial.bytes:,} B{judged}  {end}")


def describe_answers(judgement: Judgement) -> str:
    """Return the measures of a judgement in a few words."""
    if judgement.values_loss is not None or judgement.agreement is None:
        return judgement.describe()
    top = ""
    if judgement.drop is not None:
        top = f"top-1 {judgement.top1:.2f} of {judgement.original_top1:.2f} %, "
    return f"{top}{judgement.agreement:.2f} % same, KL {judgement.kl:.2g}"


def result_json(result: CalibratedResult) -> dict[str, Any]:
    """Return what the search found, for --json."""
    search = result.search
    return {
        "price": result.outcome.price,
        "fits": search.fits,
        "broken": search.violation,
        "calibration": result.calibration.provenance(result.outcome.price),
        "scores_are": result.calibration.answers.kind,
        "outputs_are": result.calibration.judged_outputs.describe(),
        "reported": None if result.held_out is None else result.held_out.to_dict(),
        "missed": result.held_out_violation,
        **(
            {}
            if search.score is None
            else {"judge": {"original": search.score.original, "compressed": search.score.compressed}}
        ),
        **({} if result.unbounded is None else {"doubt": result.unbounded}),
        **({} if result.retrained is None else {"retrained": retraining_json(result)}),
        "trials": [
            {
                "price": trial.price,
                "bytes": trial.bytes,
                "fits": trial.fits,
                "judged": None if trial.judgement is None else trial.judgement.to_dict(),
            }
            for trial in search.trials
        ],
        "layers": result.outcome.to_list(),
    }


def retraining_json(result: CalibratedResult) -> dict[str, Any]:
    """Return what retraining found, and how the calibrated file does on the held-out images, for --json."""
    assert result.retrained is not None, "there was retraining"
    before = result.before_retraining
    return {
        **result.retrained.to_dict(),
        "calibrated_reported": None if before is None else before.to_dict(),
    }


def image_counts(result: CalibratedResult) -> dict[str, Any]:
    """Return how many images did what (`samples`), their hashes (`data`), and the `seed` that split them."""
    judged = next((trial.judgement for trial in result.search.trials if trial.judgement is not None), None)
    if judged is None and result.retrained is not None:
        judged = result.retrained.start.judgement  # the images that choose among files
    parts = {"judging": judged, "reporting": result.held_out}
    trained = {} if result.trained_on is None else {"training": result.trained_on}
    measured = {name: part for name, part in parts.items() if part is not None}
    calibration = result.calibration
    return {
        "samples": {
            "calibration": len(calibration.samples),
            **{name: count for name, (count, _) in trained.items()},
            **{name: part.samples for name, part in measured.items()},
        },
        "data": {
            "calibration": calibration.source,
            **{name: digest for name, (_, digest) in trained.items()},
            **{name: part.data_hash for name, part in measured.items()},
        },
        "seed": calibration.seed,
    }


def show_result(result: CalibratedResult, *, report: bool) -> None:
    """Write the answers on held-out images and, if asked, what every tensor got."""
    judgement = result.held_out
    if judgement is not None:
        show_table(
            f"on {judgement.samples:,} held-out {_noun(judgement)}",
            {"measure": "left", "value": "left"},
            [
                *right_rows(judgement),
                *output_rows(judgement),
                *_judge_rows(result.search.score),
            ],
            caption=f"data {judgement.data_hash}, seed {result.calibration.seed}",
        )
    elif result.search.score is not None:
        show_table("the judge", {"measure": "left", "value": "left"}, _judge_rows(result.search.score))
    if report:
        _show_tensors(result.outcome.to_list())
    answers = result.calibration.answers
    judged = result.calibration.judged_outputs
    for remark in dict.fromkeys((*judged.remarks, *result.calibration.doubts)):
        (warn if remark in result.calibration.doubts else note)(remark)
    remark = f"the model's outputs were taken for {result.calibration.judged_outputs.describe()}"
    if judgement is None and not answers.operator and answers.kind == "logits":
        remark += "; where they are other values, say so with --outputs NAME=values"
    note(remark)
    if judgement is not None and result.held_out_violation is not None:
        warn(
            f"on these {_noun(judgement)} {result.held_out_violation}. The bound holds on those that judged the "
            "search, perhaps by luck; give more of them, or a tighter bound"
        )
    if result.unbounded is not None:
        warn(result.unbounded)
    if result.by_chance is not None and not result.by_chance.better:
        chance = result.by_chance
        warn(
            f"the original's top-1, {chance.right} of {chance.samples}, is no better than chance "
            f"({as_percent(chance.expected, 1)}): are the labels those of the model, in its order, and the "
            "preprocessing its own?"
        )
    elif result.by_chance is not None and result.by_chance.order_doubt is not None:
        warn(f"the original: {result.by_chance.order_doubt}")
    if result.calibration.reason is not None:
        note(f"rounding treated outputs as unrelated: {result.calibration.reason}")


def _noun(judgement: Judgement) -> str:
    return "samples" if judgement.outputs else "images"


def _judge_rows(score: JudgeScore | None) -> list[tuple[str, str]]:
    """Return what a caller's judge gives the original and the file; nothing where none bounded the search."""
    if score is None:
        return []
    return [
        ("judge of the original", f"{score.original:.6g}"),
        ("judge of the file", f"{score.compressed:.6g} ({score.compressed - score.original:+.6g})"),
    ]


def _show_tensors(rows: Sequence[Mapping[str, Any]]) -> None:
    """Write what every tensor got; sensitivities with bars as long as their logarithms."""
    known = [math.log(row["sensitivity"]) for row in rows if row["sensitivity"]]
    low, high = min(known, default=0.0), max(known, default=0.0)

    def sensitivity_text(value: float | None) -> str:
        if not value:
            return ""
        share = (math.log(value) - low) / (high - low) if high > low else 1.0
        return f"{value:>8.2g} {'█' * (1 + round((_BAR - 1) * share))}"

    show_table(
        "tensors",
        {
            "tensor": "left", "weights": "right", "step": "right", "bits": "right", "of the file": "right",
            "of the loss": "right", "sensitivity (bars: log)": "left", "rounding": "left",
        },
        [
            (
                row["name"], f"{row['elements']:,}", f"{row['step']:.3g}", f"{row['bits']:.2f}",
                as_percent(row['share_of_file'], 1),
                "" if row["share_of_loss"] is None else as_percent(row['share_of_loss'], 1),
                sensitivity_text(row["sensitivity"]), row["method"],
            )
            for row in rows
        ],
        give_way=("rounding", "sensitivity (bars: log)", "weights", "of the loss", "step"),
    )  # fmt: skip

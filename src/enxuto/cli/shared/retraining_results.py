"""What `compress --retrain` shows: files made on the way, and the measures of calibrated, retrained and control."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enxuto.cli.shared.calibration_results import describe_answers
from enxuto.cli.shared.terminal import note, show_table
from enxuto.tables import as_percent

if TYPE_CHECKING:
    from enxuto.compression.calibrated import CalibratedResult
    from enxuto.compression.judge import Judgement
    from enxuto.compression.retrainer import RemovedFilters, RetrainingCheck

__all__ = ["say_check", "show_retraining"]


def say_check(check: RetrainingCheck) -> None:
    """Write on stderr what a file made while training came to."""
    fits = "fits" if check.fits else "exceeds a bound"
    if check.coming_down and not check.fits:
        fits = "on its way down" if check.images else "from here training comes down to the size asked for"
    note(
        f"after {check.images:,} images, {check.seconds / 60:.1f} min: {check.bytes:,} B  "
        f"{describe_answers(check.judgement)}  {fits}"
    )


def show_retraining(result: CalibratedResult) -> None:
    """Write the measures of the calibrated and of the retrained file on the held-out images, side by side."""
    retrained, before, after = result.retrained, result.before_retraining, result.held_out
    if retrained is None or before is None or after is None:
        return
    rows = [("calibrated", f"{retrained.start.bytes:,}", *_measures(before))]
    if retrained.improved:
        rows.append(("retrained", f"{retrained.best.bytes:,}", *_measures(after)))
    show_table(
        f"on {after.samples:,} held-out images",
        {"file": "left", "bytes": "right", "top-1": "right", "same answers": "right", "KL or SNR": "right"},
        rows,
        caption=_length(result),
    )
    if retrained.control is not None:
        control = retrained.control
        top1 = "" if control.top1 is None else f", top-1 {control.top1:.2f} %"
        same = "" if control.agreement is None else f"{control.agreement:.2f} % same answers, "
        note(
            f"control, trained as long without rounding, on the images that choose: {same}KL {control.kl:.3g}{top1}: "
            "so much the training alone changes"
        )
    if retrained.label_weight:
        note(
            f"labels of the images that train count {as_percent(retrained.label_weight, 0)} of the loss: right answers "
            "may take the place of the original's"
        )
    if retrained.removed is not None:
        note(_removed(retrained.removed))
    if (lucky := retrained.not_taken) is not None:
        note(
            f"the best file of the training loses {lucky.loss:.4g} on the {lucky.judgement.samples:,} images that "
            f"choose, the calibrated one {retrained.start.loss:.4g}: no more than chance, so that the calibrated one "
            "was kept; more images would tell, or train longer"
        )
    elif not retrained.improved:
        note("retraining found no better file within the bound; the calibrated one was kept")
    if retrained.ended:
        note(f"training ended early: {retrained.ended}; the best file until then was taken")


def _removed(removed: RemovedFilters) -> str:
    kept = ""
    if removed.kept_for_constants:
        kept = f"; {removed.kept_for_constants} more are zero, but their biases are read as constants"
    if removed.reason:
        return removed.reason
    if not removed.filters:
        return f"no filter of {removed.of:,} could go{kept}"
    share = removed.macs_after / max(1, removed.macs_before)
    return (
        f"{removed.filters:,} of {removed.of:,} filters were zero and left the network: {removed.macs_before:,} → "
        f"{removed.macs_after:,} multiplications ({as_percent(share, 1)}){kept}"
    )


def _length(result: CalibratedResult) -> str:
    retrained = result.retrained
    assert retrained is not None, "only retraining has a length"
    times = retrained.halvings
    gentler = (
        f"; its rate was halved {times} time{'s'[: times > 1]}, as it made the network worse" if times else ""
    )
    return (
        f"{retrained.images:,} images seen ({retrained.epochs:.3g} epochs) in {retrained.seconds / 60:.1f} min; "
        f"--epochs {retrained.planned_epochs:.6g} repeats it{gentler}"
    )


def _measures(judgement: Judgement) -> tuple[str, str, str]:
    top1 = "–" if judgement.top1 is None else f"{judgement.top1:.2f} %"
    same = "–" if judgement.agreement is None else f"{judgement.agreement:.2f} %"
    last = f"{judgement.kl:.3g} nats" if judgement.snr_db is None else f"{judgement.snr_db:.2f} dB"
    return top1, same, last

"""Which kinds of outputs a file keeps, so that it is judged later as it was made, whatever samples are seen then."""

from __future__ import annotations

from enxuto.calibration.output_kinds import says_values
from enxuto.calibration.outputs import JudgedOutputs, OutputChoices
from enxuto.metrics.losses import OutputLoss
from enxuto.onnx_model import Model, output_ending
from enxuto.onnx_model.carried import KINDS_KEY

__all__ = ["kinds_to_keep"]


def kinds_to_keep(
    model: Model, judged_outputs: JudgedOutputs, choices: OutputChoices | None = None, rows: str = ""
) -> dict[str, str]:
    """Return kinds by output: those asked for, those that a bound decided, and those that the graph does not tell.

    Of a model that carries kinds already, all; of one with several outputs, those that samples told, as others may tell
    otherwise.

    Args:
        model: the original.
        judged_outputs: how its outputs were judged.
        choices: what was asked for.
        rows: what a bound made of rows of numbers; "" where it decided nothing.
    """
    outputs = {item.name: item for item in model.proto.graph.output}
    kept = {name: kind for name, (kind, _) in (choices or {}).items() if kind}
    # What another calibration wrote into the graph counts no longer.
    said = any(prop.key == KINDS_KEY for prop in model.proto.metadata_props)
    for loss in judged_outputs.losses:
        if loss.name not in outputs or loss.name in kept:
            continue
        shape = outputs[loss.name].type.tensor_type
        rank = len(shape.shape.dim) if shape.HasField("shape") else None
        told = _by_graph(model, loss, rank)
        guessed = told is None and says_values(loss.name) is None
        decided = guessed and (bool(rows) or len(outputs) > 1)
        if said or decided or loss.kind != (told or _by_rank(loss, rank)):
            kept[loss.name] = loss.kind
    return kept


def _by_graph(model: Model, loss: OutputLoss, rank: int | None) -> str | None:
    """Return the kind that operators at an output's end tell; None where they do not."""
    end = output_ending(model, loss.name)
    if loss.operator in ("ArgMax", "ArgMin") or end.kind in ("probabilities", "log-probabilities"):
        return "classes"
    if end.kind == "squashed":
        return "binary" if "Sigmoid" in end.operator else "values"
    return "values" if end.kind != "open" or (rank is not None and rank != 2) else None


def _by_rank(loss: OutputLoss, rank: int | None) -> str:
    """Return what a row of numbers is without a look at them; of unknown shapes, what it was taken for."""
    if rank is None:
        return loss.kind
    return "values" if says_values(loss.name) else "classes"

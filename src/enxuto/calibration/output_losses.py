"""What is lost of one output of a model, as its graph, shapes and values say, and models that give what is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from enxuto.calibration.measured_model import measured_model
from enxuto.calibration.output_kinds import (
    behind_arg_max,
    class_axis,
    compacts,
    kind_of_output,
    says_values,
)
from enxuto.calibration.sensitivity import run_groups
from enxuto.calibration.whole_numbers import behind_whole_numbers
from enxuto.data.samples import Group
from enxuto.errors import DataError, EnxutoError
from enxuto.metrics.divergence import log_probabilities
from enxuto.metrics.losses import OutputLoss, decibels, output_variance, variance_within_columns
from enxuto.onnx_model import Model, output_ending

__all__ = [
    "COLUMNS_APART",
    "computed_outputs",
    "guess_remark",
    "listed_outputs",
    "output_loss",
    "unpeeled",
]

COLUMNS_APART = "its columns differ from one another far more than each does over samples"
"""In remarks on outputs whose variance is that of offsets."""

_SAME = 2e-2  # of a probability
_SAME_COLUMNS = 1e-12  # of the variance of all values: within columns that is rounding
_APART = 4.0  # times the variance within columns: 6 dB
_DEEPEST = 64  # nodes between a sequence and its tensors


def computed_outputs(model: Model) -> Model:
    """Return the model without outputs that are weights given out as they are; itself where there are none.

    In place of an output that is a sequence, an optional or a map, it gives the tensors that this is made of.
    """
    names = [item.name for item in model.proto.graph.output]
    listed = listed_outputs(model)
    found = [value for name in names for value in listed.get(name, (name,))]
    return measured_model(model, list(dict.fromkeys(name for name in found if name not in model)) or names)


def listed_outputs(model: Model) -> dict[str, tuple[str, ...]]:
    """Return the tensors behind each output that is none itself; nothing where they are not known."""
    maker = {value: node for node in model.proto.graph.node for value in node.output if value}

    def tensors(name: str, depth: int) -> list[str]:
        node = maker.get(name)
        if node is None or depth > _DEEPEST:
            return []
        if node.op_type in ("SplitToSequence", "ZipMap"):
            return [node.input[0]]
        if node.op_type == "SequenceConstruct":
            return list(node.input)
        if node.op_type == "SequenceInsert":
            return [*tensors(node.input[0], depth + 1), node.input[1]]
        if node.op_type == "Optional" and node.input:
            return tensors(node.input[0], depth + 1) or [node.input[0]]
        return tensors(node.input[0], depth + 1) if node.op_type == "Identity" else []

    return {
        item.name: tuple(tensors(item.name, 0))
        for item in model.proto.graph.output
        if item.type.WhichOneof("value") in ("sequence_type", "optional_type", "map_type")
    }


def output_loss(
    model: Model,
    name: str,
    asked: str,
    groups: Sequence[Group],
    pieces: list[np.ndarray],
    threads: int,
    labelled: bool,
    rows: str,
    *,
    whole: bool = False,
    value: str = "",
) -> tuple[OutputLoss | str, str]:
    """Return the loss of an output, or why it has none, and a remark on what it was taken for (or none).

    whole: whether real numbers behind whole ones are judged in their place. value: that is judged; by default the
    output.
    """
    value = value or name
    # A sample for which an output is empty tells nothing of it.
    filled = [(group, piece) for group, piece in zip(groups, pieces, strict=True) if piece.size]
    if not filled:
        return "it is empty for all samples", ""
    if any(piece.size % group.rows for group, piece in filled):
        return "its shape follows values", ""
    groups, pieces = [group for group, _ in filled], [piece for _, piece in filled]
    if pieces[0].dtype.kind not in "fV":
        peeled = behind_arg_max(model, name)
        if peeled is not None and asked not in ("values", "binary"):
            return OutputLoss(name, "classes", peeled[0], axis=peeled[1], operator="ArgMax"), ""
        if (whole or asked) and peeled is None:
            return _behind(model, name, asked, groups, pieces, threads, labelled, rows)
        return f"it holds {pieces[0].dtype.name}, not real numbers", ""
    if compacts(model, value):
        return "its shape follows values", ""
    for piece in pieces:
        if not np.isfinite(piece.astype(np.float64)).all() and not np.isneginf(piece).any():
            raise DataError(
                f"the original gives NaN or infinity in output {name!r} for some samples; look at it first",
                code="E035",
            )
    end = output_ending(model, value)
    kind, remark = asked, ""
    if not kind:
        kind, remark = kind_of_output(
            model, name, end, groups, pieces, labelled=labelled, rows=rows, value=value
        )
    if kind == "classes":
        return _classes(model, value, groups, pieces, threads), remark
    if kind == "binary":
        lowest, highest = min(float(p.min()) for p in pieces), max(float(p.max()) for p in pieces)
        shares = lowest >= 0 and highest <= 1
        operator = end.operator if end.kind == "squashed" else ""
        return OutputLoss(
            name, "binary", value, "probabilities" if shares else "logits", operator=operator
        ), ""
    return _values(name, [(p, group.count) for p, group in zip(pieces, groups, strict=True)], remark)


def _behind(
    model: Model,
    name: str,
    asked: str,
    groups: Sequence[Group],
    pieces: list[np.ndarray],
    threads: int,
    labelled: bool,
    rows: str,
) -> tuple[OutputLoss | str, str]:
    """Return what `output_loss` does for real numbers behind an output of whole ones, which are judged in its place."""
    found = behind_whole_numbers(model, name, groups, threads)
    if found is None or (found.least is not None and asked in ("values", "binary")):
        return f"it holds {pieces[0].dtype.name}, not real numbers", ""
    if found.least is not None:
        return OutputLoss(
            name, "classes", found.value, axis=found.least, operator=found.operator, least=True
        ), ""
    made, remark = output_loss(
        model, name, asked, groups, found.pieces, threads, labelled, rows, value=found.value
    )
    if isinstance(made, str):
        return made, remark
    behind = (
        f"output {name!r} holds {pieces[0].dtype.name}; the values behind its {found.operator} are judged"
    )
    made = replace(made, name=name, value=found.value if made.value == name else made.value)
    return made, f"{behind}; {remark}" if remark else behind


def _values(name: str, pieces: Sequence[tuple[np.ndarray, int]], remark: str) -> tuple[OutputLoss | str, str]:
    """Return the loss of an output of values, or why it has none, and a remark."""
    if any(np.isneginf(piece).any() for piece, _ in pieces):
        return "it holds infinity for some samples", ""
    scale, within = output_variance(pieces), variance_within_columns(pieces)
    if not scale > 0 or (within is not None and within <= _SAME_COLUMNS * scale):
        return "it is the same for all samples", ""
    if within is not None and scale > _APART * within:
        apart = (
            f"output {name!r}: {COLUMNS_APART} (variance "
            f"{scale:.3g} of all, {within:.3g} within a column), and dB count that as signal: take "
            f"{decibels(within / scale):.0f} dB more, or bound columns by a judge of your own"
        )
        remark = f"{remark}; {apart}" if remark else apart
    return OutputLoss(name, "values", name, scale=scale), remark


def guess_remark(loss: OutputLoss) -> list[str]:
    """Return the remark on an output that is taken for scores of classes though neither its graph nor name says so."""
    if loss.kind != "classes" or loss.operator or says_values(loss.name) is not None:
        return []
    return [
        f"output {loss.name!r} looks like scores of classes; outputs={{{loss.name!r}: 'values'}} says otherwise"
    ]


def _classes(
    model: Model, name: str, groups: Sequence[Group], pieces: list[np.ndarray], threads: int
) -> OutputLoss | str:
    """Return the loss of an output of classes: by its logits where a softmax is peeled, else by itself."""
    end = output_ending(model, name)
    operator = "" if end.kind == "open" else end.operator
    flat = all(
        piece.size // group.count == piece.shape[-1] for piece, group in zip(pieces, groups, strict=True)
    )
    if end.kind not in ("probabilities", "log-probabilities"):
        wide = {i for piece in pieces for i, size in enumerate(piece.shape) if i and size > 1}
        axis = None if flat else min(wide) if len(wide) == 1 else class_axis(model, name, pieces[0].ndim)
        if any(piece.ndim == 0 or piece.shape[-1 if axis is None else axis] < 2 for piece in pieces):
            return "it has a single number where classes have one each"
        return OutputLoss(name, "classes", name, axis=axis, operator=operator)
    shares = [np.exp(p.astype(np.float64)) if end.kind == "log-probabilities" else p for p in pieces]
    axes = [-1, *range(1, pieces[0].ndim - 1)]
    axis = next((a for a in axes if all(np.abs(p.sum(axis=a) - 1).max() < _SAME for p in shares)), None)
    if axis is None:
        return f"no axis of what its {end.operator} gives adds up to 1"
    whole = OutputLoss(name, "classes", name, end.kind, axis, operator=operator)
    if end.before is None:
        return whole
    try:
        logits = run_groups(measured_model(model, [end.before]), groups, threads=threads)
    except EnxutoError:
        return whole
    peeled = replace(whole, value=end.before, scores_are="logits")
    for (found,), piece in zip(logits, pieces, strict=True):
        if (
            found.shape != piece.shape
            or found.dtype.kind not in "fV"
            or not _agree(found, piece, peeled, whole)
        ):
            return whole
    return peeled


def unpeeled(model: Model, name: str, loss: OutputLoss, *, whole: bool) -> OutputLoss | str:
    """Return the loss of the output itself, where it is that of a value before it; whole: of whole numbers."""
    if whole:
        return replace(loss, value=name) if loss.kind == "values" else "it holds whole numbers"
    kind = output_ending(model, name).kind
    return replace(
        loss, value=name, scores_are="log-probabilities" if kind == "log-probabilities" else "probabilities"
    )


def _agree(logits: np.ndarray, output: np.ndarray, peeled: OutputLoss, whole: OutputLoss) -> bool:
    both = []
    for loss, value in ((peeled, logits), (whole, output)):
        moved = np.moveaxis(value, loss.axis or 0, -1)
        both.append(np.exp(log_probabilities(moved.reshape(-1, moved.shape[-1]), loss.scores_are)))
    return bool(np.abs(both[0] - both[1]).max() <= _SAME)

"""What an output is where its graph does not say so: classes, yes or no, or values, from names, shapes and responses.

A row of numbers a sample may be logits of classes or several quantities. Names decide where they speak (`logits`,
`boxes`). Else responses do: training on classes pulls scores apart, so that what all columns do together is small (the
gradient of the divergence adds up to 0 over classes), while quantities such as quality scores or embeddings' columns go
together or each its own way. Beside an output that ends in a softmax or sigmoid, what has none holds quantities.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from onnx import GraphProto, NodeProto

from enxuto.calibration.row_features import is_features
from enxuto.data.samples import Group
from enxuto.onnx_model import Ending, Model, int_attribute, ints_attribute, output_ending, reads_of
from enxuto.onnx_model.carried import names_classes
from enxuto.onnx_model.scopes import subgraphs

__all__ = [
    "before_picking",
    "behind_arg_max",
    "class_axis",
    "compacts",
    "holds_chances",
    "is_read_as_boxes",
    "kind_of_output",
    "looks_like_values",
    "says_values",
    "stands_beside_scores",
    "taken_remark",
    "values_remark",
]

_COMPACTS = frozenset({"NonMaxSuppression", "Unique", "Compress"})
_COMPARES = frozenset({"Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "And", "Or", "Not"})
_CHANNELS_SECOND = frozenset(
    {"Conv", "ConvTranspose", "QLinearConv", "Resize", "Upsample", "DepthToSpace", "BatchNormalization",
     "InstanceNormalization", "MaxPool", "AveragePool"}
)  # fmt: skip
_KEEPS_AXES = frozenset(
    {"Identity", "Cast", "Add", "Sub", "Mul", "Div", "Clip", "Relu", "LeakyRelu", "Dropout", "QuantizeLinear",
     "DequantizeLinear"}
)  # fmt: skip
_MEASURES = frozenset({"Shape", "Size", "Constant", "ConstantOfShape", "Range"})
_MOVES = frozenset({"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"})
_SCALES = frozenset({"Mul", "Div"})
_YES_NO = frozenset({"Sigmoid", "QLinearSigmoid", "HardSigmoid"})
_KEEPS_SHARES = frozenset(  # whose results lie between 0 and 1 where their inputs do
    {"Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "ReduceMean", "ReduceMax",
     "ReduceMin", "Slice", "Split", "Gather", "Concat", "Dropout", "Resize", "MaxPool", "AveragePool",
     "QuantizeLinear", "DequantizeLinear"}
)  # fmt: skip
_SAYS_CLASSES = re.compile(r"logit|prob|class|label|softmax|categor|score|pred")
_SAYS_VALUES = re.compile(
    r"box|bbox|regress|coord|landmark|keypoint|point|depth|disparity|angle|pose|embed|feature|hidden|pool|offset|"
    r"delta|mask|flow|quality|mos|valence|arousal|latent|fingerprint|descriptor|representation|waveform|"
    r"spectr|enhanced|denoised|(?<![a-z])(age|emb|embs)(?![a-z])"
)
_TOGETHER = 1.25  # of columns that move independently: what quantities that go together are above
_APART = 0.75  # below it columns are pulled apart, as scores of classes are
_ONE = 1 - 1e-3  # of what columns that move as one come to
_FEW = 32  # columns
_FEWEST = 4  # samples


def kind_of_output(
    model: Model,
    name: str,
    ending: Ending,
    groups: Sequence[Group],
    pieces: Sequence[np.ndarray],
    *,
    labelled: bool = False,
    rows: str = "",
    value: str = "",
) -> tuple[str, str]:
    """Return what an output of real numbers is taken for, and a remark where that is a guess that may be wrong.

    Args:
        model: the original.
        name: of the output.
        ending: what the graph says of it.
        groups: samples, for how many there are.
        pieces: what the output is for each group.
        labelled: whether labels of the data count the model's outputs.
        rows: what a row of numbers a sample is taken for, `classes` or `values`, where neither graph nor name tells.
        value: that is judged in the output's place; by default it is the output itself.
    """
    value = value or name
    if ending.kind in ("probabilities", "log-probabilities"):
        return "classes", ""
    if (ending.kind == "squashed" and ending.operator in _YES_NO) or holds_chances(model, value, pieces):
        if is_read_as_boxes(model, value):
            return "values", ""
        four = all(piece.ndim == 3 and piece.shape[2] == 4 for piece in pieces)
        if four and says_values(name) is not False:
            return (
                "values",
                f"output {name!r} looks like boxes; outputs={{{name!r}: 'binary'}} says otherwise",
            )
        return "binary", ""
    if ending.kind != "open":
        return "values", ""
    if "logit" in name.lower() and says_values(name) is False and _has_classes(model, value, pieces):
        return "classes", ""
    is_row = all(
        piece.ndim == 2 and piece.shape[0] == group.count and piece.shape[1] > 1
        for piece, group in zip(pieces, groups, strict=True)
    )
    if not is_row or len({piece.shape[1] for piece in pieces}) > 1:
        return "values", ""
    whole = np.concatenate([piece.astype(np.float64) for piece in pieces])
    lengths = np.sqrt(np.square(whole).sum(axis=1))
    if np.abs(lengths - 1).max() < 1e-3:
        return "values", ""
    if labelled or names_classes(model.proto):
        return "classes", ""
    beside = says_values(name) is None and (stands_beside_scores(model, value) or is_features(model, value))
    kind = "values" if beside or looks_like_values(name, whole) else "classes"
    if rows and rows != kind and says_values(name) is None:
        return rows, taken_remark(name, rows)
    return kind, values_remark(name) if kind == "values" else ""


def stands_beside_scores(model: Model, name: str) -> bool:
    """Say whether another output ends in a softmax or sigmoid, and not in one of this value, moved or scaled or not.

    Who gives one head of a network a softmax gives it to all that have classes: what has none holds boxes and the like.
    """
    own, found = _before_moves(model, name), False
    for output in (item.name for item in model.proto.graph.output if item.name != name):
        end = output_ending(model, output)
        is_yes = end.kind == "squashed" and end.operator in _YES_NO
        if is_yes or end.kind in ("probabilities", "log-probabilities"):
            before = end.before or _read_by_maker(model, _before_moves(model, output))
            if _before_moves(model, before) == own:
                return False
            found = True
    return found


def _read_by_maker(model: Model, value: str) -> str:
    """Return what the node that makes a value reads first; the value itself where none makes it."""
    return next(
        (node.input[0] for node in model.proto.graph.node if value in node.output and node.input), value
    )


def _before_moves(model: Model, value: str) -> str:
    """Return the value that another one holds, moved, cast, or scaled by a constant."""
    maker = {name: node for node in model.proto.graph.node for name in node.output if name}
    while (node := maker.get(value)) is not None:
        given = [name for name in node.input if name]
        if node.op_type in _SCALES:
            constant = [name for name in given if name in model]
            given = [name for name in given if name not in constant]
            if len(given) != 1 or not constant or any(model.info(name).elements != 1 for name in constant):
                break
        elif node.op_type not in _MOVES | {"Cast", "Dropout"}:
            break
        value = given[0]
    return value


def _has_classes(model: Model, name: str, pieces: Sequence[np.ndarray]) -> bool:
    """Say whether an output of several places has several numbers for each, as many in all samples."""
    if any(piece.ndim < 3 for piece in pieces):
        return False
    counts = {piece.shape[class_axis(model, name, piece.ndim)] for piece in pieces}
    return len(counts) == 1 and counts.pop() > 1


def holds_chances(model: Model, name: str, pieces: Sequence[np.ndarray]) -> bool:
    """Say whether an output is made of nothing but what sigmoids give, in branches of an If too."""
    within = all(float(piece.min()) >= 0 and float(piece.max()) <= 1 for piece in pieces if piece.size)
    return within and _all_shares(model.proto.graph, {}, name)


def values_remark(name: str) -> str:
    """Return the remark on a row of numbers that is taken for quantities."""
    otherwise = f"outputs={{{name!r}: 'classes'}} says otherwise"
    return f"output {name!r} looks like quantities, not scores of classes; {otherwise}"


def taken_remark(name: str, rows: str) -> str:
    """Return the remark on a row of numbers that is taken for what is bounded, whatever it looks like."""
    looks, bounded = ("quantities", "of classes") if rows == "classes" else ("scores of classes", "of values")
    return (
        f"output {name!r} looks like {looks}, and is judged as {rows} as the bound is {bounded}; "
        f"outputs={{{name!r}: {'values' if rows == 'classes' else 'classes'!r}}} says otherwise"
    )


def says_values(name: str) -> bool | None:
    """Say whether an output's name is that of quantities, or of scores of classes; None where it tells neither."""
    words = name.lower()
    classes, values = bool(_SAYS_CLASSES.search(words)), bool(_SAYS_VALUES.search(words))
    return values if classes != values else None


def looks_like_values(name: str, scores: np.ndarray) -> bool:
    """Say whether a row of numbers a sample, scores (N, C), is quantities rather than logits of classes.

    Where the name says neither or both: few columns that move together, more than independent ones would, or that are
    not pulled apart and of which the same is the largest for all samples.
    """
    said = says_values(name)
    if said is not None:
        return said
    samples, columns = scores.shape
    if samples < _FEWEST or columns > _FEW or not np.isfinite(scores).all():
        return False
    each = float(scores.var(axis=0).mean())
    together = columns * float(scores.mean(axis=1).var()) / each if each > 0 else 0.0
    one_winner = len(np.unique(scores.argmax(axis=1))) == 1
    if together > _ONE * columns:  # one number, written several times, which calibration refuses
        return False
    return together > _TOGETHER or (one_winner and together > _APART)


def behind_arg_max(model: Model, name: str) -> tuple[str, int] | None:
    """Return the value whose largest place an output tells, and the axis; None for other outputs."""
    maker = {value: node for node in model.proto.graph.node for value in node.output if value}
    node = maker.get(name)
    while node is not None and node.op_type in ("Cast", "Identity", "Squeeze"):
        node = maker.get(node.input[0])
    if node is None or node.op_type != "ArgMax" or node.input[0] not in maker:
        return None
    return node.input[0], int_attribute(node, "axis")


def is_read_as_boxes(model: Model, name: str) -> bool:
    """Say whether a NonMaxSuppression takes a value, perhaps moved, as its boxes."""
    readers = [(node, list(node.input)) for node in model.proto.graph.node]
    pending, seen = [name], set[str]()
    while pending:
        value = pending.pop()
        if value in seen:
            continue
        seen.add(value)
        for node, given in readers:
            if node.op_type == "NonMaxSuppression" and given[0] == value:
                return True
            if node.op_type in _MOVES | {"Cast", "Mul", "Concat", "Slice", "Gather"} and value in given:
                pending += [out for out in node.output if out]
    return False


def compacts(model: Model, name: str) -> bool:
    """Say whether an output's shape follows values: a node before it picks as many of them as there are."""
    maker = {value: node for node in model.proto.graph.node for value in node.output if value}
    pending, seen = [name], set[str]()
    while pending:
        node: NodeProto | None = maker.get(pending.pop())
        if node is None or node.output[0] in seen:
            continue
        seen.add(node.output[0])
        if node.op_type in _COMPACTS:
            return True
        pending += [value for value in reads_of(node) if value in maker]
    return False


def class_axis(model: Model, name: str, rank: int) -> int:
    """Return the axis of an output's scores of classes: channels where a convolution makes them, else the last."""
    maker = {value: node for node in model.proto.graph.node for value in node.output if value}
    axes = list(range(rank))  # the place of each of the output's axes in the value that has been reached
    while (node := maker.get(name)) is not None:
        if node.op_type in _CHANNELS_SECOND:
            return axes.index(1)
        if node.op_type == "Transpose":
            order = ints_attribute(node, "perm") or tuple(reversed(range(rank)))
            axes = [order[axis] for axis in axes]
        elif node.op_type not in _KEEPS_AXES:
            break
        name = next((value for value in node.input if value in maker), "")
    return rank - 1


def before_picking(model: Model) -> tuple[str, ...]:
    """Return the values that picking starts from: those nearest to the outputs whose shapes do not follow values.

    Of a detector that ends in a NonMaxSuppression these are the boxes and scores of all places. Empty where no output
    is picked.
    """
    maker = {value: node for node in model.proto.graph.node for value in node.output if value}
    outputs = [item.name for item in model.proto.graph.output]
    pending, seen = list(outputs), set[str]()
    found: dict[str, None] = {}
    while pending:
        name = pending.pop()
        node = maker.get(name)
        if node is None or name in seen or node.op_type in _MEASURES:
            continue
        seen.add(name)
        if compacts(model, name) or node.op_type in _COMPARES:
            pending += [value for value in reversed(reads_of(node)) if value]
        elif node.op_type in _MOVES and node.input[0] in maker:
            pending.append(node.input[0])
        elif name not in outputs:
            found[name] = None
    return tuple(found)


def _all_shares(graph: GraphProto, outer: Mapping[str, NodeProto], value: str) -> bool:
    """Say whether a value is made of nothing but what sigmoids give; branches of an If are looked into."""
    maker = {**outer, **{name: node for node in graph.node for name in node.output if name}}
    pending, seen, found = [value], set[str](), False
    while pending:
        name = pending.pop()
        node = maker.get(name)
        if node is None or name in seen:
            return False
        seen.add(name)
        if node.op_type in _YES_NO:
            found = True
        elif node.op_type == "If":
            place = list(node.output).index(name)
            for _, inner in subgraphs(node):
                if not _all_shares(inner, maker, inner.output[place].name):
                    return False
            found = True
        elif node.op_type in _KEEPS_SHARES:
            pending += node.input if node.op_type == "Concat" else node.input[:1]
        else:
            return False
    return found

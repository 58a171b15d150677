"""What to say of a file in which many weights stay as they are, or are rounded without what is known of layers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from enxuto.compression.at_price import PricedModel
from enxuto.compression.selection import matching_names
from enxuto.enx.file import CompressedModel
from enxuto.enx.learned import is_float_weight, parameters
from enxuto.enx.table import ExactRow
from enxuto.onnx_model import Model, Role, parts_of_features
from enxuto.onnx_model.scopes import scopes

__all__ = ["describe_left_exact", "describe_without_feedback"]

_SHARE = 0.1  # of the parameters, from which on it is said
_FEWEST = 32  # elements
_MANY = 1000  # numbers in attributes
_NAMED = 3


def describe_left_exact(
    model: Model, compressed: CompressedModel, keep_exact: Iterable[str] = ()
) -> str | None:
    """Return a sentence on numbers that are not quantized, where they are many; else None.

    These are float weights that no known operator reads, sparse tensors, and attributes, as of tree ensembles.

    Args:
        model: what was compressed.
        compressed: the file.
        keep_exact: names, and patterns of them, that were to stay exact.
    """
    # Parts of features, such as positions, stay exact where no size is asked for, and are no mystery.
    spared = matching_names(model, keep_exact) | set(parts_of_features(model))
    exact = {
        entry.name
        for payload in compressed.payloads
        if isinstance(payload.row, ExactRow)
        for entry in payload.row.tensors
    }
    left = sorted(
        (info for info in model.infos()
         if info.name in exact - spared and info.role is Role.OTHER and is_float_weight(info)
         and info.elements >= _FEWEST),
        key=lambda info: -info.elements,
    )  # fmt: skip
    share = sum(info.elements for info in left) / max(1, parameters(model))
    sparse = {item.values.name: math.prod(item.values.dims) for item in model.proto.graph.sparse_initializer}
    many = sum(sparse.values()) > _SHARE * parameters(model)
    told = f"sparse tensors stay as they are, and are not counted: {_named(list(sparse))}" if many else None
    if inside := _numbers_in_attributes(model, _SHARE * parameters(model)):
        told = f"{told}; {inside}" if told else inside
    if share < _SHARE:
        return told
    return ("" if told is None else f"{told}; ") + (
        f"{min(share, 1.0):.0%} of the weights stay exact, as no operator that is known multiplies by them: "
        f"{_named([info.name for info in left])}; "
        "roles=kernel,depthwise,matrix,other quantizes them too"
    )


def _numbers_in_attributes(model: Model, most: float) -> str:
    """Return a sentence on numbers in attributes of nodes if they are more than `most` and many; "" else."""
    counts: dict[str, int] = {}
    for scope in scopes(model.proto):
        for node in scope.body.node:
            if node.op_type != "Constant":
                tensors = (item.t for item in node.attribute if item.HasField("t"))
                numbers = sum(len(item.floats) + len(item.ints) for item in node.attribute)
                numbers += sum(math.prod(tensor.dims) for tensor in tensors)
                counts[node.op_type] = counts.get(node.op_type, 0) + numbers
    if sum(counts.values()) < max(most, _MANY):
        return ""
    kinds = sorted(
        (kind for kind, count in counts.items() if count >= _FEWEST), key=lambda kind: -counts[kind]
    )
    return (
        f"{sum(counts.values()):,} numbers are attributes of nodes ({', '.join(kinds[:_NAMED])}), are coded without "
        "loss, and do not count as weights"
    )


def describe_without_feedback(model: Model, outcome: PricedModel) -> str | None:
    """Return a sentence on weights of a calibrated file that operators of other domains and local functions read.

    Those are rounded one tensor at a time, by what its errors lose, and not with feedback as layers are. None where
    they are less than a tenth of the weights.
    """
    readers: dict[str, str] = {}
    for node in model.proto.graph.node:
        if node.domain not in ("", "ai.onnx"):
            readers.update(dict.fromkeys(node.input, f"{node.domain}.{node.op_type}"))
    found = [layer for layer in outcome.layers if layer.method == "measured" and layer.name in readers]
    share = sum(layer.elements for layer in found) / max(1, parameters(model))
    if share < _SHARE:
        return None
    operators = list(dict.fromkeys(readers[layer.name] for layer in found))
    return (
        f"{min(share, 1.0):.0%} of the weights are rounded without feedback, which loses more: "
        f"{', '.join(operators[:_NAMED])}{' …' if len(operators) > _NAMED else ''} read them; the same model of "
        "standard operators, as it was before it was optimized or with its functions inlined, gives a better file"
    )


def _named(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_NAMED])) + (" …" if len(names) > _NAMED else "")

"""What a new file says of its network: what the new model says, and of the old file's facts those that still hold."""

from __future__ import annotations

from typing import Any

from onnx import ModelProto

from enxuto.enx.file import CompressedModel
from enxuto.enx.fingerprint import FINGERPRINT_KEY
from enxuto.onnx_model import Model
from enxuto.onnx_model.carried import names_classes
from enxuto.opening import onnx_metadata

__all__ = ["facts_of_new"]


def facts_of_new(old: CompressedModel, model: Model, size: int | None, *, unchanged: bool) -> dict[str, Any]:
    """Return the metadata of a new file.

    Args:
        old: the old file.
        model: the new model. Its preprocessing, labels and kinds of outputs go before the old file's.
        size: bytes of the new model's files; None for a model in memory.
        unchanged: whether the weights are those that the old file was made from.

    Returns:
        The old file's facts, without labels where the new model has others or other outputs.
    """
    facts = {key: value for key, value in old.metadata.items() if key != FINGERPRINT_KEY}
    own = onnx_metadata(model)
    if "labels" in facts and (names_classes(model.proto) or _sizes(old.skeleton) != _sizes(model.proto)):
        del facts["labels"]
    if "original" in facts and not unchanged:
        del facts["original"]
        if size is not None:
            facts["original"] = {"bytes": size}
    return facts | own


def _sizes(graph: bytes | ModelProto) -> list[list[int | None]]:
    """Return the sizes of the outputs that a graph says, batches apart."""
    proto = ModelProto.FromString(graph) if isinstance(graph, bytes) else graph
    shapes = [output.type.tensor_type.shape.dim for output in proto.graph.output]
    return [[dim.dim_value if dim.HasField("dim_value") else None for dim in shape[1:]] for shape in shapes]

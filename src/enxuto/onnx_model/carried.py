"""Preprocessing, class names and kinds of outputs as metadata of an ONNX model.

An `.enx` file has the same facts in its own metadata. The two must agree, whichever way a model is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from onnx import ModelProto

from enxuto.onnx_model.messages import DAMAGED

__all__ = [
    "CARRIED",
    "KINDS_KEY",
    "LABELS_ELSEWHERE",
    "LABELS_KEY",
    "PREPROCESS_KEY",
    "names_classes",
    "remove_carried",
    "write_carried",
]

PREPROCESS_KEY = "enxuto.preprocess"
"""Metadata key of an ONNX model under which its preprocessing stands, as JSON of `Preprocess.to_dict`."""

LABELS_KEY = "enxuto.labels"
"""Metadata key of an ONNX model under which its class names stand, as a JSON list."""

LABELS_ELSEWHERE = ("names", "labels", "classes", "class_names", "id2label", "label2id", "categories")
"""Keys under which exporters of others keep class names: JSON, or a Python literal (Ultralytics' `names`)."""

KINDS_KEY = "enxuto.outputs_are"
"""Metadata key of an ONNX model under which the kinds of its outputs stand, as a JSON object."""

CARRIED: Mapping[str, str] = {
    "preprocess": PREPROCESS_KEY,
    "labels": LABELS_KEY,
    "outputs_are": KINDS_KEY,
}
"""Key of the same fact in an `.enx` file's metadata → in an ONNX model's."""


def names_classes(proto: ModelProto) -> bool:
    """Say whether a model carries class names, readable or not."""
    return any(prop.key in (LABELS_KEY, *LABELS_ELSEWHERE) for prop in proto.metadata_props)


def write_carried(graph: bytes, metadata: Mapping[str, Any], *, add: bool) -> bytes:
    """Return a serialized model with the preprocessing, labels and kinds of outputs of `metadata`.

    Args:
        graph: the serialized model.
        metadata: of an `.enx` file.
        add: whether facts that the model does not have are added, too.

    Returns:
        The same bytes where nothing changes, and where they are damaged: whoever reads them reports that.
    """
    facts = {key: metadata[name] for name, key in CARRIED.items() if name in metadata}
    if not facts:
        return graph
    try:
        proto = ModelProto.FromString(graph)
        new_values = {}
        for key, value in facts.items():
            present = [prop.value for prop in proto.metadata_props if prop.key == key]
            if len(present) == 1 and _same_json(present[0], value):
                new_values[key] = present[0]
            elif present or add:
                new_values[key] = json.dumps(value, ensure_ascii=False)
        properties = [(prop.key, prop.value) for prop in proto.metadata_props]
        # In the place of what is replaced, so that a model that says it already stays as it is.
        after = []
        for key, value in properties:
            if key not in facts:
                after.append((key, value))
            elif key in new_values:
                after.append((key, new_values.pop(key)))
        after += new_values.items()
        if after == properties:
            return graph
        del proto.metadata_props[:]
        for key, value in after:
            proto.metadata_props.add(key=key, value=value)
        return bytes(proto.SerializeToString(deterministic=True))
    except DAMAGED:
        return graph


def remove_carried(proto: ModelProto) -> None:
    """Take preprocessing, labels and kinds of outputs out, in place: to compare graphs."""
    kept = [(prop.key, prop.value) for prop in proto.metadata_props if prop.key not in CARRIED.values()]
    del proto.metadata_props[:]
    for key, value in kept:
        proto.metadata_props.add(key=key, value=value)


def _same_json(text: str, value: Any) -> bool:
    try:
        return bool(json.loads(text) == json.loads(json.dumps(value)))
    except (ValueError, RecursionError):
        return False

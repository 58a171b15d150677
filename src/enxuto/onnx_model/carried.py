"""What is known of a model besides its graph, as it travels inside an ONNX file: preprocessing and class names.

An `.enx` file has the same facts in its metadata. They must not say two things, whichever way a model is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from onnx import ModelProto

from enxuto.onnx_model.messages import DAMAGED

__all__ = ["CARRIED", "LABELS_KEY", "PREPROCESS_KEY", "carrying", "without_carried"]

PREPROCESS_KEY = "enxuto.preprocess"
"""Metadata key of an ONNX model under which its preprocessing stands, as JSON of `Preprocess.to_dict`."""

LABELS_KEY = "enxuto.labels"
"""Metadata key of an ONNX model under which its class names stand, as a JSON list."""

CARRIED: Mapping[str, str] = {"preprocess": PREPROCESS_KEY, "labels": LABELS_KEY}
"""Key of the same fact in an `.enx` file's metadata → in an ONNX model's."""


def carrying(graph: bytes, metadata: Mapping[str, Any], *, add: bool) -> bytes:
    """Return a serialized model that says what `metadata` says of preprocessing and labels.

    add: also where it says nothing yet. The same bytes where there is nothing to change, or where they are damaged,
    which whoever reads them says better.
    """
    said = {key: metadata[name] for name, key in CARRIED.items() if name in metadata}
    if not said:
        return graph
    try:
        proto = ModelProto.FromString(graph)
        wanted = {}
        for key, value in said.items():
            there = [prop.value for prop in proto.metadata_props if prop.key == key]
            if len(there) == 1 and _means(there[0], value):
                wanted[key] = there[0]
            elif there or add:
                wanted[key] = json.dumps(value, ensure_ascii=False)
        before = [(prop.key, prop.value) for prop in proto.metadata_props]
        # In the place of what is replaced, so that a model that says it already stays as it is.
        after = []
        for key, value in before:
            if key not in said:
                after.append((key, value))
            elif key in wanted:
                after.append((key, wanted.pop(key)))
        after += wanted.items()
        if after == before:
            return graph
        del proto.metadata_props[:]
        for key, value in after:
            proto.metadata_props.add(key=key, value=value)
        return bytes(proto.SerializeToString(deterministic=True))
    except DAMAGED:
        return graph


def without_carried(proto: ModelProto) -> None:
    """Take preprocessing and labels out, in place: to compare graphs."""
    kept = [(prop.key, prop.value) for prop in proto.metadata_props if prop.key not in CARRIED.values()]
    del proto.metadata_props[:]
    for key, value in kept:
        proto.metadata_props.add(key=key, value=value)


def _means(text: str, value: Any) -> bool:
    try:
        return bool(json.loads(text) == json.loads(json.dumps(value)))
    except (ValueError, RecursionError):
        return False

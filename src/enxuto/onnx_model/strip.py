"""Leave out what exporters wrote for people: documentation strings, stack traces, authors' paths.

Gone: every `doc_string`; `metadata_props` of everything below the model (nodes, graphs, values, tensors,
functions); of the model's own `metadata_props` only values that are a stack trace or nothing but a path in
somebody's home folder, because applications keep class names and settings there. The types of intermediate
values (`value_info`) go too where every operator is of a standard domain, since runtimes infer them.
"""

from __future__ import annotations

import re

from onnx import ModelProto

from enxuto.onnx_model.messages import Message, inner_messages
from enxuto.onnx_model.scopes import STANDARD_DOMAINS, scopes

__all__ = ["strip_docs", "strip_value_info"]

_TRACE = re.compile(r"Traceback \(most recent call last\)|File \"[^\"\n]+\", line \d+")
_HOME_PATH = re.compile(
    r"(?:file://)?(?:/home/|/Users/|/root/|[A-Za-z]:[\\/]Users[\\/])[^\n]*", re.IGNORECASE
)


def strip_docs(proto: ModelProto) -> None:
    """Take documentation out of `proto`, in place; see the head of this file for what that is."""
    kept = [prop for prop in proto.metadata_props if not _is_private(prop.value)]
    if len(kept) < len(proto.metadata_props):
        pairs = [(prop.key, prop.value) for prop in kept]
        del proto.metadata_props[:]
        for key, value in pairs:
            proto.metadata_props.add(key=key, value=value)
    for message in inner_messages(proto):
        _clear_documentation(message)


def strip_value_info(proto: ModelProto) -> None:
    """Take the types of intermediate values out, in place, unless an operator is of a domain of its own."""
    own = {(function.domain, function.name) for function in proto.functions}
    everything = list(scopes(proto))
    for scope in everything:
        for node in scope.body.node:
            if node.domain not in STANDARD_DOMAINS and (node.domain, node.op_type) not in own:
                return
    for scope in everything:
        if "value_info" in scope.body.DESCRIPTOR.fields_by_name:
            scope.body.ClearField("value_info")


def _is_private(value: str) -> bool:
    return bool(_TRACE.search(value) or _HOME_PATH.fullmatch(value.strip()))


def _clear_documentation(message: Message) -> None:
    fields = message.DESCRIPTOR.fields_by_name
    if "doc_string" in fields:
        message.ClearField("doc_string")
    if "metadata_props" in fields and not isinstance(message, ModelProto):
        message.ClearField("metadata_props")

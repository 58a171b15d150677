"""Protobuf messages inside protobuf messages, and ONNX models from bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from google.protobuf.message import DecodeError, EncodeError, Message  # type: ignore[import-untyped]
from onnx import ModelProto, TensorProto

from enxuto.errors import ModelError, does_not_exist
from enxuto.files import open_regular_file
from enxuto.onnx_model.wire import check_wire

__all__ = ["DAMAGED", "Message", "check_text", "file_bytes", "inner_messages", "looks_like_onnx", "parse"]

DAMAGED = (DecodeError, EncodeError, UnicodeDecodeError, RecursionError, ValueError, OverflowError)
"""What protobuf raises, on parsing or later, for bytes that are no valid model."""


_ENX = b"\x89ENX"  # what `.enx` files begin with: the graph of a model never does
_ENXD = b"\x89EXD"  # and difference files
_AFTER_VERSION = (b"\x12", b"\x1a", b"\x22", b"\x28", b"\x32", b"\x3a", b"\x42")
"""Keys of the fields that follow `ir_version` in an ONNX model, by number."""


def looks_like_onnx(start: bytes) -> bool:
    """Say whether the first bytes of a file are those that writers of ONNX models begin with."""
    return start[:1] == b"\x08" and start[1:2] < b"\x80" and start[2:3] in _AFTER_VERSION


def inner_messages(message: Message) -> Iterator[Message]:
    """The message itself, then every message inside it, depth first."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in [value] if isinstance(value, Message) else value:
                yield from inner_messages(inner)


def parse(content: bytes) -> ModelProto:
    """Bytes → message with at least a graph; `ModelError` for anything else.

    Protobuf accepts much garbage as unknown fields, so that the parts every model has are looked for.
    """
    if not content:
        raise ModelError("the file is empty; expected an ONNX model", code="E031")
    if content.startswith(_ENX):
        raise ModelError("this is an .enx file already; decompress it first", code="E030")
    if content.startswith(_ENXD):
        raise ModelError(
            "this is a difference file; `enxuto apply OLD.enx` makes a new file of it", code="E030"
        )
    check_wire(content)
    proto = ModelProto()
    try:
        proto.ParseFromString(content)
    except DAMAGED as error:
        raise ModelError(
            "not an ONNX model, or cut short: its bytes cannot be parsed", code="E031"
        ) from error
    if not proto.HasField("graph") or not (proto.ir_version or proto.opset_import):
        raise ModelError("not an ONNX model: there is no graph in it", code="E031")
    if not proto.graph.node and not proto.graph.output:
        raise ModelError("the ONNX graph is empty: it has no nodes and no outputs", code="E031")
    check_text(proto)
    return proto


def check_text(message: Message) -> None:
    """Raise `ModelError` for names and other text that are not UTF-8: protobuf hands those out as bytes.

    Of tensors only what is used of them is looked at, since asking for their data copies it.
    """
    if isinstance(message, TensorProto):
        _check_text([message.name])
        for entry in message.external_data:
            check_text(entry)
        return
    for field, value in message.ListFields():
        many = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
        if field.message_type is not None:
            # One at a time: a list of all would keep an object of Python's for each.
            for part in value if many else (value,):
                check_text(part)
        elif field.type == field.TYPE_STRING:
            _check_text(value if many else (value,))


def _check_text(texts: Iterable[object]) -> None:
    if any(isinstance(text, bytes) for text in texts):
        raise ModelError("not a valid ONNX model: names or other text in it are damaged", code="E031")


def file_bytes(path: Path) -> bytes:
    """The content of a one-file model; `ModelError` says in one line why it cannot be had."""
    try:
        with open_regular_file(path) as file:
            if file.seek(0, 2) >= 2**31:
                raise ModelError(
                    f"{path} is over 2 GB in one file, which ONNX cannot hold; save it with external data",
                    code="E031",
                )
            file.seek(0)
            return file.read()
    except IsADirectoryError as error:
        raise ModelError(f"{path} is a folder; name the .onnx file in it", code="E011") from error
    except FileNotFoundError as error:
        raise ModelError(does_not_exist(path, "model file"), code="E010") from error
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}", code="E011") from error

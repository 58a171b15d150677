"""Bytes of a model that parsers take and protobuf does not write are refused; all that it writes is taken."""

from __future__ import annotations

import pytest
from onnx import AttributeProto, ModelProto, TensorProto, helper

from enxuto.demo import MODEL
from enxuto.errors import ModelError
from enxuto.onnx_model.exact import check_exact


def model(tensor: bytes = b"", attribute: bytes = b"") -> bytes:
    """A model with these bytes in a tensor and in an attribute of its node."""

    def inside(number: int, content: bytes) -> bytes:
        assert len(content) < 128
        return bytes([number << 3 | 2, len(content)]) + content

    node = inside(4, b"Relu") + inside(5, inside(1, b"a") + attribute)
    return b"\x08\x08" + inside(7, inside(1, node) + inside(5, tensor))


DIMS, FLOATS, NUMBERS = (
    b"\x08\x02",
    b"\x22\x08" + bytes(8),
    b"\x3a\x03\x05\x80\x01",
)  # packed where they should be
SOUND = {
    "nothing": model(),
    "dims one by one": model(DIMS + DIMS),
    "packed floats": model(DIMS + FLOATS),
    "packed numbers": model(NUMBERS),
    "ten bytes for -1": model(b"\x08" + b"\xff" * 9 + b"\x01"),
    "ints one by one": model(attribute=b"\x40\x01\x40\x02"),
    "a field that is unknown": model(b"\xf8\x07\x01"),
}
ODD = {
    "a key with a byte to spare": (model(b"\x88\x00\x02"), "more bytes"),
    "a length with a byte to spare": (model(b"\x42\x81\x00w"), "more bytes"),
    "a value with a byte to spare": (model(b"\x08\x82\x00"), "more bytes"),
    "zero in two bytes": (model(b"\x08\x80\x00"), "more bytes"),
    "more than 64 bits": (model(b"\x08" + b"\xff" * 9 + b"\x02"), "more bytes"),
    "a type given twice": (model(b"\x10\x01\x10\x01"), "twice"),
    "a name given twice": (model(b"\x42\x01w\x42\x01v"), "twice"),
    "packed dims": (model(b"\x0a\x02\x02\x02"), "packed"),
    "packed ints": (model(attribute=b"\x42\x02\x01\x02"), "packed"),
    "floats one by one": (model(b"\x25" + bytes(4)), "packed"),
    "half a packed float": (model(b"\x22\x06" + bytes(6)), "packed"),
    "no packed float": (model(b"\x22\x00"), "packed"),
    "a packed number with a byte to spare": (model(b"\x3a\x02\x81\x00"), "packed"),
    "half a packed number": (model(b"\x3a\x02\x01\x81"), "packed"),
}


@pytest.mark.parametrize("name", SOUND)
def test_what_protobuf_writes_is_taken(name: str) -> None:
    assert ModelProto.FromString(SOUND[name]).ByteSize() == len(SOUND[name])
    check_exact(SOUND[name])


@pytest.mark.parametrize("name", ODD)
def test_what_it_does_not_write_is_refused(name: str) -> None:
    data, said = ODD[name]
    with pytest.raises(ModelError, match=said):
        check_exact(data)


def test_whole_models_are_taken() -> None:
    check_exact(MODEL.read_bytes())
    tensors = [
        helper.make_tensor("f", TensorProto.FLOAT, [2], [1, 2]),
        helper.make_tensor("d", TensorProto.DOUBLE, [2], [1, 2]),
        helper.make_tensor("i", TensorProto.INT32, [3], [-1, 0, 2**31 - 1]),
        helper.make_tensor("l", TensorProto.INT64, [2], [-(2**63), 2**63 - 1]),
        helper.make_tensor("u", TensorProto.UINT64, [1], [2**64 - 1]),
        helper.make_tensor("s", TensorProto.STRING, [1], [b"text"]),
    ]
    body = helper.make_graph([], "body", [], [], tensors)
    node = helper.make_node(
        "If", ["c"], ["y"], then_branch=body, axes=[1, -1], alphas=[0.5], names=["a", "b"]
    )
    assert {AttributeProto.GRAPH, AttributeProto.INTS} <= {item.type for item in node.attribute}
    check_exact(helper.make_model(helper.make_graph([node], "g", [], [], tensors)).SerializeToString())


@pytest.mark.parametrize("length", range(40))
def test_what_is_cut_short_is_left_to_the_parser(length: int) -> None:
    check_exact(model(DIMS + FLOATS + NUMBERS, b"\x40\x01")[:length])

"""Variants of `.enx` files of all coders, made by hand and by chance, with all lengths and checksums in order.

`GOOD` and `BAD` say what docs/format.md allows and what it forbids; every reader has to give that verdict.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper

from enx_samples import Taken, small_model
from enxuto.codec import encode, encode_bytes
from enxuto.compression.data_free import compress
from enxuto.enx.file import CompressedModel
from enxuto.enx.payload import Payload
from enxuto.enx.table import TensorEntry
from enxuto.onnx_model import skeleton
from enxuto.quantize.grid import Grid
from enxuto.quantize.scalar import DeadZone, Half, Minifloat, MuLaw
from enxuto.quantize.schemes import RangeSteps, SameQuantizer

Change = Callable[[Taken], None]


def built(coder: Any, quantizer: Grid | DeadZone, names: list[list[str]]) -> bytes:
    """A file whose parts hold random levels of the small network, by that coder."""
    model, rng = small_model(), np.random.default_rng(0)
    parts = []
    for together in names:
        infos = [model.info(name) for name in together]
        entries = [TensorEntry(name=i.name, shape=i.shape, type=i.data_type) for i in infos]
        levels = [np.rint(rng.normal(0, 3, i.shape)).astype(np.int32) for i in infos]
        flat = levels[0] if len(levels) == 1 else np.concatenate([one.reshape(-1) for one in levels])
        parts.append(Payload.levels_of(entries, quantizer, flat, coder=coder))
    lacking = [name for together in names for name in together]
    return CompressedModel(skeleton(model, lacking), tuple(parts), {"made_by": "hand"}).to_bytes()


def bases() -> dict[str, Taken]:
    """Sound files by name: of every coder and quantizer."""
    files = {
        "dead zone": compress(small_model(), SameQuantizer(DeadZone(0.02)), rounding="nearest").to_bytes(),
        "channels": compress(small_model(), RangeSteps(12, "channel"), rounding="nearest").to_bytes(),
        "mu-law": compress(small_model(), SameQuantizer(MuLaw(64, 255.0)), rounding="nearest").to_bytes(),
        "minifloat": compress(small_model(), SameQuantizer(Minifloat(3, 3)), rounding="nearest").to_bytes(),
        "half": compress(small_model(), SameQuantizer(Half()), rounding="nearest").to_bytes(),
        "default": compress(small_model()).to_bytes(),
        "contexts": built("contexts", Grid(0.01), [["conv.w"], ["fc.w"]]),
        "rows": built("order0", Grid(0.01, (1, -2, 3, 0, 5)), [["fc.w"]]),
        "trellis": built("trellis", Grid(0.01, trellis=8), [["conv.w"], ["fc.w"]]),
        "trellis of 32": built("trellis-32", Grid(0.01, trellis=32), [["conv.w"], ["fc.w"]]),
        "steps of tensors": built("contexts", Grid(0.02, (0, -5, 5)), [["conv.b", "bn.scale", "fc.b"]]),
        "bundle": built("contexts", DeadZone(0.02), [["conv.b", "bn.scale", "fc.b"]]),
    }
    taken = {name: Taken.apart(data) for name, data in files.items()}
    for one in taken.values():
        one.method = 0  # saves time
    return taken


def normal(model: ModelProto) -> bytes:
    """A model's bytes, its initializers in order of their names and their data as `raw_data`."""
    same = ModelProto.FromString(model.SerializeToString())
    tensors = sorted(same.graph.initializer, key=lambda tensor: tensor.name)
    del same.graph.initializer[:]
    for tensor in tensors:
        numbers = set(TensorProto.DataType.values()) - {TensorProto.UNDEFINED, TensorProto.STRING}
        if tensor.data_type in numbers:
            data = numpy_helper.to_array(tensor).tobytes()
            for field in ("int64_data", "float_data", "int32_data"):
                tensor.ClearField(field)
            tensor.raw_data = data
        same.graph.initializer.append(tensor)
    return same.SerializeToString(deterministic=True)


def row(index: int = 0, **fields: Any) -> Change:
    """Set fields of a row; None deletes one."""

    def change(taken: Taken) -> None:
        for key, value in fields.items():
            taken.table["parts"][index].pop(key, None)
            if value is not None:
                taken.table["parts"][index][key] = value

    return change


def quantizer(**fields: Any) -> Change:
    return row(quantizer=fields)


def tensor(**fields: Any) -> Change:
    def change(taken: Taken) -> None:
        taken.table["parts"][0]["tensors"][0].update(fields)

    return change


def padded(padding: bytes, said: Any) -> Change:
    def change(taken: Taken) -> None:
        taken.payloads[0] += padding
        taken.table["parts"][0]["padding"] = said

    return change


def whole_table(edit: Callable[[str], str | bytes]) -> Change:
    """Change the table's text, once its lengths and checksums are right."""

    def change(taken: Taken) -> None:
        taken.to_bytes()
        changed = edit(json.dumps(taken.table))
        taken.table = changed if isinstance(changed, bytes) else changed.encode()

    return change


def metadata(value: Any) -> Change:
    return lambda taken: taken.table.update(metadata=value)


def graph(edit: Callable[[ModelProto], Any]) -> Change:
    def change(taken: Taken) -> None:
        proto = ModelProto.FromString(taken.graph)
        edit(proto)
        taken.graph = proto.SerializeToString()

    return change


def wire(edit: Callable[[bytes], bytes]) -> Change:
    def change(taken: Taken) -> None:
        taken.graph = edit(taken.graph)

    return change


def initializer(proto: ModelProto, name: str = "fc.w") -> TensorProto:
    return next(one for one in proto.graph.initializer if one.name == name)


def emptied(tensor: TensorProto, name: str = "q", size: int = 2) -> None:
    tensor.name, tensor.data_type, tensor.data_location = name, 1, TensorProto.EXTERNAL
    tensor.dims.append(size)


def more(name: str, place: Callable[[ModelProto], TensorProto | None], *, listed: bool = True) -> Change:
    """Empty tensors besides, which the table has or has not."""

    def change(taken: Taken) -> None:
        proto = ModelProto.FromString(taken.graph)
        found = place(proto)
        if found is not None:
            emptied(found)
        taken.graph = proto.SerializeToString()
        if listed:
            one = {"name": name, "shape": [2], "type": 1}
            taken.table["parts"].append({"tensors": [one], "coder": "planes", "bytes": 0, "crc32": ""})
            taken.payloads.append(b"\x01\x00" * 4)

    return change


def attribute(
    proto: ModelProto, name: str, kind: int, operator: str = "Odd", outputs: Any = ("o",)
) -> AttributeProto:
    node = proto.graph.node.add(
        op_type=operator, domain="" if operator == "Constant" else "d", output=outputs
    )
    return node.attribute.add(name=name, type=kind)


def in_graphs(proto: ModelProto) -> TensorProto:
    found = attribute(proto, "b", AttributeProto.GRAPHS)
    found.graphs.add(name="first")
    return found.graphs.add(name="second").initializer.add()


def of_wrong_kind(proto: ModelProto) -> TensorProto:
    return attribute(proto, "b", AttributeProto.INT).g.initializer.add()


def twice(proto: ModelProto) -> TensorProto:
    emptied(proto.graph.initializer.add())
    return proto.graph.initializer.add()


def second_value(proto: ModelProto) -> TensorProto:
    node = proto.graph.node.add(op_type="Constant", output=["q"])
    node.attribute.add(name="value", type=AttributeProto.TENSOR).t.CopyFrom(
        helper.make_tensor("k", 1, [2], [1.0, 2.0])
    )
    return node.attribute.add(name="value", type=AttributeProto.TENSOR).t


def in_function(proto: ModelProto) -> TensorProto:
    function = proto.functions.add(name="f", domain="d", overload="o")
    return function.node.add(op_type="Constant", output=["q"]).attribute.add(name="value", type=4).t


def deep_metadata(depth: int) -> Change:
    value: Any = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return metadata(value)


def empty_rows(shape: list[int], payload: bytes = b"") -> Change:
    """A quantized tensor of no elements."""

    def change(taken: Taken) -> None:
        found = next(r for r in taken.table["parts"] if r["tensors"][0]["name"] == "fc.w")
        taken.payloads[taken.table["parts"].index(found)] = payload
        found["tensors"][0]["shape"] = shape
        for key in ("steps_bytes", "padding"):
            found.pop(key, None)
        proto = ModelProto.FromString(taken.graph)
        one = initializer(proto)
        del one.dims[:]
        one.dims.extend(shape)
        taken.graph = proto.SerializeToString()

    return change


def kept(name: str, kind: int, values: bytes, dims: list[int]) -> Change:
    """A tensor of exact values of that type, its payload as `planes`."""

    def change(taken: Taken) -> None:
        proto = ModelProto.FromString(taken.graph)
        emptied(one := proto.graph.initializer.add(), name, 0)
        one.data_type = kind
        del one.dims[:]
        one.dims.extend(dims)
        taken.graph = proto.SerializeToString()
        entry = {"name": name, "shape": dims, "type": kind}
        taken.table["parts"].append({"tensors": [entry], "coder": "planes", "bytes": 0, "crc32": ""})
        taken.payloads.append(encode_bytes(values, 1))

    return change


def inline(edit: Callable[[TensorProto], Any]) -> Change:
    def change(proto: ModelProto) -> None:
        one = proto.graph.initializer.add(name="in", data_type=7)
        one.dims.append(2)
        one.int64_data.extend([1, -1])
        edit(one)

    return graph(change)


def levels_beyond(value: int) -> Change:
    """A level too large for a trellis."""

    def change(taken: Taken) -> None:
        levels = np.zeros((5, 96), np.int32)
        levels[2, 3] = value
        index = next(i for i, r in enumerate(taken.table["parts"]) if r["tensors"][0]["name"] == "fc.w")
        taken.payloads[index] = encode(levels, coder="order0")[1]
        row(
            index, coder="order0", steps_bytes=None, quantizer={"kind": "grid", "step": 0.1, "trellis": True}
        )(taken)

    return change


GOOD: dict[str, tuple[str, Change]] = {
    "zero padding": ("dead zone", padded(b"\0\0", 2)),
    "padding said to be none": ("dead zone", padded(b"", 0)),
    "blanks behind the table": ("dead zone", whole_table(lambda text: text + "  \n")),
    "a key twice": ("dead zone", whole_table(lambda t: t.replace('"coder": "', '"coder": "x", "coder": "'))),
    "metadata of any kind": ("dead zone", metadata({"a": [1, 1.5, None, True, "é\u202e\x00", {"": []}, 10**400]})),
    "4300 digits": ("dead zone", whole_table(
        lambda t: t.replace('"metadata": {', f'"metadata": {{"a": -{"9" * 4300}, '))),
    "just below float64's end": ("dead zone", whole_table(
        lambda t: t.replace('"metadata": {', f'"metadata": {{"a": {2**1024 - 2**970 - 1}.9, '))),
    "metadata 100 deep": ("dead zone", deep_metadata(100)),
    "a whole number as step": ("dead zone", quantizer(kind="dead-zone", delta=1, step=3)),
    "delta 0": ("dead zone", quantizer(kind="dead-zone", delta=0.0, step=0.5)),
    "smallest step": ("dead zone", quantizer(kind="dead-zone", delta=0.5, step=1e-45)),
    "grid without axes": ("contexts", quantizer(kind="grid", step=0.5, axes=[], trellis=False)),
    "two trellises": ("trellis of 32", lambda t: t.table["parts"][0]["quantizer"].update(trellis=True)),
    "a trellis for the coder alone": ("trellis of 32", quantizer(kind="dead-zone", delta=0.5, step=0.1)),
    "overflowing values": ("dead zone", quantizer(kind="dead-zone", delta=0.5, step=3.4e38)),
    "a list of graphs": ("dead zone", more("o.b.1/q", in_graphs)),
    "a function": ("dead zone", more("d:f:o/q", in_function)),
    "a graph": ("dead zone", more("o.b/q", lambda p: attribute(p, "b", 5).g.initializer.add())),
    "no elements": ("dead zone", empty_rows([200_000_000, 0])),
    "no elements on a trellis": ("default", lambda t: (empty_rows([70_000, 0])(t),
        quantizer(kind="grid", step=0.1, trellis=True)(t), t.table["parts"][0].pop("steps_bytes", None))[0]),
    "no elements, many axes": ("dead zone", empty_rows([1] * 63 + [0])),
    "truth values": ("dead zone", kept("t", 9, b"\0\1\1", [3])),
    "packed values": ("dead zone", kept("t", 22, b"\xf1\x02", [3])),
    "values that stay": ("dead zone", inline(lambda one: None)),
    "a tensor of text that stays": ("dead zone", graph(lambda p: p.graph.initializer.add(
        name="s", data_type=8, dims=[1], string_data=[b"\xff"]))),
    "unknown fields": ("dead zone", wire(lambda data: data + b"\xc2\x3e\x02ab")),
    "an input with a default": ("dead zone", graph(lambda p: p.graph.input.add(name="fine"))),
    "outputs without names": ("dead zone", graph(lambda p: p.graph.node[3].output.extend(["", ""]))),
    "a name in two graphs": ("dead zone", graph(lambda p: attribute(p, "b", 5).g.node.add(output=["n"]))),
    "twice in a graph that is none": ("dead zone", graph(
        lambda p: attribute(p, "b", AttributeProto.INT).g.node.add(output=["a", "a"]))),
    "functions of two overloads": ("dead zone", graph(
        lambda p: [p.functions.add(name="f", overload=one) for one in ("", "o")])),
    "largest level on a trellis": ("default", levels_beyond((1 << 30) - 1)),
}  # fmt: skip

BAD: dict[str, tuple[str, Change]] = {
    "padding that is not zero": ("dead zone", padded(b"\0\1", 2)),
    "padding too long": ("dead zone", padded(b"", 10**6)),
    "padding over all": ("dead zone", row(padding=1 << 41)),
    "padding a text": ("dead zone", row(padding="0")),
    "padding true": ("dead zone", padded(b"\0", True)),
    "padding a fraction": ("dead zone", padded(b"\0", 1.0)),
    "no metadata": ("dead zone", lambda t: t.table.pop("metadata")),
    "no parts": ("dead zone", lambda t: t.table.pop("parts")),
    "metadata a list": ("dead zone", metadata([])),
    "metadata 101 deep": ("dead zone", deep_metadata(101)),
    "unknown key at the top": ("dead zone", lambda t: t.table.update(x=1)),
    "unknown key in a row": ("dead zone", row(x=1)),
    "unknown key in a tensor": ("dead zone", tensor(x=1)),
    "unknown key in a quantizer": ("dead zone", lambda t: t.table["parts"][0]["quantizer"].update(x=1)),
    "key of another quantizer": ("half", quantizer(kind="half", p=3)),
    "quantizer of exact values": ("dead zone", row(-1, quantizer={"kind": "half"})),
    "steps of exact values": ("dead zone", row(-1, steps_bytes=0)),
    "no quantizer": ("dead zone", row(quantizer=None)),
    "no coder": ("dead zone", row(coder=None)),
    "another coder": ("dead zone", row(coder="best")),
    "no tensors": ("dead zone", row(tensors=[])),
    "another type": ("dead zone", tensor(type=99)),
    "a type of text": ("dead zone", tensor(type=8)),
    "a quantized type of integers": ("dead zone", tensor(type=7)),
    "type in the table alone": ("dead zone", tensor(type=10)),
    "shape in the table alone": ("dead zone", lambda t: t.table["parts"][0]["tensors"][0]["shape"].reverse()),
    "shape with true": ("dead zone", lambda t: t.table["parts"][-1]["tensors"][0]["shape"].append(True)),
    "UTF-16": ("dead zone", whole_table(lambda text: text.encode("utf-16"))),
    "byte order mark": ("dead zone", whole_table(lambda text: "\ufeff" + text)),
    "NaN": ("dead zone", metadata({"a": float("nan")})),
    "just beyond float64's end": ("dead zone", whole_table(
        lambda t: t.replace('"metadata": {', f'"metadata": {{"a": {2**1024 - 2**970}.0, '))),
    "1e309": ("dead zone", whole_table(lambda t: t.replace('"metadata": {', '"metadata": {"a": 0.001e312, '))),
    "1e999": ("dead zone", whole_table(lambda t: t.replace('"metadata": {', '"metadata": {"a": 1e999, '))),
    "lone surrogate": ("dead zone", metadata({"a": "\ud800"})),
    "bytes that are no text": ("dead zone", whole_table(lambda t: t.encode().replace(b"fc.w", b"fc\xff\xfe"))),
    "checksum in capitals": ("dead zone", whole_table(
        lambda t: json.dumps({**json.loads(t), "parts": [
            {**r, "crc32": r["crc32"].upper() + ("" if r["crc32"] != r["crc32"].upper() else " ")}
            for r in json.loads(t)["parts"]]}))),
    "delta above 1": ("dead zone", quantizer(kind="dead-zone", delta=1.5, step=0.1)),
    "delta below 0": ("dead zone", quantizer(kind="dead-zone", delta=-0.1, step=0.1)),
    "delta true": ("dead zone", quantizer(kind="dead-zone", delta=True, step=0.1)),
    "step null": ("dead zone", quantizer(kind="dead-zone", delta=0.5, step=None)),
    "step and axis": ("channels", lambda t: t.table["parts"][0]["quantizer"].update(step=0.1)),
    "negative step": ("dead zone", quantizer(kind="dead-zone", delta=0.5, step=-0.1)),
    "no step": ("dead zone", quantizer(kind="dead-zone", delta=0.5, step=0.0)),
    "a step below float32": ("dead zone", quantizer(kind="dead-zone", delta=0.5, step=1e-46)),
    "a step above float32": ("dead zone", quantizer(kind="grid", step=3.5e38)),
    "4301 digits": ("dead zone", whole_table(
        lambda t: t.replace('"metadata": {', f'"metadata": {{"a": {"9" * 4301}, '))),
    "a long number": ("dead zone", quantizer(kind="dead-zone", delta=0.5, step=10**400)),
    "a grid of negative steps": ("contexts", quantizer(kind="grid", step=-1.0)),
    "axes of true": ("rows", lambda t: t.table["parts"][0]["quantizer"].update(axes=[False])),
    "axes out of order": ("rows", lambda t: t.table["parts"][0]["quantizer"].update(axes=[1, 0])),
    "the same axis twice": ("rows", lambda t: t.table["parts"][0]["quantizer"].update(axes=[0, 0])),
    "a third axis": ("rows", lambda t: t.table["parts"][0]["quantizer"].update(axes=[2])),
    "axes without steps": ("contexts", quantizer(kind="grid", step=1.0, axes=[0])),
    "steps without axes": ("contexts", row(steps_bytes=2)),
    "an axis too far": ("channels", lambda t: t.table["parts"][0]["quantizer"].update(axis=9)),
    "trellis a number": ("trellis", lambda t: t.table["parts"][0]["quantizer"].update(trellis=1)),
    "steps of tensors along two axes": (
        "steps of tensors", lambda t: t.table["parts"][0]["quantizer"].update(axes=[0, 1])),
    "steps of tensors along another axis": (
        "steps of tensors", lambda t: t.table["parts"][0]["quantizer"].update(axes=[1])),
    "steps of tensors of a dead zone": ("steps of tensors", quantizer(kind="dead-zone", delta=0.5, axis=0)),
    "steps of tensors that no float32 has": (
        "steps of tensors", lambda t: t.table["parts"][0]["quantizer"].update(step=1e-45)),
    "steps of tensors beyond float32": (
        "steps of tensors", lambda t: t.table["parts"][0]["quantizer"].update(step=3e38)),
    "trellis of 31": ("trellis of 32", lambda t: t.table["parts"][0]["quantizer"].update(trellis=31)),
    "trellis of none": ("trellis of 32", lambda t: t.table["parts"][0]["quantizer"].update(trellis=0)),
    "trellis a fraction": ("trellis of 32", lambda t: t.table["parts"][0]["quantizer"].update(trellis=32.0)),
    "trellis of 32 and several tensors": ("bundle", quantizer(kind="grid", step=1.0, trellis=32)),
    "trellis of several tensors": ("bundle", quantizer(kind="grid", step=1.0, trellis=True)),
    "mu-law of one level": ("mu-law", quantizer(kind="mu-law", levels=1, mu=255.0, x_max=1.0, exponent=8.0)),
    "mu-law of too many": ("mu-law", quantizer(kind="mu-law", levels=2**25, mu=255.0, x_max=1.0, exponent=8.0)),
    "mu-law levels a fraction": ("mu-law", quantizer(kind="mu-law", levels=64.0, mu=255.0, x_max=1.0, exponent=8.0)),
    "mu-law exponent": ("mu-law", quantizer(kind="mu-law", levels=64, mu=255.0, x_max=1.0, exponent=70.0)),
    "mu-law without mu": ("mu-law", quantizer(kind="mu-law", levels=64, mu=0.0, x_max=1.0, exponent=8.0)),
    "mu-law x_max": ("mu-law", quantizer(kind="mu-law", levels=64, mu=255.0, x_max=1e30, exponent=8.0)),
    "mu-law ratio": ("mu-law", quantizer(kind="mu-law", levels=64, mu=1e-300, x_max=1e29, exponent=8.0)),
    "minifloat p": ("minifloat", quantizer(kind="minifloat", p=8, q=3)),
    "minifloat q": ("minifloat", quantizer(kind="minifloat", p=3, q=13)),
    "minifloat of no bits": ("minifloat", quantizer(kind="minifloat", p=0, q=0)),
    "minifloat scale": ("minifloat", quantizer(kind="minifloat", p=3, q=3, scale=2.0**61)),
    "levels outside a minifloat": ("minifloat", quantizer(kind="minifloat", p=0, q=1)),
    "bounds of no elements": ("dead zone", lambda t: (empty_rows([7, 0])(t), quantizer(
        kind="grid", step=0.0)(t))[0]),
    "bytes for no elements": ("dead zone", empty_rows([7, 0], b"\0")),
    "no elements, impossible": ("dead zone", empty_rows([2**40, 2**40, 0])),
    "no elements, 65 axes": ("dead zone", empty_rows([1] * 64 + [0])),
    "a truth value of 2": ("dead zone", kept("t", 9, b"\0\2\1", [3])),
    "filled with ones": ("dead zone", kept("t", 22, b"\xf1\x12", [3])),
    "level beyond a trellis": ("default", levels_beyond(1 << 30)),
    "emptied and not listed": ("dead zone", more("q", lambda p: p.graph.initializer.add(), listed=False)),
    "emptied without a name": ("dead zone", graph(lambda p: emptied(p.graph.initializer.add(), ""))),
    "emptied in another attribute": ("dead zone", more("o", lambda p: attribute(p, "t", 4).t, listed=False)),
    "emptied, listed, another attribute": ("dead zone", more("o", lambda p: attribute(p, "t", 4).t)),
    "emptied in a list of tensors": ("dead zone", more("q", lambda p: attribute(p, "t", 9).tensors.add(),
        listed=False)),
    "emptied in a sparse tensor": ("dead zone", more("q", lambda p: p.graph.sparse_initializer.add().values,
        listed=False)),
    "emptied sparse indices": ("dead zone", more("q", lambda p: attribute(p, "t", 11).sparse_tensor.indices,
        listed=False)),
    "emptied in training": ("dead zone", more("q", lambda p: p.training_info.add().algorithm.initializer.add(),
        listed=False)),
    "emptied in a graph that is none": ("dead zone", more("o.b/q", of_wrong_kind)),
    "emptied twice": ("dead zone", more("q", twice)),
    "emptied second value": ("dead zone", more("q", second_value)),
    "emptied constant of two outputs": ("dead zone", more("o", lambda p: attribute(
        p, "value", 4, "Constant", ("o", "p")).t)),
    "emptied text": ("dead zone", graph(lambda p: p.graph.initializer.add(
        name="s", data_type=8, dims=[1], data_location=1))),
    "another file": ("dead zone", graph(lambda p: initializer(p).external_data.add(key="location", value="x"))),
    "another file for no weight": ("dead zone", graph(lambda p: (emptied(t := attribute(p, "t", 4).t),
        t.external_data.add(key="location", value="x")))),
    "weight not listed": ("dead zone", lambda t: (t.table["parts"].pop(), t.payloads.pop())[0]),
    "values too few": ("dead zone", inline(lambda one: one.int64_data.pop())),
    "raw values too many": ("dead zone", inline(lambda one: setattr(one, "raw_data", bytes(17)))),
    "a kept weight of negative size": ("dead zone", inline(lambda one: one.dims.extend([-1]))),
    "a kept weight of impossible sizes": ("dead zone", inline(
        lambda one: (one.ClearField("int64_data"), one.dims.extend([0, 2**40, 2**40])))),
    "no graph": ("dead zone", wire(lambda data: b"\x08\x08")),
    "no version": ("dead zone", graph(lambda p: (p.ClearField("ir_version"), p.ClearField("opset_import")))),
    "two graphs": ("dead zone", wire(lambda data: data + b"\x3a\x03\x12\x01a")),
    "a number with a tail": ("dead zone", wire(lambda data: data + b"\x28\x81\x00")),
    "groups": ("dead zone", wire(lambda data: data + b"\xc3\x3e\xc4\x3e")),
    "names that are no text": ("dead zone", wire(lambda data: data.replace(b"\x04fc.b", b"\x04fc\xff\xfe"))),
    "an operator that is no text": ("dead zone", wire(lambda data: data.replace(b"\x04Relu", b"\x04Re\xff\xfe"))),
    "an initializer twice": ("dead zone", graph(lambda p: p.graph.initializer.append(initializer(p, "fine")))),
    "an output twice": ("dead zone", graph(lambda p: p.graph.node[3].output.__setitem__(0, "n"))),
    "an output twice in one node": ("dead zone", graph(lambda p: p.graph.node[3].output.append("r"))),
    "an input twice": ("dead zone", graph(lambda p: p.graph.input.append(p.graph.input[0]))),
    "an input that is an output": ("dead zone", graph(lambda p: p.graph.input.add(name="n"))),
    "an initializer that is an output": ("dead zone", graph(lambda p: p.graph.node[3].output.append("fine"))),
    "a sparse initializer twice": ("dead zone", graph(lambda p: [
        setattr(p.graph.sparse_initializer.add().values, "name", "s") for _ in range(2)])),
    "twice in a subgraph": ("dead zone", graph(lambda p: attribute(p, "b", 5).g.node.add(output=["a", "a"]))),
    "twice in a function": ("dead zone", graph(lambda p: p.functions.add(name="f", input=["a", "a"]))),
    "a function twice": ("dead zone", graph(lambda p: [p.functions.add(name="f", domain="d") for _ in range(2)])),
    "a graph cut short": ("dead zone", wire(lambda data: data[:-1])),
}  # fmt: skip


def variant(name: str, sound: dict[str, Taken]) -> bytes:
    """The file of `GOOD` or `BAD` of that name; sound: what `bases` gives."""
    base, change = (GOOD | BAD)[name]
    taken = copy.deepcopy(sound[base])
    change(taken)
    return taken.to_bytes(fix_rows=not isinstance(taken.table, bytes))


def mutated(rng: random.Random, bases: dict[str, Taken]) -> Iterator[bytes]:
    """Files with a few bytes of the graph or of a payload, or a number of the table, changed at random."""
    while True:
        taken = copy.deepcopy(rng.choice(list(bases.values())))
        kind = rng.randrange(3)
        if kind == 0:
            data = bytearray(taken.graph)
        elif kind == 1:
            which = rng.randrange(len(taken.payloads))
            data = bytearray(taken.payloads[which])
        else:
            data = bytearray(json.dumps(taken.table).encode())
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(data))
            how = rng.randrange(4)
            if how == 0:
                data[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, *b'019"[]{},'])
            elif how == 1:
                del data[at : at + rng.randrange(1, 6)]
            elif how == 2:
                data[at:at] = rng.choice([b"\0", b"1", rng.randbytes(3)])
            else:
                data[at] ^= 1 << rng.randrange(8)
            if not data:
                break
        if kind == 0:
            taken.graph = bytes(data)
        elif kind == 1:
            taken.payloads[which] = bytes(data)
        else:
            taken.table = bytes(data)
        yield taken.to_bytes()

"""Small files that ask for much: models written byte by byte, since no library would make them.

Each kind repeats something that takes a few bytes in a file and far more once it is read. `onnx_of` gives the model,
`enx_of` the same as the graph of an `.enx` file, whose head shrinks what repeats.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable

from enx_samples import head_filters, with_prefix

GRAPH, GRAPHS = 5, 10  # types of attributes


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def inside(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def text(field: int, value: str) -> bytes:
    return inside(field, value.encode())


def pair(field: int, key: str, value: str) -> bytes:
    return inside(field, text(1, key) + text(2, value))


def value_info(field: int, name: str) -> bytes:
    return inside(
        field, text(1, name) + inside(2, inside(1, number(1, 1) + inside(2, inside(1, number(1, 1)))))
    )


def tensor(name: str, dims: list[int], data: bytes = b"", kind: int = 1) -> bytes:
    return b"".join(number(1, size) for size in dims) + number(2, kind) + text(8, name) + inside(9, data)


def node(operator: str, inputs: list[str], outputs: list[str], more: bytes = b"") -> bytes:
    names = [*(text(1, name) for name in inputs), *(text(2, name) for name in outputs)]
    return inside(1, b"".join(names) + text(4, operator) + more)


def attribute(name: str, content: bytes, kind: int) -> bytes:
    return inside(5, text(1, name) + content + number(20, kind))


def model(graph: bytes, more: bytes = b"") -> bytes:
    """y = x, and whatever `graph` adds."""
    whole = node("Identity", ["x"], ["y"]) + text(2, "g") + graph + value_info(11, "x") + value_info(12, "y")
    return number(1, 8) + inside(7, whole) + inside(8, number(2, 17)) + more


def in_a_tensor(content: bytes) -> bytes:
    """A tensor of an attribute that is no weight: it stays in the graph as it is."""
    return model(node("Odd", ["x"], ["z"], attribute("t", inside(5, text(8, "t") + content), 4)))


def long_label(size: int) -> bytes:
    """A node of a long name over a subgraph of many weights: each weight's name begins with the node's."""
    many = min(2000, size // 40)
    weights = b"".join(inside(5, tensor(str(i), [1], bytes(4))) for i in range(many))
    branch = text(2, "s") + node("Identity", ["0"], ["z"]) + weights + value_info(12, "z")
    label = "L" * (size - len(branch))
    return model(node("If", ["c"], [label], attribute("then_branch", inside(6, branch), GRAPH)))


def long_label_many_graphs(size: int) -> bytes:
    graph = attribute("b", inside(6, b""), GRAPH)
    label = "é" * (size // 4)
    return model(node("If", ["c"], [label], graph * (size // 2 // len(graph))))


def long_domain(size: int) -> bytes:
    """The same with a function's name in front."""
    value = text(2, "k") + text(4, "Constant") + attribute("value", inside(5, tensor("", [1], bytes(4))), 4)
    many = inside(7, value) * (size // 2 // len(value))
    return model(b"", inside(25, text(1, "f") + text(10, "D" * (size // 2)) + many))


def deep(size: int, field: int = 6) -> bytes:
    graph = b""
    while len(graph) < min(size, 40_000):
        graph = node(
            "If", ["c"], ["L" * 100], attribute("b", inside(field, graph), GRAPH if field == 6 else GRAPHS)
        )
    return model(graph)


def nested_label(size: int) -> bytes:
    """Thirty levels, each with a label of its own; the innermost graph has many nodes with graphs."""
    leaf = node("If", [], ["a"], attribute("b", inside(6, b""), GRAPH))
    graph = leaf * (size // 2 // len(leaf))
    for _ in range(20):
        graph = node("If", [], ["L" * (size // 40)], attribute("b", inside(6, graph), GRAPH))
    return model(graph)


def tiny_weights(size: int) -> bytes:
    """Initializers of one byte, each with a name of its own."""
    found, length, at = [], 0, 0
    while length < size:
        found.append(inside(5, tensor(f"{at:x}", [1], b"\0", 3)))
        length += len(found[-1])
        at += 1
    return model(b"".join(found))


def external(size: int) -> bytes:
    """One tensor with a million external-data entries."""
    entry = pair(13, "location", "a")
    return model(
        inside(5, number(1, 4) + number(2, 1) + text(8, "w") + entry * (size // len(entry)) + number(14, 1))
    )


def external_each(size: int) -> bytes:
    """Tensors by the million, each in a file that is not there."""
    one = inside(5, number(2, 1) + pair(13, "location", "a") + number(14, 1))
    return model(one * (size // len(one)))


def repeated(unit: bytes, around: Callable[[bytes], bytes] = model) -> Callable[[int], bytes]:
    return lambda size: around(unit * (size // len(unit)))


def one_node(content: bytes) -> bytes:
    return model(inside(1, content))


def one_attribute(content: bytes) -> bytes:
    return one_node(text(2, "o") + text(4, "Odd") + inside(5, text(1, "a") + content))


KINDS: dict[str, Callable[[int], bytes]] = {
    "long label": long_label,
    "long label, many graphs": long_label_many_graphs,
    "long domain": long_domain,
    "nested labels": nested_label,
    "deep": deep,
    "deep lists": lambda size: deep(size, 11),
    "empty initializers": repeated(inside(5, b"")),
    "initializers without a name": repeated(inside(5, number(2, 1))),
    "tiny weights": tiny_weights,
    "the same weight": repeated(inside(5, tensor("w", [1], bytes(4)))),
    "weights of no elements": repeated(inside(5, tensor("w", [2**33, 0]))),
    "nodes": repeated(inside(1, b"")),
    "constants": repeated(node("Constant", [], ["k"], attribute("value", inside(5, tensor("", [0])), 4))),
    "subgraphs": repeated(inside(5, inside(6, b"") + number(20, GRAPH)), one_node),
    "a list of subgraphs": repeated(inside(11, b""), lambda many: one_attribute(many + number(20, GRAPHS))),
    "attributes": repeated(inside(5, b""), one_node),
    "inputs of a node": repeated(text(1, ""), one_node),
    "named inputs of a node": repeated(text(1, "ab"), one_node),
    "outputs of a node": repeated(text(2, ""), one_node),
    "integers": repeated(number(8, 1), one_attribute),
    "floats": repeated(b"\x3d" + bytes(4), one_attribute),
    "strings": repeated(text(9, ""), one_attribute),
    "tensors": repeated(inside(10, b""), one_attribute),
    "types": repeated(inside(15, b""), one_attribute),
    "sparse tensors": repeated(inside(23, b""), one_attribute),
    "sparse initializers": repeated(inside(15, b"")),
    "value infos": repeated(inside(13, b"")),
    "graph inputs": repeated(inside(11, b"")),
    "graph outputs": repeated(inside(12, b"")),
    "annotations": repeated(inside(14, b"")),
    "dims of an input": lambda size: model(
        inside(11, text(1, "i") + inside(2, inside(1, number(1, 1) + inside(2, inside(1, b"") * (size // 2)))))
    ),
    "dims of a weight": lambda size: model(
        inside(5, tensor("w", [], bytes(4)) + number(1, 2**62) * (size // 10))
    ),
    "functions": lambda size: model(b"", inside(25, b"") * (size // 3)),
    "opset imports": lambda size: model(b"", inside(8, b"") * (size // 2)),
    "metadata": lambda size: model(b"", inside(14, b"") * (size // 2)),
    "training": lambda size: model(b"", inside(20, inside(1, b"")) * (size // 5)),
    "configurations": lambda size: model(b"", inside(26, b"") * (size // 3)),
    "graph metadata": repeated(inside(16, b"")),
    "external entries": external,
    "external tensors": external_each,
    "int64 data": lambda size: model(inside(5, number(1, size) + number(2, 7) + text(8, "w") + inside(7, bytes(size)))),
    "int32 data": lambda size: model(inside(5, number(1, size) + number(2, 6) + text(8, "w") + inside(5, bytes(size)))),
    "int64 data of no weight": lambda size: in_a_tensor(inside(7, bytes(size))),
    "string data": lambda size: model(inside(5, number(2, 8) + text(8, "w") + text(6, "") * (size // 2))),
    "graph fields": lambda size: model(b"", inside(7, b"") * (size // 2)),
    "unknown fields": lambda size: model(b"", inside(1000, b"") * (size // 3)),
    "unknown fields of tensors": repeated(inside(5, inside(1000, b""))),
    "groups": lambda size: model(b"", (varint(1000 << 3 | 3) + varint(1000 << 3 | 4)) * (size // 4)),
    "nested groups": lambda size: model(
        b"", varint(1000 << 3 | 3) * (size // 4) + varint(1000 << 3 | 4) * (size // 4)
    ),
    "a long weight name": lambda size: model(inside(5, tensor("w" * size, [2], b"abc"))),
    "a long operator": lambda size: model(node("O" * size, ["x"], ["z"])),
}  # fmt: skip

TABLES: dict[str, Callable[[int], bytes]] = {
    "nested lists": lambda size: b'{"metadata":{"a":[' + b"[]," * (size // 3) + b'1]},"parts":[]}',
    "nested objects": lambda size: b'{"metadata":{"a":[' + b"{}," * (size // 3) + b'1]},"parts":[]}',
    "numbers": lambda size: b'{"metadata":{"a":[' + b"1," * (size // 2) + b'1]},"parts":[]}',
    "keys": lambda size: b'{"metadata":{' + b"".join(b'"%x":0,' % i for i in range(size // 8)) + b'"":1},"parts":[]}',
    "rows": lambda size: json.dumps(
        {"metadata": {}, "parts": [{"coder": "planes", "bytes": 0, "crc32": "00000000",
         "tensors": [{"name": "a", "shape": [], "type": 1}]}] * (size // 99)}).encode(),
    "tensors": lambda size: json.dumps(
        {"metadata": {}, "parts": [{"coder": "planes", "bytes": 0, "crc32": "00000000",
         "tensors": [{"name": "a", "shape": [0], "type": 1}] * (size // 44)}]}).encode(),
    "sizes": lambda size: json.dumps(
        {"metadata": {}, "parts": [{"coder": "planes", "bytes": 0, "crc32": "00000000",
         "tensors": [{"name": "a", "shape": [1] * (size // 3), "type": 1}]}]}).encode(),
    "a long number": lambda size: b'{"metadata":{"a":1' + b"0" * size + b'},"parts":[]}',
    "a long name": lambda size: json.dumps(
        {"metadata": {}, "parts": [{"coder": "planes", "bytes": 0, "crc32": "00000000",
         "tensors": [{"name": "a" * size, "shape": [], "type": 1}]}]}).encode(),
}  # fmt: skip


def onnx_of(kind: str, size: int) -> bytes:
    return KINDS[kind](size)


def enx_of(kind: str, size: int) -> bytes:
    """The graph of that kind, or the table, in a file that is in order as far as its lengths and checksums go."""
    if kind in TABLES:
        return enx(TABLES[kind](size), model(b""))
    return enx(b'{"metadata":{},"parts":[]}', KINDS[kind](size))


def enx(table: bytes, graph: bytes) -> bytes:
    plain = table + graph
    quick = head_filters(len(plain))[0] | {
        "mode": lzma.MODE_FAST,
        "mf": lzma.MF_HC3,
        "nice_len": 273,
        "depth": 4,
    }
    stored = lzma.compress(plain, lzma.FORMAT_RAW, filters=[quick])
    return with_prefix(stored, len(table), len(graph), b"", 1)

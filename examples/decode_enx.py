"""A second reader of `.enx` files, written from docs/format.md alone, to be read and ported rather than fast.

python examples/decode_enx.py model.enx [--out model.onnx]     lists the tensors, or writes the ONNX file
"""

import argparse
import json
import lzma
import math
import struct
import zlib
from collections import namedtuple
from pathlib import Path

# How struct names ONNX's types; those from 16 on are shown as plain bits.
CODES = dict(enumerate("xfBbHhiqx?edIQ")) | {14: "2f", 15: "2d", 16: "H"} | dict.fromkeys(range(17, 27), "B")
PACKED = {21: 2, 22: 2, 23: 2, 25: 4, 26: 4}  # elements in a byte
ROW_KEYS = {"tensors", "bytes", "crc32", "padding", "coder", "quantizer", "steps_bytes"}
DAMAGE = (LookupError, TypeError, AttributeError, ArithmeticError, struct.error, lzma.LZMAError)
Tensor = namedtuple("Tensor", "shape type data levels quantizer")  # the last two: None if exact
EVEN, ODD = (0, 5, 1, 6, 2, 4, 3, 7), (2, 7, 3, 4, 0, 6, 1, 5)  # the trellis: states behind such levels
HEAD = "bases positions width slots means direct smallest signs looking shifts weights strand"
Contexts = namedtuple("Contexts", HEAD)


def need(condition, message):
    if not condition:
        raise ValueError(message)


def read_head(data):
    """Prefix and head: return the table, the graph's bytes and the offset of the first payload."""
    need(data[:8] == b"\x89ENX\r\n\x1a\n" and len(data) >= 36, "not an .enx file")
    version, method, length, stored, table_size, graph_size, crc = struct.unpack_from("<HHQIIII", data, 8)
    need(
        version in (1, 2, 3) and length == len(data) >= 36 + stored,
        "unknown version, or cut off, or too long",
    )
    head, plain = data[36 : 36 + stored], table_size + graph_size
    need(zlib.crc32(data[:32] + head) == crc and method <= 1, "the head's checksum or method is wrong")
    need(plain <= 4096 * stored + 65536, "the head is too long")
    if method == 1:
        size = min(max(4096, 1 << (plain - 1).bit_length()), 1 << 26)
        lzma1 = [{"id": lzma.FILTER_LZMA1, "lc": 1, "lp": 0, "pb": 0, "dict_size": size}]
        head = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=lzma1).decompress(head, max_length=plain + 1)
    need(len(head) == plain, "the head has the wrong length")
    table = json.loads(head[:table_size])
    need(table.keys() == {"metadata", "parts"}, "unknown keys in the table")
    return table, head[table_size:], 36 + stored


def decode(data):
    """Return the tensors of a file's bytes: a dictionary of name → `Tensor`, in the file's order."""
    try:
        tensors, (table, _, at) = {}, read_head(data)
        for row in table["parts"]:
            payload, names = data[at : at + row["bytes"]], [entry["name"] for entry in row["tensors"]]
            at += row["bytes"]
            need(f"{zlib.crc32(payload):08x}" == row["crc32"], f"{names}: the payload is cut off or damaged")
            need(len(names) > len(tensors.keys() & names) == 0, f"{names}: no tensors, or one that was there")
            tensors |= zip(names, decode_row(row, payload), strict=True)
        need(at == len(data), "payloads do not end with the file")
        return tensors
    except DAMAGE as error:
        raise ValueError(f"damaged: {error!r}") from error


def decode_row(row, payload):
    """Yield the tensors of one row of the table."""
    need(
        row.keys() <= ROW_KEYS and row["coder"] in ("planes", "order0", "contexts", "trellis"),
        "unknown keys or coder in a row",
    )
    exact, quantizer, at = row["coder"] == "planes", row.get("quantizer"), 0
    end, split = len(payload) - row.get("padding", 0), row.get("steps_bytes", 0)
    # Packed elements of exact values count as bytes, of which each tensor has whole ones.
    per_byte = [PACKED.get(entry["type"], 1) if exact else 1 for entry in row["tensors"]]
    counts = [-(-math.prod(t["shape"]) // per) for t, per in zip(row["tensors"], per_byte, strict=True)]
    widths = {struct.calcsize("<" + CODES[t["type"]]) if exact else 1 for t in row["tensors"]}
    need(end >= split and not any(payload[end:]) and len(widths) == 1, "wrong padding or types")
    need(sum(counts) <= 4096 * len(payload) + 65536, "more elements than the payload may stand for")
    data, width, shapes = payload[split:end], widths.pop(), [entry["shape"] for entry in row["tensors"]]
    values, trellis = b"", row["coder"] == "trellis"
    if trellis or (not exact and quantizer.get("trellis")):
        need(len(shapes) == 1 and shapes[0], "a trellis takes one tensor")
    if any(counts) and row["coder"] in ("contexts", "trellis"):
        values = decode_contexts(data, shapes, trellis)
    elif any(counts):
        values = (decode_planes if exact else decode_order0)(data, sum(counts), width)
    for entry, count in zip(row["tensors"], counts, strict=True):
        data, levels, shape = values[at : at + count * width], None, entry["shape"]
        at += count * width
        if not exact:
            levels, steps, inner = data, [quantizer.get("step")], 1  # inner: elements between two steps
            if "axis" in quantizer:
                n, inner = shape[quantizer["axis"]], math.prod(shape[quantizer["axis"] + 1 :])
                steps = struct.unpack(f"<{n}f", decode_planes(payload[:split], n, 4))
            if quantizer["kind"] == "grid":
                steps, inner = grid_steps(quantizer, shape, payload[:split]), 1
            units = multiples(levels, math.prod(shape[1:])) if quantizer.get("trellis") else levels
            keys = [(level, steps[i // inner % len(steps)]) for i, level in enumerate(units)]
            known = {key: to_bytes(value_of(*key, quantizer), entry["type"]) for key in set(keys)}
            data = b"".join(known[key] for key in keys)
        yield Tensor(shape, entry["type"], data, levels, quantizer)


class Reader:
    """Reads bit fields, from each byte's least significant bit on; `at` counts bits."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def bits(self, n):
        first, self.at = self.at, self.at + n
        need(self.at <= 8 * len(self.data), "bits are cut off")
        window = int.from_bytes(self.data[first >> 3 : (self.at + 7) >> 3], "little")
        return window >> (first & 7) & ((1 << n) - 1)

    def varint(self):
        return byte if (byte := self.bits(8)) < 128 else byte - 128 + (self.varint() << 7)

    def ones(self):
        return 1 + self.ones() if self.bits(1) else 0

    def gamma(self):
        width = self.ones()
        return (1 << width) - 1 + self.bits(width)

    def numbers(self, count):
        low, found = self.bits(2), []
        for _ in range(count):
            u = 0
            while u < 12 and self.bits(1):
                u += 1
            u = self.bits(8) if u == 12 else u << low | self.bits(low)
            found.append((u + 1) // 2 if u % 2 else -u // 2)
        return found


def decode_planes(data, count, width):
    """Coder `planes`: return `count` elements of `width` bytes."""
    out, reader = bytearray(count * width), Reader(data)
    for plane in range(width):
        size = reader.varint()
        coded = reader.bits(8 * (size or count)).to_bytes(size or count, "little")
        out[plane::width] = coded * count if size == 1 else decode_order0(coded, count) if size else coded
    need(reader.at == 8 * len(data), "there are bytes behind the last plane")
    return bytes(out)


def decode_order0(data, count, _=1):
    """Coder `order0`: return `count` integer levels."""
    reader, levels = Reader(data), []
    shift, direct, k, m = reader.bits(5), reader.bits(11), reader.bits(4), reader.bits(3)
    tokens, largest = reader.gamma() + 1, reader.gamma()
    need(8 <= k <= 15 and largest < tokens <= 8192, "a frequency table's head is wrong")
    frequencies, classes = [0] * tokens, [k, k]  # classes[token] is that of the token two before
    for token in range(tokens):
        c = classes[token]
        if token != largest:
            z = reader.ones()
            c += -(z // 2 + 1) if z % 2 else z // 2
            j = max(0, min(m, c - 1))
            frequencies[token] = ((1 << j) + reader.bits(j)) << (c - 1 - j) if c else 0
        classes.append(c)
    frequencies[largest] = (1 << k) - sum(frequencies)
    need(0 <= min(classes) <= max(classes) <= k and frequencies[largest] >= 1, "a frequency table is wrong")
    slots = [(token, f, i) for token, f in enumerate(frequencies) for i in range(f)]  # t, f_t, slot − C_t
    reader.at += -reader.at % 8
    chunks = [range(first, min(first + (1 << 18), count)) for first in range(0, count, 1 << 18)]
    lengths = [(reader.varint(), reader.varint() if c.stop < count else None) for c in chunks]
    for chunk, (words, raw) in zip(chunks, lengths, strict=True):
        states = [reader.bits(40) for _ in range(4 if len(chunk) >= 1 << 15 else 1)]
        need(min(states) >= 1 << 24, "a state is too small")
        stream = [reader.bits(16) for _ in range(words)][::-1]
        end = len(data) if raw is None else reader.at // 8 + raw
        for i in range(len(chunk)):
            x = states[i % len(states)]
            token, f, rest = slots[x % (1 << k)]
            x = f * (x >> k) + rest
            states[i % len(states)] = x if x >= 1 << 24 else x << 16 | stream.pop()
            low, q, negative = reader.bits(shift) if shift else 0, (token + 1) // 2, token % 2 == 0
            if token > 2 * direct:
                e, negative = divmod(token - 2 * direct - 1, 2)
                q = direct + (1 << e) + reader.bits(e)
            levels.append(((-q if negative else q) << shift) + low)
        need(set(states) == {1 << 24} and not stream, "a chunk does not end as it should")
        reader.at += -reader.at % 8
        need(reader.at == 8 * end, "a chunk's raw bits have the wrong length")
    need(all(-(1 << 31) <= level < 1 << 31 for level in levels), "a level does not fit 32 bits")
    return levels


def clamp(x, low, high):
    return min(max(x, low), high)


def hazard(exponent):
    """Return 65536·o / (1 + o) for odds o = 2 to the power of exponent / 4, in integers."""
    need(-64 <= exponent <= 63, "odds are out of range")
    o = (32768, 38968, 46341, 55109)[exponent % 4] << (16 + exponent // 4)
    return max(1, (o << 16) // (o + (1 << 31)))


def frequencies(exponents, direct, groups):
    """Return the frequencies, of 4096, of a class's magnitude tokens."""
    left, masses, stay = 1 << 30, [], 65536 - hazard(exponents[-1])
    for m in range(direct + 1):
        masses.append(left * hazard(exponents[min(m, len(exponents) - 1)]) >> 16)
        left -= masses[-1]
    for _ in range(groups):
        masses.append(left * (65536 - stay) >> 16)
        left, stay = left - masses[-1], stay * stay >> 16
    masses[-1] += left
    found = [max(1, mass >> 18) for mass in masses]
    found[found.index(max(found))] += 4096 - sum(found)
    return found


def read_classes(reader, k, m):
    """Return the exponents of k classes' m hazards."""
    classes, numbers = [], iter(reader.numbers(k * m))
    for _ in range(k):  # the last class comes first
        line = []
        for i in range(m):
            expected = line[i - 1] if i else 0
            if classes:
                slope = classes[0][i] - classes[1][i] if len(classes) > 1 else 0
                expected = clamp(classes[0][i] + clamp(slope, -8, 8), -64, 63)
            line.append(expected + next(numbers))
        classes.insert(0, line)
    return classes


def read_contexts(reader, shapes, trellis):
    """Return the head of a payload of coder `contexts` or `trellis`, of tensors of those shapes."""
    k, m, direct, groups = reader.bits(5) + 1, reader.bits(4) + 1, reader.bits(6), reader.bits(5)
    looking, scaled = reader.bits(1), [reader.bits(1) for _ in range(3)]
    need(direct + groups < 64 and groups <= 30, "too many tokens")
    hazards = read_classes(reader, k, m)
    tables = [frequencies(line, direct, groups) for line in hazards]
    if trellis:
        numbers = reader.numbers(k)[::-1]
        zeros = [line[0] - 5 + sum(numbers[c:]) for c, line in enumerate(hazards)]
        odd = [[zero, *(line[1:] or line)] for zero, line in zip(zeros, hazards, strict=True)]
        tables += [frequencies(line, direct, groups) for line in odd]
    slots = [[(t, f, i) for t, f in enumerate(table) for i in range(f)] for table in tables]
    smallest = [t if t <= direct else direct + (1 << (t - direct - 1)) for t in range(direct + 1 + groups)]
    sums = [sum(f * min(a, 1 << 20) for f, a in zip(table, smallest, strict=True)) for table in tables[:k]]
    offset, several, shape = reader.bits(7) - 64, len(shapes) > 1, [*shapes[0], *[1] * (2 - len(shapes[0]))]
    sizes = (len(shapes), 1, 1) if several else (shape[0], shape[1], math.prod(shape[2:]))
    scales = [reader.numbers(n) if there else [0] * n for n, there in zip(sizes, scaled, strict=True)]
    need(max(abs(number) for numbers in scales for number in numbers) <= 31, "a scale is out of range")
    signs, moved = [[0] * 3, [2, 3, 3], [4, 6, 7], [6, 9, 11], [8, 12, 13]][: 5 if looking else 1], [0] * 3
    changes = reader.numbers(3 * len(signs))
    for i, usual in enumerate(signs):
        moved = [a + b for a, b in zip(moved, changes[3 * i : 3 * i + 3], strict=True)]
        signs[i] = [256, *(clamp(hazard(a + b) >> 8, 1, 255) for a, b in zip(usual, moved, strict=True))]
    moves = (
        [a + b for a, b in zip([-1, -1, 0, 1, 2, 3, 3, -1, 0], reader.numbers(9), strict=True)]
        if looking
        else [0] * 9
    )
    need(sum(map(abs, moves[5:])) <= 32, "neighbours weigh too much")
    rows, columns, positions = scales
    lengths = [math.prod(one) for one in shapes] if several else [sizes[1]] * sizes[0]
    bases = [
        row + columns[0 if several else i] + offset
        for row, n in zip(rows, lengths, strict=True)
        for i in range(n)
    ]
    width = 1 if several or len(shape) < 3 else shape[-1]
    means = [max(1, total // 64) for total in sums]
    return Contexts(
        bases, positions, width, slots, means, direct, smallest, signs, looking, moves[:5], moves[5:],
        sizes[1] if trellis else 0,
    )  # fmt: skip


def contexts_of(head, kernel, p, own):
    """Return a weight's class, how sure its neighbours are of its sign, and their weighted sum."""
    left, above, right = p % head.width > 0, p >= head.width, (p + 1) % head.width > 0
    there, back = (
        (left, above, left and above, right and above),
        (1, head.width, head.width + 1, head.width - 1),
    )
    near = [clamp(kernel[p - b], -31, 31) if t else 0 for t, b in zip(there, back, strict=True)]
    found = sum(w * abs(v) for w, v in zip((2, 2, 1, 1), near, strict=True))
    around = sum(w * t for w, t in zip((2, 2, 1, 1), there, strict=True))
    total, mean = sum(w * v for w, v in zip(head.weights, near, strict=True)), head.means[own]
    step = sum(1024 * found + 48 * mean >= edge * (around + 3) * mean for edge in (10, 14, 19, 27))
    sure = sum(128 * abs(total) >= edge * mean for edge in (1, 4, 8, 15))
    return (
        (clamp(own + head.shifts[step], 0, len(head.means) - 1), sure, total) if head.looking else (own, 0, 0)
    )


def multiples(levels, length):
    """Return what levels stand for that depend on each other in rows of that length."""
    found, state = [], 0
    for i, level in enumerate(levels):
        state = state if i % length else 0
        found.append(2 * level - (state % 2 and (level > 0) - (level < 0)))
        state = (ODD if level % 2 else EVEN)[state]
    return found


def decode_contexts(data, shapes, trellis):
    """Coders `contexts` and `trellis`: return the integer levels of tensors of those shapes."""
    reader, levels = Reader(data), []
    head = read_contexts(reader, shapes, trellis)
    reader.at += -reader.at % 8
    size = len(head.positions)
    strand = head.strand or 1  # kernels that are decoded one after the other
    step = max(1, (1 << 18) // (size * strand)) * strand
    chunks = [head.bases[i : i + step] for i in range(0, len(head.bases), step)]
    stored = [reader.varint() for _ in chunks[1:]]
    for chunk, length in zip(chunks, [*stored, len(data) - reader.at // 8 - sum(stored)], strict=True):
        need(length >= 0, "a chunk is cut off")
        levels += decode_chunk(head, chunk, [[0] * size for _ in chunk], reader, length)
    return levels


def decode_chunk(head, bases, kernels, reader, length):
    lanes, size = 4 if len(bases) * len(kernels[0]) >= 1 << 16 else 1, len(kernels[0])
    width = 8 if lanes > 1 else length if length < 5 else 5 + (length - 5) % 4
    states = [reader.bits(8 * width) for _ in range(lanes)]
    need(max(states) < 1 << 63 and (lanes == 1 or min(states) >= 1 << 31), "a state is out of range")
    need((length - lanes * width) % 4 == 0, "a chunk's length is wrong")
    stream = [reader.bits(32) for _ in range((length - lanes * width) // 4)][::-1]

    def refilled(x):
        return x << 32 | stream.pop() if x < 1 << 31 and stream else x

    strand, paths = head.strand or 1, {}
    order = (
        (row, row * strand + k, p)
        for g in range(0, len(bases) // strand, lanes)
        for k in range(strand)
        for p in range(size)
        for row in range(g, min(g + lanes, len(bases) // strand))
    )
    for row, n, p in order:
        own, path = clamp(bases[n] + head.positions[p], 0, len(head.means) - 1), paths.get(row, 0)
        c, sure, total = contexts_of(head, kernels[n], p, own)
        c += len(head.means) if head.strand and path % 2 else 0
        x = states[row % lanes]
        token, f, rest = head.slots[c][x % 4096]
        x = f * (x >> 12) + rest
        share, slot = head.signs[sure][min(token, 3)], x % 256
        like = slot < share
        x = refilled(share * (x >> 8) + slot if like else (256 - share) * (x >> 8) + slot - share)
        level = head.smallest[token]
        for i in range(0, token - head.direct - 1, 16):
            bits = min(16, token - head.direct - 1 - i)
            level, x = level + (x % (1 << bits) << i), refilled(x >> bits)
        kernels[n][p], states[row % lanes] = level if like == (total >= 0) else -level, x
        paths[row] = (ODD if level % 2 else EVEN)[path]
    need(set(states) == {0 if lanes == 1 else 1 << 31} and not stream, "a chunk does not end as it should")
    return [level for kernel in kernels for level in kernel]


def to_bytes(x, onnx_type):
    """Round a float (Python's are float64) to a type's bytes; what is too large becomes infinite."""
    code, limit = {1: "<f", 10: "<e", 11: "<d", 16: "<f"}[onnx_type], {10: 65520, 11: math.inf}
    too_large = abs(x) >= limit.get(onnx_type, 2.0**128 - 2.0**103)
    rounded = struct.pack(code, math.copysign(math.inf, x) if too_large else x)
    bits = int.from_bytes(rounded, "little")  # bfloat16 is the upper half of a float32
    return rounded if onnx_type != 16 else ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).to_bytes(2, "little")


def float32(x):
    return struct.unpack("<f", to_bytes(x, 1))[0]


def grid_steps(q, shape, coded):
    """Return, for every element of a tensor, the two factors of a grid's step."""
    axes, whole = q.get("axes", []), [*shape, 1, 1]
    need(axes in ([], [0], [1], [0, 1]) and len(shape) >= len(axes), "a grid's axes do not fit")
    exponents = list(decode_order0(coded, sum(shape[axis] for axis in axes))) if axes else []
    need(all(abs(e) <= 96 for e in exponents), "a grid's factor is too large")
    roots = [
        struct.unpack(">f", bytes.fromhex(x))[0] for x in ("3F800000", "3F9837F0", "3FB504F3", "3FD744FD")
    ]
    factors = [math.ldexp(roots[e & 3], e >> 2) for e in exponents]
    rows = factors[: shape[0]] if 0 in axes else [1.0] * whole[0]
    columns = factors[len(factors) - shape[1] :] if 1 in axes else [1.0] * whole[1]
    rows = [float32(float32(q["step"]) * row) for row in rows]
    return [(row, column) for row in rows for column in columns for _ in range(math.prod(shape[2:]))]


def value_of(level, step, q):
    """Return a level's value. A float32 sum or product comes out right if made in float64 and then rounded."""
    a, kind, fits = abs(level), q["kind"], True
    if kind == "dead-zone":
        x = float32(float32(float32(a) + float32(q["delta"] - 0.5)) * float32(step)) if a else 0.0
    elif kind == "grid":
        x = float32(float32(float32(a) * step[0]) * step[1])
    elif kind == "mu-law":
        y = a * ((2 * q["exponent"]) / q["levels"])
        n, power, fits = math.floor(y), 1.0, y <= 1000
        for k in range(17, 0, -1):
            power = (power * ((y - n) * 0.6931471805599453)) / k + 1
        x = (power * 2.0**n - 1) * (q["x_max"] / q["mu"])
    elif kind == "minifloat":
        e, m = divmod(a - 1, 2 ** q["q"])
        bias, fits = 2 ** (q["p"] - 1) - 1 if q["p"] else 0, 0 <= e < 2 ** q["p"]
        x = (1 + m / 2 ** q["q"]) * 2.0 ** (e - bias) * float32(q.get("scale", 1))
    else:
        x, fits = struct.unpack("<e", struct.pack("<H", a))[0], kind == "half" and a < 0x7C00
    need(fits, f"level {level} lies outside of quantizer {q}")
    return float32(-x if level < 0 else x)


def leb128(n):
    return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + leb128(n >> 7)


def fill(kind, message, name, tensors):
    """Return a part of the graph with the weights below it, taken out of `tensors`; `name` leads to it."""
    children = {"model": {7: "graph", 25: "function"}, "graph": {1: "node", 5: "initializer"}}
    children |= {"function": {7: "node"}, "node": {5: "attribute"}, "attribute": {5: "constant", 6: "graph"}}
    reader, found, out = Reader(message), [], []  # found: number, value (an integer or bytes), whole field
    while reader.at < 8 * len(message):
        start, key = reader.at // 8, reader.varint()
        value = {1: 8, 5: 4}.get(key & 7) or reader.varint()
        value = reader.bits(8 * value).to_bytes(value, "little") if key & 7 else value
        found.append((key >> 3, value, message[start : reader.at // 8]))
    first = {number: value for number, value, _ in reversed(found)}
    if kind in ("initializer", "constant") and first.get(14) == 1 and 13 not in first:  # emptied
        name += first[8].decode() if kind == "initializer" else ""
        need(name in tensors, f"the table lacks {name}")
        found = [field for field in found if field[0] != 14] + [(9, tensors.pop(name).data, None)]
    elif kind == "function":
        name = ":".join(first.get(n, b"").decode() for n in (10, 1, 13) if n < 13 or first.get(n)) + "/"
    elif kind == "node":
        name += next(v.decode() for wanted in (2, 3, 4) for number, v, _ in found if number == wanted and v)
    for number, value, raw in found:
        child = children.get(kind, {}).get(number)
        inner = f"{name}.{first[1].decode()}/" if kind == "attribute" and child == "graph" else name
        value = fill(child, value, inner, tensors) if child else value
        out.append(raw if raw and not child else leb128(number << 3 | 2) + leb128(len(value)) + value)
    return b"".join(out)


def restore(data):
    """Return the bytes of the ONNX file."""
    model = fill("model", read_head(data)[1], "", tensors := decode(data))
    need(not tensors, f"the graph lacks {list(tensors)}")
    return model


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--out", type=Path, help="write the restored ONNX model here")
    options = parser.parse_args()
    try:
        if options.out:
            options.out.write_bytes(restore(options.file.read_bytes()))
        for name, t in ({} if options.out else decode(options.file.read_bytes())).items():
            values = [*struct.iter_unpack("<" + CODES[t.type], t.data)][:4]
            print(name, t.shape, t.quantizer["kind"] if t.quantizer else "exact", *sum(values, ()))
    except (ValueError, OSError) as error:
        parser.exit(2, f"{options.file}: {error}\n")

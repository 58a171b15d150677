"""A second reader of `.enx` files, written from docs/format.md alone, to be read and ported rather than fast.

python examples/decode_enx.py model.enx [--out model.onnx]     lists the tensors, or writes the ONNX file
"""

import argparse
import json
import lzma
import math
import re
import struct
import zlib
from collections import namedtuple
from pathlib import Path

# How struct names ONNX's types; those from 16 on are shown as plain bits.
CODES = dict(enumerate("-fBbHhiq-?edIQ")) | {14: "2f", 15: "2d", 16: "H"} | dict.fromkeys(range(17, 27), "B")
PACKED = {21: 2, 22: 2, 23: 2, 25: 4, 26: 4}  # elements in a byte
# Keys of a row, and of a quantizer by its kind: those that must be there, and those that may.
ROW = ({"tensors", "bytes", "crc32", "coder"}, {"padding"})
QUANTIZERS = {
    "dead-zone": ({"delta"}, {"step", "axis"}),
    "grid": ({"step"}, {"axes", "trellis"}),
    "mu-law": ({"levels", "mu", "x_max", "exponent"}, set()),
    "minifloat": ({"p", "q"}, {"scale"}),
    "half": (set(), set()),
}
MOST = 1 << 40
DAMAGE = (LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
DAMAGE += (struct.error, lzma.LZMAError)
Tensor = namedtuple("Tensor", "shape type data levels quantizer")  # the last two: None if exact
TRELLISES = {"trellis": 8, "trellis-32": 32}  # coders, and their numbers of states
# By states: the state behind even levels, what odd ones change in it, usual shifts of hazards by a state's end.
EVEN = {0: [0], 8: [0, 5, 1, 6, 2, 4, 3, 7], 32: [s >> 1 ^ 30 * (s % 2) for s in range(32)]}
ODD, SHIFTS = {0: 0, 8: 2, 32: 11}, {0: [], 8: [[-5]], 32: [[-5, -3], [3, -1], [-1, -5]]}
HEAD = "bases positions width slots means direct smallest signs looking shifts weights strand states"
Contexts = namedtuple("Contexts", HEAD)


def need(condition, message):
    if not condition:
        raise ValueError(message)


def read_head(data):
    """Prefix and head: return the table, the graph's bytes and the offset of the first payload."""
    need(data[:8] == b"\x89ENX\r\n\x1a\n" and len(data) >= 36, "not an .enx file")
    version, method, length, stored, table_size, graph_size, crc = struct.unpack_from("<HHQIIII", data, 8)
    need(version in (1, 2, 3, 4) and length == len(data) >= 36 + stored, "unknown version, or wrong length")
    head, plain = data[36 : 36 + stored], table_size + graph_size
    need(zlib.crc32(data[:32] + head) == crc and method <= 1, "the head's checksum or method is wrong")
    need(plain <= 64 * stored + (1 << 18) and plain < 1 << 31, "the head is too long")
    if method == 1:
        size = min(max(4096, 1 << (plain - 1).bit_length()), 1 << 26)
        lzma1 = [{"id": lzma.FILTER_LZMA1, "lc": 1, "lp": 0, "pb": 0, "dict_size": size}]
        decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=lzma1)
        head = decoder.decompress(head, max_length=plain + 1)
        need(decoder.eof and not decoder.unused_data, "the head does not end where its compression does")
    need(len(head) == plain, "the head has the wrong length")
    table = json.loads(head[:table_size].decode())
    json.dumps(table, ensure_ascii=False, allow_nan=False).encode()  # no NaN, no halves of characters
    need(table.keys() == {"metadata", "parts"}, "unknown or missing keys in the table")
    need(type(table["metadata"]) is dict and depth(table["metadata"]) <= 100, "metadata are wrong")
    need(type(table["parts"]) is list, "the parts are no list")
    return table, head[table_size:], 36 + stored


def depth(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


def natural(x):
    return type(x) is int and 0 <= x <= MOST


def keyed(value, keys, more=()):
    """Say whether a value is an object with those keys, and perhaps some of `more`."""
    required, optional = keys
    return type(value) is dict and required <= value.keys() <= required | optional | set(more)


def check_row(row):
    """What the page asks of a row of the table, whatever its payload is."""
    exact = row["coder"] == "planes"
    need(exact or row["coder"] in ("order0", "contexts", *TRELLISES), "an unknown coder")
    need(keyed(row, ROW, () if exact else ("quantizer", "steps_bytes")), "unknown or missing keys in a row")
    padding, split = row.get("padding", 0), row.get("steps_bytes", 0)
    need(natural(row["bytes"]) and natural(padding) and natural(split), "a number is wrong")
    need(padding + split <= row["bytes"], "padding or steps are longer than the payload")
    need(type(row["tensors"]) is list, "no list of tensors")
    for one in row["tensors"]:
        need(keyed(one, ({"name", "shape", "type"}, set())), "unknown or missing keys of a tensor")
        name, shape, kind = one["name"], one["shape"], one["type"]
        need(type(name) is str and type(kind) is int and CODES.get(kind, "-") != "-", "no name, or no type")
        need(type(shape) is list and len(shape) <= 64 and all(map(natural, shape)), "a shape is wrong")
        need(math.prod(max(1, n) for n in shape) <= MOST, "a tensor is too large")
        need(exact or kind in (1, 10, 11, 16), "such a type is not quantized")
    if not exact:
        check_quantizer(row["quantizer"], split, [one["shape"] for one in row["tensors"]])


def check_quantizer(q, split, shapes):
    need(keyed(q, QUANTIZERS[q["kind"]], ("kind",)), "unknown or missing keys of a quantizer")
    whole = {"levels", "p", "q", "axis"}
    for key in q.keys() - {"kind", "axes", "trellis"}:
        need(type(q[key]) is int or (type(q[key]) is float and key not in whole), f"{key} is no number")
        need(math.isfinite(float(q[key])), f"{key} is too large")
    kind, axes = q["kind"], [q["axis"]] if "axis" in q else q.get("axes", [])
    need(type(axes) is list and all(type(axis) is int for axis in axes), "axes are wrong")
    need(repr(q.get("trellis", False)) in ("False", "True", "32"), "no such trellis")
    fits = set(axes) <= {*range(len(shapes[0]))} if len(shapes) == 1 else axes == [0] and kind == "grid"
    need(bool(axes) == (split > 0) and (not axes or (fits and any(map(math.prod, shapes)))), "axes are wrong")
    if "step" in q:
        need(0 < float32(q["step"]) < math.inf, "a step is out of range")
    if kind == "dead-zone":
        need(0 <= q["delta"] <= 1 and ("step" in q) != ("axis" in q), "a dead zone is wrong")
    elif kind == "grid":
        need(axes in ([], [0], [1], [0, 1]), "a grid's axes are wrong")
    elif kind == "mu-law":
        need(2 <= q["levels"] <= 1 << 24 and 0 < q["mu"] <= 2**32, "a mu-law is wrong")
        need(0 < q["x_max"] < 1e30 and math.isfinite(q["x_max"] / q["mu"]), "a mu-law is wrong")
        need(0 < q["exponent"] <= 64, "a mu-law is wrong")
    elif kind == "minifloat":
        need(0 <= q["p"] <= 7 and 0 <= q["q"] <= 12 and q["p"] + q["q"] >= 1, "a minifloat is wrong")
        need(2.0**-60 <= q.get("scale", 1) <= 2.0**60, "a minifloat is wrong")


def decode(data):
    """Return the tensors of a file's bytes: a dictionary of name → `Tensor`, in the file's order."""
    try:
        tensors, (table, _, at) = {}, read_head(data)
        for row in table["parts"]:
            check_row(row)
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
    exact, q, at = row["coder"] == "planes", row.get("quantizer"), 0
    end, split = len(payload) - row.get("padding", 0), row.get("steps_bytes", 0)
    # Packed elements of exact values count as bytes, of which each tensor has whole ones.
    per_byte = [PACKED.get(entry["type"], 1) if exact else 1 for entry in row["tensors"]]
    counts = [-(-math.prod(t["shape"]) // per) for t, per in zip(row["tensors"], per_byte, strict=True)]
    widths = {struct.calcsize("<" + CODES[t["type"]]) if exact else 1 for t in row["tensors"]}
    need(end >= split and not any(payload[end:]) and len(widths) == 1, "wrong padding or types")
    need(sum(counts) <= 4096 * len(payload) + 65536, "more elements than the payload may stand for")
    data, width, shapes = payload[split:end], widths.pop(), [entry["shape"] for entry in row["tensors"]]
    values, trellis = b"", TRELLISES.get(row["coder"], 0)
    if trellis or (not exact and q.get("trellis")):
        need(len(shapes) == 1 and shapes[0], "a trellis takes one tensor")
    if not exact and not any(counts):
        need(not data, "there are bytes where there are no levels")
    elif trellis or row["coder"] == "contexts":
        values = decode_contexts(data, shapes, trellis)
    else:
        values = (decode_planes if exact else decode_order0)(data, sum(counts), width)
    for index, (entry, count) in enumerate(zip(row["tensors"], counts, strict=True)):
        data, levels, shape = values[at : at + count * width], None, entry["shape"]
        at += count * width
        if exact:
            per = PACKED.get(entry["type"], 1)
            spare = count * per - math.prod(shape)  # elements that the last byte has room for
            need(not spare or data[-1] >> 8 // per * (per - spare) == 0, "the last byte is not filled up")
            need(entry["type"] != 9 or max(data, default=0) <= 1, "a truth value is neither 0 nor 1")
        if not exact:
            levels, steps, inner = data, [q.get("step")], 1  # inner: elements between two steps
            if "axis" in q:
                n, inner = shape[q["axis"]], math.prod(shape[q["axis"] + 1 :])
                steps = struct.unpack(f"<{n}f", decode_planes(payload[:split], n, 4))
                need(all(0 < step < math.inf for step in steps), "a step is out of range")
            if q["kind"] == "grid" and len(shapes) > 1:
                steps = grid_steps(q, [len(shapes)], payload[:split])[index : index + 1]
            elif q["kind"] == "grid":
                steps = grid_steps(q, shape, payload[:split])
            units = multiples(levels, math.prod(shape[1:]), q["trellis"]) if q.get("trellis") else levels
            keys = [(level, steps[i // inner % len(steps)]) for i, level in enumerate(units)]
            known = {key: to_bytes(value_of(*key, q), entry["type"]) for key in set(keys)}
            data = b"".join(known[key] for key in keys)
        yield Tensor(shape, entry["type"], data, levels, q)


class Reader:
    """Reads bit fields, from each byte's least significant bit on; `at` counts bits."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def bits(self, n):
        first, self.at = self.at, self.at + n
        need(self.at <= 8 * len(self.data), "bits are cut off")
        window = int.from_bytes(self.data[first >> 3 : (self.at + 7) >> 3], "little")
        return window >> (first & 7) & ((1 << n) - 1)

    def align(self):
        need(not self.bits(-self.at % 8), "bits are set that mean nothing")

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
    need(count or not data, "there are bytes where there are no levels")
    if not count:
        return []
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
    reader.align()
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
        reader.align()
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
    """Return the head of a payload of tensors of those shapes; trellis: how many states it has, 0 for `contexts`."""
    k, m, direct, groups = reader.bits(5) + 1, reader.bits(4) + 1, reader.bits(6), reader.bits(5)
    looking, scaled = reader.bits(1), [reader.bits(1) for _ in range(3)]
    need(direct + groups < 64 and groups <= 30, "too many tokens")
    hazards = read_classes(reader, k, m)
    tables = [frequencies(line, direct, groups) for line in hazards]
    numbers = iter(reader.numbers(k * sum(map(len, SHIFTS[trellis]))) if trellis else ())
    for end in SHIFTS[trellis]:
        others = [line[min(len(end), m - 1) :] for line in hazards]
        for i, shift in enumerate(end):
            for c in range(k - 1, -1, -1):
                shift += next(numbers)
                others[c].insert(i, hazards[c][min(i, m - 1)] + shift)
        tables += [frequencies(line, direct, groups) for line in others]
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
    moves = [0] * 9
    if looking:
        moves = [a + b for a, b in zip([-1, -1, 0, 1, 2, 3, 3, -1, 0], reader.numbers(9), strict=True)]
    need(sum(map(abs, moves[5:])) <= 32, "neighbours weigh too much")
    lengths = [math.prod(one) for one in shapes] if several else [sizes[1]] * sizes[0]
    rows, columns, positions = scales
    pairs = zip(rows, lengths, strict=True)
    bases = [row + columns[0 if several else i] + offset for row, n in pairs for i in range(n)]
    width = 1 if several or len(shape) < 3 else shape[-1]
    means = [max(1, total // 64) for total in sums]
    return Contexts(
        bases, positions, width, slots, means, direct, smallest, signs, looking, moves[:5], moves[5:],
        sizes[1] if trellis else 0, trellis,
    )  # fmt: skip


def contexts_of(head, kernel, p, own):
    """Return a weight's class, how sure its neighbours are of its sign, and their weighted sum."""
    left, above, right = p % head.width > 0, p >= head.width, (p + 1) % head.width > 0
    there = (left, above, left and above, right and above)
    back = (1, head.width, head.width + 1, head.width - 1)
    near = [clamp(kernel[p - b], -31, 31) if t else 0 for t, b in zip(there, back, strict=True)]
    found = sum(w * abs(v) for w, v in zip((2, 2, 1, 1), near, strict=True))
    around = sum(w * t for w, t in zip((2, 2, 1, 1), there, strict=True))
    total, mean = sum(w * v for w, v in zip(head.weights, near, strict=True)), head.means[own]
    step = sum(1024 * found + 48 * mean >= edge * (around + 3) * mean for edge in (10, 14, 19, 27))
    sure = sum(128 * abs(total) >= edge * mean for edge in (1, 4, 8, 15))
    c = clamp(own + head.shifts[step], 0, len(head.means) - 1)
    return (c, sure, total) if head.looking else (own, 0, 0)


def multiples(levels, length, states):
    """Return what levels stand for that depend on each other in rows of that length."""
    found, state, states = [], 0, 8 if states is True else 32
    need(all(abs(level) < 1 << 30 for level in levels), "a level on a trellis is too large")
    for i, level in enumerate(levels):
        state = state if i % length else 0
        found.append(2 * level - (state % 2 and (level > 0) - (level < 0)))
        state = EVEN[states][state] ^ level % 2 * ODD[states]
    return found


def decode_contexts(data, shapes, trellis):
    """Coder `contexts`, and those of a trellis: return the integer levels of tensors of those shapes."""
    reader, levels = Reader(data), []
    head = read_contexts(reader, shapes, trellis)
    reader.align()
    size, strand = len(head.positions), head.strand or 1  # strand: kernels decoded one after the other
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
        c += len(head.means) * (path & len(SHIFTS[head.states]))
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
        paths[row] = EVEN[head.states][path] ^ level % 2 * ODD[head.states]
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
    roots = struct.unpack(">4f", bytes.fromhex("3F800000 3F9837F0 3FB504F3 3FD744FD"))
    factors = [math.ldexp(roots[e & 3], e >> 2) for e in exponents]
    empty = not math.prod(shape)  # of rows of no elements there may be any number
    rows = factors[: shape[0]] if 0 in axes else [1.0] * (1 if empty else whole[0])
    columns = factors[len(factors) - shape[1] :] if 1 in axes else [1.0] * (0 if empty else whole[1])
    rows = [float32(float32(q["step"]) * row) for row in rows]
    need(all(0 < row < math.inf for row in rows), "the steps of a grid lie beyond float32")
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


# Messages of ONNX (onnx.proto): field numbers with what is in them: another message, s: text, y: bytes, i: an integer,
# f and d: four and eight bytes; * marks fields that may occur more than once.
MESSAGES = """
model: 1i 2s 3s 4s 5i 6s 7graph 8*opset 14*pair 20*training 25*function 26*configuration
graph: 1*node 2s 5*tensor 10s 11*value 12*value 13*value 14*annotation 15*sparse 16*pair
opset: 1s 2i
pair: 1s 2s
training: 1graph 2graph 3*pair 4*pair
function: 1s 4*s 5*s 6*s 7*node 8s 9*opset 10s 11*attribute 12*value 13s 14*pair
configuration: 1s 2i 3*s
node: 1*s 2*s 3s 4s 5*attribute 6s 7s 8s 9*pair 10*device
tensor: 1*i 2i 3segment 4*f 5*i 6*y 7*i 8s 9y 10*d 11*i 12s 13*pair 14i 16*pair
value: 1s 2type 3s 4*pair
annotation: 1s 2*pair
sparse: 1tensor 2tensor 3*i
attribute: 1s 2f 3i 4y 5tensor 6graph 7*f 8*i 9*y 10*tensor 11*graph 13s 14type 15*type 20i 21s 22sparse 23*sparse
device: 1s 2*sharding 3i
segment: 1i 2i
type: 1array 4wrapped 5map 6s 7opaque 8array 9wrapped
sharding: 1s 2*i 3*group 4*sharded
array: 1i 2shape
wrapped: 1type
map: 1i 2type
opaque: 1s 2s
group: 1i 2*i
sharded: 1i 2*piece
shape: 1*dimension
piece: 1i 2s 3i
dimension: 1i 2s 3s
"""
FIELDS = {
    line.split(":")[0]: {
        int("".join(filter(str.isdigit, one))): (one.lstrip("0123456789*"), "*" in one)
        for one in line.split()[1:]
    }
    for line in MESSAGES.split("\n")[1:-1]
}
COSTS = {"node": 200, "tensor": 800, "attribute": 180, "graph": 800, "function": 800}
RUNS = {"d": rb"(?s:.{8})+", "f": rb"(?s:.{4})+"}  # packed numbers
RUNS["i"] = rb"([\x80-\xff]{0,8}[\x01-\x7f]|[\x80-\xff]{9}\x01|\0)+"
WIRES = {"i": 0, "d": 1, "f": 5}  # how a field begins; all others do with 2
TYPED = {1: (4, 4), 14: (4, 4), 11: (10, 8), 15: (10, 8), 7: (7, 0), 12: (11, 0), 13: (11, 0)}


def leb128(n):
    return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + leb128(n >> 7)


def fields(kind, message, level, costs):
    """Return (number, value, raw) of a message's fields; integers and bytes. Whatever is inside is checked too."""
    need(level <= 100, "messages are nested too deeply")
    costs.append(COSTS.get(kind, 64))
    reader, found, known, once = Reader(message), [], FIELDS[kind], set()
    while reader.at < 8 * len(message):
        start, key = reader.at // 8, reader.varint()
        number, wire, begun = key >> 3, key & 7, reader.at // 8
        need(number and wire in (0, 1, 2, 5), "a group, or no field at all")
        value = reader.varint() if wire in (0, 2) else {1: 8, 5: 4}[wire]
        need(number < 1 << 29 and value < 1 << 64, "a number is too large")
        exact = leb128(key) + (leb128(value) if wire in (0, 2) else b"")
        need(message[start : reader.at // 8] == exact, "a number takes more bytes than it needs")
        if wire:
            value = reader.bits(8 * value).to_bytes(value, "little")
        what, repeats = known.get(number, ("unknown", True))
        packed = repeats and wire == 2 and what in WIRES
        if what != "unknown" and (packed or WIRES.get(what, 2) == wire):
            need((repeats and not packed) or number not in once, f"field {number} of a {what} occurs twice")
            once.add(number)
            rightly = not repeats or what not in WIRES or packed == (kind == "tensor" and number > 1)
            need(rightly and (not packed or re.fullmatch(RUNS[what], value)), "packed numbers are damaged")
            if what == "s":
                value.decode()
            elif what in FIELDS:
                fields(what, value, level + 1, costs)
            found.append((number, value, message[start : reader.at // 8]))
        else:
            found.append((0, begun, message[start : reader.at // 8]))  # of no meaning here
    return found


class Graphs:
    """Puts weights back into a graph; `tensors` are those left over, by name."""

    def __init__(self, size, tensors):
        self.tensors, self.known, self.left = tensors, set(), 8 * size + (1 << 24)

    def within(self, path, found, *things):
        """Count what a graph's path takes, for itself and for what may be named in it."""
        self.left -= len(path) * (1 + sum(number in things for number, _, _ in found))
        need(self.left >= 0, "the names that lead to subgraphs are too long")
        return path

    def fill(self, kind, message, path):
        """Return a message with its weights. path: what precedes their names; None where there are no weights."""
        found, out = fields(kind, message, 0, []), []
        one = {number: value for number, value, _ in found}
        if kind == "graph" and path:
            self.within(path, found, 1, 5)
        elif kind == "function":
            names = [one.get(n, b"").decode() for n in (10, 1, 13)]
            path = self.within(":".join(names[: 3 if names[2] else 2]) + "/", found, 7)
        if kind in ("graph", "function") and path is not None:
            check_names(kind, found)
        constant, values = None, []
        if kind == "node" and path is not None:
            outputs = [value.decode() for number, value, _ in found if number == 2]
            label = next(filter(None, outputs), "") or one.get(3, b"").decode() or one.get(4, b"").decode()
            if one.get(4) == b"Constant" and one.get(7, b"") in (b"", b"ai.onnx") and len(outputs) == 1:
                values = [
                    v
                    for n, v, _ in found
                    if n == 5 and dict(x[:2] for x in fields("attribute", v, 0, [])).get(1) == b"value"
                ]
                constant = path + outputs[0] if outputs[0] else None
        for number, value, raw in found:
            child = FIELDS[kind].get(number, ("", 0))[0]
            if child not in ("graph", "node", "function", "attribute", "tensor", "sparse", "training"):
                out.append(raw)
                continue
            inside = path if child in ("graph", "node") and kind in ("model", "graph", "function") else None
            if child == "function":
                inside = ""
            if child == "attribute" and kind == "node" and path is not None:
                first = values and value is values[0]
                value = self.attribute(value, path + label, constant if first else None)
            elif child == "tensor":
                name = dict(x[:2] for x in fields("tensor", value, 0, [])).get(8, b"").decode()
                value = self.tensor(
                    value, path + name if kind == "graph" and path is not None and name else None
                )
            else:
                value = self.fill(child, value, inside)
            out.append(leb128(number << 3 | 2) + leb128(len(value)) + value)
        return b"".join(out)

    def attribute(self, message, label, constant):
        """Return a node's attribute with the weights in it; constant: the name of the weight that it is."""
        found, out, index = fields("attribute", message, 0, []), [], 0
        one = {number: value for number, value, _ in found}
        name = f"{label}.{one.get(1, b'').decode()}"
        for number, value, raw in found:
            if number == 5:
                value = self.tensor(value, constant)
            elif number in (6, 11):
                path = f"{name}/" if number == 6 else f"{name}.{index}/"
                index += number == 11
                value = self.fill("graph", value, path if one.get(20) == {6: 5, 11: 10}[number] else None)
            elif number in (10, 22, 23):
                value = self.tensor(value, None) if number == 10 else self.fill("sparse", value, None)
            else:
                out.append(raw)
                continue
            out.append(leb128(number << 3 | 2) + leb128(len(value)) + value)
        return b"".join(out)

    def tensor(self, message, name):
        """Return a tensor with its data; name: of the weight that it is, or None."""
        found = fields("tensor", message, 0, [])
        one = {number: value for number, value, _ in found}
        kind, shape = one.get(2, 0), [n - (n >> 63 << 64) for n in several(found, 1)]
        weight = name is not None and name not in self.known and CODES.get(kind, "-") != "-"
        if weight:
            self.known.add(name)
        if one.get(14) == 1:
            need(weight and 13 not in one, "a tensor that is no weight lacks its data")
            need(name in self.tensors, f"the table lacks {name}")
            values = self.tensors.pop(name)
            need((values.shape, values.type) == (shape, kind), f"{name} has another shape or type")
            front, behind = (
                b"".join(raw for n, _, raw in found if n in numbers) for numbers in ((1, 2, 8), (0, 12, 16))
            )
            return front + leb128(9 << 3 | 2) + leb128(len(values.data)) + values.data + behind
        if weight:
            need(len(shape) <= 64 and min(shape, default=0) >= 0, f"{name} has an impossible shape")
            need(math.prod(max(1, n) for n in shape) <= MOST, f"{name} has an impossible shape")
            width = struct.calcsize("<" + CODES[kind])
            field, size = TYPED.get(kind, (5, 0))
            data = (
                len(one[9])
                if 9 in one
                else size * len(several(found, field, size)) or width * len(several(found, field))
            )
            count = math.prod(shape)
            whole = -(-count // PACKED[kind]) if kind in PACKED else count * width
            need(data == whole, f"{name} is not whole")
        return message


def check_names(kind, found):
    """Refuse a name that a graph or function defines twice; inputs may have initializers, which are defaults."""
    made = [o for n, node, _ in found if n == (1 if kind == "graph" else 7) for o in texts("node", node, 2)]
    taken = [value for number, value, _ in found if kind == "function" and number == 4]
    given = []
    for number, value, _ in found if kind == "graph" else ():
        taken += texts("value", value, 1) if number == 11 else []
        for tensor in texts("sparse", value, 1) if number == 15 else [value] if number == 5 else []:
            given += texts("tensor", tensor, 8)
    for names in (made + taken, made + given):
        names = list(filter(None, names))
        need(len(names) == len(set(names)), "a name is defined twice")


def texts(kind, message, number):
    return [value for one, value, _ in fields(kind, message, 0, []) if one == number]


def several(found, number, width=0):
    """Return the numbers of a repeated field, one by one or packed: integers, or values of `width` bytes."""
    values = []
    for _, value, _ in (one for one in found if one[0] == number):
        if width:
            values += [value[i : i + width] for i in range(0, len(value), width)]
        else:
            runs = re.findall(rb"[\x80-\xff]*[\0-\x7f]", value) if isinstance(value, bytes) else ()
            values += [Reader(run).varint() for run in runs] or [value]
    return values


def restore(data):
    """Return the bytes of the ONNX file."""
    tensors = decode(data)  # first: it tells damage of the head by one kind of error
    graph = read_head(data)[1]
    try:
        model = fields("model", graph, 0, costs := [])
        need(len(graph) <= 1 << 20 or sum(costs) - 64 <= 24 * len(graph) + (1 << 26), "far too many messages")
        inside = [fields("graph", value, 1, []) for number, value, _ in model if number == 7]
        versions = [value for number, value, _ in model if number in (1, 8) and value]
        need(inside and versions and {1, 12} & {one[0] for one in inside[0]}, "there is no graph")
        keys = [tuple(dict(x[:2] for x in fields("function", value, 1, [])).get(n, b"") for n in (10, 1, 13))
                for number, value, _ in model if number == 25]  # fmt: skip
        need(len(keys) == len(set(keys)), "two functions have one name")
        model = Graphs(len(graph), tensors).fill("model", graph, "")
    except DAMAGE as error:
        raise ValueError(f"damaged: {error!r}") from error
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

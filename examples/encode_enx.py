"""Compress an ONNX model into an `.enx` file, in the plainest way that is still good.

    python examples/encode_enx.py model.onnx inputs.npy model.enx

The other half of `decode_enx.py`, and like it a text to be read from top to bottom: second moments of what goes into
each layer → levels, rounded with feedback → rANS → the file of docs/format.md. There are no options. `inputs.npy` holds
a few dozen inputs of the model, prepared as it takes them; labels are not needed. What `enxuto compress` does besides:
gradients, steps of rows and columns, many paths on a trellis, contexts, and a search for a bound.
"""

import json
import lzma
import math
import sys
import zlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

NOISE = 5e-3  # of the power of a layer's output: how much plain rounding would add (23 dB)
DAMPING = 1e-2  # of the mean power of a layer's inputs: what few inputs cannot tell
CHUNK = 1 << 18  # levels


# 1. Layers: the weights that are multiplied, as matrices of one row for each output channel.


def layers_of(model):
    """Return {weight's name: node} of convolutions and matrix products, and {name: values} of all initializers.

    Weights that two nodes read are left alone: rounding them for one would be wrong for the other.
    """
    weights = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}
    readers = [name for node in model.graph.node for name in node.input]
    found = {}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or len(node.input) < 2:
            continue
        w = weights.get(node.input[1])
        if w is None or w.dtype != np.float32 or readers.count(node.input[1]) > 1:
            continue
        if (node.op_type == "Conv" and w.ndim == 4) or (node.op_type != "Conv" and w.ndim == 2):
            found[node.input[1]] = node
    return found, weights


def attributes(node):
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def as_matrix(node, w):
    """Return a weight as (outputs, inputs)."""
    if node.op_type == "Conv":
        return w.reshape(len(w), -1)
    return w if attributes(node).get("transB", 0) else w.T


def as_weight(node, matrix, shape):
    """The way back from `as_matrix`."""
    if node.op_type == "Conv" or attributes(node).get("transB", 0):
        return matrix.reshape(shape)
    return np.ascontiguousarray(matrix.T)


# 2. Second moments: H = mean of x xᵀ over all that a row of the matrix is multiplied with. An error E in the matrix
#    costs tr(E H Eᵀ) in the mean square of the layer's output.


def inputs_of_layers(model, layers, inputs):
    """Run the model one input at a time; yield {weight's name: what goes into its layer}."""
    watched = onnx.ModelProto.FromString(model.SerializeToString())
    known = {out.name for out in watched.graph.output} | {one.name for one in watched.graph.input}
    for name in {node.input[0] for node in layers.values()} - known:
        watched.graph.output.append(onnx.ValueInfoProto(name=name))
    session = onnxruntime.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    feed, names = session.get_inputs()[0].name, [out.name for out in session.get_outputs()]
    for i in range(len(inputs)):
        one = inputs[i : i + 1]
        values = dict(zip(names, session.run(None, {feed: one}), strict=True)) | {feed: one}
        yield {weight: values[node.input[0]] for weight, node in layers.items()}


def patches(node, x, shape):
    """Return (groups, vectors, inputs): all vectors that the rows of a layer's matrix are multiplied with."""
    if node.op_type != "Conv":
        return x.reshape(1, -1, x.shape[-1])
    said = attributes(node)
    if said.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise ValueError(f"{node.op_type} {node.output[0]}: auto_pad is not known here")
    top, left, bottom, right = said.get("pads", [0, 0, 0, 0])
    (down, along), (dy, dx) = said.get("strides", [1, 1]), said.get("dilations", [1, 1])
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    height, width = (shape[2] - 1) * dy + 1, (shape[3] - 1) * dx + 1
    seen = np.lib.stride_tricks.sliding_window_view(x, (height, width), (2, 3))
    seen = seen[:, :, ::down, ::along, ::dy, ::dx]  # (N, channels, y, x, kernel's y, kernel's x)
    seen = seen.reshape(len(x), said.get("group", 1), -1, *seen.shape[2:])
    return np.moveaxis(seen, (1, 2), (0, 3)).reshape(seen.shape[1], -1, math.prod(shape[1:]))


def second_moments(model, layers, weights, inputs):
    """Return {weight's name: H (groups, inputs, inputs)}."""
    sums, counts = {}, {}
    for values in inputs_of_layers(model, layers, inputs):
        for name, x in values.items():
            seen = patches(layers[name], x, weights[name].shape).astype(np.float64)
            sums[name] = sums.get(name, 0) + seen.transpose(0, 2, 1) @ seen
            counts[name] = counts.get(name, 0) + seen.shape[1]
    return {name: total / counts[name] for name, total in sums.items()}


# 3. Levels: one weight at a time is rounded to a multiple of the step, and its error is made up for by the weights
#    behind it, as far as their inputs go together (Hassibi & Stork 1993; Frantar et al. 2022, GPTQ).


def rounded(matrix, h, step):
    """Return integer levels (outputs, inputs) of a matrix whose inputs have the second moments h."""
    h = h + DAMPING * max(np.trace(h) / len(h), 1e-30) * np.eye(len(h))
    # Row i of the upper factor of H⁻¹ says what weight i's error asks of the weights behind it.
    factor = np.linalg.cholesky(np.linalg.inv(h)).T
    left, levels = matrix.astype(np.float64), np.zeros(matrix.shape, np.int64)
    for i in range(matrix.shape[1]):
        levels[:, i] = np.rint(left[:, i] / step)
        error = (left[:, i] - levels[:, i] * step) / factor[i, i]
        left[:, i:] -= error[:, None] * factor[i, i:]
    return levels


def quantized(matrix, h):
    """Return (levels, step): the step is such that plain rounding would add NOISE of the output's power."""
    rows = np.split(matrix.astype(np.float64), len(h))
    power = sum(np.einsum("oi,ij,oj->", rows[g], h[g], rows[g]) for g in range(len(h)))
    heard = sum(len(rows[g]) * np.trace(h[g]) for g in range(len(h)))
    step = math.sqrt(12 * NOISE * power / heard) if power > 0 else float(np.abs(matrix).max() / 127) or 1.0
    step = float(np.float32(step))
    return np.concatenate([rounded(rows[g], h[g], step) for g in range(len(h))]), step


# 4. Bytes: coder `order0`. Levels become tokens, tokens get frequencies of a few bits, rANS writes the tokens.


class Bits:
    """Bit fields, the least significant bit first."""

    def __init__(self):
        self.value, self.count = 0, 0

    def add(self, value, bits):
        self.value |= int(value) << self.count
        self.count += bits

    def unary(self, ones):
        self.add((1 << ones) - 1, ones + 1)  # the zero behind them is a bit that is not set

    def gamma(self, x):
        width = (x + 1).bit_length() - 1
        self.unary(width)
        self.add(x + 1 - (1 << width), width)

    def bytes(self):
        return self.value.to_bytes((self.count + 7) // 8, "little")


def varint(n):
    return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + varint(n >> 7)


def tokens_of(levels, direct):
    """Return (token, raw value, raw bits) of each level; `direct` magnitudes are tokens of their own."""
    magnitude, negative = np.abs(levels), levels < 0
    near = np.where(levels > 0, 2 * magnitude - 1, 2 * magnitude)
    rest = np.maximum(magnitude - direct, 1)
    e = np.frexp(rest.astype(np.float64))[1] - 1
    far = magnitude > direct
    tokens = np.where(far, 2 * direct + 1 + 2 * e + negative, near)
    return tokens, np.where(far, rest - (1 << e), 0), np.where(far, e, 0)


def frequencies_of(tokens, k, m):
    """Return frequencies that sum to 2^k, all but the largest with m bits below their leading one."""
    counts = np.bincount(tokens)
    wanted = counts * ((1 << k) / counts.sum())
    found = [0] * len(counts)
    for t, x in enumerate(wanted):
        if counts[t]:
            low = max(0, int(max(x, 1)).bit_length() - 1 - m)  # bits that are not written
            found[t] = max(1, round(x / (1 << low)) << low)
    largest = int(counts.argmax())
    found[largest] += (1 << k) - sum(found)
    return (found, largest) if found[largest] >= 1 else frequencies_of(tokens, k + 1, m)


def write_table(bits, found, largest, k, m):
    bits.add(k, 4)
    bits.add(m, 3)
    bits.gamma(len(found) - 1)
    bits.gamma(largest)
    classes = [k, k]
    for t, f in enumerate(found):
        expected = classes[-2]
        if t == largest:
            classes.append(expected)
            continue
        c = f.bit_length()
        bits.unary(2 * (c - expected) if c > expected else 2 * (expected - c) - 1 if c < expected else 0)
        if c > 1:
            kept = min(m, c - 1)
            bits.add((f >> (c - 1 - kept)) - (1 << kept), kept)
        classes.append(c)


def rans(tokens, found, k, lanes):
    """Return (states, words) that a decoder reads `tokens` from; written from the last token to the first."""
    starts, states, words = np.cumsum([0, *found]), [1 << 24] * lanes, []
    for i in range(len(tokens) - 1, -1, -1):
        f, x = found[tokens[i]], states[i % lanes]
        while x >= f << (40 - k):
            words.append(x & 0xFFFF)
            x >>= 16
        states[i % lanes] = (x // f << k) + x % f + int(starts[tokens[i]])
    return states, words[::-1]


def order0(levels):
    """Return a payload of coder `order0` for integer levels."""
    levels = np.asarray(levels, np.int64).ravel()
    if not len(levels):
        return b""
    direct, m = min(int(np.abs(levels).max()), 24), 3
    tokens, raw, width = tokens_of(levels, direct)
    found, largest = frequencies_of(tokens, 12, m)
    k = sum(found).bit_length() - 1
    head = Bits()
    head.add(0, 5)
    head.add(direct, 11)
    write_table(head, found, largest, k, m)
    lengths, chunks = [], []
    for at in range(0, len(levels), CHUNK):
        part = tokens[at : at + CHUNK].tolist()
        states, words = rans(part, found, k, 4 if len(part) >= 1 << 15 else 1)
        low = Bits()
        for value, bits in zip(raw[at : at + CHUNK], width[at : at + CHUNK], strict=True):
            if bits:
                low.add(value, int(bits))
        last = at + CHUNK >= len(levels)
        lengths.append(varint(len(words)) + (b"" if last else varint(len(low.bytes()))))
        chunks += [*(x.to_bytes(5, "little") for x in states), *(w.to_bytes(2, "little") for w in words)]
        chunks.append(low.bytes())
    return b"".join([head.bytes(), *lengths, *chunks])


def planes(values):
    """Return a payload of coder `planes`: exact float32 values, one plane of bytes after the other."""
    out = b""
    for plane in np.ascontiguousarray(values).view(np.uint8).reshape(-1, 4).T:
        coded = order0(plane)
        if len(set(plane.tolist())) == 1:
            out += varint(1) + bytes(plane[:1])
        elif len(coded) < len(plane):
            out += varint(len(coded)) + coded
        else:
            out += varint(0) + plane.tobytes()
    return out


# 5. The file: prefix, head (table and graph, compressed together), payloads.


def row(tensors, payload, coder, **more):
    said = [{"name": name, "shape": list(shape), "type": 1} for name, shape in tensors]
    crc = f"{zlib.crc32(payload):08x}"
    return {"tensors": said, "bytes": len(payload), "crc32": crc, "coder": coder, **more}


def emptied(model, names):
    """Return the graph's bytes without the values of the weights named."""
    bare = onnx.ModelProto.FromString(model.SerializeToString())
    for w in bare.graph.initializer:
        if w.name in names:
            left = onnx.TensorProto(name=w.name, dims=w.dims, data_type=w.data_type)
            left.data_location = onnx.TensorProto.EXTERNAL
            w.CopyFrom(left)
    return bare.SerializeToString(deterministic=True)


def file_of(rows, payloads, graph):
    table = json.dumps({"metadata": {"made_by": "examples/encode_enx.py"}, "parts": rows}).encode()
    size = 1 << min(26, max(12, (len(table) + len(graph) - 1).bit_length()))
    way = {"id": lzma.FILTER_LZMA1, "lc": 1, "lp": 0, "pb": 0, "dict_size": size}
    head = lzma.compress(table + graph, lzma.FORMAT_RAW, filters=[way])
    total = 36 + len(head) + sum(map(len, payloads))
    prefix = b"\x89ENX\r\n\x1a\n" + b"".join(
        n.to_bytes(bytes_, "little")
        for n, bytes_ in ((1, 2), (1, 2), (total, 8), (len(head), 4), (len(table), 4), (len(graph), 4))
    )
    return b"".join([prefix, zlib.crc32(prefix + head).to_bytes(4, "little"), head, *payloads])


def encode(model, inputs):
    """Return the bytes of an `.enx` file of an ONNX model, rounded for those inputs."""
    layers, weights = layers_of(model)
    moments = second_moments(model, layers, weights, inputs)
    rows, payloads = [], []
    for name, h in moments.items():
        levels, step = quantized(as_matrix(layers[name], weights[name]), h)
        payloads.append(order0(as_weight(layers[name], levels, weights[name].shape)))
        quantizer = {"kind": "dead-zone", "step": step, "delta": 0.5}
        rows.append(row([(name, weights[name].shape)], payloads[-1], "order0", quantizer=quantizer))
    exact = [name for name, w in weights.items() if name not in moments and w.dtype == np.float32 and w.size]
    if exact:
        payloads.append(planes(np.concatenate([weights[name].ravel() for name in exact])))
        rows.append(row([(name, weights[name].shape) for name in exact], payloads[-1], "planes"))
    return file_of(rows, payloads, emptied(model, {*moments, *exact}))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    source, data, target = map(Path, sys.argv[1:])
    coded = encode(onnx.load(source), np.load(data))
    target.write_bytes(coded)
    print(f"{source.stat().st_size:,} bytes → {len(coded):,} bytes")

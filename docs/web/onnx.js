/** What a page needs of an ONNX model's bytes: its inputs and its float32 weights. See onnx.proto for the field numbers. */

const text = new TextDecoder();

/** The fields of a message: numbers as numbers, all else as bytes. */
function* fields(bytes) {
  let at = 0;
  const number = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = number();
    const [field, wire] = [Math.floor(key / 8), key % 8];
    if (wire === 0) yield [field, number()];
    else {
      const size = wire === 2 ? number() : wire === 1 ? 8 : 4;
      yield [field, bytes.subarray(at, at + size)];
      at += size;
    }
  }
}

const all = (bytes, wanted) => Array.from(fields(bytes)).filter(([field]) => field === wanted).map(([, value]) => value);
const last = (bytes, wanted) => all(bytes, wanted).at(-1);

/** [{ name, type, shape }]: a length that is not fixed is null. */
export function inputsOf(model) {
  const graph = last(model, 7);
  const weights = new Set(all(graph, 5).map((tensor) => text.decode(last(tensor, 8))));
  const inputs = all(graph, 11).map((value) => {
    const array = last(last(value, 2) ?? new Uint8Array(0), 1) ?? new Uint8Array(0);
    const shape = all(last(array, 2) ?? new Uint8Array(0), 1).map((length) => last(length, 1) ?? null);
    return { name: text.decode(last(value, 1)), type: last(array, 1), shape };
  });
  return inputs.filter(({ name }) => !weights.has(name));
}

/** Weights by name, as Float32Array. */
export function weightsOf(model) {
  const found = new Map();
  for (const tensor of all(last(model, 7), 5)) {
    const raw = last(tensor, 9);
    if (last(tensor, 2) === 1 && raw) found.set(text.decode(last(tensor, 8)), new Float32Array(raw.slice().buffer));
  }
  return found;
}

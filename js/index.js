/** Reads `.enx` files: decoder/enx.c as WebAssembly (enx.wasm), fed with a file's bytes as they arrive. */

// What enx_message of decoder/enx.c says, by number; its texts are not in the module, which is small so.
const MESSAGES = [
  ["OK", "the file is sound"],
  ["NOT_ENX", "not an .enx file: it does not begin with the format's signature"],
  ["CUT_OFF", "the file was cut off: it is shorter than it says"],
  ["TOO_LONG", "the file was added to: it is longer than it says"],
  ["VERSION", "the file's version is not known here; a newer decoder may read it"],
  ["HEAD", "the head of the file is damaged"],
  ["TABLE", "the table of tensors in the file is damaged"],
  ["GRAPH", "the model graph in the file is damaged, or does not fit the table"],
  ["PAYLOAD", "the values of a tensor are damaged"],
  ["NO_MEMORY", "there is not enough memory"],
  ["ARGUMENT", "there is no such row or tensor, or too little room for the result"],
];
const [CUT_OFF, TOO_LONG, NO_MEMORY] = [2, 3, 9];
const PREFIX = 36;
const UTF8 = new TextDecoder();

/** Why a file was refused: `message` is one sentence, `code` a word (see index.d.ts). */
export class EnxError extends Error {
  constructor(code, message) {
    super(message);
    this.name = "EnxError";
    this.code = code;
  }
}

let compiled; // the module's promise: it is compiled once

async function compile() {
  const place = new URL("./enx.wasm", import.meta.url);
  if (place.protocol === "file:" && globalThis.process?.versions?.node) {
    const { readFile } = await import("node:fs/promises");
    return WebAssembly.compile(await readFile(place));
  }
  const response = await fetch(place);
  if (!response.ok) throw new EnxError("HTTP", `enx.wasm cannot be fetched: the server answered ${response.status}`);
  const module = await response.arrayBuffer();
  // A host that answers everything with its start page says 200 to what it has not.
  if (!WebAssembly.validate(module)) throw new EnxError("HTTP", "enx.wasm cannot be used: the server gave something else in its place");
  return WebAssembly.compile(module);
}

/** An instance holds one file; its memory goes with it. */
class Decoder {
  static async create() {
    compiled ??= compile();
    compiled.catch(() => (compiled = undefined)); // the next call tries again
    const decoder = new Decoder();
    decoder.wasm = (await WebAssembly.instantiate(await compiled, decoder.imports)).exports;
    return decoder;
  }

  /** What the module asks of JavaScript: a number of JSON as the float64 nearest to it, which takes much code elsewhere. */
  imports = { js: { number: (place, size) => Number(UTF8.decode(new Uint8Array(this.wasm.memory.buffer, place >>> 0, size))) } };

  check(code) {
    if (code) throw this.error(code);
  }

  error(code) {
    return new EnxError(...MESSAGES[code]);
  }

  allocate(size) {
    const place = size <= 0xffff0000 ? this.wasm.allocate(size) >>> 0 : 0;
    if (!place) throw this.error(NO_MEMORY);
    return place;
  }

  /** Hands bytes in, and takes them out of memory when `use` is through with them. */
  lend(bytes, use) {
    const place = this.allocate(bytes.length);
    new Uint8Array(this.wasm.memory.buffer, place, bytes.length).set(bytes);
    const result = use(place, bytes.length);
    this.wasm.release(place);
    return result;
  }

  table() {
    return this.lend(new Uint8Array(4), (place) => {
      const begin = this.wasm.table(place) >>> 0;
      const memory = this.wasm.memory.buffer;
      return JSON.parse(UTF8.decode(new Uint8Array(memory, begin, new DataView(memory).getUint32(place, true))));
    });
  }
}

/** Bytes that arrive in pieces, taken in pieces of other lengths. */
class Arrivals {
  constructor(pieces, onArrival) {
    this.pieces = pieces;
    this.onArrival = onArrival;
    this.waiting = [];
    this.ready = this.received = 0;
  }

  /** At least `size` bytes, or fewer where there are no more; they stay, so that `take` gives them. */
  async wait(size) {
    while (this.ready < size) {
      const { done, value } = await this.pieces.next();
      if (done) break;
      this.waiting.push(value);
      this.ready += value.length;
      this.received += value.length;
      this.onArrival(this.received);
    }
    return this.ready >= size;
  }

  take(size) {
    const out = new Uint8Array(size);
    for (let at = 0; at < size; ) {
      const piece = this.waiting[0].subarray(0, size - at);
      out.set(piece, at);
      at += piece.length;
      if (piece.length === this.waiting[0].length) this.waiting.shift();
      else this.waiting[0] = this.waiting[0].subarray(piece.length);
    }
    this.ready -= size;
    return out;
  }
}

/** A Uint8Array of the same memory; undefined for what is no bytes. */
function bytesOf(data) {
  if (Object.prototype.toString.call(data) === "[object ArrayBuffer]") return new Uint8Array(data); // of another window, too
  return ArrayBuffer.isView(data) ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : undefined;
}

async function* piecesOf(source) {
  const bytes = bytesOf(source);
  if (bytes) {
    yield bytes;
    return;
  }
  if (typeof source?.getReader !== "function") {
    throw new TypeError("a file is given as a Uint8Array, an ArrayBuffer, a Response or a ReadableStream");
  }
  const reader = source.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const piece = bytesOf(value);
      if (!piece) throw new TypeError("the stream gives something else than bytes");
      yield piece;
    }
  } finally {
    await reader.cancel().catch(() => {}); // what is left is not wanted; nothing happens if all was read
  }
}

function bodyOf(source) {
  // By what it has, as a Response may be of another window, or of a package's own fetch.
  if (typeof source?.arrayBuffer !== "function" || typeof source.ok !== "boolean") return source;
  if (!source.ok) {
    const why = source.status ? `the server answered ${source.status}` : "the server does not let this page read it (CORS)";
    throw new EnxError("HTTP", `the file cannot be fetched: ${why}`);
  }
  return source.body ?? new Uint8Array(0);
}

/** Reads prefix and head; the arrivals then begin with the first payload. */
async function open(decoder, arrivals) {
  await arrivals.wait(PREFIX);
  let have = arrivals.take(Math.min(arrivals.ready, PREFIX));
  if (have.length === PREFIX) {
    const size = decoder.lend(have, (place, length) => decoder.wasm.head_size(place, length));
    // Nothing is waited for on the word of what is no .enx file: without its signature a head is not asked for.
    const signed = [0x89, 0x45, 0x4e, 0x58, 0x0d, 0x0a, 0x1a, 0x0a].every((byte, at) => have[at] === byte);
    if (signed) {
      await arrivals.wait(size - PREFIX);
      const rest = arrivals.take(Math.min(arrivals.ready, size - PREFIX));
      const whole = new Uint8Array(PREFIX + rest.length);
      whole.set(have);
      whole.set(rest, PREFIX);
      have = whole;
    }
  }
  decoder.check(decoder.lend(have, (place, length) => decoder.wasm.open(place, length)));
}

export async function decode(source, { onProgress } = {}) {
  const decoder = await Decoder.create();
  const { wasm } = decoder;
  const progress = { received: 0, total: undefined, decoded: 0, payloads: undefined };
  const arrivals = new Arrivals(piecesOf(bodyOf(source)), (received) => {
    progress.received = received;
    onProgress?.({ ...progress });
  });
  try {
    await open(decoder, arrivals);
    progress.total = wasm.file_size();
    progress.payloads = wasm.rows();
    const size = wasm.onnx_size();
    const model = decoder.allocate(size);
    decoder.check(wasm.onnx_begin(model));
    for (let row = 0; row < progress.payloads; row++) {
      const length = wasm.row_size(row);
      if (!(await arrivals.wait(length))) throw decoder.error(CUT_OFF);
      decoder.check(decoder.lend(arrivals.take(length), (place) => wasm.onnx_row(row, place, model)));
      progress.decoded = row + 1;
      onProgress?.({ ...progress });
    }
    if (await arrivals.wait(1)) throw decoder.error(TOO_LONG);
    return new Uint8Array(wasm.memory.buffer, model, size).slice();
  } finally {
    await arrivals.pieces.return();
  }
}

export async function inspect(source) {
  const decoder = await Decoder.create();
  const arrivals = new Arrivals(piecesOf(bodyOf(source)), () => {});
  try {
    await open(decoder, arrivals);
    return { table: decoder.table(), bytes: decoder.wasm.file_size(), onnxBytes: decoder.wasm.onnx_size() };
  } finally {
    await arrivals.pieces.return();
  }
}

export async function session(source, { ort, onProgress, ...options } = {}) {
  const runtime = ort ?? (await import("onnxruntime-web"));
  const place = typeof source === "string" || source instanceof URL;
  const model = await decode(place ? await fetch(source) : source, { onProgress });
  return runtime.InferenceSession.create(model, options);
}

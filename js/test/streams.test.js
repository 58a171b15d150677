/** What can go wrong with a source: each time the promise is rejected, and what was open is closed. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { runInNewContext } from "node:vm";
import { brotliCompressSync } from "node:zlib";

import { decode, inspect } from "../index.js";

const DIGITS = new URL("../../tests/conformance/sound/digits.enx", import.meta.url);
const data = new Uint8Array(await readFile(DIGITS));
const model = await decode(data);

/** A stream that gives what an iterator yields; `closed.cancelled` tells whether its reader gave up. */
function stream(items, closed = {}) {
  return new ReadableStream(
    {
      async pull(controller) {
        const { done, value } = await items.next();
        if (done) controller.close();
        else controller.enqueue(value);
      },
      cancel() {
        closed.cancelled = true;
      },
    },
    { highWaterMark: 0 },
  );
}

function* pieces(size, bytes = data) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

test("a stream may have empty pieces, one byte at a time, and pieces of any view", async () => {
  function* odd() {
    for (const piece of pieces(97)) {
      yield new Uint8Array(0);
      yield piece;
    }
    yield new Uint8Array(0);
  }
  function* views() {
    yield data.slice(0, 40).buffer;
    yield new DataView(data.buffer, data.byteOffset + 40, 9);
    yield Buffer.from(data.subarray(49));
  }
  for (const items of [odd(), views(), pieces(1)]) assert.deepEqual(await decode(stream(items)), model);
});

for (const [name, piece] of Object.entries({ text: "abc", "a number": 5, nothing: null, "what is not there": undefined, "an object": {} })) {
  test(`pieces that are ${name} are refused`, async () => {
    const closed = {};
    const refused = { name: "TypeError", message: /^the stream gives .* bytes$/ };
    for (const at of [0, 1]) await assert.rejects(decode(stream([data.subarray(0, 50), piece].slice(1 - at)[Symbol.iterator](), closed)), refused);
    assert.ok(closed.cancelled);
  });
}

test("an error of the stream is passed on, wherever it comes", async () => {
  for (const after of [0, 20, 36, 300, data.length - 1, data.length]) {
    function* broken() {
      if (after) yield data.subarray(0, after);
      throw new Error("the network is down");
    }
    await assert.rejects(decode(stream(broken())), { message: "the network is down" });
  }
});

test("a stream that stalls can be ended from outside", async () => {
  const abort = new AbortController();
  const stalled = stream(pieces(300)).pipeThrough(new TransformStream({
    transform: (piece, controller) => new Promise((resolve, reject) => {
      controller.enqueue(piece);
      abort.signal.addEventListener("abort", () => reject(abort.signal.reason));
    }),
  }));
  const decoding = decode(stalled, { onProgress: () => abort.abort(new Error("the user left")) });
  await assert.rejects(decoding, { message: "the user left" });
});

test("a stream that someone else reads is refused", async () => {
  const taken = stream(pieces(300));
  taken.getReader();
  await assert.rejects(decode(taken), TypeError);
  const response = new Response(data);
  await response.arrayBuffer();
  await assert.rejects(decode(response), TypeError);
});

test("responses and buffers may be of another window, or of a package's own fetch", async () => {
  const { ok, status, body } = new Response(data);
  assert.deepEqual(await decode({ ok, status, body, arrayBuffer() {} }), model);
  const buffer = runInNewContext("new ArrayBuffer(size)", { size: data.length });
  new Uint8Array(buffer).set(data);
  assert.deepEqual(await decode(buffer), model);
});

test("a response that may not be read is refused in one sentence", async () => {
  const refused = { code: "HTTP", message: "the file cannot be fetched: the server does not let this page read it (CORS)" };
  for (const use of [decode, inspect]) await assert.rejects(use(Response.error()), refused);
});

test("what is no file is refused in words that fit each function", async () => {
  const message = "a file is given as a Uint8Array, an ArrayBuffer, a Response or a ReadableStream";
  for (const source of [undefined, null, "digits.enx", 5, [1, 2], {}, Promise.resolve(new Response(data)), new Blob([data])]) {
    for (const use of [decode, inspect]) await assert.rejects(use(source), { name: "TypeError", message });
  }
});

test("what follows the file is refused, and not read to its end", async () => {
  const closed = {};
  function* endless() {
    yield data;
    for (;;) yield new Uint8Array(1000);
  }
  await assert.rejects(decode(stream(endless(), closed)), { code: "TOO_LONG" });
  assert.ok(closed.cancelled);
});

test("headers of a response are not believed", async () => {
  for (const length of [0, 10, data.length + 5, 2 ** 53]) {
    assert.deepEqual(await decode(new Response(data, { headers: { "content-length": `${length}`, "content-type": "text/html" } })), model);
  }
});

test("what onProgress throws ends decoding, and closes the stream", async () => {
  for (const when of ["received", "decoded"]) {
    const closed = {};
    const onProgress = (progress) => {
      if (progress[when]) throw new Error("no more");
    };
    await assert.rejects(decode(stream(pieces(2000), closed), { onProgress }), { message: "no more" });
    assert.ok(closed.cancelled);
  }
});

test("two decode one file at once, and one that fails disturbs no other", async () => {
  const broken = data.slice();
  broken[broken.length - 3] ^= 1;
  const [one, refused, other] = await Promise.allSettled([data, broken, data].map((bytes) => decode(stream(pieces(500, bytes)))));
  assert.deepEqual([one.value, refused.reason.code, other.value], [model, "PAYLOAD", model]);
});

/** The head's fields are claims: none is believed before its checksum, and none makes memory be asked for. */
test("sizes of 2^31, 2^32 and above are refused in one sentence", async () => {
  for (const [at, bytes] of [[12, 8], [20, 4], [24, 4], [28, 4]]) {
    for (const size of [2n ** 31n - 1n, 2n ** 31n, 2n ** 32n - 36n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 63n, 2n ** 64n - 1n]) {
      if (bytes === 4 && size >= 2n ** 32n) continue;
      const changed = data.slice();
      const view = new DataView(changed.buffer);
      if (bytes === 8) view.setBigUint64(at, size, true);
      else view.setUint32(at, Number(size), true);
      for (const source of [changed, stream(pieces(700, changed))]) {
        await assert.rejects(decode(source), (error) => ["CUT_OFF", "HEAD", "NO_MEMORY"].includes(error.code), `${size} at ${at}`);
        await assert.rejects(inspect(changed), { name: "EnxError" });
      }
    }
  }
});

test("the module stays as small as is promised", async () => {
  const module = await readFile(new URL("../enx.wasm", import.meta.url));
  assert.ok(module.length <= 32_000);
  assert.ok(brotliCompressSync(module).length <= 16_384);
});

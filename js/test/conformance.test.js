/** The conformance pack: each sound file gives the expected model, each damaged one the expected code. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { EnxError, decode, inspect, session } from "../index.js";

const PACK = new URL("../../tests/conformance/", import.meta.url);
const expected = JSON.parse(await readFile(new URL("expected.json", PACK), "utf8"));
const sha256 = (data) => createHash("sha256").update(data).digest("hex");
const read = async (kind, name) => new Uint8Array(await readFile(new URL(`${kind}/${name}`, PACK)));

/** A stream of pieces of those lengths, one after the other. */
function stream(data, size) {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= data.length) return controller.close();
      controller.enqueue(data.subarray(at, at + size));
      at += size;
    },
  });
}

for (const [name, { onnx_sha256, onnx_bytes }] of Object.entries(expected.sound)) {
  test(`${name} is read`, async () => {
    const model = await decode(await read("sound", name));
    assert.equal(model.length, onnx_bytes);
    assert.equal(sha256(model), onnx_sha256);
  });
}

for (const [name, code] of Object.entries(expected.damaged)) {
  test(`${name} is refused`, async () => {
    const data = await read("damaged", name);
    for (const source of [data, stream(data, 1000)]) {
      await assert.rejects(decode(source), (error) => error instanceof EnxError && error.code === code && /^[a-z.].{10,}/.test(error.message));
    }
  });
}

test("a stream, a response and a buffer give the same as bytes, whatever the pieces", async () => {
  const data = await read("sound", "digits.enx");
  const wanted = expected.sound["digits.enx"].onnx_sha256;
  for (const size of [1, 7, 36, 1000, 1 << 20]) assert.equal(sha256(await decode(stream(data, size))), wanted);
  assert.equal(sha256(await decode(new Response(data))), wanted);
  assert.equal(sha256(await decode(data.buffer.slice(data.byteOffset, data.byteOffset + data.length))), wanted);
});

test("many decode at once", async () => {
  const names = Object.keys(expected.sound).slice(0, 12);
  const models = await Promise.all(names.map(async (name) => decode(stream(await read("sound", name), 500))));
  names.forEach((name, index) => assert.equal(sha256(models[index]), expected.sound[name].onnx_sha256));
});

test("tensors are decoded while the rest is still on its way", async () => {
  const data = await read("sound", "network.enx");
  const payloads = (await inspect(data)).table.parts.map((part) => part.bytes);
  const seen = [];
  let told;
  // The bytes of a payload are handed over only when those before it have been decoded: who waits for the end never ends.
  let [at, row, end] = [0, -1, data.length - payloads.reduce((a, b) => a + b)];
  const slow = new ReadableStream({
    async pull(controller) {
      while (at === end && row >= 0 && (seen.at(-1)?.decoded ?? 0) <= row) await new Promise((resolve) => (told = resolve));
      if (at === end) {
        if (++row === payloads.length) return controller.close();
        end += payloads[row];
      }
      controller.enqueue(data.subarray(at, end));
      at = end;
    },
  }, { highWaterMark: 0 });
  const model = await decode(slow, { onProgress: (progress) => (seen.push(progress), told?.()) });
  assert.equal(sha256(model), expected.sound["network.enx"].onnx_sha256);
  assert.equal(seen.at(-1).decoded, payloads.length);
  assert.ok(seen.filter(({ decoded, received, total }) => decoded > 0 && received < total).length >= payloads.length - 1);
});

for (const [name, begin] of Object.entries({
  "a Git LFS pointer": "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
  "a page": "<!doctype html><title>Not found</title>",
  "an ONNX model": "\x08\x08\x12\x07pytorch:",
})) {
  test(`${name} is no .enx file`, async () => {
    const bytes = new TextEncoder().encode(begin.padEnd(200));
    const refused = { name: "EnxError", code: "NOT_ENX", message: "not an .enx file: it does not begin with the format's signature" };
    for (const source of [bytes, stream(bytes, 50), new Response(bytes)]) await assert.rejects(decode(source), refused);
    await assert.rejects(session(bytes, { ort: {} }), refused);
  });
}

test("a file that is changed anywhere is refused, and never takes the process down", async () => {
  const data = await read("sound", "bundle.enx");
  for (let at = 0; at < data.length; at += 7) {
    const changed = data.slice();
    changed[at] ^= 1 << at % 8;
    await assert.rejects(decode(changed), EnxError, `byte ${at}`);
    await assert.rejects(decode(data.subarray(0, at)), { name: "EnxError", code: at ? "CUT_OFF" : "NOT_ENX" });
  }
});

test("what is no file is refused in one sentence", async () => {
  await assert.rejects(decode(new Response("gone", { status: 404 })), { code: "HTTP", message: /404/ });
  await assert.rejects(decode("model.enx"), TypeError);
  await assert.rejects(decode(new Uint8Array(0)), { code: "NOT_ENX" });
});

test("what cannot be a head is not waited for", async () => {
  const endless = new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(1000)) });
  await assert.rejects(decode(endless), { code: "NOT_ENX" });
});

test("the table is that of the file", async () => {
  const { table, bytes, onnxBytes } = await inspect(await read("sound", "digits.enx"));
  const names = table.parts.flatMap((row) => row.tensors.map((tensor) => tensor.name));
  assert.deepEqual(names, Object.keys(expected.sound["digits.enx"].tensors));
  assert.equal(bytes, (await read("sound", "digits.enx")).length);
  assert.equal(onnxBytes, expected.sound["digits.enx"].onnx_bytes);
});

test("a session is made of the decoded model, with the options given", async () => {
  const ort = { InferenceSession: { create: async (model, options) => ({ model, options }) } };
  const made = await session(await read("sound", "digits.enx"), { ort, executionProviders: ["wasm"] });
  assert.equal(sha256(made.model), expected.sound["digits.enx"].onnx_sha256);
  assert.deepEqual(made.options, { executionProviders: ["wasm"] });
});

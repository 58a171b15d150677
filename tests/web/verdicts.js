/**
 * Decodes files that come one after the other on standard input, as tests/decoder/driver.c does, with the WebAssembly build:
 * a length (uint32) and so many bytes each. For each it writes a code (uint32), two numbers (uint64), of which the second is
 * the length of the ONNX model, and the model. Files arrive in pieces of several lengths, by turns.
 */
import { readFileSync, writeSync } from "node:fs";

import { EnxError, decode } from "../../js/index.js";

const CODES = ["OK", "NOT_ENX", "CUT_OFF", "TOO_LONG", "VERSION", "HEAD", "TABLE", "GRAPH", "PAYLOAD", "NO_MEMORY"];
const PIECES = [Infinity, 61, 1000];

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

function write(data) {
  for (let at = 0; at < data.length; ) {
    try {
      at += writeSync(1, data, at);
    } catch (error) {
      if (error.code !== "EAGAIN") throw error; // the pipe is full: its reader is slower
    }
  }
}

const input = readFileSync(0);
for (let at = 0, number = 0; at < input.length; number++) {
  const size = input.readUInt32LE(at);
  const data = new Uint8Array(input.subarray(at + 4, at + 4 + size));
  at += 4 + size;
  const pieces = PIECES[number % PIECES.length];
  let code = "OK";
  let model = new Uint8Array(0);
  try {
    model = await decode(pieces < data.length ? stream(data, pieces) : data);
  } catch (error) {
    if (!(error instanceof EnxError) || error.message.length < 10) throw error;
    code = error.code;
  }
  const head = Buffer.alloc(20);
  head.writeUInt32LE(CODES.indexOf(code), 0);
  head.writeBigUInt64LE(BigInt(model.length), 12);
  write(head);
  write(model);
}

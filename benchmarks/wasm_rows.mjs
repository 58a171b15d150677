/** Best processor milliseconds of decoding a file's payloads with js/enx.wasm: node wasm_rows.mjs FILE RUNS */
import { readFileSync } from "node:fs";

const [file, runs] = process.argv.slice(2);
const data = readFileSync(file);
const module = new WebAssembly.Module(readFileSync(new URL("../js/enx.wasm", import.meta.url)));
const number = (place, size) => Number(new TextDecoder().decode(new Uint8Array(wasm.memory.buffer, place >>> 0, size)));
const wasm = new WebAssembly.Instance(module, { js: { number } }).exports;

function placed(bytes) {
  const place = wasm.allocate(bytes.length) >>> 0;
  new Uint8Array(wasm.memory.buffer, place, bytes.length).set(bytes);
  return place;
}

const begin = wasm.head_size(placed(data.subarray(0, 36)), 36);
if (wasm.open(placed(data.subarray(0, begin)), begin)) throw new Error("the head is refused");
const model = wasm.allocate(wasm.onnx_size()) >>> 0;
wasm.onnx_begin(model);
const payloads = [];
for (let row = 0, at = begin; row < wasm.rows(); at += wasm.row_size(row++)) payloads.push(placed(data.subarray(at, at + wasm.row_size(row))));
let best = Infinity;
for (let run = 0; run < Number(runs); run++) {
  const before = process.cpuUsage();
  const clock = performance.now();
  payloads.forEach((payload, row) => {
    if (wasm.onnx_row(row, payload, model)) throw new Error("a payload is refused");
  });
  const { user, system } = process.cpuUsage(before);
  best = Math.min(best, (user + system) / 1000, performance.now() - clock);
}
console.log(best);

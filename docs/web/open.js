/** Files of one's own: what is in them, how long they take to decode, and, with onnxruntime-web, what an image shows. */
import { decode, inspect } from "./enxuto/index.js";
import { imageTensor, takesImages } from "./images.js";
import { inputsOf } from "./onnx.js";

const RUNTIME = "./ort/ort.wasm.min.mjs"; // put there by `make web`; loaded when an image is chosen
const find = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString("en");
const share = (part, whole) => `${((100 * part) / whole).toFixed(1)} %`;

function fill(table, rows, numbers) {
  table.tBodies[0].replaceChildren();
  for (const { cells, kind = "" } of rows) {
    const row = table.tBodies[0].insertRow();
    row.className = kind;
    cells.forEach((text, at) => {
      const cell = row.insertCell();
      cell.textContent = text;
      if (numbers.includes(at)) cell.className = "number";
    });
  }
}

const valuesOf = (tensor) => tensor.shape.reduce((product, length) => product * length, 1);
const elementsOf = (part) => part.tensors.reduce((sum, tensor) => sum + valuesOf(tensor), 0);

/** Bytes by what they are for; they add up to the file's. */
function ledger({ table, bytes }) {
  const sum = (parts) => parts.reduce((total, part) => total + part.bytes, 0);
  const [exact, quantized] = [true, false].map((wanted) => table.parts.filter((part) => (part.coder === "planes") === wanted));
  const rows = [
    ["graph, names and table", bytes - sum(table.parts)],
    [`${number(quantized.reduce((n, part) => n + elementsOf(part), 0))} quantized values`, sum(quantized)],
    [`${number(exact.reduce((n, part) => n + elementsOf(part), 0))} values kept exactly`, sum(exact)],
  ];
  return [...rows.filter(([, size]) => size).map(([what, size]) => ({ cells: [what, number(size), share(size, bytes)] })), { cells: ["the file", number(bytes), ""], kind: "sum" }];
}

function tensorRows({ table }) {
  return table.parts.flatMap((part) =>
    part.tensors.map((tensor, index) => {
      const bits = elementsOf(part) ? ((8 * part.bytes) / elementsOf(part)).toFixed(2) : "–";
      const shape = tensor.shape.join("×") || "scalar";
      const [bytes, each] = index ? ["with the above", ""] : [number(part.bytes), bits];
      return { cells: [tensor.name, shape, number(valuesOf(tensor)), bytes, each, part.coder, part.quantizer?.kind ?? "exact"] };
    }),
  );
}

let opened; // { model, input, metadata } of the file that is shown
let newest; // the file or image that was chosen last: what an earlier one comes to is not shown any more
let runtime; // its promise: loaded once
let session; // of the file that is shown

/** What an error says, as the end of a sentence of this page. */
const reason = (error) => String(error?.message ?? error).trim().replace(/\.$/, "");

async function open(file) {
  newest = file;
  find("facts").hidden = true;
  find("opened").className = "";
  find("opened").textContent = "Decoding …";
  try {
    const bytes = new Uint8Array(await file.arrayBuffer());
    const begin = performance.now();
    const model = await decode(bytes);
    const time = performance.now() - begin;
    const info = await inspect(bytes);
    if (newest === file) show(file.name, info, model, time);
  } catch (error) {
    if (newest !== file) return;
    find("opened").className = "wrong";
    find("opened").textContent = `This file cannot be read: ${reason(error)}.`;
  }
}

function show(name, info, model, time) {
  find("opened").textContent =
    `${name}: ${number(info.bytes)} bytes gave an ONNX model of ${number(model.length)} bytes, ` +
    `${(model.length / info.bytes).toFixed(1)} times as many, in ${time < 10 ? time.toFixed(1) : time.toFixed(0)} ms.`;
  fill(find("ledger"), ledger(info), [1, 2]);
  fill(find("tensors"), tensorRows(info), [2, 3, 4]);
  URL.revokeObjectURL(find("save").href);
  find("save").href = URL.createObjectURL(new Blob([model]));
  find("save").download = `${name.replace(/\.enx$/, "")}.onnx`;
  const [input] = inputsOf(model);
  opened = { model, input, metadata: info.table.metadata };
  session = undefined;
  find("classify").hidden = !takesImages(input);
  find("said").textContent = "";
  find("classes").hidden = true;
  find("facts").hidden = false;
}

const sizeOf = async (place) => Number((await fetch(new URL(place, import.meta.url), { method: "HEAD" })).headers.get("content-length"));

/** Says what onnxruntime-web weighs, or that it is not beside the page. */
async function describeRuntime() {
  const files = [RUNTIME, "./ort/ort-wasm-simd-threaded.mjs", "./ort/ort-wasm-simd-threaded.wasm"];
  const there = (await fetch(new URL(RUNTIME, import.meta.url), { method: "HEAD" })).ok;
  find("image").disabled = !there;
  if (!there) return "This needs onnxruntime-web, which does not lie beside this page: `make web` puts it there.";
  const size = (await Promise.all(files.map(sizeOf))).reduce((a, b) => a + b);
  return `The first image loads onnxruntime-web from beside this page, ${(size / 1e6).toFixed(1)} MB.`;
}

async function classify(file) {
  newest = file;
  find("said").className = "";
  find("said").textContent = "Running …";
  find("classes").hidden = true;
  try {
    const image = await createImageBitmap(file);
    runtime ??= import(RUNTIME);
    const ort = await runtime;
    ort.env.wasm.numThreads = 1;
    session ??= ort.InferenceSession.create(opened.model);
    const running = await session;
    const { data, shape } = imageTensor(image, opened.input, opened.metadata.preprocess);
    const begin = performance.now();
    const results = await running.run({ [opened.input.name]: new ort.Tensor("float32", data, shape) });
    const time = performance.now() - begin;
    if (newest !== file) return;
    showClasses(Array.from(results[running.outputNames[0]].data), opened.metadata.labels);
    find("said").textContent = `Answered in ${time.toFixed(0)} ms${opened.metadata.preprocess ? "" : "; the file does not say how images are prepared: 0…1 is assumed"}.`;
  } catch (error) {
    if (newest !== file) return;
    find("said").className = "wrong";
    find("said").textContent = `This image cannot be classified: ${reason(error)}.`;
  }
}

function showClasses(scores, labels) {
  const order = scores.map((_, at) => at).sort((a, b) => scores[b] - scores[a]);
  find("classes").replaceChildren(
    ...order.slice(0, 5).map((at) => {
      const item = document.createElement("li");
      item.textContent = `${labels?.[at] ?? `class ${at}`}: ${scores[at].toFixed(3)}`;
      return item;
    }),
  );
  find("classes").hidden = false;
}

/** Makes the second part of the page work. */
export function fileOpener() {
  const drop = find("drop");
  const chosen = (id, use) => {
    find(id).onchange = ({ target }) => {
      const [file] = target.files;
      target.value = ""; // so that the same file may be chosen again
      if (file) use(file);
    };
  };
  chosen("file", open);
  drop.ondragover = (event) => {
    event.preventDefault();
    drop.classList.add("over");
  };
  drop.ondragleave = () => drop.classList.remove("over");
  drop.ondrop = (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files.length) open(event.dataTransfer.files[0]);
  };
  chosen("image", classify);
  new MutationObserver(async () => {
    if (!find("classify").hidden) find("runtime").textContent = await describeRuntime();
  }).observe(find("classify"), { attributeFilter: ["hidden"] });
}

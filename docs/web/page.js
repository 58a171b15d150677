/** The page: a field to draw a digit, and files of one's own. */
import { drawing } from "./draw.js";
import { network } from "./digits.js";
import { decode } from "./enxuto/index.js";
import { fileOpener } from "./open.js";

const find = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString("en");

function addRow(table, cells, kind = "") {
  const row = table.tBodies[0].insertRow();
  row.className = kind;
  cells.forEach((cell, at) => {
    const place = row.insertCell();
    place.textContent = cell;
    if (at) place.className = "number";
  });
}

/** Bytes of bodies as they came over the network, by the browser's own count. */
function showTravelled(network, model) {
  const entries = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
  const name = (entry) => new URL(entry.name).pathname.split("/").at(-1);
  const sum = (wanted) => entries.filter(wanted).reduce((total, entry) => total + entry.encodedBodySize, 0);
  const decoder = sum((entry) => name(entry) === "enx.wasm");
  const page = sum((entry) => /^$|\.(html|css|js)$/.test(name(entry)));
  const table = find("travelled");
  addRow(table, ["the network, digits.enx", number(network)]);
  addRow(table, ["the decoder, enx.wasm", number(decoder)]);
  addRow(table, ["this page and its scripts", number(page)]);
  addRow(table, ["together", number(network + decoder + page)], "sum");
  find("compared").textContent =
    `As an ONNX file the network has ${number(model)} bytes, ${(model / network).toFixed(0)} times as many. ` +
    "Bytes are counted as they came: a host that compresses what it serves halves the other two rows.";
}

/** Bars and sentence for ten probabilities; none: nothing is drawn yet. */
function showAnswer(probabilities) {
  const most = probabilities ? probabilities.indexOf(Math.max(...probabilities)) : -1;
  [...find("bars").children].forEach((item, digit) => {
    const percent = probabilities ? 100 * probabilities[digit] : 0;
    item.className = digit === most ? "most" : "";
    item.querySelector(".bar span").style.width = `${percent}%`;
    item.lastChild.textContent = probabilities ? `${percent.toFixed(0)} %` : "";
  });
  find("answer").textContent = probabilities ? `It is a ${most}.` : "Draw a digit from 0 to 9.";
}

for (let digit = 0; digit < 10; digit++) {
  const item = document.createElement("li");
  item.innerHTML = `<span>${digit}</span><span class="bar"><span></span></span><span></span>`;
  find("bars").append(item);
}
fileOpener();

try {
  const response = await fetch("digits.enx");
  let travelled = 0;
  const model = await decode(response, { onProgress: ({ received }) => (travelled = received) });
  const answer = network(model);
  drawing((pixels) => showAnswer(pixels && answer(pixels)));
  showAnswer(null);
  showTravelled(travelled, model.length);
} catch (error) {
  find("answer").textContent = `The network cannot be loaded: ${error.message}.`;
}

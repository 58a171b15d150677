/* Tables that sort and copy, the colour scheme, and all charts of the page. */
"use strict";

/** What a cell is sorted by: its first number, or its text; empty cells and dashes come last. */
function sortKey(cell) {
  const text = cell.textContent.trim();
  if (text === "" || text === "–") return null;
  const number = /^[≈+]?\s*(-?[\d,]*\.?\d+(?:e[+-]?\d+)?)/i.exec(text.replace("−", "-"));
  return number ? Number(number[1].replaceAll(",", "")) : text;
}

function compareKeys(a, b, way) {
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a === "number" && typeof b === "number") return way * (a - b);
  return way * String(a).localeCompare(String(b), "en", { numeric: true });
}

function sortBy(table, column, heading) {
  const way = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", way === 1 ? "ascending" : "descending");
  const [body] = table.tBodies;
  const rows = [...body.rows].map((row) => [sortKey(row.cells[column]), row]);
  rows.sort(([a], [b]) => compareKeys(a, b, way));
  body.append(...rows.map(([, row]) => row));
}

/** The table as it is sorted, cells parted by tabs, as spreadsheets take it. */
function asTabs(table) {
  return [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent.trim()).join("\t")).join("\n");
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = html("textarea", { "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy"); // pages from disk have no clipboard in some browsers
    area.remove();
    return done;
  }
}

function enliven(table) {
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = html("button", { type: "button", title: "Sort", onclick: () => sortBy(table, column, heading) },
      heading.textContent);
    heading.replaceChildren(button);
  });
  const button = html("button", { type: "button", class: "copy" }, "Copy");
  button.addEventListener("click", async () => {
    button.textContent = (await copy(asTabs(table))) ? "Copied" : "Not copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  table.closest(".table").querySelector(".table-head").append(button);
}

/** Light, dark, or as the system has it; kept for the next time where the browser lets pages from disk do so. */
function themes(button) {
  const order = ["auto", "light", "dark"];
  const store = (theme) => {
    try {
      if (theme === undefined) return localStorage.getItem("enxuto-theme");
      localStorage.setItem("enxuto-theme", theme);
    } catch { /* storage may be closed to pages from disk; the choice then lasts as long as the page */ }
    return null;
  };
  const show = (theme) => {
    document.documentElement.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
  };
  show(order.includes(store()) ? store() : "auto");
  button.addEventListener("click", () => {
    const next = order[(order.indexOf(document.documentElement.dataset.theme) + 1) % order.length];
    show(next);
    store(next);
  });
  button.hidden = false;
}

themes(document.querySelector("#theme"));
document.querySelectorAll(".table table").forEach(enliven);
const charts = JSON.parse(document.querySelector("#charts").textContent);
document.querySelectorAll("figure[data-chart]").forEach((element) => new Figure(element, charts[element.dataset.chart]));

/* A chart on the page: its choices, legend, readings under the pointer and by keys. What is drawn is in plots.js. */
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const COLOURS = 7;
const DASHES = ["", "7 3", "2 3", "8 3 2 3", "12 4"];
const MARKERS = [
  "M-4 0A4 4 0 1 0 4 0A4 4 0 1 0 -4 0Z", "M-3.5 -3.5H3.5V3.5H-3.5Z", "M0 -4.5L4.5 3.5H-4.5Z",
  "M0 -5L5 0L0 5L-5 0Z", "M0 4.5L4.5 -3.5H-4.5Z", "M-1.5 -4.5H1.5V-1.5H4.5V1.5H1.5V4.5H-1.5V1.5H-4.5V-1.5H-1.5Z",
];

/** A new element; attributes that start with `on` are listeners, and children are elements or plain text. */
function make(space, tag, attributes = {}, ...children) {
  const element = space ? document.createElementNS(space, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}
const html = (tag, attributes, ...children) => make(null, tag, attributes, ...children);
const svg = (tag, attributes, ...children) => make(SVG, tag, attributes, ...children);
const colour = (style) => `var(--c${style % COLOURS})`;
const dash = (style) => DASHES[style % DASHES.length];
const marker = (style) => MARKERS[style % MARKERS.length];

class Figure {
  /** element: the <figure>; chart: as `Chart.to_dict` gives it. */
  constructor(element, chart) {
    this.chart = chart;
    this.frame = chart.frames[0];
    this.x = chart.x[0];
    this.y = chart.y[0];
    this.logs = { x: Boolean(this.x.log), y: Boolean(this.y.log) };
    this.close = Boolean(this.y.near);
    this.hidden = new Set();
    this.targets = [];
    this.at = -1;
    this.plot = element.querySelector(".plot");
    this.controls = html("div", { class: "controls" });
    this.legend = html("div", { class: "legend", role: "group", "aria-label": "series; press to hide or show" });
    this.canvas = svg("svg", {
      tabindex: 0, role: "group", "aria-label": `${chart.title}. Arrow keys read the values.`,
      onpointermove: (event) => this.point(event), onpointerdown: (event) => this.point(event),
      onpointerleave: () => this.read(-1), onblur: () => this.read(-1), onkeydown: (event) => this.key(event),
    });
    this.tip = html("div", { class: "tip", role: "status", hidden: "" });
    this.plot.before(this.controls, this.legend);
    this.plot.append(this.canvas, this.tip);
    this.addControls();
    this.update();
    new ResizeObserver(() => this.plot.clientWidth !== this.width && this.draw()).observe(this.plot);
  }

  /** A row of a series by the names of its columns. */
  cell(row, name) {
    return name === null ? null : row[this.chart.columns.indexOf(name)];
  }

  get shown() {
    return this.frame.series.filter((series) => !this.hidden.has(series.name));
  }

  addControls() {
    const { frames, x, y, bars } = this.chart;
    if (frames.length > 1) this.addChoice("Show", frames.map((one) => one.name), (at) => { this.frame = frames[at]; });
    if (y.length > 1) {
      this.addChoice(bars ? "Values" : "Up", y.map((one) => one.label), (at) => this.measure("y", y[at]));
    }
    if (x.length > 1) this.addChoice("Across", x.map((one) => one.label), (at) => this.measure("x", x[at]));
    this.boxes = {};
    if (!bars) {
      for (const axis of ["x", "y"]) {
        if (this.canBeLog(axis)) this.addBox(`log ${axis}`, axis, () => this.logs[axis], (on) => { this.logs[axis] = on; });
      }
    }
    if (y.some((one) => one.close)) this.addBox("close up", "close", () => this.close, (on) => { this.close = on; });
    if (!this.controls.children.length) this.controls.remove();
  }

  /** Whether a logarithm of these values makes sense: numbers of things in order, and values below 0, have none. */
  canBeLog(axis) {
    const rows = this.chart.frames.flatMap((frame) => frame.series.flatMap((series) => series.rows));
    return !this[axis].whole && rows.every((row) => (this.cell(row, this[axis].key) ?? 0) >= 0);
  }

  measure(axis, measure) {
    this[axis] = measure;
    this.logs[axis] = Boolean(measure.log);
    if (this.boxes[axis]) this.boxes[axis].checked = this.logs[axis];
  }

  addChoice(name, choices, choose) {
    const select = html("select", { "aria-label": name, onchange: () => { choose(select.selectedIndex); this.update(); } },
      ...choices.map((choice) => html("option", {}, choice)));
    this.controls.append(html("label", {}, name, select));
  }

  addBox(name, key, get, set) {
    const box = html("input", { type: "checkbox", onchange: () => { set(box.checked); this.update(); } });
    box.checked = get();
    this.boxes[key] = box;
    this.controls.append(html("label", {}, box, name));
  }

  update() {
    this.drawLegend();
    this.draw();
  }

  drawLegend() {
    const { series } = this.frame;
    const entries = series.length < 2 ? [] : series.map((one) => {
      const button = html("button", {
        type: "button", "aria-pressed": String(!this.hidden.has(one.name)),
        onclick: () => {
          if (!this.hidden.delete(one.name)) this.hidden.add(one.name);
          button.setAttribute("aria-pressed", String(!this.hidden.has(one.name)));
          this.draw();
        },
      }, this.swatch(one), one.name);
      return button;
    });
    if (this.chart.mark) {
      entries.push(html("span", {}, svg("svg", { width: 20, height: 16, "aria-hidden": "true" },
        svg("circle", { class: "ring", cx: 10, cy: 8, r: 6.5 })), ` ${this.chart.mark[1]}`));
    }
    this.legend.replaceChildren(...entries);
  }

  swatch({ form, style }) {
    const line = svg("line", { x1: 0, x2: 30, y1: 8, y2: 8, stroke: colour(style), "stroke-width": 2,
      "stroke-dasharray": dash(style) });
    if (form === "rule") {
      line.setAttribute("class", "rule");
      line.removeAttribute("stroke");
    }
    const parts = form === "bars" || form === "steps"
      ? [svg("rect", { x: 8, y: 2, width: 14, height: 12, fill: colour(style), opacity: form === "steps" ? 0.4 : 1 })]
      : [...(form === "points" ? [] : [line]),
        ...(form === "rule" ? [] : [svg("path", { d: marker(style), transform: "translate(15 8)", fill: colour(style) })])];
    return svg("svg", { width: 30, height: 16, "aria-hidden": "true" }, ...parts);
  }

  draw() {
    this.width = this.plot.clientWidth;
    if (!this.width) return; // not in sight; it is drawn when it has room
    this.canvas.replaceChildren();
    this.targets = [];
    this.read(-1);
    const plots = { up: plotBarsUp, across: plotBarsAcross, cells: plotCells };
    (plots[this.chart.bars] || plotLines)(this);
    this.canvas.dataset.drawn = String(this.targets.length);
  }

  /** Give the canvas its height; everything is drawn in CSS pixels. */
  size(height) {
    this.canvas.setAttribute("viewBox", `0 0 ${this.width} ${height}`);
    this.canvas.setAttribute("height", height);
  }

  /** Something to be read: where it is, its box if it is a bar, and what is said of it. */
  target(series, row, x, y, box = null) {
    const { chart } = this;
    const lines = [];
    if (chart.bars) lines.push(["", this.cell(row, this.x.key)]);
    else lines.push([this.x.label, written(this.cell(row, this.x.key))]);
    const [low, high] = [this.cell(row, this.y.low), this.cell(row, this.y.high)];
    const ends = low === null || low === undefined ? "" : ` (${written(low)} – ${written(high)})`;
    lines.push([this.y.label, written(this.cell(row, this.y.key)) + ends]);
    for (const [name, label] of chart.hover) lines.push([label, written(this.cell(row, name))]);
    this.targets.push({ series, x, y, box, lines });
  }

  point(event) {
    const frame = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - frame.left, event.clientY - frame.top];
    let [found, least] = [-1, 60];
    this.targets.forEach((target, place) => {
      const [a, b, c, d] = target.box || [NaN, NaN, NaN, NaN];
      const inside = x >= a && x <= c && y >= b && y <= d;
      const distance = inside ? -1 : Math.hypot(target.x - x, target.y - y);
      if (distance < least) [found, least] = [place, distance];
    });
    this.read(found);
  }

  key(event) {
    const last = this.targets.length - 1;
    const here = this.targets[this.at];
    const other = (step) => {
      const names = [...new Set(this.targets.map((target) => target.series.name))];
      const name = names[(names.indexOf(here ? here.series.name : names[0]) + step + names.length) % names.length];
      const near = this.targets.filter((target) => target.series.name === name);
      near.sort((a, b) => Math.abs(a.x - (here?.x ?? 0)) - Math.abs(b.x - (here?.x ?? 0)));
      return this.targets.indexOf(near[0]);
    };
    const moves = {
      ArrowRight: () => Math.min(last, this.at + 1), ArrowLeft: () => Math.max(0, this.at - 1),
      ArrowDown: () => other(1), ArrowUp: () => other(-1), Home: () => 0, End: () => last, Escape: () => -1,
    };
    if (!moves[event.key]) return;
    event.preventDefault();
    this.read(moves[event.key]());
  }

  /** Show what is said of a target, or nothing for -1. */
  read(place) {
    this.at = place;
    this.canvas.querySelector(".here")?.remove();
    const target = this.targets[place];
    this.tip.hidden = !target;
    if (!target) return;
    const several = this.frame.series.length > 1;
    const texts = target.lines.map(([label, value]) => html("div", {}, label ? `${label}: ${value}` : value));
    this.tip.replaceChildren(...(several ? [html("strong", {}, target.series.name)] : []), ...texts);
    this.canvas.append(svg("circle", { class: "here", cx: target.x, cy: target.y, r: 7 }));
    const { offsetWidth, offsetHeight } = this.tip;
    const left = target.x + 14 + offsetWidth > this.width ? target.x - 14 - offsetWidth : target.x + 14;
    this.tip.style.left = `${Math.max(0, Math.min(left, this.width - offsetWidth))}px`;
    // Above or below, wherever more of the chart is left to see.
    const above = target.y > this.plot.clientHeight / 2;
    this.tip.style.top = `${above ? Math.max(0, target.y - offsetHeight - 12) : target.y + 12}px`;
  }
}

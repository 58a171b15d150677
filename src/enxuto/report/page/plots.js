/* What a figure draws: lines, points, steps and bands over two axes; bars up and across; maps of cells. */
"use strict";

const LETTER = 6.6; // pixels, of a 12 px text
const MANY = 60; // points of a line, beyond which markers would hide it

function plotLines(figure) {
  const { chart, x, y, logs, shown } = figure;
  const read = (series, name) => series.rows.map((row) => figure.cell(row, name)).filter((value) => value !== null);
  const curves = shown.filter((series) => series.form !== "rule");
  const leading = curves.filter((series) => series.form === "steps");
  const heights = (leading.length ? leading : shown)
    .flatMap((series) => [y.key, y.low, y.high].flatMap((name) => (name ? read(series, name) : [])));
  const across = extent(curves.flatMap((series) => read(series, x.key)), x, logs.x);
  let up = extent(heights, y, logs.y);
  if (leading.length && logs.y) up = [up[0] / 2, up[1] * 2];
  if (figure.close && y.close && !logs.y) up = y.close;
  const height = Math.round(Math.max(260, Math.min(430, figure.width * 0.55)));
  const yTicks = logs.y ? logTicks(...up, 7, y.log || 10) : linearTicks(...up, 6, y.whole);
  const left = 14 + LETTER * Math.max(1, ...yTicks.map((tick) => tickText(tick).length));
  const area = { left, right: figure.width - 12, top: 26, bottom: height - 42 };
  const xTicks = logs.x ? logTicks(...across, figure.width / 70, x.log || 10) : linearTicks(...across, figure.width / 80, x.whole);
  const ends = x.down ? [area.right, area.left] : [area.left, area.right];
  const toX = makeScale(...across, ...ends, logs.x);
  const toY = makeScale(...up, area.bottom, area.top, logs.y);
  figure.size(height);
  drawAxes(figure, area, xTicks.map((tick) => [toX(tick), tickText(tick)]), yTicks.map((tick) => [toY(tick), tickText(tick)]));
  figure.canvas.append(svg("text", { x: 0, y: 13 }, y.label),
    svg("text", { x: (area.left + area.right) / 2, y: height - 6, "text-anchor": "middle" }, x.label));
  const clip = `clip-${plotLines.count = (plotLines.count || 0) + 1}`;
  figure.canvas.append(svg("clipPath", { id: clip }, svg("rect", {
    x: area.left - 6, y: area.top - 6, width: area.right - area.left + 12, height: area.bottom - area.top + 12 })));
  const layer = svg("g", { "clip-path": `url(#${clip})` });
  figure.canvas.append(layer);
  for (const series of shown) {
    if (series.form === "rule") drawRule(figure, layer, series, area, toY);
    else drawSeries(figure, layer, series, toX, toY, area);
  }
  const at = (target) => target.y >= area.top - 6 && target.y <= area.bottom + 6;
  figure.targets = figure.targets.filter(at);
}

function drawAxes(figure, area, xTicks, yTicks) {
  for (const [place, text] of yTicks) {
    figure.canvas.append(svg("line", { class: "grid", x1: area.left, x2: area.right, y1: place, y2: place }),
      svg("text", { class: "tick", x: area.left - 6, y: place + 4, "text-anchor": "end" }, text));
  }
  for (const [place, text] of xTicks) {
    figure.canvas.append(svg("line", { class: "grid", x1: place, x2: place, y1: area.top, y2: area.bottom }),
      svg("text", { class: "tick", x: place, y: area.bottom + 17, "text-anchor": "middle" }, text));
  }
  figure.canvas.append(svg("path", { class: "axis", fill: "none",
    d: `M${area.left} ${area.top}V${area.bottom}H${area.right}` }));
}

function drawRule(figure, layer, series, area, toY) {
  const value = figure.cell(series.rows[0], figure.y.key);
  if (value === null || (figure.logs.y && value <= 0)) return;
  layer.append(svg("line", { class: "rule", x1: area.left, x2: area.right, y1: toY(value), y2: toY(value) }));
}

function drawSeries(figure, layer, series, toX, toY, area) {
  const { x, y, logs } = figure;
  const floor = (value) => (logs.y && value !== null && value <= 0 ? area.bottom + 10 : toY(value));
  const points = series.rows
    .map((row) => ({ row, x: figure.cell(row, x.key), y: figure.cell(row, y.key) }))
    .filter((point) => point.x !== null && (!logs.x || point.x > 0))
    .map((point) => ({ row: point.row, there: point.y !== null && (!logs.y || point.y > 0), x: toX(point.x), y: floor(point.y) }));
  if (series.form === "line" || series.form === "band") points.sort((a, b) => a.x - b.x);
  const paint = { fill: "none", stroke: colour(series.style), "stroke-width": 2, "stroke-dasharray": dash(series.style) };
  const joined = (list) => list.map((point, place) => `${place ? "L" : "M"}${point.x.toFixed(1)} ${point.y.toFixed(1)}`).join("");
  const lows = points.filter((point) => point.there && (figure.cell(point.row, y.low) ?? null) !== null);
  const end = (point, name) => ({ x: point.x, y: floor(figure.cell(point.row, name)) });
  if (series.form === "band" && lows.length) {
    const outline = [...lows.map((point) => end(point, y.high)), ...lows.map((point) => end(point, y.low)).reverse()];
    layer.append(svg("path", { d: `${joined(outline)}Z`, fill: colour(series.style), opacity: 0.16 }));
  } else if (series.form !== "steps") {
    for (const point of lows) {
      layer.append(svg("line", { x1: point.x, x2: point.x, y1: end(point, y.low).y, y2: end(point, y.high).y,
        stroke: colour(series.style), opacity: 0.45 }));
    }
  }
  if (series.form === "steps") {
    const stairs = points.map((point, place) => (place ? `H${point.x.toFixed(1)}V${point.y.toFixed(1)}`
      : `M${point.x.toFixed(1)} ${area.bottom}V${point.y.toFixed(1)}`)).join("");
    layer.append(svg("path", { d: `${stairs}V${area.bottom}Z`, fill: colour(series.style), opacity: 0.4 }));
  } else if (series.form !== "points") {
    layer.append(svg("path", { ...paint, d: joined(points.filter((point) => point.there)) }));
  }
  for (const point of points.filter((one) => one.there)) {
    if (series.form !== "steps" && points.length <= MANY) {
      layer.append(svg("path", { d: marker(series.style), transform: `translate(${point.x.toFixed(1)} ${point.y.toFixed(1)})`,
        fill: colour(series.style) }));
    }
    if (figure.chart.mark && figure.cell(point.row, figure.chart.mark[0])) {
      layer.append(svg("circle", { class: "ring", cx: point.x, cy: point.y, r: 8 }));
    }
    figure.target(series, point.row, point.x, point.y);
  }
}

/** Categories in order, and for each the rows of the shown series that have a value there. */
function barGroups(figure) {
  const groups = new Map();
  for (const series of figure.frame.series) for (const row of series.rows) groups.set(row[0], []);
  for (const series of figure.shown) {
    for (const row of series.rows) {
      const value = figure.cell(row, figure.y.key);
      if (value !== null) groups.get(row[0]).push({ series, row, value });
    }
  }
  return groups;
}

/** The axis of bars always includes 0: their lengths are what is compared. */
function barExtent(groups, stacked) {
  const sums = [...groups.values()].flatMap((bars) => (stacked
    ? [bars.reduce((sum, bar) => sum + bar.value, 0)] : bars.map((bar) => bar.value)));
  return [Math.min(0, ...sums), Math.max(0, ...sums) || 1];
}

function plotBarsUp(figure) {
  const { chart, y } = figure;
  const groups = barGroups(figure);
  const names = [...groups.keys()];
  const [low, most] = barExtent(groups, chart.stacked);
  const high = most + (most - low) * 0.05;
  const ticks = linearTicks(low, high, 6, y.whole);
  const left = 14 + LETTER * Math.max(1, ...ticks.map((tick) => tickText(tick).length));
  const band = (figure.width - left - 12) / Math.max(1, names.length);
  const longest = Math.max(0, ...names.map((name) => name.length)) * LETTER;
  const tight = longest > band - 8;
  const slanted = tight && longest < 90 && band >= 14;
  const numbered = tight && !slanted;
  const foot = slanted ? longest * 0.72 + 34 : 42;
  const height = Math.round(Math.max(240, Math.min(380, figure.width * 0.45)) + foot - 42);
  const area = { left, right: figure.width - 12, top: 26, bottom: height - foot };
  const toY = makeScale(low, high, area.bottom, area.top, null);
  figure.size(height);
  const every = numbered ? Math.ceil(28 / band) : 1;
  drawAxes(figure, area, [], ticks.map((tick) => [toY(tick), tickText(tick)]));
  figure.canvas.append(svg("text", { x: 0, y: 13 }, y.label),
    svg("text", { x: (area.left + area.right) / 2, y: height - 6, "text-anchor": "middle" }, figure.x.label));
  names.forEach((name, place) => {
    const [middle, below] = [area.left + band * (place + 0.5), area.bottom + 17];
    if (numbered ? place % every === 0 : true) {
      const turned = slanted ? { transform: `rotate(-45 ${middle} ${below - 6})`, "text-anchor": "end" } : { "text-anchor": "middle" };
      figure.canvas.append(svg("text", { class: "tick", x: middle, y: slanted ? below - 4 : below, ...turned },
        numbered ? String(place + 1) : name));
    }
    const bars = groups.get(name);
    const room = Math.min(band * 0.84, 56);
    const thick = chart.stacked ? room : room / Math.max(1, figure.shown.length);
    let base = 0;
    for (const bar of bars) {
      const beside = chart.stacked ? 0 : figure.shown.indexOf(bar.series) * thick;
      const from = middle - room / 2 + beside;
      const [top, bottom] = [toY(base + Math.max(bar.value, 0)), toY(base + Math.min(bar.value, 0))];
      figure.canvas.append(svg("rect", { x: from, y: top, width: Math.max(0.5, thick - (band > 6 ? 1 : 0)),
        height: Math.max(0, bottom - top), fill: colour(bar.series.style) }));
      figure.target(bar.series, bar.row, from + thick / 2, top, [from, top, from + thick, bottom]);
      if (chart.stacked) base += bar.value;
    }
  });
}

/** Each category's name stands above its bars, so that long names have room on a phone too. */
function plotBarsAcross(figure) {
  const { chart, y } = figure;
  const groups = barGroups(figure);
  const [low, high] = barExtent(groups, chart.stacked);
  const thick = 16;
  const lanes = chart.stacked ? 1 : Math.max(1, figure.shown.length);
  const step = 20 + lanes * thick + 8;
  figure.size(26 + groups.size * step);
  const toX = makeScale(low, high, 0, figure.width - 96, null);
  figure.canvas.append(svg("text", { class: "tick", x: 0, y: 13 }, y.label));
  [...groups].forEach(([name, bars], place) => {
    const top = 26 + place * step;
    figure.canvas.append(svg("text", { x: 0, y: top + 13 }, name));
    let base = 0;
    for (const bar of bars) {
      const above = top + 18 + (chart.stacked ? 0 : figure.shown.indexOf(bar.series) * thick);
      const [from, to] = [toX(base), toX(base + bar.value)];
      figure.canvas.append(svg("rect", { x: Math.min(from, to), y: above, width: Math.max(1, Math.abs(to - from)),
        height: thick - 2, fill: colour(bar.series.style) }),
      svg("text", { x: Math.max(from, to) + 6, y: above + 11 }, written(Number(bar.value.toPrecision(Number.isInteger(bar.value) ? 15 : 4)))));
      figure.target(bar.series, bar.row, to, above + thick / 2, [0, above, figure.width, above + thick]);
      if (chart.stacked) base += bar.value;
    }
  });
}

/** A map: the first column across, the second down, a cell's strength by its value; below 0 in another colour. */
function plotCells(figure) {
  const { y } = figure;
  const cells = figure.shown
    .flatMap((series) => series.rows.map((row) => ({ series, row, value: figure.cell(row, y.key) })))
    .filter((cell) => cell.value !== null);
  const across = [...new Set(cells.map((cell) => cell.row[0]))];
  const down = [...new Set(cells.map((cell) => cell.row[1]))];
  const most = Math.max(0, ...cells.map((cell) => Math.abs(cell.value))) || 1;
  const letters = Math.floor(Math.min(figure.width * 0.42 / LETTER, Math.max(0, ...down.map((name) => name.length))));
  const left = letters * LETTER + 8;
  const [wide, high] = [(figure.width - left) / Math.max(1, across.length), 20];
  const longest = Math.max(0, ...across.map((name) => name.length)) * LETTER;
  const slanted = longest > wide - 4;
  const top = 26 + (slanted ? longest * 0.72 + 12 : 18);
  figure.size(top + down.length * high);
  figure.canvas.append(svg("text", { x: 0, y: 13 }, y.label));
  across.forEach((name, place) => {
    const middle = left + wide * (place + 0.5);
    // Slanted from above the layers' names, where there is room, down to the column.
    const turned = slanted ? { transform: `rotate(45 ${middle} ${top - 6})`, "text-anchor": "end" } : { "text-anchor": "middle" };
    figure.canvas.append(svg("text", { class: "tick", x: middle, y: top - 6, ...turned }, name));
  });
  down.forEach((name, place) => {
    const short = name.length > letters ? `…${name.slice(1 - letters)}` : name; // the end tells layers apart
    figure.canvas.append(svg("text", { class: "tick", x: 0, y: top + high * place + 14 }, short));
  });
  for (const { series, row, value } of cells) {
    const [x, above] = [left + wide * across.indexOf(row[0]), top + high * down.indexOf(row[1])];
    // Never darker than this, so that the number on it is read in both schemes.
    const share = 0.5 * Math.abs(value) / most;
    figure.canvas.append(svg("rect", { class: "cell", x, y: above, width: wide - 2, height: high - 2,
      fill: `var(--c${value < 0 ? 5 : 1})`, "fill-opacity": share.toFixed(3) }));
    if (wide > 44) {
      figure.canvas.append(svg("text", { x: x + wide / 2 - 1, y: above + 13, "text-anchor": "middle" },
        value.toFixed(3).replace("-0.000", "0.000")));
    }
    figure.target(series, row, x + wide / 2 - 1, above + high / 2 - 1, [x, above, x + wide, above + high]);
  }
}

/* Numbers on axes: how they are written, where they lie, and where the ticks are. No drawing here. */
"use strict";

/** A number as people read it: five digits, whole numbers in full; texts as they are. */
function written(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e12)) return value.toExponential(3);
  const digits = Number.isInteger(value) ? {} : { maximumSignificantDigits: 5 };
  return value.toLocaleString("en", digits);
}

/** As `written`, short enough for a tick: 20k, 3M, 1e-7. */
function tickText(value) {
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e12)) return value.toExponential(0).replace("e+", "e");
  for (const [unit, name] of [[1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
    if (size >= unit) return Number((value / Math.min(unit, unit === 1e4 ? 1e3 : unit)).toPrecision(3)) + name;
  }
  return String(Number(value.toPrecision(4)));
}

/** A function from values to pixels; `base` is that of a logarithmic axis, or null. */
function makeScale(low, high, from, to, base) {
  const place = base ? Math.log : (value) => value;
  const span = place(high) - place(low) || 1;
  return (value) => from + ((place(value) - place(low)) / span) * (to - from);
}

/** Ticks at 1, 2 or 5 times a power of ten, about `count` of them. */
function linearTicks(low, high, count, whole) {
  const raw = (high - low) / Math.max(1, count) || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  let step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999);
  if (whole) step = Math.max(1, Math.round(step));
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k += 1) {
    ticks.push(Number((k * step).toPrecision(12)));
  }
  return ticks;
}

/** Ticks at powers of `base`; where they would be few, at 2 and 5 times those of ten as well. */
function logTicks(low, high, count, base) {
  const first = Math.ceil(Math.log(low) / Math.log(base) - 1e-9);
  const last = Math.floor(Math.log(high) / Math.log(base) + 1e-9);
  const every = Math.max(1, Math.ceil((last - first + 1) / Math.max(2, count)));
  const ticks = [];
  for (let power = first; power <= last; power += every) ticks.push(base ** power);
  if (base !== 10 || ticks.length >= 3) return ticks.length > 1 ? ticks : linearTicks(low, high, count);
  const finer = (factors) => {
    const powers = Array.from({ length: last - first + 2 }, (_, place) => 10 ** (first - 1 + place));
    return powers.flatMap((power) => factors.map((factor) => factor * power)).filter((value) => value >= low && value <= high);
  };
  let fine = finer([1, 2, 5]);
  if (fine.length < 4) fine = finer([1, 2, 3, 5, 7]);
  return fine.length > 2 ? fine : linearTicks(low, high, count);
}

/** The ends of an axis for some values: where it starts, and a little air. */
function extent(values, measure, log) {
  const usable = values.filter((value) => Number.isFinite(value) && (!log || value > 0));
  if (!usable.length) return log ? [1, 10] : [0, 1];
  let low = usable.reduce((a, b) => Math.min(a, b));
  let high = usable.reduce((a, b) => Math.max(a, b));
  if (log) {
    const air = (high / low) ** 0.04 || 1.1;
    return low === high ? [low / 2, high * 2] : [low / air, high * air];
  }
  const starts = measure.start !== null && low >= measure.start;
  if (starts) low = measure.start;
  const air = (high - low || Math.abs(high) || 1) * 0.05;
  return [starts ? low : low - air, high + air];
}

/** A field to draw a digit with mouse, finger, pen or keyboard, and the 8×8 pixels that the network sees of it. */

const SIDE = 320; // of the field, in its own pixels
const PEN = 30;
const STEP = 16; // of the keyboard's pen

// Points of a digit for who would rather look on, in hundredths of the field.
const SAMPLES = [
  [[[52, 14], [34, 24], [27, 50], [34, 77], [50, 87], [66, 77], [73, 50], [66, 24], [52, 14]]],
  [[[38, 32], [54, 14], [54, 87]]],
  [[[30, 32], [38, 17], [56, 14], [68, 26], [64, 42], [46, 64], [29, 86], [73, 86]]],
  [[[32, 20], [52, 13], [66, 24], [62, 40], [46, 48], [64, 56], [70, 70], [56, 86], [31, 80]]],
  [[[46, 13], [28, 58], [76, 58]], [[60, 36], [57, 88]]],
  [[[68, 15], [36, 15], [33, 44], [54, 42], [69, 56], [65, 76], [48, 87], [30, 80]]],
];

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);

/** The ink's smallest rectangle, or null. */
function boundsOf({ data, width, height }) {
  let [left, top, right, bottom] = [width, height, -1, -1];
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      if (data[4 * (y * width + x) + 3] > 64) {
        left = Math.min(left, x);
        right = Math.max(right, x);
        top = Math.min(top, y);
        bottom = Math.max(bottom, y);
      }
  return right < 0 ? null : { left, top, width: right - left + 1, height: bottom - top + 1 };
}

/** As the data set was made: the digit fills a square, and a pixel tells how much ink lies in its part of it. */
function pixelsOf(ink) {
  const bounds = boundsOf(ink.getContext("2d").getImageData(0, 0, SIDE, SIDE));
  if (!bounds) return null;
  const small = new OffscreenCanvas(64, 64).getContext("2d", { willReadFrequently: true });
  const scale = 64 / Math.max(bounds.width, bounds.height);
  const [width, height] = [bounds.width * scale, bounds.height * scale];
  small.imageSmoothingQuality = "high";
  small.drawImage(ink, bounds.left, bounds.top, bounds.width, bounds.height, (64 - width) / 2, (64 - height) / 2, width, height);
  const { data } = small.getImageData(0, 0, 64, 64);
  const pixels = new Float32Array(64);
  for (let at = 0; at < 64 * 64; at++) pixels[8 * (at >> 9) + ((at & 63) >> 3)] += data[4 * at + 3] / 255 / 64;
  return pixels;
}

/** Calls `onChange` with 64 pixels in 0…1 after each stroke, or with null where nothing is drawn. */
export function drawing(onChange) {
  const [field, seen, clear, sample] = ["field", "seen", "clear", "sample"].map((id) => document.getElementById(id));
  const ink = new OffscreenCanvas(SIDE, SIDE); // strokes alone; the keyboard's pen is not among them
  const strokes = ink.getContext("2d", { willReadFrequently: true });
  const pen = { x: SIDE / 2, y: SIDE / 5, shown: false };
  let [next, last] = [3, null];

  const paint = () => {
    const context = field.getContext("2d");
    context.clearRect(0, 0, SIDE, SIDE);
    context.drawImage(ink, 0, 0);
    context.globalCompositeOperation = "source-in";
    context.fillStyle = colour("--pen");
    context.fillRect(0, 0, SIDE, SIDE);
    context.globalCompositeOperation = "source-over";
    if (!pen.shown) return;
    context.strokeStyle = colour("--lead");
    context.lineWidth = 3;
    context.beginPath();
    context.arc(pen.x, pen.y, PEN / 2, 0, 2 * Math.PI);
    context.stroke();
  };
  const changed = () => {
    const pixels = pixelsOf(ink);
    const context = seen.getContext("2d");
    const image = context.createImageData(8, 8);
    for (let at = 0; at < 64; at++) image.data.set([255, 255, 255, 255 * (pixels?.[at] ?? 0)], 4 * at);
    context.putImageData(image, 0, 0);
    paint();
    onChange(pixels);
  };
  const line = (from, to) => {
    strokes.lineCap = strokes.lineJoin = "round";
    strokes.lineWidth = PEN;
    strokes.beginPath();
    strokes.moveTo(from.x, from.y);
    strokes.lineTo(to.x + 0.01, to.y); // a line of no length would leave no dot
    strokes.stroke();
    changed();
  };
  const empty = () => {
    strokes.clearRect(0, 0, SIDE, SIDE);
    changed();
  };
  const place = (event) => {
    const { left, top, width } = field.getBoundingClientRect();
    return { x: ((event.clientX - left) * SIDE) / width, y: ((event.clientY - top) * SIDE) / width };
  };

  field.onpointerdown = (event) => {
    field.setPointerCapture(event.pointerId);
    pen.shown = false;
    last = place(event);
    line(last, last);
  };
  field.onpointermove = (event) => {
    if (!last) return;
    const here = place(event);
    line(last, here);
    last = here;
  };
  field.onpointerup = field.onpointercancel = () => (last = null);
  field.onkeydown = (event) => {
    const [x, y] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    if (event.key === "Delete" || event.key === "Backspace") empty();
    else if (!x && !y) return;
    event.preventDefault();
    const from = { x: pen.x, y: pen.y };
    pen.shown = true;
    pen.x = Math.min(SIDE, Math.max(0, pen.x + STEP * x));
    pen.y = Math.min(SIDE, Math.max(0, pen.y + STEP * y));
    if (event.shiftKey) line(from, pen);
    else paint();
  };
  field.onfocus = () => {
    pen.shown = field.matches(":focus-visible");
    paint();
  };
  field.onblur = () => {
    pen.shown = false;
    paint();
  };
  clear.onclick = empty;
  sample.onclick = () => {
    empty();
    const points = ([x, y]) => ({ x: (x * SIDE) / 100, y: (y * SIDE) / 100 });
    for (const stroke of SAMPLES[next]) stroke.slice(1).forEach((to, at) => line(points(stroke[at]), points(to)));
    next = (next + 1) % SAMPLES.length;
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
}

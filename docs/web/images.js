/** An image as the input of a network: the preprocessing of the file's metadata, resized by the browser. */

/** Whether an input is a batch of images: four dimensions, of which the channels are one or three. */
export function takesImages(input) {
  return input?.type === 1 && input.shape.length === 4 && [1, 3].some((count) => input.shape[1] === count || input.shape[3] === count);
}

const pair = (size) => (Array.isArray(size) ? size : [size, size]);

/** Where an image of width × height comes to lie on a canvas: [canvas height and width, image height and width]. */
export function placement(width, height, target, { resize, crop }) {
  let [h, w] = [height, width];
  if (Array.isArray(resize)) [h, w] = resize;
  else if (resize) {
    const scale = resize / Math.min(height, width);
    [h, w] = [Math.floor(height * scale), Math.floor(width * scale)];
  }
  if (crop) return { canvas: pair(crop), image: [h, w] };
  return target.every(Boolean) ? { canvas: target, image: target } : { canvas: [h, w], image: [h, w] };
}

/** { data, shape } for a tensor of float32. `preprocess`: see docs/format.md; without it pixels become 0…1. */
export function imageTensor(image, input, preprocess) {
  const last = input.shape[1] !== 1 && input.shape[1] !== 3;
  const count = last ? input.shape[3] : input.shape[1];
  const plan = { resize: null, crop: null, divide_by: 255, mean: [0], std: [1], channels: count === 1 ? "L" : "RGB", ...preprocess };
  const target = last ? input.shape.slice(1, 3) : input.shape.slice(2);
  const { canvas, image: size } = placement(image.width, image.height, target, plan);
  const [height, width] = canvas;
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(image, -Math.floor((size[1] - width) / 2), -Math.floor((size[0] - height) / 2), size[1], size[0]);
  const pixels = context.getImageData(0, 0, width, height).data;
  const data = new Float32Array(height * width * count);
  const order = plan.channels === "BGR" ? [2, 1, 0] : [0, 1, 2];
  for (let at = 0; at < height * width; at++) {
    const [r, g, b] = pixels.subarray(4 * at, 4 * at + 3);
    for (let channel = 0; channel < count; channel++) {
      const value = count === 1 ? Math.floor((19595 * r + 38470 * g + 7471 * b + 32768) / 65536) : [r, g, b][order[channel]];
      const of = (list) => list[channel] ?? list[0];
      data[last ? at * count + channel : channel * height * width + at] = (value / plan.divide_by - of(plan.mean)) / of(plan.std);
    }
  }
  return { data, shape: last ? [1, height, width, count] : [1, count, height, width] };
}

/** The network of `enxuto demo`, a LeNet for handwritten digits of 8×8 pixels: too small to need a runtime. */
import { weightsOf } from "./onnx.js";

const relu = (values) => values.map((x) => Math.max(0, x));

/** A 3×3 convolution with a margin of zeros: `input` has `channels` planes of side × side. */
function convolve(input, channels, side, weight, bias) {
  const plane = side * side;
  const output = new Float32Array(bias.length * plane);
  for (let filter = 0; filter < bias.length; filter++)
    for (let y = 0; y < side; y++)
      for (let x = 0; x < side; x++) {
        let sum = bias[filter];
        for (let channel = 0; channel < channels; channel++)
          for (let dy = Math.max(0, 1 - y); dy < Math.min(3, side + 1 - y); dy++)
            for (let dx = Math.max(0, 1 - x); dx < Math.min(3, side + 1 - x); dx++)
              sum += weight[((filter * channels + channel) * 3 + dy) * 3 + dx] * input[channel * plane + (y + dy - 1) * side + x + dx - 1];
        output[filter * plane + y * side + x] = sum;
      }
  return output;
}

/** The largest of each 2×2 pixels. */
function pool(input, side) {
  const half = side / 2;
  return new Float32Array(input.length / 4).map((_, at) => {
    const first = Math.floor(at / (half * half)) * side * side + 2 * side * (Math.floor(at / half) % half) + 2 * (at % half);
    return Math.max(input[first], input[first + 1], input[first + side], input[first + side + 1]);
  });
}

const linear = (input, weight, bias) =>
  bias.map((start, row) => input.reduce((sum, x, at) => sum + x * weight[row * input.length + at], start));

/** Takes the ONNX model's bytes; gives a function from 64 pixels in 0…1 to ten probabilities. */
export function network(model) {
  const weights = weightsOf(model);
  const of = (layer) => [weights.get(`${layer}.weight`), weights.get(`${layer}.bias`)];
  return (pixels) => {
    let values = pool(relu(convolve(pixels, 1, 8, ...of(0))), 8);
    values = pool(relu(convolve(values, 24, 4, ...of(3))), 4);
    values = relu(linear(values, ...of(7)));
    values = relu(linear(values, ...of(9)));
    const scores = linear(values, ...of(11));
    const exponentials = scores.map((score) => Math.exp(score - Math.max(...scores)));
    const sum = exponentials.reduce((a, b) => a + b);
    return Array.from(exponentials, (x) => x / sum);
  };
}

"""What 32 states of the trellis save beside eight: bits a weight at equal error, of an ONNX model's layers.

python benchmarks/trellis.py model.onnx [--steps 0.3 0.6 0.9] [--every 1]
"""

from __future__ import annotations

import argparse
import math

import numpy as np

from enxuto.codec import TRELLIS_CODERS, encode
from enxuto.onnx_model import Model, Role
from enxuto.quantize.trellis import multiples
from enxuto.rounding.viterbi import nearest_path

FEWEST = 2000  # weights of a layer that counts


def measure(weights: list[np.ndarray], step: float, states: int) -> tuple[float, float]:
    """Return bits a weight and the mean square of errors in root mean squares of rows, at steps of so many of these."""
    coder = next(name for name, count in TRELLIS_CODERS.items() if count == states)
    coded, error, count = 0, 0.0, 0
    for weight in weights:
        rows = weight.reshape(len(weight), -1).astype(np.float64)
        scaled = rows / (step * np.maximum(np.sqrt(np.mean(rows**2, axis=1, keepdims=True)), 1e-12))
        levels = nearest_path(scaled, states)
        assert levels is not None, "steps are a fraction of the weights"
        coded += len(encode(levels.reshape(weight.shape), [weight.shape], coder=coder)[1])
        error += float(np.sum((scaled - multiples(levels, states)) ** 2)) * step**2
        count += weight.size
    return 8 * coded / count, error / count


def main() -> None:
    """Print a row for each step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--steps", type=float, nargs="+", default=[0.3, 0.6, 0.9])
    parser.add_argument("--every", type=int, default=1, help="take every n-th layer")
    given = parser.parse_args()
    model = Model.read(given.model)
    kernels = [info.name for info in model.infos() if info.role is Role.KERNEL and info.elements > FEWEST]
    weights = [np.asarray(model.load(name), np.float32) for name in kernels[:: given.every]]
    print(f"{len(weights)} kernels, {sum(one.size for one in weights):,} weights")
    for step in given.steps:
        (bits, error), (finer_bits, finer_error) = (measure(weights, step, states) for states in (8, 32))
        saved = bits - finer_bits + math.log2(error / finer_error) / 2  # 6.02 dB a bit
        print(
            f"step {step}: 8 states {bits:.3f} bits, 32 states {finer_bits:.3f}, saved at equal error {saved:.4f}"
        )


if __name__ == "__main__":
    main()

"""What calibrating a fully connected layer as large as VGG-16's first one costs: 25,088 inputs, 4,096 outputs.

    python benchmarks/large_layer.py [--inputs 25088] [--outputs 4096] [--images 256] [--threads 2]

A network of that layer, a rectifier and a classifier, with random weights and correlated random inputs that are never
negative. Second moments are of blocks of at most 1,024 inputs, so that their memory is C·1024 for each fold and not
C², eigenvectors cost 40·C·1024² and not 40·C³, and the feedback O·C·1024/2 and not O·C²/2. Prints seconds for
calibrating and for each file, and the largest memory.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
from onnx import helper, numpy_helper

from enxuto.calibration.calibrate import calibrate
from enxuto.compression.at_price import compress_at
from enxuto.onnx_model import Model


def network(inputs: int, outputs: int, generator: np.random.Generator) -> Model:
    """Return Gemm, Relu, Gemm with weights of He's variance."""
    first = generator.standard_normal((outputs, inputs), np.float32) * np.float32(np.sqrt(2 / inputs))
    last = generator.standard_normal((10, outputs), np.float32) * np.float32(np.sqrt(2 / outputs))
    nodes = [
        helper.make_node("Gemm", ["x", "first", "first.bias"], ["hidden"], transB=1),
        helper.make_node("Relu", ["hidden"], ["positive"]),
        helper.make_node("Gemm", ["positive", "last", "last.bias"], ["y"], transB=1),
    ]
    arrays = {
        "first": first,
        "first.bias": np.zeros(outputs, np.float32),
        "last": last,
        "last.bias": np.zeros(10, np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("x", 1, ["n", inputs])],
        [helper.make_tensor_value_info("y", 1, ["n", 10])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opset = helper.make_opsetid("", 17)
    return Model.from_proto(helper.make_model(graph, opset_imports=[opset], ir_version=8))


def main() -> None:
    """Calibrate, compress at two prices, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=25088)
    parser.add_argument("--outputs", type=int, default=4096)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    generator = np.random.default_rng(0)
    model = network(arguments.inputs, arguments.outputs, generator)
    mixed = generator.standard_normal((arguments.images, 200), np.float32)
    images = np.maximum(
        mixed @ generator.standard_normal((200, arguments.inputs), np.float32) / 14
        + generator.standard_normal((arguments.images, arguments.inputs), np.float32),
        0,
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    calibration = calibrate(model, images, threads=arguments.threads)
    print(
        f"{arguments.inputs:,} × {arguments.outputs:,}, {arguments.images} images; "
        f"calibrated in {time.perf_counter() - started:.0f} s",
        flush=True,
    )
    for bits in (2.0, 3.0):
        started = time.perf_counter()
        made = compress_at(calibration, calibration.price_of_bits(bits)).model
        weights = made.metadata["parameters"]
        seconds = time.perf_counter() - started
        print(f"{8 * made.file_bytes / weights:.2f} bits a weight in {seconds:.0f} s", flush=True)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"memory at most {memory / 2**20:.1f} GB, {before / 2**20:.1f} GB of it the model and the images")


if __name__ == "__main__":
    main()

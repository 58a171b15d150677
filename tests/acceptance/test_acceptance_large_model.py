"""A model above 2 GB with external data goes through compress, verify and decompress in bounded memory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, load_model

pytestmark = pytest.mark.acceptance

TENSORS = 9
SIDE = 8192
LARGEST = 4 * SIDE * SIDE  # 256 MiB
BOUND = 2.5 * LARGEST + 500e6

# Runs the command line and writes the peak of its resident memory, in bytes, behind its output.
CHILD = """
import resource, subprocess, sys
done = subprocess.run([sys.executable, "-m", "enxuto", *sys.argv[1:]], capture_output=True, text=True)
sys.stderr.write(done.stderr)
sys.stdout.write(done.stdout)
unit = 1 if sys.platform == "darwin" else 1024
sys.stdout.write("\\n" + str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit))
sys.exit(done.returncode)
"""


def run(*arguments: str) -> tuple[dict[str, object], int]:
    """(what `--json` prints, peak memory in bytes)"""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    text, peak = done.stdout.rsplit("\n", 1)
    return json.loads(text), int(peak)


@pytest.fixture(scope="module")
def large_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Nine matrices of 256 MiB, written block by block; the folder goes in the end."""
    folder = tmp_path_factory.mktemp("large")
    if shutil.disk_usage(folder).free < 8e9:
        pytest.fail(f"needs 8 GB in {folder}; set --basetemp to another place")
    block = np.random.default_rng(0).normal(0, 0.02, SIDE * SIDE // 16).astype(np.float32)
    weights, nodes = [], []
    with (folder / "weights.bin").open("wb") as file:
        for number in range(TENSORS):
            tensor = TensorProto(name=f"w{number}", data_type=TensorProto.FLOAT, dims=[SIDE, SIDE])
            tensor.data_location = TensorProto.EXTERNAL
            place = {"location": "weights.bin", "offset": str(file.tell()), "length": str(LARGEST)}
            for key, value in place.items():
                tensor.external_data.add(key=key, value=value)
            for turn in range(16):
                file.write((np.roll(block, 1000 * turn + number) * np.float32(1 + turn / 16)).tobytes())
            weights.append(tensor)
            nodes.append(helper.make_node("MatMul", [f"x{number}", f"w{number}"], [f"x{number + 1}"]))
    kind = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("x0", kind, ["n", SIDE])],
        [helper.make_tensor_value_info(f"x{TENSORS}", kind, ["n", SIDE])],
        weights,
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    (folder / "large.onnx").write_bytes(model.SerializeToString())
    yield folder / "large.onnx"
    shutil.rmtree(folder)


def test_above_two_gigabytes_in_bounded_memory(large_model: Path) -> None:
    folder = large_model.parent
    assert (folder / "weights.bin").stat().st_size > 2**31
    packed, restored = folder / "large.enx", folder / "restored.onnx"

    ledger, peak = run("compress", str(large_model), "-o", str(packed), "--no-xz", "--json")
    assert ledger["parameters"] == TENSORS * SIDE * SIDE
    assert packed.stat().st_size < 0.3 * TENSORS * LARGEST
    assert peak < BOUND, f"compress took {peak / 1e6:.0f} MB"

    verified, peak = run("verify", str(packed), str(large_model), "--json")
    assert verified["ok"]
    assert len(verified["checks"]) == TENSORS  # type: ignore[arg-type]

    _, peak = run("decompress", str(packed), "-o", str(restored), "--json")
    assert peak < BOUND, f"decompress took {peak / 1e6:.0f} MB"
    os.unlink(packed)

    data = folder / "restored.onnx.data"
    assert data.stat().st_size >= TENSORS * LARGEST
    for tensor in load_model(restored, load_external_data=False).graph.initializer:
        place = {entry.key: entry.value for entry in tensor.external_data}
        shape = (SIDE, SIDE)
        ours = np.memmap(data, np.float32, "r", int(place["offset"]), shape)[::512]
        theirs = np.memmap(folder / "weights.bin", np.float32, "r", int(tensor.name[1:]) * LARGEST, shape)[
            ::512
        ]
        assert 0 < np.abs(ours - theirs).max() < 0.01

"""Every benchmark runs, at a size that takes seconds: what it measures then means nothing, but it has not gone stale.

Those that measure the networks and images of `../shared` run on the network and the images that the package carries.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from enxuto.demo import MODEL, TEST_IMAGES
from warm import WITH_TORCH, Warm

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
SMALL = {
    "attribution": "--network lenet5-cifar --batch 2 --rounds 1 --no-captum --device cpu",
    "compile_time": "",
    "codec": "--levels 20000",
    "decoders": "--rows 16",
    "degradation": f"--data {TEST_IMAGES} --networks plain20-cifar --epochs 1 --limit 20 --batch 10 --threads 1",
    "differences": f"{MODEL} --data {TEST_IMAGES} --steps 2 --images 128 --test 64",
    "int8_baseline": f"{MODEL} int8.onnx",
    "large_layer": "--inputs 64 --outputs 16 --images 16 --threads 1",
    "others": "--models demo --bits 4 --methods int8 calibrated --threads 1",
    "prune_refit": f"{MODEL} --data {TEST_IMAGES} --images 32 --shares 0.7",
    "prune_speed": "--network lenet5-cifar --rounds 1 --repeats 1",
    "rate": "--networks demo --images 64 --bits 3 --threads 1 --only-calibrated",
    "retrained": "--network demo --bits 3 --epochs 0.1 --threads 1",
    "retrained_curve": f"{BENCHMARKS.parent / 'docs' / 'results' / 'retraining.csv'} -o curve.png",
    "retraining_speed": "--network demo --batch 4 --rounds 1 --steps 1",
    "rounding": "--network demo --images 64 --bits 2 3 --ways 'trellis, 8 paths' 'rate term, f 0.25' --threads 1",
    "source_grid": "demo --limit 60 --levels 7 7",
    "stacked": f"{BENCHMARKS / 'stacked-digits.toml'} --limit 40 --repeats 2",
    "study": "--points 2 --milliseconds 1 --rounds 1",
    "trellis": f"{MODEL} --steps 0.6",
    "train": "--network lenet5-cifar --images 64 --rounds 1 --device cpu",
    "views": "--network demo --bits 3 --threads 1",
    "web": f"{MODEL} {BENCHMARKS.parent / 'docs' / 'web' / 'digits.enx'} --runs 1 --quality 1",
}
"""Arguments for each; a new benchmark must say its own here."""


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    with Warm(*WITH_TORCH, "enxuto.train") as process:
        yield process


@pytest.mark.torch
@pytest.mark.parametrize("name", sorted(path.stem for path in BENCHMARKS.glob("*.py")))
def test_every_benchmark_runs(name: str, warm: Warm, tmp_path: Path) -> None:
    found = warm.start(shlex.split(SMALL[name]), cwd=tmp_path, script=BENCHMARKS / f"{name}.py")
    # 1 says that a bound on speed was missed, as it may be at this size.
    assert found.wait() in (0, 1), found.stderr
    assert b"Traceback" not in found.stderr, found.stderr
    assert found.stdout.strip()
    assert b"usage:" not in found.stdout, "it only shows its help"

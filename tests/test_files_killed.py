"""Processes killed and interrupted at random moments leave the old file or the new one, never a broken one."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from enx_samples import DEMO
from enxuto.compression.data_free import compress
from enxuto.enx.file import CompressedModel
from enxuto.onnx_model import Model

KILLS = 20


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "enxuto", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def began_to_write(folder: Path, output: Path, process: subprocess.Popen[str], limit: float = 60) -> bool:
    """Wait until a temporary file is there; False if the process ended first."""
    end = time.monotonic() + limit
    while time.monotonic() < end and process.poll() is None:
        if any(path != output for path in folder.iterdir()):
            return True
        time.sleep(0.0005)
    return False


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[str], Path]]:
    """verb → (arguments but the output, a sample of the output)"""
    folder = tmp_path_factory.mktemp("sources")
    packed = folder / "digits.enx"
    compress(DEMO).save(packed)
    found = {
        "compress": ["compress", str(DEMO), "--no-xz"],
        "decompress": ["decompress", str(packed)],
    }
    commands = {}
    for verb, arguments in found.items():
        sample = folder / f"sample.{verb}"
        process = start(*arguments, "-o", str(sample))
        process.communicate(timeout=120)
        assert process.returncode == 0
        commands[verb] = (arguments, sample)
    return commands


@pytest.mark.parametrize("verb", ["compress", "decompress"])
def test_killed_at_random_moments(
    verb: str, commands: dict[str, tuple[list[str], Path]], tmp_path: Path
) -> None:
    """Half of the kills anywhere in the process's life, half within a millisecond or so of the writing."""
    arguments, sample = commands[verb]
    old, new = b"the old file", sample.read_bytes()
    output = tmp_path / "output"
    rng = random.Random(verb)
    begun = time.monotonic()
    process = start(*arguments, "-o", str(output))
    process.communicate(timeout=120)
    life = time.monotonic() - begun
    killed = 0
    for number in range(KILLS // 2):
        for leftover in tmp_path.iterdir():
            leftover.unlink()
        output.write_bytes(old)
        process = start(*arguments, "-o", str(output))
        if number % 2:
            time.sleep(rng.uniform(0.1, 1.0) * life)
        elif began_to_write(tmp_path, output, process):
            time.sleep(rng.choice([0.0, 0.0003, 0.001, 0.003]))
        process.kill()
        process.communicate(timeout=60)
        killed += process.returncode == -signal.SIGKILL
        assert output.read_bytes() in (old, new)
        for leftover in tmp_path.iterdir():
            assert leftover == output or leftover.name.endswith(".part")
    assert killed > KILLS // 5
    if verb == "compress":
        output.write_bytes(new)
        assert CompressedModel.read(output).to_model().weight_names == Model.read(DEMO).weight_names


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("verb", ["compress", "decompress"])
def test_interrupted(
    verb: str, how: signal.Signals, code: int, commands: dict[str, tuple[list[str], Path]], tmp_path: Path
) -> None:
    """Ctrl-C or SIGTERM while it works: its exit code, one line, the old file, and nothing beside it."""
    arguments, sample = commands[verb]
    output = tmp_path / "output"
    slow = (
        "import time, os, enxuto.files, sys\n"
        "real = os.fsync\n"
        "def fsync(handle):\n"
        "    print('writing', flush=True)\n"
        "    time.sleep(30)\n"
        "os.fsync = fsync\n"
        "from enxuto.__main__ import main\n"
        "sys.argv[0] = 'enxuto'\n"
        "main()\n"
    )
    output.write_bytes(b"the old file")
    process = subprocess.Popen(
        [sys.executable, "-c", slow, *arguments, "-o", str(output)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    process.send_signal(how)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert out == ""
    assert err.strip().count("\n") == 0
    assert "interrupted" in err
    assert output.read_bytes() == b"the old file"
    assert list(tmp_path.iterdir()) == [output]
    assert sample.exists()

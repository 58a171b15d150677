"""What a run sets of torch for itself, and what it leaves as the user set it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from enxuto.train import placement
from enxuto.train.config import TrainConfig
from enxuto.train.placement import Placement
from enxuto.train.processes import current_processes

# One process that forks for each way of saying it, as torch is slow to import and its settings are the process's.
PROGRAM = """
import contextlib, os, sys, torch
from enxuto.train.config import TrainConfig
from enxuto.train.placement import Placement

def old_off(): torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
def old_on(): torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
def old_precision(): torch.set_float32_matmul_precision("high")
def new_all(): torch.backends.fp32_precision = "ieee"
def new_all_on(): torch.backends.fp32_precision = "tf32"
def new_cudnn(): torch.backends.cudnn.fp32_precision = "ieee"
def new_conv(): torch.backends.cudnn.conv.fp32_precision = "ieee"
def new_rnn(): torch.backends.cudnn.rnn.fp32_precision = "tf32"
def new_matmul(): torch.backends.cuda.matmul.fp32_precision = "ieee"
def untouched(): pass
def other_flags():
    torch.backends.cudnn.benchmark, torch.backends.cudnn.enabled = True, False

def said():
    ways = [(b, o) for b, o in (("generic", "all"), ("cuda", "all"), ("cuda", "conv"), ("cuda", "rnn"),
                                    ("cuda", "matmul"))]
    found = [torch._C._get_fp32_precision_getter(*way) for way in ways]
    for get in (torch._C._get_cudnn_allow_tf32, torch._C._get_cublas_allow_tf32, torch.get_float32_matmul_precision):
        try: found.append(get())
        except RuntimeError as error: found.append(type(error).__name__)
    return found

def flags(): return torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic, torch.backends.cudnn.enabled

torch.cuda.device = lambda device: contextlib.nullcontext()  # there need not be one
placement = Placement(torch.device("cuda", 0), None, torch.contiguous_format)
for way in (old_off, old_on, old_precision, new_all, new_all_on, new_cudnn, new_conv, new_rnn, new_matmul, untouched,
            other_flags):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            way()
            before = said(), flags()
            try:
                with placement.torch_settings(None):
                    assert said() == before[0], (way.__name__, before, said())
                    assert flags() == (False, True, before[1][2]), flags()
                    raise KeyError
            except KeyError: pass
            assert (said(), flags()) == before, (way.__name__, before, said())
            code = 0
        except BaseException as error: print(way.__name__, repr(error), file=sys.stderr)
        finally: os._exit(code)
    assert os.waitpid(child, 0)[1] == 0, way.__name__
print("all")
"""


def test_tf32_stays_as_the_user_set_it() -> None:
    """In the older way and in the newer, on and off, inside a run on a GPU and after it; so does cuDNN's own switch."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.stdout == "all\n", done.stderr


@pytest.mark.parametrize(("layout", "last"), [(False, False), (True, True), ("auto", True)])
def test_images_lie_channels_last_on_a_processor_where_it_is_left_to_us(
    layout: bool | str, last: bool
) -> None:
    config = TrainConfig.from_recipe(None, {"channels_last": layout, "device": "cpu"})
    chosen = Placement.of(config, current_processes())
    assert (chosen.memory_format is torch.channels_last) == last


@pytest.mark.parametrize("units", [False, True])
@pytest.mark.parametrize("precision", ["float32", "mixed", "auto"])
def test_mixed_precision_where_it_pays(precision: str, units: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "processor_has_bfloat16", lambda: units)
    config = TrainConfig.from_recipe(None, {"precision": precision, "device": "cpu"})
    chosen = Placement.of(config, current_processes())
    mixed = precision == "mixed" or (precision == "auto" and units)
    assert chosen.mixed is (torch.bfloat16 if mixed else None)
    assert [note.split(" on ")[0] for note in chosen.notes()] == ["precision=mixed"] * (mixed and not units)

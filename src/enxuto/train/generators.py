"""The process's global random generators during a run: seeded by the run, saved in checkpoints, restored afterwards.

Dropout draws from torch's global generator; users' networks may draw from Python's or NumPy's. They belong to the
caller, so a run leaves them as it found them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

__all__ = ["borrow_generators", "generator_states", "set_generator_states"]


@contextmanager
def borrow_generators(seed: int, rank: int, device: torch.device) -> Iterator[None]:
    """Inside, `seed` and `rank` seed all global generators, as dropout must differ between processes."""
    before = generator_states(device)
    # 32 bits: what every one of the generators takes.
    drawn = [int(word) for word in np.random.SeedSequence([seed, rank]).generate_state(3)]
    try:
        random.seed(drawn[0])
        np.random.seed(drawn[1])  # noqa: NPY002 - the global generator is what is set here
        torch.default_generator.manual_seed(drawn[2])
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(drawn[2])
        yield
    finally:
        set_generator_states(before, device)


def generator_states(device: torch.device) -> dict[str, Any]:
    """States of the global generators of Python, NumPy, torch and `device`, as tensors and plain values."""
    version, words, gauss = random.getstate()
    legacy: Any = np.random.get_state(legacy=False)  # noqa: NPY002
    return {
        "python": {"version": version, "words": torch.tensor(words, dtype=torch.int64), "gauss": gauss},
        "numpy": {
            "words": torch.from_numpy(legacy["state"]["key"].astype(np.int64)),
            "place": int(legacy["state"]["pos"]),
            "has_gauss": int(legacy["has_gauss"]),
            "gauss": float(legacy["gauss"]),
        },
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def set_generator_states(states: Mapping[str, Any], device: torch.device) -> None:
    """Restore what `generator_states` returned. The state of a GPU is ignored where the run is no longer on one."""
    python, numpy = states["python"], states["numpy"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    np.random.set_state(  # noqa: NPY002
        (
            "MT19937",
            numpy["words"].numpy().astype(np.uint32),
            numpy["place"],
            numpy["has_gauss"],
            numpy["gauss"],
        )
    )
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and states["cuda"] is not None:
        torch.cuda.set_rng_state(states["cuda"], device)

"""Several processes training one network: which one this is, and what they exchange.

`torchrun` says by environment variables how many processes there are; without it there is one. Gradients are
DistributedDataParallel's business. Each process keeps its own batch statistics of batch normalisation, as is usual.
So a network with it trains a little differently on several processes, unless `sync_batch_norm` is set.
"""

from __future__ import annotations

import atexit
import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from enxuto.errors import UsageError

__all__ = ["Processes", "current_processes", "join_processes"]


@dataclass(frozen=True)
class Processes:
    """This process's number (`rank`, from 0), how many there are, and its number on this machine."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def is_writer(self) -> bool:
        """Whether this is the process that writes files and reports."""
        return self.rank == 0

    def add(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all processes, the same in each."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def collect(self, value: Any) -> list[Any]:
        """The values of all processes, in order of rank, in each of them."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def share_buffers(self, model: nn.Module) -> None:
        """Give all processes the buffers (running statistics) of the first."""
        if self.count > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.count > 1:
            dist.barrier()


def current_processes() -> Processes:
    """This process among the others, from an existing process group or from torchrun's environment variables.

    Raises `UsageError` when the environment variables make no sense.
    """
    local_rank = _environment_number("LOCAL_RANK", 0)
    if dist.is_available() and dist.is_initialized():
        return Processes(dist.get_rank(), dist.get_world_size(), local_rank)
    count, rank = _environment_number("WORLD_SIZE", 1), _environment_number("RANK", 0)
    if count == 1:
        return Processes()
    if not 0 <= rank < count:
        raise UsageError(f"RANK is {rank} of {count} processes (WORLD_SIZE); start them with torchrun")
    return Processes(rank, count, local_rank)


def join_processes(*, gpu: bool) -> Processes:
    """Join the processes that torchrun started, by NCCL on GPUs and Gloo elsewhere, until this one ends.

    An existing process group is used. Raises `UsageError` as `current_processes` does.
    """
    this = current_processes()
    if this.count > 1 and not dist.is_initialized():
        if gpu:
            dist.init_process_group("nccl", device_id=torch.device("cuda", this.local_rank))
        else:
            dist.init_process_group("gloo")
        # Not after each run: the address of the meeting point is fixed, and a second meeting there would find
        # traces of the first.
        atexit.register(_leave)
    return this


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _environment_number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    try:
        return int(text) if text else default
    except ValueError as error:
        raise UsageError(
            f"the environment variable {name} is {text!r}; torchrun sets it to a number"
        ) from error

"""Where and in which numbers a network is trained: device, precision, memory layout, threads.

Settings of torch that are the process's are set for the run and put back after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from enxuto.errors import UsageError, error_reason
from enxuto.train.batches import TrainingData
from enxuto.train.config import TrainConfig
from enxuto.train.processes import Processes, current_processes

__all__ = ["Placement", "check_machine", "processor_has_bfloat16", "repeatable_kernels", "uses_gpu"]

_SHARE_FOR_DATA = 0.25  # of the GPU's free memory: data below it live there, others travel batch by batch


def uses_gpu(config: TrainConfig) -> bool:
    """Whether the run goes to a GPU. Raises `UsageError` when it must and there is none."""
    there = torch.cuda.is_available()
    if config.device == "cuda" and not there:
        raise UsageError(
            "device is cuda and torch finds no GPU here; set device=cpu or install a CUDA build", code="E091"
        )
    return there and config.device != "cpu"


def check_machine(config: TrainConfig) -> None:
    """Refuse what this machine and these processes cannot do; needs neither data nor network.

    Raises `UsageError` that names the setting, or the option of torchrun.
    """
    processes = current_processes()
    gpu = uses_gpu(config)
    if config.batch < processes.count:
        raise UsageError(
            f"batch is {config.batch} for {processes.count} processes; each needs an image", code="E022"
        )
    gpus = torch.cuda.device_count() if gpu else 0
    if gpu and processes.local_rank >= gpus:
        raise UsageError(
            f"this machine has {gpus} GPUs, so its process {processes.local_rank} (from 0) gets none; give torchrun a "
            "smaller --nproc-per-node or set device=cpu",
            code="E091",
        )
    if config.sync_batch_norm and processes.count > 1 and not gpu:
        raise UsageError(
            "sync_batch_norm is true, and torch's SyncBatchNorm exists on GPUs only; set it to false, or train by one "
            "process, whose batches are whole",
            code="E022",
        )


@dataclass(frozen=True)
class Placement:
    """One process's device, the number format of its activations (None: float32), and its layout of images."""

    device: torch.device
    mixed: torch.dtype | None
    memory_format: torch.memory_format

    @classmethod
    def of(cls, config: TrainConfig, processes: Processes) -> Placement:
        """The placement of a configuration in this process: the GPU of its number on this machine, or the CPU."""
        gpu = uses_gpu(config)
        device = torch.device("cuda", processes.local_rank) if gpu else torch.device("cpu")
        half = torch.bfloat16 if not gpu or _has_bfloat16(device) else torch.float16
        mixed = config.precision == "mixed" or (
            config.precision == "auto" and (gpu or processor_has_bfloat16())
        )
        last = (mixed or not gpu) if config.channels_last == "auto" else config.channels_last
        layout = torch.channels_last if last else torch.contiguous_format
        return cls(device, half if mixed else None, layout)

    def notes(self) -> list[str]:
        """What a user should know of the placement, a line each."""
        if self.mixed is None or self.device.type != "cpu" or processor_has_bfloat16():
            return []
        return [
            "precision=mixed on a processor without bfloat16 units, which takes several times as long as float32; "
            "set precision=auto or float32"
        ]

    @contextmanager
    def explain_compile_errors(self) -> Iterator[None]:
        """Inside, a network that `torch.compile` cannot compile here ends in a `UsageError`.

        That is known only when the first batch comes; on a CPU the usual reason is that there is no C++ compiler.
        """
        from torch._dynamo.exc import TorchDynamoException  # takes seconds, so only where it is needed

        try:
            yield
        except TorchDynamoException as error:
            raise UsageError(
                f"torch.compile fails for this network here: {error_reason(error)}; set compile=false",
                code="E093",
            ) from error

    @contextmanager
    def torch_settings(self, threads: int | None) -> Iterator[None]:
        """Inside, torch uses this many CPU threads, this GPU, and cuDNN's repeatable kernels; TF32 is left as it is."""
        before = torch.get_num_threads()
        try:
            torch.set_num_threads(threads or before)
            if self.device.type == "cuda":
                with repeatable_kernels(), torch.cuda.device(self.device):
                    yield
            else:
                yield
        finally:
            torch.set_num_threads(before)

    def autocast(self) -> torch.autocast:
        """A context in which operators that bear it run in `mixed`."""
        return torch.autocast(self.device.type, dtype=self.mixed, enabled=self.mixed is not None)

    def scaler(self) -> torch.amp.GradScaler:
        """Scales losses up where float16 would lose small gradients; does nothing for other formats."""
        return torch.amp.GradScaler(self.device.type, enabled=self.mixed is torch.float16)

    def move_batch(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """A batch, (N, C, H, W) and (N,), on the device in the layout."""
        images = images.to(self.device, memory_format=self.memory_format, non_blocking=True)
        return images, labels.to(self.device, non_blocking=True)

    def place_data(self, data: TrainingData) -> TrainingData:
        """The data on the device where they fit easily, so that batches are made there."""
        if self.device.type != "cuda":
            return data
        free, _ = torch.cuda.mem_get_info(self.device)
        return data.to(self.device) if data.images.nbytes < _SHARE_FOR_DATA * free else data

    def place_model(self, model: nn.Module) -> None:
        """Move a network to the device, in place, its weights in the layout."""
        model.to(self.device, memory_format=self.memory_format)  # type: ignore[call-overload]

    def network(self, model: nn.Module, config: TrainConfig, processes: Processes) -> nn.Module:
        """What a training step calls: `model`, perhaps wrapped for several processes or compiled."""
        network = model
        if processes.count > 1:
            network = DistributedDataParallel(
                network, device_ids=[self.device] if self.device.type == "cuda" else None
            )
        if config.compile:
            network = torch.compile(network)  # type: ignore[assignment]
        return network


@contextmanager
def repeatable_kernels() -> Iterator[None]:
    """Inside, cuDNN takes chosen kernels, not the fastest by trial: the same seed must give the same run.

    Only these two settings are touched. `torch.backends.cudnn.flags` would set all there are, among them TF32: on,
    where the user had turned it off, and with an error where it was said in torch's newer way (`fp32_precision`).
    """
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    try:
        cudnn.benchmark, cudnn.deterministic = False, True
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before


def processor_has_bfloat16() -> bool:
    """Whether this processor multiplies in bfloat16 itself; others convert every value, and are slower than in float32.

    By what torch finds of x86 (AVX-512 BF16, AMX); False for other kinds, of which it does not say.
    """
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _has_bfloat16(device: torch.device) -> bool:
    """Whether a GPU computes in bfloat16 itself; torch would emulate it on older ones, slowly."""
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))

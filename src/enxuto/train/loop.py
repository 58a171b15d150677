"""`fit`: the training loop, to be read from top to bottom.

One epoch: go through the shuffled, augmented batches; score the validation data; let the schedule and early stopping
look at the losses; write a checkpoint. A run that ends at any moment, by a kill too, goes on with `resume=True` from
the last epoch that was finished, and on a CPU ends with the same bits as one that was not disturbed.

Not here: gradient accumulation, averaging of weights, several losses (heads beside the main one count 0.3 each).
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor, nn

from enxuto.errors import DataError, TrainingError, UsageError
from enxuto.train.augment import augmentation
from enxuto.train.batches import TrainingData, batches
from enxuto.train.checkpoint import LAST, Checkpoint
from enxuto.train.config import TrainConfig
from enxuto.train.generators import borrowed_generators
from enxuto.train.history import EpochRecord, History, epochs_without_progress
from enxuto.train.norms import batch_norms, check_normalisation, one_value_said, synchronised
from enxuto.train.optimizers import change_momentum, set_rate
from enxuto.train.placement import Placement, check_machine, wants_gpu
from enxuto.train.processes import Processes, join
from enxuto.train.progress import Clock, Report
from enxuto.train.run import Run
from enxuto.train.validation import score

__all__ = ["fit"]

_LOOK_EVERY = 20  # steps between looks at the loss: each makes the CPU wait for the GPU
_AUXILIARY = 0.3  # weight of the loss of an auxiliary head: Szegedy et al., arXiv:1409.4842, section 5


def fit(
    model: nn.Module,
    train: TrainingData,
    validation: TrainingData | None,
    config: TrainConfig,
    *,
    folder: Path | None = None,
    resume: bool = False,
    progress: Report | None = None,
) -> History:
    """Train `model` in place; at the end it holds the last epoch's weights, on the device it was trained on.

    validation: without it `config.validation` of the training data are held out. folder: gets `last.pt` after each
    epoch, `best.pt`, `epoch-NNN.pt` for `config.keep_epochs`, and the history; under torchrun all processes must see
    it. resume: go on from `last.pt`, or begin where there is none. progress: called every few steps and after each
    epoch, in the first process. Global random states and thread numbers are put back at the end.

    Raises `UsageError` for what does not fit together, among it a folder that holds a run and `resume` not said;
    `TrainingError` when the loss is no longer a number. After a KeyboardInterrupt the folder can be resumed.
    """
    check_machine(config)
    processes = join(gpu=wants_gpu(config))
    placement = Placement.of(config, processes)
    with ExitStack() as stack:
        stack.enter_context(placement.settled(config.threads))
        if config.compile:
            stack.enter_context(placement.compiling())
        if validation is None and config.validation > 0:
            train, validation = train.split(config.validation, config.seed)
        _check(model, train, validation, config, processes)
        stack.enter_context(borrowed_generators(config.seed, processes.rank, placement.device))
        placement.take(model)
        if config.sync_batch_norm and processes.count > 1:
            stack.enter_context(synchronised(model))
        run = Run.begin(model, train, validation, config, placement, processes, folder)
        _open(run, resume=resume)
        clock = Clock(run, progress if processes.writes else None)
        while run.stopped == "running":
            record = _epoch(run, clock)
            run.records.append(record)
            run.stopped = _verdict(run, record)
            run.save()
            clock.finished(record)
        return run.history()


def _epoch(run: Run, clock: Clock) -> EpochRecord:
    """Train on all batches once, then score the validation data."""
    began = time.perf_counter()
    first_rate = run.config.lr * run.schedule.factor(run.epoch)
    sums = torch.zeros(2, dtype=torch.float64, device=run.placement.device)  # loss, images, of this process
    steps = _steps(run)
    run.model.train()
    data = batches(
        run.train, run.config.batch, generator=run.order, augment=augmentation(run.config.augment),
        drop_last=run.config.drop_last, rank=run.processes.rank, world_size=run.processes.count,
    )  # fmt: skip
    for step, (images, labels) in enumerate(data):
        position = run.epoch + step / steps
        set_rate(run.optimizer, run.config.lr * run.schedule.factor(position))
        change_momentum(run.optimizer, run.schedule.momentum_change(position))
        images, labels = run.placement.put(images, labels)
        together = min(run.config.batch, len(run.train) - step * run.config.batch)
        sums += _step(run, images, labels, together)
        if (step + 1) % _LOOK_EVERY == 0 or step + 1 == steps:
            loss, seen = _mean_loss(run, sums)
            clock.at(seen, loss, first_rate)
    training = time.perf_counter() - began
    _check_weights(run)
    scores = None
    if run.validation is not None:
        scores = score(
            run.model, run.validation, batch=max(1, run.config.batch // run.processes.count),
            placement=run.placement, processes=run.processes,
        )  # fmt: skip
        if not _is_number(scores.loss):
            raise _diverged(run, "the validation loss")
    return EpochRecord(
        epoch=run.epoch + 1,
        loss=loss,
        lr=first_rate,
        seconds=time.perf_counter() - began,
        images_per_s=seen / training,
        validation_loss=None if scores is None else scores.loss,
        validation_top1=None if scores is None else scores.top1,
        validation_top5=None if scores is None else scores.top5,
    )


def _step(run: Run, images: Tensor, labels: Tensor, together: int) -> Tensor:
    """One update from a batch of `together` images over all processes; this one's summed loss and number of them."""
    with run.placement.autocast(), one_value_said(_said(run.config, len(labels))):
        loss = _loss(run.network(images), labels, run.config.label_smoothing)
    run.optimizer.zero_grad(set_to_none=True)
    # Gradients of the processes are averaged; of this they become those of the mean over all images.
    run.scaler.scale(loss * (run.processes.count / together)).backward()  # type: ignore[no-untyped-call]
    if run.config.clip is not None:
        run.scaler.unscale_(run.optimizer)
        nn.utils.clip_grad_norm_(run.model.parameters(), run.config.clip)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    return torch.stack((loss.detach().double(), torch.full_like(loss, len(labels), dtype=torch.float64)))


def _loss(outputs: Tensor | tuple[Tensor, ...], labels: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy summed over the batch, in float32; of several heads the first counts in full."""
    heads = outputs if isinstance(outputs, tuple) else (outputs,)
    losses = [
        nn.functional.cross_entropy(head.float(), labels, reduction="sum", label_smoothing=smoothing)
        for head in heads
    ]
    return losses[0] if len(losses) == 1 else losses[0] + _AUXILIARY * torch.stack(losses[1:]).sum()


def _verdict(run: Run, record: EpochRecord) -> str:
    """Why the run stops after this epoch, or `running`."""
    if run.schedule.observe(record.loss, record.validation_loss):
        return "schedule"
    patience = run.config.early_stopping
    if patience is not None and epochs_without_progress(run.records) >= patience:
        return "early stopping"
    return "epochs" if run.epoch >= run.config.epochs else "running"


def _open(run: Run, *, resume: bool) -> None:
    """Make the folder, or go on from what it holds."""
    if run.folder is None:
        if resume:
            raise UsageError("resume needs the folder of the run")
        return
    last = run.folder / LAST
    there = last.exists()
    if there and not resume:
        raise UsageError(f"{run.folder} holds a run; resume it (resume=) or name another folder")
    run.processes.wait()  # nobody writes before all have looked
    if run.processes.writes:
        for ours in (".*.pt.*.part", ".history.*.part"):  # of a process that was killed while it wrote
            for left_over in run.folder.glob(ours):
                left_over.unlink(missing_ok=True)
    if there:
        run.take_up(Checkpoint.read(last), last)
        return
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {run.folder}: {error.strerror or error}") from error
    run.save()


def _check(
    model: nn.Module,
    train: TrainingData,
    validation: TrainingData | None,
    config: TrainConfig,
    processes: Processes,
) -> None:
    """Refuse what would fail, or mean nothing, only after a while."""
    if config.early_stopping is not None and validation is None:
        raise UsageError("early_stopping needs validation data; set validation=0.1 or leave it out")
    if validation is not None and validation.classes != train.classes:
        raise DataError(f"validation data have {validation.classes} classes, training {train.classes}")
    least = config.batch if config.drop_last else processes.count
    if len(train) < least:
        raise DataError(f"{len(train)} training images are fewer than a batch of {least}")
    left = len(train) % config.batch
    lonely = processes.count <= left < 2 * processes.count and not (left > 1 and config.sync_batch_norm)
    if lonely and not config.drop_last and any(batch_norms(model)):
        raise UsageError(
            f"batch={config.batch} leaves a last batch of one image, which batch normalisation cannot learn "
            "from; set drop_last=true or another batch"
        )
    shares = 1 if config.sync_batch_norm else processes.count
    sizes = [config.batch] * (len(train) >= config.batch)
    sizes += [left] * (left >= processes.count and not config.drop_last)
    smallest = min(sizes) // shares
    check_normalisation(model, smallest, train.images.shape[1:], _said(config, smallest))


def _said(config: TrainConfig, smallest: int) -> str:
    """What made a batch so small."""
    return f"batch={config.batch} makes batches of {smallest} image{'s' if smallest > 1 else ''}"


def _steps(run: Run) -> int:
    """Steps in an epoch, as `batches` makes them."""
    whole, left = divmod(len(run.train), run.config.batch)
    least = run.config.batch if run.config.drop_last else run.processes.count
    return whole + (1 if left >= max(1, least) else 0)


def _mean_loss(run: Run, sums: Tensor) -> tuple[float, int]:
    """Mean training loss and images so far, over all processes. Raises `TrainingError` when it is no number."""
    total, seen = run.processes.add(sums.clone()).tolist()
    if not _is_number(total):
        raise _diverged(run, "the loss")
    return total / seen, round(seen)


def _check_weights(run: Run) -> None:
    """The last step of an epoch can break weights without a loss that shows it; such an epoch is not kept."""
    values = [value for value in run.model.state_dict().values() if value.is_floating_point()]
    if values and not bool(torch.stack([value.isfinite().all() for value in values]).all()):
        raise _diverged(run, "a weight")


def _is_number(value: float) -> bool:
    return abs(value) < float("inf")


def _diverged(run: Run, what: str) -> TrainingError:
    kept = "nothing was kept, as no folder was given"
    if run.folder is not None:
        kept = f"the last good checkpoint is {run.folder / LAST} (after {run.epoch} epochs)"
    return TrainingError(
        f"{what} is no longer a finite number in epoch {run.epoch + 1}; {kept}; lower lr or set clip=1"
    )

"""`fit`: the training loop, to be read from top to bottom.

One epoch: go through the shuffled, augmented batches; score the validation data; give the losses to the schedule and
early stopping; write a checkpoint. A run that ends at any moment, even by a kill, resumes with `resume=True` from the
last finished epoch, and on a CPU it ends with the same bits as an undisturbed run.

Not here: gradient accumulation, averaging of weights, several losses (heads beside the main one count 0.3 each).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor, nn

from enxuto.errors import DataError, TrainingError, UsageError
from enxuto.train.batches import TrainingData, training_batches
from enxuto.train.checkpoint import LAST, Checkpoint, epoch_file, holds_epochs
from enxuto.train.config import TrainConfig
from enxuto.train.generators import borrow_generators
from enxuto.train.history import EpochRecord, History, epochs_without_progress
from enxuto.train.norms import batch_norms, check_normalisation, explain_single_value, synchronise_batch_norms
from enxuto.train.optimizers import change_momentum, set_rate
from enxuto.train.placement import Placement, check_machine, uses_gpu
from enxuto.train.processes import Processes, join_processes
from enxuto.train.progress import ProgressCallback, ProgressClock
from enxuto.train.run import TrainingRun
from enxuto.train.teacher import Teacher
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
    progress: ProgressCallback | None = None,
    teacher: Teacher | None = None,
    began: Mapping[str, str | None] | None = None,
) -> History:
    """Train `model` in place; at the end it holds the last epoch's weights, on the device it was trained on.

    Args:
        model: takes images (batch, channels, height, width) and returns logits (batch, classes), or a tuple of them.
        train: the training images.
        validation: held-out images; without them the share `config.validation` of `train` is held out.
        config: all other settings.
        folder: gets `last.pt` and the history after each epoch, `best.pt`, and `epoch-NNN.pt` for
            `config.keep_epochs`. Under torchrun all processes must see it.
        resume: resume from `last.pt`; start where it is missing.
        progress: called every few steps and after each epoch, in the first process.
        teacher: the network whose answers are learned instead of the labels.
        began: what else decides what is trained, by name, such as which parameters stay; a resumed run must say the
            same.

    Returns:
        The records of all epochs. Global random states and thread numbers are as before the call.

    Raises:
        UsageError: settings do not fit together, or the folder holds a run and `resume` is False.
        TrainingError: training diverged. After a KeyboardInterrupt the folder can be resumed.
    """
    check_machine(config)
    processes = join_processes(gpu=uses_gpu(config))
    placement = Placement.of(config, processes)
    with ExitStack() as stack:
        stack.enter_context(placement.torch_settings(config.threads))
        if config.compile:
            stack.enter_context(placement.explain_compile_errors())
        if validation is None and config.validation > 0:
            train, validation = train.split(config.validation, config.seed)
        _check_settings(model, train, validation, config, processes)
        stack.enter_context(borrow_generators(config.seed, processes.rank, placement.device))
        placement.place_model(model)
        if config.sync_batch_norm and processes.count > 1:
            stack.enter_context(synchronise_batch_norms(model))
        run = TrainingRun.start(model, train, validation, config, placement, processes, folder, began)
        if teacher is not None:
            teacher.place(placement.device)
            run.teacher = teacher
        _open_folder(run, resume=resume)
        clock = ProgressClock(run, progress if processes.is_writer else None)
        while run.stopped == "running":
            record = _train_epoch(run, clock)
            run.records.append(record)
            run.stopped = _stop_reason(run, record)
            run.save()
            clock.report_epoch(record)
        return run.history()


def _train_epoch(run: TrainingRun, clock: ProgressClock) -> EpochRecord:
    """Train on all batches once, then score the validation data."""
    began = time.perf_counter()
    first_rate = run.config.lr * run.schedule.factor(run.epoch)
    sums = torch.zeros(2, dtype=torch.float64, device=run.placement.device)  # loss, images, of this process
    steps = _steps_per_epoch(run)
    run.model.train()
    data = training_batches(
        run.train, run.config.batch, generator=run.order, augment=run.augment,
        drop_last=run.config.drop_last, rank=run.processes.rank, world_size=run.processes.count,
    )  # fmt: skip
    for step, (images, labels) in enumerate(data):
        position = run.epoch + step / steps
        set_rate(run.optimizer, run.config.lr * run.schedule.factor(position))
        change_momentum(run.optimizer, run.schedule.momentum_change(position))
        images, labels = run.placement.move_batch(images, labels)
        total_images = min(run.config.batch, len(run.train) - step * run.config.batch)
        sums += _train_step(run, images, labels, total_images)
        if (step + 1) % _LOOK_EVERY == 0 or step + 1 == steps:
            loss, seen = _mean_loss(run, sums)
            clock.report_step(seen, loss, first_rate)
    training = time.perf_counter() - began
    _check_weights(run)
    scores = None
    if run.validation is not None:
        scores = score(
            run.model, run.validation, batch=max(1, run.config.batch // run.processes.count),
            placement=run.placement, processes=run.processes,
        )  # fmt: skip
        if not _is_finite(scores.loss):
            raise _divergence_error(run, "the validation loss is")
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


def _train_step(run: TrainingRun, images: Tensor, labels: Tensor, total_images: int) -> Tensor:
    """Update the weights by one batch; float64 (2,): the loss summed over this process's images, and their number.

    total_images: of the batch over all processes.
    """
    with run.placement.autocast(), explain_single_value(_describe_batch(run.config, len(labels))):
        outputs = run.network(images)
        loss = (
            _loss(outputs, labels, run.config.label_smoothing)
            if run.teacher is None
            else run.teacher.loss(outputs, images)
        )
    run.optimizer.zero_grad(set_to_none=True)
    # Gradients of the processes are averaged; of this they become those of the mean over all images.
    run.scaler.scale(loss * (run.processes.count / total_images)).backward()  # type: ignore[no-untyped-call]
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


def _stop_reason(run: TrainingRun, record: EpochRecord) -> str:
    """Why the run stops after this epoch, or `running`."""
    if run.schedule.observe(record.loss, record.validation_loss):
        return "schedule"
    patience = run.config.early_stopping
    if patience is not None and epochs_without_progress(run.records) >= patience:
        return "early stopping"
    return "epochs" if run.epoch >= run.config.epochs else "running"


def _open_folder(run: TrainingRun, *, resume: bool) -> None:
    """Make the folder, or resume the run that it holds."""
    if run.folder is None:
        if resume:
            raise UsageError("resume needs the folder of the run", code="E023")
        return
    last = run.folder / LAST
    there = last.exists()
    if there and not resume and holds_epochs(run.folder):
        raise UsageError(f"{run.folder} holds a run; resume it (resume=) or name another folder", code="E012")
    run.processes.wait()  # nobody writes before all have looked
    if run.processes.is_writer:
        for ours in (".*.pt.*.part", ".history.*.part"):  # of a process that was killed while it wrote
            for left_over in run.folder.glob(ours):
                left_over.unlink(missing_ok=True)
        if there and not resume:  # of a run that ended before its first epoch
            (run.folder / epoch_file(0)).unlink(missing_ok=True)
    if there and resume:
        run.resume_from(Checkpoint.read(last), last)
        return
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot make the folder {run.folder}: {error.strerror or error}", code="E013"
        ) from error
    run.save()


def _check_settings(
    model: nn.Module,
    train: TrainingData,
    validation: TrainingData | None,
    config: TrainConfig,
    processes: Processes,
) -> None:
    """Refuse what would fail, or mean nothing, only after a while."""
    if config.early_stopping is not None and validation is None:
        raise UsageError(
            "early_stopping needs validation data; set validation=0.1 or leave it out", code="E022"
        )
    if validation is not None and validation.classes != train.classes:
        raise DataError(
            f"the validation data have {validation.classes} classes, the training data {train.classes}",
            code="E042",
        )
    least = config.batch if config.drop_last else processes.count
    if len(train) < least:
        raise DataError(f"{len(train)} training images are fewer than a batch of {least}", code="E043")
    left = len(train) % config.batch
    lonely = processes.count <= left < 2 * processes.count and not (left > 1 and config.sync_batch_norm)
    if lonely and not config.drop_last and any(batch_norms(model)):
        raise UsageError(
            f"batch={config.batch} leaves a last batch of one image, which batch normalisation cannot learn "
            "from; set drop_last=true or another batch",
            code="E022",
        )
    shares = 1 if config.sync_batch_norm else processes.count
    sizes = [config.batch] * (len(train) >= config.batch)
    sizes += [left] * (left >= processes.count and not config.drop_last)
    smallest = min(sizes) // shares
    check_normalisation(model, smallest, train.images.shape[1:], _describe_batch(config, smallest))


def _describe_batch(config: TrainConfig, smallest: int) -> str:
    """The setting that made a batch so small, for a message."""
    return f"batch={config.batch} makes batches of {smallest} image{'s' if smallest > 1 else ''}"


def _steps_per_epoch(run: TrainingRun) -> int:
    """Steps in an epoch, as `training_batches` makes them."""
    whole, left = divmod(len(run.train), run.config.batch)
    least = run.config.batch if run.config.drop_last else run.processes.count
    return whole + (1 if left >= max(1, least) else 0)


def _mean_loss(run: TrainingRun, sums: Tensor) -> tuple[float, int]:
    """Mean training loss and images so far, over all processes. Raises `TrainingError` for NaN and infinity."""
    total, seen = run.processes.add(sums.clone()).tolist()
    if not _is_finite(total):
        raise _divergence_error(run, "the loss is")
    return total / seen, round(seen)


def _check_weights(run: TrainingRun) -> None:
    """Refuse an epoch whose last step left NaN or infinity in the weights, which no loss shows."""
    values = [value for value in run.model.state_dict().values() if value.is_floating_point()]
    if values and not bool(torch.stack([value.isfinite().all() for value in values]).all()):
        raise _divergence_error(run, "a weight is")


def _is_finite(value: float) -> bool:
    return abs(value) < float("inf")


def _divergence_error(run: TrainingRun, what: str) -> TrainingError:
    kept, where = "nothing was kept, as no folder was given", ""
    if run.folder is not None:
        kept = f"the last good checkpoint is {run.folder / LAST} (after {run.epoch} epochs)"
        where = "in another folder, " if run.epoch else ""  # a run without an epoch makes way for another
    return TrainingError(
        f"training diverged in epoch {run.epoch + 1}: {what} NaN or infinity; {kept}; {where}lower lr or set clip=1"
    )

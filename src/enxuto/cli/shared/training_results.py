"""What `enxuto train` shows while it runs and at the end, and what it leaves for `enxuto export`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from enxuto.cli.shared.model_files import is_model_file
from enxuto.cli.shared.network_options import input_shape
from enxuto.cli.shared.progress import clock_time
from enxuto.cli.shared.terminal import note, progress_bar
from enxuto.tables import as_percent, interval_in_percent

if TYPE_CHECKING:
    from torch import nn

    from enxuto.train import History, Scores, TrainingData, TrainingProgress
    from enxuto.zoo.entry import OptionValue

__all__ = [
    "count_parts",
    "explain_loss",
    "plot_history",
    "result_rows",
    "scores_json",
    "training_progress",
    "write_best_module",
    "write_export_inputs",
]


@contextmanager
def training_progress() -> Iterator[Callable[[TrainingProgress], None]]:
    """Yield what a training reports to: a bar where stderr is a terminal, and a line for each epoch everywhere."""
    with progress_bar("training") as bar:

        def report(at: TrainingProgress) -> None:
            done = (at.epoch - 1) * at.total + at.done
            detail = f"epoch {at.epoch} of {at.epochs}, loss {at.loss:.4f}"
            bar("training", done, at.epochs * at.total, detail=detail, left=at.eta_s)
            if at.record is not None:
                note(_epoch_line(at))

        yield report


def _epoch_line(progress: TrainingProgress) -> str:
    assert progress.record is not None
    parts = [f"epoch {progress.epoch}/{progress.epochs}", f"loss {progress.loss:.4f}"]
    if progress.record.validation_top1 is not None:
        parts += [
            f"validation loss {progress.record.validation_loss:.4f}",
            f"top-1 {as_percent(progress.record.validation_top1)}",
        ]
    parts += [
        f"lr {progress.lr:.3g}",
        f"{progress.images_per_s:,.0f} images/s",
        f"{clock_time(progress.eta_s)} left",
    ]
    return ", ".join(parts)


def write_export_inputs(
    network: str,
    options: Mapping[str, OptionValue],
    folder: Path,
    train: TrainingData,
    classes: list[str] | tuple[str, ...] | None,
) -> str:
    """Write preprocess.toml and labels.txt into the folder; return the command that exports the best epoch."""
    from enxuto.escaping import shell_words
    from enxuto.files import atomic_write
    from enxuto.zoo.options import format_options

    words = [
        "enxuto",
        "export",
        network,
        "-o",
        str(folder / "model.onnx"),
        "--weights",
        str(folder / "best.pt"),
    ]
    shape = tuple(train.images.shape[1:])
    own = ":" in network or is_model_file(network)
    if not own:
        words += ["--classes", str(train.classes)]
        words += [word for text in format_options(options) for word in ("--option", text)]
    if own or shape != input_shape(network, options):
        words += ["--input-shape", ",".join(map(str, shape))]
    if shape[0] in (1, 3):
        values = train.preprocess().to_dict()
        lines = [f"{name} = {_toml(value)}\n" for name, value in values.items() if value is not None]
        with atomic_write(folder / "preprocess.toml") as file:
            file.write("".join(lines).encode())
        words += ["--preprocess", str(folder / "preprocess.toml")]
    if classes is not None and _fit_on_lines(list(map(str, classes))):
        with atomic_write(folder / "labels.txt") as file:
            file.write("".join(f"{name}\n" for name in classes).encode())
        words += ["--labels", str(folder / "labels.txt")]
    return shell_words(words)


def write_best_module(
    model: nn.Module, folder: Path, train: TrainingData, classes: Sequence[str] | None
) -> str:
    """Write the best epoch of a network that came from an ONNX or `.enx` file as model.onnx; returns its path."""
    from enxuto.export import export_onnx
    from enxuto.train import Checkpoint

    model.load_state_dict(Checkpoint.read(folder / "best.pt").model)
    shape = tuple(train.images.shape[1:])
    preprocess = train.preprocess() if shape[0] in (1, 3) else None
    export_onnx(model.cpu(), folder / "model.onnx", input_shape=shape, preprocess=preprocess, labels=classes)
    return str(folder / "model.onnx")


def plot_history(network: str, history: History, folder: Path) -> None:
    """Plot loss and learning rate into the folder as `training.png`, where there is matplotlib."""
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        return
    from enxuto.report.figures.training import draw_training

    records = [vars(record) for record in history.records]
    draw_training(records, folder / "training.png", title=f"{network}, seed {history.seed}")


def _fit_on_lines(names: list[str]) -> bool:
    """Whether a text with a name a line is read as these names."""
    text = "\n".join(names)
    return text.splitlines() == names and not text.lstrip().startswith("[")


def _toml(value: object) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return repr(value)


def count_parts(
    train: TrainingData, validation: TrainingData | None, test: TrainingData | None
) -> dict[str, int]:
    """Return how many images there are, by what they are for."""
    parts = {"train": train, "validation": validation, "test": test}
    return {name: len(part) for name, part in parts.items() if part is not None}


def scores_json(test: Path, scores: Scores) -> dict[str, object]:
    """Return scores for JSON, with the data they are of and top-1's 95 % interval."""
    return {"data": str(test), **vars(scores), "top1_interval": list(_interval(scores))}


def explain_loss(before: Scores, history: History, after: Scores | None) -> str | None:
    """Return that training has made trained weights worse; None where it has not, or by no more than chance.

    before: on the images of `after`, the test images; without these, on those held out for validation.
    """
    from enxuto.metrics import wilson_interval

    best = history.best
    top1 = after.top1 if after is not None else None if best is None else best.validation_top1
    if top1 is None:
        return None
    low, _ = _interval(before)
    _, high = wilson_interval(round(top1 * before.samples), before.samples)
    if high >= low:
        return None
    which = "validation" if after is None else "test"
    return (
        f"training has made the network worse: {as_percent(top1)} of {before.samples:,} {which} images are right, "
        f"before it were {as_percent(before.top1)}; try --recipe fine-tune and a lower rate, as --set lr=0.001"
    )


def _interval(scores: Scores) -> tuple[float, float]:
    """Wilson's 95 % interval of top-1, both ends in 0…1."""
    from enxuto.metrics import wilson_interval

    return wilson_interval(round(scores.top1 * scores.samples), scores.samples)


def result_rows(history: History, scores: Scores | None, folder: Path) -> list[list[str]]:
    """Return the rows of the result's table: the best epoch's figures, with their sample counts and the seed."""
    lines = [["epochs", f"{len(history.records)} (stopped by: {history.stopped})"]]
    best = history.best
    if best is not None:
        lines += [["best epoch", str(best.epoch)], ["training loss", f"{best.loss:.4f}"]]
        if best.validation_top1 is not None:
            lines += [["validation loss", f"{best.validation_loss:.4f}"]]
            lines += [
                ["validation top-1", f"{as_percent(best.validation_top1)} of {history.validation_samples:,}"]
            ]
        if best.validation_top5 is not None:
            lines += [["validation top-5", as_percent(best.validation_top5)]]
    if scores is not None:
        low, high = _interval(scores)
        lines += [
            ["test loss", f"{scores.loss:.4f}"],
            [
                "test top-1",
                f"{as_percent(scores.top1)} of {scores.samples:,} {interval_in_percent(low, high)}",
            ],
        ]
        if scores.top5 is not None:
            lines += [["test top-5", as_percent(scores.top5)]]
    lines += [["training time", clock_time(sum(record.seconds for record in history.records))]]
    return [*lines, ["seed", str(history.seed)], ["folder", str(folder)]]

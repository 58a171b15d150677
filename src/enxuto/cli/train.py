"""`enxuto train`: a network of the zoo, or one's own, from labelled images to checkpoints that can be exported."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enxuto.cli.shared import data_options as opts
from enxuto.cli.shared.outputs import own_folder
from enxuto.cli.shared.provenance import provenance
from enxuto.cli.shared.terminal import note, print_json, show_table, warn
from enxuto.cli.shared.training import counts, draw, leave_what_export_needs, reporter, rows, scored
from enxuto.errors import DataError, ModelError, UsageError, needs
from enxuto.machine.signals import exit_code

if TYPE_CHECKING:
    from torch import nn

    from enxuto.data import Dataset
    from enxuto.data.labels import Label
    from enxuto.train import History, Scores, TrainConfig, TrainingData

__all__ = ["HELP", "run"]

HELP = """Train a network on labelled images; the folder gets checkpoints, the history, and what an export needs.

NETWORK is a name that `enxuto zoo` lists, or `module:factory`. Recipes: souza, lottery, resnet, alexnet (protocols of
the sources) and quick; docs/training.md has all settings. A run that was stopped, or killed, goes on with `--resume` as
if nothing had happened. Several GPUs, or several processes on a CPU: `torchrun --standalone --nproc-per-node 4 -m
enxuto train …`. Needs PyTorch: `pip install '.[train]'` in a checkout.

```
enxuto train squeezenet-dsc --data cifar10-train.parquet --recipe souza --set validation=0.1 --out runs/dsc
enxuto train lenet5 --data mnist/ --epochs 5 --set lr=0.02 --set optimizer=adam --json
```
"""

_DATA = "Data"


def run(
    network: Annotated[str, typer.Argument(help="A network of the zoo, or module:factory.")],
    data: Annotated[Path, typer.Option(rich_help_panel=_DATA, help="Data file or folder to train on.")],
    test: Annotated[
        Path | None,
        typer.Option(rich_help_panel=_DATA, help="Data to score the best epoch on, once, at the end."),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="souza, lottery, resnet, alexnet or quick (the default).")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Settings as TOML, instead of a recipe.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting; can be repeated.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Short for --set epochs=N.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; by default runs/ and the network's name.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    split: Annotated[
        str | None, typer.Option(rich_help_panel=_DATA, help="Part to train on; default: train.")
    ] = None,
    format_: opts.Format = None,
    limit: opts.Limit = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="H,W", rich_help_panel=_DATA, help="Resize images; default: the network's size."
        ),
    ] = None,
    image_column: opts.ImageColumn = None,
    label_column: opts.LabelColumn = None,
    labels: opts.Order = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print configuration, history and scores as JSON.")
    ] = False,
) -> None:
    """Check, load, train, score, show; everything that can be refused is refused before data are loaded."""
    from enxuto.data import read_labels

    chosen = _configuration(recipe, config, settings or [], epochs)
    folder = out or own_folder("train", Path("runs") / network.replace(":", "."))
    asked_size = _checked_size(size)
    _check_network(network)
    _check_folder(folder, resume=resume)
    _check_torch(chosen)
    columns = _Columns(format_, image_column, label_column)
    dataset = _open(data, split or "train", columns, limit, chosen.seed, fall_back=split is None)
    names = None if labels is None else read_labels(labels)
    if names is not None:
        dataset = _counting(dataset, names, None)
    test_set = None if test is None else _open(test, "test", columns, None, 0, fall_back=True)
    if test_set is not None:
        test_set = _counting(test_set, names or dataset.classes, _classes(dataset))
    whole = _loaded(dataset, asked_size or _size_for(network, dataset))
    train, validation = (
        whole.split(chosen.validation, chosen.seed) if chosen.validation > 0 else (whole, None)
    )
    test_data = None if test_set is None else _test_data(test_set, train)
    model = _built(network, train, chosen.seed)
    if _speaks():
        held_out = 0 if validation is None else len(validation)
        note(f"{network}: {len(train):,} images to train on, {held_out:,} held out, {train.classes} classes")
    history = _fitted(model, train, validation, chosen, folder, resume=resume)
    if not _speaks():
        return
    for remark in history.notes:
        warn(remark)
    export = leave_what_export_needs(network, folder, train, dataset.classes)
    draw(network, history, folder)
    scores = None if test_data is None else _score_best(model, folder, test_data)
    if json:
        print_json(
            {
                "network": network,
                "data": str(data),
                "folder": str(folder),
                "config": chosen.to_dict(),
                "history": history.to_dict(),
                "test": None if scores is None else scored(test, scores),
                "export": export,
                "provenance": provenance(
                    samples=counts(train, validation, test_data), seed=chosen.seed, data=whole.hash
                ),
            }
        )
        return
    show_table(f"{network} on {data}", {"measure": "left", "value": "left"}, rows(history, scores, folder))
    note(f"export: {export}")


@dataclass(frozen=True)
class _Columns:
    """How to read the data, as the user said."""

    format: str | None
    image: str | None
    label: str | None


def _configuration(
    recipe: str | None, file: Path | None, settings: list[str], epochs: int | None
) -> TrainConfig:
    from enxuto.train.config import TrainConfig, parse_setting

    said = dict(parse_setting(text) for text in settings)
    if epochs is not None:
        if "epochs" in said:
            raise UsageError("--epochs and --set epochs=… say the same; leave one out")
        said["epochs"] = epochs
    if file is not None and recipe is not None:
        raise UsageError("--config and --recipe exclude each other; write recipe = … in the file")
    return TrainConfig.of(recipe or "quick", said) if file is None else TrainConfig.from_toml(file, said)


def _checked_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    sides = text.split(",")
    if len(sides) != 2 or not all(side.strip().isdecimal() and int(side) > 0 for side in sides):
        raise UsageError(f"--size takes H,W in pixels, such as 32,32, not {text!r}")
    return int(sides[0]), int(sides[1])


def _check_network(network: str) -> None:
    from enxuto import zoo

    if ":" not in network:
        zoo.entry(network)


def _check_folder(folder: Path, *, resume: bool) -> None:
    there = (folder / "last.pt").exists()
    if there and not resume:
        raise UsageError(f"{folder} holds a run; go on with --resume, or name another folder by --out")
    if resume and not there and _speaks():
        note(f"{folder} holds no run to go on with; one begins there")


def _check_torch(config: TrainConfig) -> None:
    """That there is PyTorch, and that it and this machine can do what is asked."""
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        raise UsageError(needs("training", "PyTorch", "train")) from error
    from enxuto.train.placement import check_machine

    check_machine(config)


def _open(
    path: Path, part: str, columns: _Columns, limit: int | None, seed: int, *, fall_back: bool
) -> Dataset:
    """The part of that name, or with `fall_back` the only part there is, unless that is a test part."""
    from enxuto.data import open_dataset

    def opened(name: str | None) -> Dataset:
        return open_dataset(
            path, split=name, format=columns.format, limit=limit, seed=seed, image_column=columns.image,
            label_column=columns.label,
        )  # fmt: skip

    try:
        return opened(part)
    except DataError as error:
        if not fall_back:
            raise
        try:
            only = opened(None)
        except DataError:
            raise error from None
        if part == "train" and only.part == "test":
            raise UsageError(
                f"{path} has a test part and no train part; say --split to train on it"
            ) from error
        return only


def _classes(dataset: Dataset) -> int:
    return len(dataset.classes) if dataset.classes is not None else int(dataset.labels.max()) + 1


def _counting(dataset: Dataset, names: Sequence[Label] | None, outputs: int | None) -> Dataset:
    """The data set with labels in the order of these names, which is said where it is another."""
    found, matching = dataset.matched(names, outputs)
    if _speaks():
        opts.tell(matching)
    return found


def _size_for(network: str, dataset: Dataset) -> tuple[int, int] | None:
    """The size to resize to: the network's, where the images have another; None for networks of others."""
    from enxuto import zoo

    if ":" in network:
        return None
    _, height, width = zoo.input_shape(network)
    shape = dataset.image_shape
    if shape is not None and shape[:2] == (height, width):
        return None
    found = "of several sizes" if shape is None else f"{shape[0]}×{shape[1]}"
    if _speaks():
        note(f"images are {found} and are resized to {height}×{width}, the size of {network}")
    return height, width


def _loaded(dataset: Dataset, size: tuple[int, int] | None) -> TrainingData:
    from enxuto.train import TrainingData

    for remark in dataset.notes if _speaks() else ():
        note(remark)
    return TrainingData.from_dataset(dataset, size)


def _test_data(dataset: Dataset, train: TrainingData) -> TrainingData:
    from enxuto.train import TrainingData

    channels, height, width = train.images.shape[1:]
    shape = dataset.image_shape
    size = None if shape is not None and shape[:2] == (height, width) else (height, width)
    # Said only where it differs: it becomes a part of what identifies the data.
    wanted = None if shape is not None and shape[2] == channels else ("L" if channels == 1 else "RGB")
    return TrainingData.from_dataset(dataset, size, channels=wanted).like(train)


def _built(network: str, train: TrainingData, seed: int) -> nn.Module:
    from enxuto import zoo

    if ":" not in network:
        return zoo.build(network, classes=train.classes, channels=train.images.shape[1], seed=seed)
    import torch

    from enxuto.summary.target import build_module

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build_module(network)


def _fitted(
    model: nn.Module,
    train: TrainingData,
    validation: TrainingData | None,
    config: TrainConfig,
    folder: Path,
    *,
    resume: bool,
) -> History:
    from enxuto.train import fit

    try:
        with reporter() as report:
            return fit(model, train, validation, config, folder=folder, resume=resume, progress=report)
    except KeyboardInterrupt as interrupt:
        if _speaks():
            kept = (folder / "last.pt").exists()
            note(
                f"interrupted; {'finished epochs are kept: go on with --resume' if kept else 'nothing is kept'}"
            )
        raise typer.Exit(exit_code(interrupt)) from None


def _score_best(model: nn.Module, folder: Path, data: TrainingData) -> Scores:
    from enxuto.train import Checkpoint, score

    try:
        model.load_state_dict(Checkpoint.read(folder / "best.pt").model)
    except RuntimeError as error:
        raise ModelError(
            f"{folder / 'best.pt'} is of another network: {' '.join(str(error).split())[:200]}"
        ) from error
    return score(model, data)


def _speaks() -> bool:
    """Whether this process reports: the only one, or the first that torchrun started."""
    return os.environ.get("RANK", "0") in ("", "0")

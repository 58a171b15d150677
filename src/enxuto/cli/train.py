"""`enxuto train`: a network of the zoo, or one's own, from labelled images to checkpoints that can be exported."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enxuto.cli.shared.common_options import Json
from enxuto.cli.shared.data_options import DATA, say_matching
from enxuto.cli.shared.model_files import is_model_file
from enxuto.cli.shared.network_options import NetworkOptions
from enxuto.cli.shared.options import was_given
from enxuto.cli.shared.outputs import check_folder
from enxuto.cli.shared.provenance import provenance
from enxuto.cli.shared.starting_networks import StartingPoint, StartOptions, open_start
from enxuto.cli.shared.terminal import note, print_json, show_table, warn
from enxuto.cli.shared.training_options import Network, Settings, TrainingDataOptions, parse_settings
from enxuto.cli.shared.training_results import (
    count_parts,
    plot_history,
    result_rows,
    scores_json,
    training_progress,
    write_best_module,
    write_export_inputs,
)
from enxuto.cli.shared.values import parse_image_size
from enxuto.errors import DataError, ModelError, UsageError, error_reason, import_optional
from enxuto.machine.signals import exit_code

if TYPE_CHECKING:
    from torch import nn

    from enxuto.data import Dataset
    from enxuto.data.labels import Label
    from enxuto.train import History, Scores, TrainConfig, TrainingData

__all__ = ["HELP", "run"]

HELP = """Train a network on labelled images; the folder gets checkpoints, the history, and what an export needs.

NETWORK is a name that `enxuto zoo` lists, `module:factory`, or an ONNX or .enx file, which is trained on and becomes
`model.onnx` in the folder. Recipes are souza, souza-program, lottery, resnet, alexnet (protocols of the sources) and
quick; docs/training.md has all settings. A run that was stopped or killed resumes with `--resume` and gives the same
result. For several GPUs, or several processes on a CPU: `torchrun --standalone --nproc-per-node 4 -m enxuto train …`.
Needs PyTorch: `pip install '.[train]'` in a checkout.

```
enxuto train squeezenet-dsc --data cifar10-train.parquet --recipe souza --set validation=0.1 -o runs/dsc
enxuto train model.onnx --preprocess imagenet --data flowers/ --classes 5 --freeze 'features.*' --epochs 3
enxuto train lenet5 --activation prelu --data mnist/ --epochs 5 --set lr=0.02 --set optimizer=adam --json
```
"""

_TRAIN = "Training"


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How the network is trained, and where the results go."""

    folder: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Folder of the run; by default runs/ and the network's name.",
        ),
    ] = None
    resume: Annotated[bool, typer.Option("--resume", help="Resume the run in the folder.")] = False
    recipe: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_TRAIN,
            metavar="NAME",
            help="souza, souza-program, lottery, resnet, alexnet or quick (the default).",
        ),
    ] = None
    config: Annotated[
        Path | None,
        typer.Option(rich_help_panel=_TRAIN, metavar="FILE", help="Settings as TOML, instead of a recipe."),
    ] = None
    settings: Settings = None
    epochs: Annotated[
        int | None, typer.Option(rich_help_panel=_TRAIN, metavar="N", help="The same as --set epochs=N.")
    ] = None
    json: Json = False


def run(
    context: typer.Context,
    network: Network,
    data: Annotated[
        Path, typer.Option(rich_help_panel=DATA, metavar="DATA", help="Data file or folder to train on.")
    ],
    options: TrainOptions,
    start_options: StartOptions,
    network_options: NetworkOptions,
    image_options: TrainingDataOptions,
) -> None:
    """Check, load, train, score, show; everything that can be refused is refused before data are loaded."""
    config = _configuration(options, image_options.seed if was_given(context, "seed") else None)
    image_options = replace(image_options, seed=config.seed)
    name = Path(network).stem if is_model_file(network) else network.replace(":", ".")
    folder = options.folder or check_folder("train", Path("runs") / name)
    size = parse_image_size(image_options.resize)
    _check_folder(folder, resume=options.resume)
    _check_torch(config)
    start = open_start(network, start_options, network_options)
    parts = _load(start, Path(data), image_options, size, config)
    train, validation = parts.train, parts.validation
    model = start.build(train, config.seed)
    if _is_reporting():
        held_out = 0 if validation is None else len(validation)
        note(f"{network}: {len(train):,} images to train on, {held_out:,} held out, {train.classes} classes")
    history = _train(model, train, validation, config, folder, resume=options.resume)
    if not _is_reporting():
        return
    for remark in history.notes:
        warn(remark)
    plot_history(network, history, folder)
    scores = None if parts.test is None else _score_best(model, folder, parts.test)
    export = write_export_inputs(network, start.built, folder, train, parts.classes)
    if start.file is not None:
        export = write_best_module(model, folder, train, parts.classes)
    if options.json:
        print_json(
            {
                "network": network,
                "options": dict(start.built),
                "data": str(data),
                "folder": str(folder),
                "config": config.to_dict(),
                "history": history.to_dict(),
                "test": None if scores is None else scores_json(Path(str(image_options.test)), scores),
                "export": export,
                "provenance": provenance(
                    samples=count_parts(train, validation, parts.test), seed=config.seed, data=parts.hash
                ),
            }
        )
        return
    show_table(
        f"{network} on {data}", {"measure": "left", "value": "left"}, result_rows(history, scores, folder)
    )
    note(f"export: {export}")


def _configuration(options: TrainOptions, seed: int | None) -> TrainConfig:
    """The configuration of recipe or file, with what --set, --epochs and --seed override."""
    from enxuto.train.config import TrainConfig

    settings = parse_settings(options.settings)
    for name, value in {"epochs": options.epochs, "seed": seed}.items():
        if value is None:
            continue
        if name in settings:
            raise UsageError(f"--{name} and --set {name}=… say the same; leave one out", code="E022")
        settings[name] = value
    if options.config is None:
        return _with_layout(TrainConfig.from_recipe(options.recipe or "quick", settings))
    if options.recipe is not None:
        raise UsageError(
            "--config and --recipe exclude each other; write recipe = … in the file", code="E022"
        )
    return _with_layout(TrainConfig.from_toml(options.config, settings))


def _with_layout(config: TrainConfig) -> TrainConfig:
    """The configuration with the faster layout of images, unless it says one."""
    if "channels_last" in config.model_fields_set:
        return config
    return config.model_copy(update={"channels_last": "auto"})


def _check_folder(folder: Path, *, resume: bool) -> None:
    there = (folder / "last.pt").exists()
    if there and not resume:
        raise UsageError(
            f"{folder} holds a run; resume it with --resume, or name another folder by --output", code="E012"
        )
    if resume and not there and _is_reporting():
        note(f"{folder} holds no run to resume; one begins there")


def _check_torch(config: TrainConfig) -> None:
    """Check that PyTorch is installed, and that this machine can train as the configuration says."""
    import_optional("torch", "training", "PyTorch", "train")
    from enxuto.train.placement import check_machine

    check_machine(config)


@dataclass(frozen=True)
class _Parts:
    """The images by what they are for; hash: of all that are trained on or held out; classes: their names."""

    train: TrainingData
    validation: TrainingData | None
    test: TrainingData | None
    hash: str
    classes: tuple[str, ...] | None


def _load(
    start: StartingPoint,
    data: Path,
    image_options: TrainingDataOptions,
    size: tuple[int, int] | None,
    config: TrainConfig,
) -> _Parts:
    """Open and decode all images; `size` is (height, width), None for the network's own."""
    dataset = _open(
        data,
        replace(image_options, split=image_options.split or "train"),
        fall_back=image_options.split is None,
    )
    names = image_options.class_order()
    if names is not None:
        dataset = _match(dataset, names, None)
    test_set = None
    if image_options.test is not None:
        seed = image_options.seed if image_options.test_limit is not None else 0
        options = replace(image_options, split="test", limit=image_options.test_limit, seed=seed)
        test_set = _open(Path(image_options.test), options, fall_back=True)
        test_set = _match(test_set, names or dataset.classes, _count_classes(dataset))
    whole = start.normalise(_decode(dataset, size or _size_for(start, dataset)))
    train, validation = whole, None
    if config.validation > 0:
        train, validation = map(start.normalise, whole.split(config.validation, config.seed))
    test = None if test_set is None else _decode_test(test_set, train)
    return _Parts(train, validation, test, whole.hash, dataset.classes)


def _open(path: Path, image_options: TrainingDataOptions, *, fall_back: bool) -> Dataset:
    """The part of the data that --split names.

    fall_back: take the only part there is instead, unless that is a test part.
    """
    from enxuto.data import open_dataset

    try:
        return open_dataset(path, **image_options.arguments())
    except DataError as error:
        if not fall_back:
            raise
        try:
            only = open_dataset(path, **replace(image_options, split=None).arguments())
        except DataError as other:
            raise (other if error.code == "E024" else error) from None  # E024: there are no parts at all
        if image_options.split == "train" and only.part == "test":
            raise UsageError(
                f"{path} has a test part and no train part; say --split to train on it", code="E040"
            ) from error
        return only


def _count_classes(dataset: Dataset) -> int:
    return len(dataset.classes) if dataset.classes is not None else int(dataset.labels.max()) + 1


def _match(dataset: Dataset, names: Sequence[Label] | None, outputs: int | None) -> Dataset:
    """The data set with labels in the order of these names; say on stderr where that is another order."""
    matched, matching = dataset.match_classes(names, outputs)
    if _is_reporting():
        say_matching(matching)
    return matched


def _size_for(start: StartingPoint, dataset: Dataset) -> tuple[int, int] | None:
    """The size to resize to: the network's, where the images have another; None for networks of others."""
    if start.size is None:
        return None
    height, width = start.size
    shape = dataset.image_shape
    if shape is not None and shape[:2] == (height, width):
        return None
    actual = "of several sizes" if shape is None else f"{shape[0]}×{shape[1]}"
    if _is_reporting():
        note(f"images are {actual} and are resized to {height}×{width}, the size of {start.network}")
    return height, width


def _decode(dataset: Dataset, size: tuple[int, int] | None) -> TrainingData:
    from enxuto.train import TrainingData

    for remark in dataset.notes if _is_reporting() else ():
        note(remark)
    return TrainingData.from_dataset(dataset, size)


def _decode_test(dataset: Dataset, train: TrainingData) -> TrainingData:
    from enxuto.train import TrainingData

    channels, height, width = train.images.shape[1:]
    shape = dataset.image_shape
    size = None if shape is not None and shape[:2] == (height, width) else (height, width)
    # Said only where it differs: it becomes a part of what identifies the data.
    wanted = None if shape is not None and shape[2] == channels else ("L" if channels == 1 else "RGB")
    return TrainingData.from_dataset(dataset, size, channels=wanted).like(train)


def _train(
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
        with training_progress() as report:
            return fit(model, train, validation, config, folder=folder, resume=resume, progress=report)
    except KeyboardInterrupt as interrupt:
        if _is_reporting():
            kept = (folder / "last.pt").exists()
            note(
                f"interrupted; {'finished epochs are kept: resume with --resume' if kept else 'nothing is kept'}"
            )
        raise typer.Exit(exit_code(interrupt)) from None


def _score_best(model: nn.Module, folder: Path, data: TrainingData) -> Scores:
    from enxuto.train import Checkpoint, score

    try:
        model.load_state_dict(Checkpoint.read(folder / "best.pt").model)
    except RuntimeError as error:
        raise ModelError(
            f"{folder / 'best.pt'} is of another network: {error_reason(error)}", code="E071"
        ) from error
    return score(model, data)


def _is_reporting() -> bool:
    """Whether this process reports: the only one, or the first that torchrun started."""
    return os.environ.get("RANK", "0") in ("", "0")

"""`enxuto train`: a network of the zoo, or one's own, from labelled images to checkpoints that can be exported."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enxuto.cli.shared.common_options import Json
from enxuto.cli.shared.data_options import DATA
from enxuto.cli.shared.model_files import is_model_file
from enxuto.cli.shared.network_options import NetworkOptions
from enxuto.cli.shared.options import was_given
from enxuto.cli.shared.outputs import check_folder
from enxuto.cli.shared.preprocess_options import PreparingOptions
from enxuto.cli.shared.provenance import provenance
from enxuto.cli.shared.starting_networks import StartOptions, open_start
from enxuto.cli.shared.terminal import note, note_command, print_json, show_table, warn
from enxuto.cli.shared.training_images import is_reporting, load_parts
from enxuto.cli.shared.training_options import (
    Network,
    Settings,
    TrainingDataOptions,
    machine_notes,
    parse_settings,
)
from enxuto.cli.shared.training_results import (
    count_parts,
    explain_loss,
    plot_history,
    result_rows,
    scores_json,
    training_progress,
    write_best_module,
    write_export_inputs,
)
from enxuto.cli.shared.values import counted, parse_image_size
from enxuto.errors import ModelError, UsageError, error_reason, import_optional
from enxuto.machine.signals import exit_code

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from enxuto.cli.shared.training_images import TrainingParts
    from enxuto.train import History, Scores, TrainConfig, TrainingData

__all__ = ["HELP", "run"]

HELP = """Train a network on labelled images; the folder gets checkpoints, the history, and what an export needs.

NETWORK is a name that `enxuto zoo` lists, `module:factory`, or an ONNX or .enx file, which is trained on and becomes
`model.onnx` in the folder. Recipes are souza, souza-program, lottery, resnet, alexnet (protocols of the sources), quick
and fine-tune, which is for trained weights; docs/training.md has all settings. A run that was stopped or killed resumes
with `--resume` and gives the same result. For several GPUs, or several processes on a CPU: `torchrun --standalone
--nproc-per-node 4 -m enxuto train …`.
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
            help="souza, souza-program, lottery, resnet, alexnet, quick (the default) or fine-tune (the default for an "
            "ONNX or .enx file and with --weights).",
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
    preprocess: PreparingOptions,
) -> None:
    """Check, load, train, score, show; everything that can be refused is refused before data are loaded."""
    seed = image_options.seed if was_given(context, "seed") else None
    trained = is_model_file(network) or start_options.weights is not None
    config = _configuration(options, seed, trained=trained)
    image_options = replace(image_options, seed=config.seed)
    name = Path(network).stem if is_model_file(network) else network.replace(":", ".")
    folder = options.folder or check_folder("train", Path("runs") / name)
    size = parse_image_size(image_options.resize)
    _check_folder(folder, resume=options.resume)
    _check_torch(config)
    from enxuto.train import score

    start = open_start(network, start_options, network_options, preprocess, size)
    parts = load_parts(start, Path(data), image_options, size, config)
    train, validation = parts.train, parts.validation
    model = start.build(train, config.seed)
    parts = replace(parts, classes=start.labels(parts.classes))
    if is_reporting():
        held_out = 0 if validation is None else len(validation)
        note(f"{network}: {len(train):,} images to train on, {held_out:,} held out, {train.classes} classes")
    judged = None if options.resume else parts.test or validation
    before = None
    if trained and judged is not None and is_reporting():
        note(f"scoring the weights as they are on {len(judged):,} images")
        before = score(model, judged)
    told = machine_notes(config) if is_reporting() else []
    for remark in told:
        warn(remark)
    history = _train(model, parts, config, folder, start.began, resume=options.resume)
    if not is_reporting():
        return
    for remark in history.notes:
        if remark not in told:
            warn(remark)
    plot_history(network, history, folder)
    scores = None if parts.test is None else _score_best(model, folder, parts.test)
    if before is not None and (worse := explain_loss(before, history, scores)) is not None:
        warn(worse)
    export = write_export_inputs(network, start.built, folder, train, parts.classes)
    if start.file is not None:
        export = write_best_module(model, folder, train, parts.classes)
    if options.json:
        tested = None if scores is None else scores_json(Path(str(image_options.test)), scores)
        samples = count_parts(train, validation, parts.test)
        made = provenance(samples=samples, seed=config.seed, data=parts.hash)
        print_json({
            "network": network, "options": dict(start.built), "data": str(data), "folder": str(folder),
            "config": config.to_dict(), "history": history.to_dict(), "test": tested, "export": export,
            "provenance": made,
        })  # fmt: skip
        return
    show_table(
        f"{network} on {data}", {"measure": "left", "value": "left"}, result_rows(history, scores, folder)
    )
    note_command(export, "export: ")


def _configuration(options: TrainOptions, seed: int | None, *, trained: bool) -> TrainConfig:
    """The configuration of recipe or file, with what --set, --epochs and --seed override.

    trained: the weights at the start are trained ones, which the rates of a first training may ruin.
    """
    from enxuto.train.config import TrainConfig

    settings = parse_settings(options.settings)
    for name, value in {"epochs": options.epochs, "seed": seed}.items():
        if value is None:
            continue
        if name in settings:
            raise UsageError(f"--{name} and --set {name}=… say the same; leave one out", code="E022")
        settings[name] = value
    if options.config is None:
        default = "fine-tune" if trained else "quick"
        config = TrainConfig.from_recipe(options.recipe or default, settings)
        if options.recipe is None and default != "quick" and is_reporting():
            note(
                f"the weights are trained already, and go on by the recipe fine-tune: one cycle up to "
                f"lr={config.lr:g}, {counted(config.epochs, 'epoch')}; --recipe names another"
            )
        return config
    if options.recipe is not None:
        raise UsageError(
            "--config and --recipe exclude each other; write recipe = … in the file", code="E022"
        )
    return TrainConfig.from_toml(options.config, settings)


def _check_folder(folder: Path, *, resume: bool) -> None:
    from enxuto.train.checkpoint import holds_epochs

    there = (folder / "last.pt").exists()
    if there and not resume and holds_epochs(folder):
        raise UsageError(
            f"{folder} holds a run; resume it with --resume, or name another folder by --output", code="E012"
        )
    if resume and not there and is_reporting():
        note(f"{folder} holds no run to resume; one begins there")


def _check_torch(config: TrainConfig) -> None:
    """Check that PyTorch is installed, and that this machine can train as the configuration says."""
    import_optional("torch", "training", "PyTorch", "train")
    from enxuto.train.placement import check_machine

    check_machine(config)


def _train(
    model: nn.Module,
    parts: TrainingParts,
    config: TrainConfig,
    folder: Path,
    began: Mapping[str, str | None],
    *,
    resume: bool,
) -> History:
    from enxuto.train import fit

    try:
        with training_progress() as report:
            return fit(
                model, parts.train, parts.validation, config, folder=folder, resume=resume, progress=report, began=began
            )  # fmt: skip
    except KeyboardInterrupt as interrupt:
        if is_reporting():
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

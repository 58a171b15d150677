"""`enxuto export`: a network as one ONNX file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enxuto.cli.shared.common_options import InputShape, Json
from enxuto.cli.shared.model_files import is_model_file
from enxuto.cli.shared.network_options import NetworkOptions, options_with_weights, read_checkpoint
from enxuto.cli.shared.preprocess_options import BasePreprocess, read_preprocess
from enxuto.cli.shared.terminal import human_bytes, note, print_json, show_table, warnings_as_remarks
from enxuto.cli.shared.training_options import Network
from enxuto.cli.shared.values import parse_input_shape
from enxuto.errors import DataError, UsageError, does_not_exist
from enxuto.escaping import shell_words
from enxuto.files import read_small_file

if TYPE_CHECKING:
    from torch import nn

    from enxuto.data import Preprocess
    from enxuto.export import ExportResult

__all__ = ["HELP", "run"]

_LARGEST_LABELS = 1 << 26  # bytes, as of any file of labels (`enxuto.data.labels`)

HELP = """Write a network as one plain ONNX file of any batch size: `input` to `logits`, or as a file calls them.

NETWORK is a name that `enxuto zoo` lists or `module:factory`; its weights are fresh ones of `--seed`, or those of a
checkpoint, which also says which `--option` it was trained with. Or it is an ONNX or .enx file with the checkpoint of a
training that began with it (`enxuto train model.onnx`), which may have given it a new head. Preprocessing and labels go
into the file's metadata. The file is run and compared with torch before it is written. Needs PyTorch: `pip install
'.[train]'` in a checkout.

```
enxuto export squeezenet-dsc -o model.onnx --weights best.pt --classes 100 --preprocess resnet-cifar
enxuto export mobilenet-v2-cifar -o half.onnx --option width=0.5 --activation leaky_relu
enxuto export model.onnx --weights runs/model/last.pt -o last.onnx
enxuto export mynets:small -o small.onnx --input-shape 3,96,96 --labels labels.txt
```
"""


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What goes into the file."""

    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Checkpoint with a state dict (tensors only).")
    ] = None
    classes: Annotated[
        int | None, typer.Option(metavar="N", help="Number of classes, for a network of the zoo.")
    ] = None
    seed: Annotated[
        int, typer.Option(metavar="N", help="Seed of fresh weights, and of the images that check the file.")
    ] = 0
    input_shape: InputShape = None
    preprocess: BasePreprocess = None
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Names of the classes in the order of the network's outputs, one a line or a JSON list, which the "
            "file will hold.",
        ),
    ] = None
    opset: Annotated[int, typer.Option(metavar="N", help="ONNX operator set, 18 to 23.")] = 18
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Compare the outputs with torch's before writing.")
    ] = True
    as_json: Json = False


def run(
    network: Network,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The ONNX file to write.")],
    options: ExportOptions,
    network_options: NetworkOptions,
) -> None:
    """Export; see `HELP`."""
    if is_model_file(network) and options.weights is None:
        raise UsageError(_say_what_makes_onnx(network), code="E023")
    from enxuto.export import export_onnx  # takes seconds, as PyTorch does

    chosen = network_options.read(network)
    preprocess = None if options.preprocess is None else read_preprocess(options.preprocess)
    shape = parse_input_shape(options.input_shape)
    module: nn.Module | str = network
    if is_model_file(network):
        module, preprocess, shape = _trained_file(network, options.weights, preprocess, shape)
    elif ":" in network:
        from enxuto.summary import build_module

        module = build_module(network)
    else:
        chosen = options_with_weights(network, chosen, options.weights)
    exported = export_onnx(
        module,
        output,
        classes=options.classes,
        options=chosen,
        seed=options.seed,
        input_shape=shape,
        weights=options.weights,
        preprocess=preprocess,
        labels=_read_class_names(options.labels),
        opset=options.opset,
        check=options.check,
    )
    fresh = options.weights is None and ":" not in network
    _show(exported, network, fresh=fresh, as_json=options.as_json)


def _say_what_makes_onnx(network: str) -> str:
    """What to do with a model file and no checkpoint: an .enx file is decoded, and an ONNX file is one already."""
    words = shell_words([network])
    trained = f"name a checkpoint of `enxuto train {words} …` by --weights"
    if network.endswith(".enx"):
        return f"{network} becomes ONNX by `enxuto decompress {words}`; to export what was trained from it, {trained}"
    return f"{network} is an ONNX file already; {trained}"


def _trained_file(
    network: str, weights: Path | None, preprocess: Preprocess | None, shape: tuple[int, ...] | None
) -> tuple[nn.Module, Preprocess | None, tuple[int, ...]]:
    """The network of a file, with the head that a training gave it; its preprocessing and input shape.

    weights: the training's checkpoint, which is still to be put in. preprocess, shape: those asked for.
    """
    from enxuto.data import Preprocess
    from enxuto.studies.pruning import StartingNetwork, size_after
    from enxuto.studies.transfer import with_classes

    checkpoint = read_checkpoint(weights)
    if checkpoint is None:
        raise UsageError(_say_what_makes_onnx(network), code="E023")
    if preprocess is None and checkpoint.preprocess is not None:
        preprocess = Preprocess.from_dict(checkpoint.preprocess)
    size = size_after(preprocess) if shape is None else (shape[-2], shape[-1])
    with warnings_as_remarks():
        start, _ = StartingNetwork.of_file(Path(network), size, prunes=False)
    module = with_classes(start, checkpoint.data["classes"], 0)
    return module, preprocess, shape or start.architecture.input_shape


def _show(exported: ExportResult, network: str, *, fresh: bool, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "network": network,
                "path": str(exported.path),
                "bytes": exported.bytes,
                "parameters": exported.parameters,
                "opset": exported.opset,
                "input_shape": list(exported.input_shape),
                "outputs": exported.outputs,
                "largest_relative_difference_to_torch": exported.difference,
            }
        )
    else:
        gap = "not checked" if exported.difference is None else f"{exported.difference:.2g}"
        rows = [
            ["file", str(exported.path)],
            ["size", human_bytes(exported.bytes)],
            ["parameters", f"{exported.parameters:,}"],
            ["input", f"batch×{'×'.join(map(str, exported.input_shape))}"],
            ["logits", f"batch×{exported.outputs}"],
            ["opset", str(exported.opset)],
            ["largest difference to torch, relative", gap],
        ]
        show_table(network, {"": "left", " ": "left"}, rows)
    if fresh:
        note("the weights are fresh, not trained; give --weights for a checkpoint")


def _read_class_names(path: Path | None) -> list[str] | None:
    """Class names from a text file, or from one that holds a JSON list."""
    if path is None:
        return None
    try:
        text = read_small_file(path, _LARGEST_LABELS).decode("utf-8")
    except FileNotFoundError as error:
        raise UsageError(does_not_exist(path, "file of labels"), code="E010") from error
    except OSError as error:
        raise UsageError(
            f"cannot read the labels in {path}: {error.strerror or error}", code="E011"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"cannot read the labels in {path}: {error}", code="E011") from error
    if not text.lstrip().startswith("["):
        return text.splitlines()
    try:
        names = json.loads(text)
    except (ValueError, RecursionError) as error:  # deep lists, numbers of thousands of digits
        raise DataError(f"{path} begins like a JSON list but is not one: {error}", code="E042") from error
    if not all(isinstance(name, str) for name in names):
        raise DataError(f"{path} must list names, one string for each class", code="E042")
    return list(names)

"""`enxuto export`: a network as one ONNX file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enxuto.cli.shared.terminal import human_bytes, note, print_json, show_table
from enxuto.errors import DataError, UsageError
from enxuto.files import small_file

if TYPE_CHECKING:
    from torch import nn

    from enxuto.data import Preprocess
    from enxuto.export import Exported

__all__ = ["HELP", "run"]

_LARGEST_LABELS = 1 << 26  # bytes, as of any file of labels (`enxuto.data.labels`)

HELP = """Write a network as one plain ONNX file: open batch size, input `input`, output `logits`, opset 18.

NETWORK is a name that `enxuto zoo` lists or `module:factory`; its weights are fresh ones of `--seed`, or those of a
checkpoint. Preprocessing and labels go into the file's metadata. The file is run and compared with torch before it
is written. Needs PyTorch: `pip install '.[train]'` in a checkout.

```
enxuto export squeezenet-dsc model.onnx --weights best.pt --classes 100 --preprocess resnet-cifar
enxuto export mynets:small small.onnx --input 3,96,96 --labels labels.txt
```
"""


def run(
    network: Annotated[str, typer.Argument(help="A network of the zoo, or module:factory.")],
    output: Annotated[Path, typer.Argument(help="The ONNX file to write.")],
    weights: Annotated[Path | None, typer.Option(help="Checkpoint with a state dict (tensors only).")] = None,
    classes: Annotated[int | None, typer.Option(help="Number of classes, for a network of the zoo.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of fresh weights and of the images compared.")] = 0,
    image: Annotated[
        str | None, typer.Option("--input", metavar="C,H,W", help="Channels, height and width of the input.")
    ] = None,
    preprocess: Annotated[
        str | None,
        typer.Option(
            help="Preset (resnet-cifar, imagenet, efficientnet-lite) or TOML file, kept in the file."
        ),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Class names, one a line or a JSON list, kept in the file.")
    ] = None,
    opset: Annotated[int, typer.Option(help="ONNX operator set, 18 to 23.")] = 18,
    check: Annotated[bool, typer.Option(help="Compare the outputs with torch's before writing.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON to stdout.")] = False,
) -> None:
    """Export; see `HELP`."""
    from enxuto.cli.summary import input_shape
    from enxuto.export import export_onnx

    made: nn.Module | str = network
    if ":" in network:
        from enxuto.summary import build_module

        made = build_module(network)
    done = export_onnx(
        made,
        output,
        classes=classes,
        seed=seed,
        input_shape=input_shape(image),
        weights=weights,
        preprocess=_preprocess(preprocess),
        labels=_labels(labels),
        opset=opset,
        check=check,
    )
    _show(done, network, fresh=weights is None and ":" not in network, as_json=as_json)


def _show(done: Exported, network: str, *, fresh: bool, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "network": network,
                "path": str(done.path),
                "bytes": done.bytes,
                "parameters": done.parameters,
                "opset": done.opset,
                "input_shape": list(done.input_shape),
                "outputs": done.outputs,
                "largest_relative_difference_to_torch": done.difference,
            }
        )
    else:
        gap = "not checked" if done.difference is None else f"{done.difference:.2g}"
        rows = [
            ["file", str(done.path)],
            ["size", human_bytes(done.bytes)],
            ["parameters", f"{done.parameters:,}"],
            ["input", f"batch×{'×'.join(map(str, done.input_shape))}"],
            ["logits", f"batch×{done.outputs}"],
            ["opset", str(done.opset)],
            ["largest difference to torch, relative", gap],
        ]
        show_table(network, {"": "left", " ": "left"}, rows)
    if fresh:
        note("the weights are fresh, not trained; give --weights for a checkpoint")


def _preprocess(given: str | None) -> Preprocess | None:
    if given is None:
        return None
    from enxuto.data import Preprocess, preset

    return Preprocess.from_toml(given) if given.endswith(".toml") or Path(given).is_file() else preset(given)


def _labels(path: Path | None) -> list[str] | None:
    """Class names from a text file, or from one that holds a JSON list."""
    if path is None:
        return None
    try:
        text = small_file(path, _LARGEST_LABELS).decode("utf-8")
    except OSError as error:
        raise UsageError(f"cannot read the labels in {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"cannot read the labels in {path}: {error}") from error
    if not text.lstrip().startswith("["):
        return text.splitlines()
    try:
        names = json.loads(text)
    except (ValueError, RecursionError) as error:  # deep lists, numbers of thousands of digits
        raise DataError(f"{path} begins like a JSON list but is none: {error}") from error
    if not all(isinstance(name, str) for name in names):
        raise DataError(f"{path} must list names, one string for each class")
    return list(names)

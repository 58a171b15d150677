"""`enxuto show`: the filters of a network's first layer, and what its layers make of an image, as a picture."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enxuto.cli.shared.common_options import Force, InputShape, Json
from enxuto.cli.shared.completion import complete_networks
from enxuto.cli.shared.network_options import NetworkOptions, options_with_weights, read_checkpoint
from enxuto.cli.shared.outputs import default_file
from enxuto.cli.shared.preprocess_options import PreprocessOptions
from enxuto.cli.shared.provenance import provenance
from enxuto.cli.shared.terminal import note, print_json, warn
from enxuto.cli.shared.values import parse_input_shape
from enxuto.errors import UsageError

if TYPE_CHECKING:
    from enxuto.data import Preprocess
    from enxuto.feature_maps import FeatureMaps
    from enxuto.onnx_model import Model
    from enxuto.report.figures.feature_maps import Mosaic

__all__ = ["HELP", "run"]

HELP = """Show the filters of a network's first convolution, and the feature maps that layers make of an image.

MODEL is an ONNX or .enx file, a name that `enxuto zoo` lists (with fresh weights, or `--weights` of a checkpoint), or
`module:factory`. A layer is a convolution with the normalisation and activation behind it; without `--layer`, six are
shown from the first to the last. Preprocessing is the file's or checkpoint's own unless options say otherwise. The
page is one HTML file that loads nothing; an output that ends in .png or .svg is a picture instead (extra report).

```
enxuto show model.enx --image cat.jpg -o cat.html
enxuto show squeezenet-dsc --weights runs/dsc/best.pt --image cat.jpg --layer features.conv1.conv -o filters.png
```
"""


@dataclass(frozen=True, kw_only=True)
class ShowOptions:
    """What is shown, and of which weights."""

    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="A .html, .png or .svg file; by default layers.html."
        ),
    ] = None
    force: Force = False
    image: Annotated[
        Path | None, typer.Option(metavar="IMAGE", help="Show what layers make of this; else filters only.")
    ] = None
    layer: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Show this layer. Repeatable.")] = (
        None
    )
    maps: Annotated[int, typer.Option(min=1, metavar="N", help="Layers shown where none is named.")] = 6
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Checkpoint of a network of the zoo or a factory.")
    ] = None
    classes: Annotated[
        int | None, typer.Option(metavar="N", help="Number of classes, for a network of the zoo.")
    ] = None
    input_shape: InputShape = None
    json: Json = False


def run(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            autocompletion=complete_networks,
            help="An ONNX or .enx file, a network of the zoo, or module:factory.",
        ),
    ],
    options: ShowOptions,
    network_options: NetworkOptions,
    preprocess: PreprocessOptions,
) -> None:
    """Read or build the network, take filters and maps from it, draw them."""
    from enxuto.feature_maps import first_filters
    from enxuto.opening import preprocess_of
    from enxuto.report.figures.feature_maps import filters_mosaic, maps_mosaic, write_mosaics

    target = options.output or default_file(Path("layers.html"), force=options.force)
    if target.suffix not in (".html", ".png", ".svg"):
        raise UsageError(f"{target}: name a file that ends in .html, .png or .svg")
    if options.image is None and options.layer:
        raise UsageError("--layer is of what is made of an image; name one by --image", code="E023")
    held, metadata = _open(model, options, network_options)
    filters = first_filters(held)
    stored = preprocess_of(dict(metadata))
    chosen = preprocess.build(stored, held) if options.image is None else preprocess.choose(stored, held)
    is_bgr = chosen is not None and chosen.channels == "BGR"
    mosaics = [filters_mosaic(filters.name, filters.values, is_bgr=is_bgr)]
    names: list[str] = []
    if options.image is not None and chosen is not None:
        if stored is None:
            chosen = _fit(chosen, held, preprocess)
        picture, maps = _run(held, chosen, options.image, options)
        names = [one.name for one in maps]
        mosaics = [picture, *mosaics, *(maps_mosaic(one.name, one.values) for one in maps)]
    title = Path(model).name if options.image is None else f"{Path(model).name} on {options.image.name}"
    write_mosaics(mosaics, target, title=title)
    if options.json:
        print_json(
            {"output": str(target), "filters": filters.name, "layers": names, "provenance": provenance()}
        )
    else:
        note(f"{target}: {'; '.join(one.title for one in mosaics)}")


def _fit(chosen: Preprocess, model: Model, asked: PreprocessOptions) -> Preprocess:
    """Where nothing says it: images of the size and the number of channels that the model's input has."""
    sizes = [dim.dim_value for dim in model.proto.graph.input[0].type.tensor_type.shape.dim][1:]
    if len(sizes) != 3:
        return chosen
    channels, height, width = sizes if chosen.layout == "NCHW" else (sizes[2], *sizes[:2])
    if asked.preprocess is None and asked.channels is None and channels == 1:
        chosen = replace(chosen, channels="L")
    if chosen.resize is None and chosen.crop is None and asked.resize is None and height and width:
        chosen = replace(chosen, resize=(height, width))
    return chosen


def _run(
    model: Model, preprocess: Preprocess, image: Path, options: ShowOptions
) -> tuple[Mosaic, list[FeatureMaps]]:
    """The image as the model is given it, before its pixels are scaled, and what layers make of it."""
    from enxuto.classifier import read_image
    from enxuto.errors import DataError, EnxutoError
    from enxuto.feature_maps import run_layers
    from enxuto.report.figures.feature_maps import image_mosaic

    pixels = read_image(image)
    try:
        prepared = preprocess.prepare_image(pixels)
        batch = preprocess.to_batch([prepared])
    except EnxutoError as error:
        raise DataError(f"{image} {error}", code="E041") from error
    maps = run_layers(model, batch, options.layer or (), options.maps)
    seen = prepared[..., ::-1] if preprocess.channels == "BGR" else prepared
    return image_mosaic(f"{image.name} as the network sees it, {seen.shape[0]}×{seen.shape[1]}", seen), maps


def _open(
    model: str, options: ShowOptions, network_options: NetworkOptions
) -> tuple[Model, Mapping[str, Any]]:
    """The network as a model, and the metadata of its file."""
    from enxuto.opening import load_with_metadata
    from enxuto.summary.target import names_file

    if names_file(model):
        if options.weights is not None:
            raise UsageError(f"{model} has its own weights; leave out --weights", code="E022")
        network_options.read(model)
        return load_with_metadata(model)
    from enxuto.export import export_onnx
    from enxuto.summary import build_module

    chosen = network_options.read(model)
    module: Any = model
    classes = options.classes
    if ":" in model:
        module = build_module(model)
    else:
        chosen = options_with_weights(model, chosen, options.weights)
    checkpoint = read_checkpoint(options.weights)
    shape = parse_input_shape(options.input_shape)
    if classes is None and checkpoint is not None and checkpoint.network is not None and ":" not in model:
        classes = checkpoint.network["classes"]
    if options.weights is None:
        warn(f"the weights of {model} are fresh, not trained; --weights takes a checkpoint")
    with tempfile.TemporaryDirectory(prefix="enxuto-") as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(
            module,
            path,
            classes=classes,
            options=chosen,
            input_shape=shape,
            weights=options.weights,
            check=False,
        )
        held, metadata = load_with_metadata(path)
    stored = None if checkpoint is None else checkpoint.preprocess
    return held, {**metadata, **({} if stored is None else {"preprocess": stored})}

"""`enxuto weights`: what a model's weights look like, and whether they depend on each other."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enxuto.cli.shared.common_options import Json
from enxuto.cli.shared.provenance import provenance, write_provenance
from enxuto.cli.shared.study_options import Svg, show_study_table
from enxuto.cli.shared.terminal import note, print_json, progress_bar, say, warn
from enxuto.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from enxuto.tables import Table
    from enxuto.weights.dependency import LayerDependency
    from enxuto.weights.distribution import Measure, WeightDistribution

HELP = """Show what the weights of ONNX models or `.enx` files look like: similar distributions, and dependence.

Ten families of distributions are fitted to the histogram of each model, and with `--layers` of each layer. They are
ranked by SSE and by D(P‖Q). `--dependence` measures how much neighbouring weights tell about each other along every
axis of a layer. `--output` writes tables as Markdown and CSV, and charts. Needs SciPy and matplotlib: `pip install
'.[report]'` in a checkout.

    enxuto weights resnet20.onnx squeezenet.onnx
    enxuto weights resnet20.onnx --layers --dependence -o weights/
"""


def run(
    sources: Annotated[list[Path], typer.Argument(metavar="MODEL...", help="ONNX models or .enx files.")],
    layers: Annotated[bool, typer.Option("--layers", help="Show each layer by itself too.")] = False,
    dependence: Annotated[
        bool,
        typer.Option("--dependence", help="Measure the dependence of neighbouring weights, by sampling."),
    ] = False,
    by: Annotated[
        str, typer.Option(metavar="NAME", help="Rank distributions of layers by sse or kl.")
    ] = "kl",
    folder: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="Write tables and charts into a folder."),
    ] = None,
    svg: Svg = False,
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Seed of the pairs drawn for --dependence.")
    ] = 0,
    json: Json = False,
) -> None:
    """Read, fit, show, write."""
    from enxuto.opening import load
    from enxuto.weights.dependency import layer_dependencies
    from enxuto.weights.distribution import layer_distributions, model_distribution

    if by not in ("sse", "kl"):
        raise UsageError(f"--by is sse or kl, not {by!r}{did_you_mean(by, ('sse', 'kl'))}", code="E021")
    measure: Measure = "sse" if by == "sse" else "kl"
    names = _names(sources)
    shapes: dict[str, WeightDistribution] = {}
    layers_by_model: dict[str, list[WeightDistribution]] = {}
    dependence_by_model: dict[str, list[LayerDependency]] = {}
    with progress_bar("fitting") as progress:
        for source, name in zip(sources, names, strict=True):
            model = load(source)
            progress(name, 0, 1)
            shape = model_distribution(model, name)
            if shape is None:
                warn(f"{source}: its learned values are all equal, or there are none; it is left out")
                continue
            shapes[name] = shape
            if layers:
                layers_by_model[name] = layer_distributions(model, partial(progress, name))
            if dependence:
                dependence_by_model[name] = layer_dependencies(
                    model, seed=seed, progress=partial(progress, name)
                )
    if not shapes:
        raise UsageError("no model has weights that differ; nothing to show")
    made = provenance(seed=seed)
    if folder is not None:
        _write(folder, shapes, layers_by_model, dependence_by_model, measure, ".svg" if svg else ".png", seed)
        write_provenance(folder, made)
    if json:
        print_json({**_as_json(shapes, layers_by_model, dependence_by_model, seed), "provenance": made})
        return
    for table in _tables(shapes, layers_by_model, dependence_by_model, measure):
        show_study_table(table)
    for name, all_of in dependence_by_model.items():
        say(_summary(name, all_of))


def _as_json(
    shapes: dict[str, WeightDistribution],
    layers_by_model: dict[str, list[WeightDistribution]],
    dependence_by_model: dict[str, list[LayerDependency]],
    seed: int,
) -> dict[str, Any]:
    return {
        "models": [
            {
                **shape.to_dict(),
                "layers": [layer.to_dict() for layer in layers_by_model.get(name, ())],
                "dependence": [one.to_dict() for one in dependence_by_model.get(name, ())],
                "seed": seed,
            }
            for name, shape in shapes.items()
        ]
    }


def _names(sources: list[Path]) -> list[str]:
    """Names of files without folder and ending, or the shapes path where they would be the same."""
    stems = [source.stem for source in sources]
    return [
        stem if stems.count(stem) == 1 else str(source.with_suffix(""))
        for stem, source in zip(stems, sources, strict=True)
    ]


def _tables(
    shapes: dict[str, WeightDistribution],
    layers_by_model: dict[str, list[WeightDistribution]],
    dependence_by_model: dict[str, list[LayerDependency]],
    by: Measure,
) -> list[Table]:
    from enxuto.weights.tables import dependency_table, layer_table, similar_table

    tables = [similar_table(list(shapes.values()), "sse"), similar_table(list(shapes.values()), "kl")]
    tables += [layer_table(name, shapes, by) for name, shapes in layers_by_model.items()]
    return tables + [dependency_table(name, all_of) for name, all_of in dependence_by_model.items()]


def _summary(name: str, dependence_by_model: list[LayerDependency]) -> str:
    from enxuto.weights.tables import strongest_axes

    means = ", ".join(f"{axis} {bits:.3f}" for axis, bits in strongest_axes(dependence_by_model).items())
    return (
        f"{name}: mean information of a neighbour, bits a weight: {means or 'no axis has neighbours enough'}"
    )


def _write(
    folder: Path,
    shapes: dict[str, WeightDistribution],
    layers_by_model: dict[str, list[WeightDistribution]],
    dependence_by_model: dict[str, list[LayerDependency]],
    by: Measure,
    ending: str,
    seed: int,
) -> None:
    """Tables and charts into a folder."""
    from enxuto.files import atomic_write
    from enxuto.report.figures.weights import draw_weights
    from enxuto.tables import as_markdown
    from enxuto.weights.tables import dependency_csv, distributions_csv

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot make the folder {folder}: {error.strerror or error}", code="E013"
        ) from error
    texts = {"weights.md": as_markdown(_tables(shapes, layers_by_model, dependence_by_model, by))}
    texts["weights.csv"] = distributions_csv(
        {name: [shape, *layers_by_model.get(name, [])] for name, shape in shapes.items()}
    )
    if dependence_by_model:
        texts["dependence.csv"] = dependency_csv(dependence_by_model)
    for file, text in texts.items():
        with atomic_write(folder / file) as target:
            target.write(text.encode())
    for name, shape in shapes.items():
        draw_weights(
            name,
            shape,
            layers_by_model.get(name, ()),
            dependence_by_model.get(name, ()),
            folder,
            ending,
            seed=seed,
        )
    note(f"wrote tables and charts into {folder}")

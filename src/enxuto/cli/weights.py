"""`enxuto weights`: what a model's weights look like, and whether they depend on each other."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enxuto.cli.shared.provenance import provenance, write_provenance
from enxuto.cli.shared.study_options import show
from enxuto.cli.shared.terminal import note, print_json, progress_bar, say, warn
from enxuto.errors import UsageError

if TYPE_CHECKING:
    from enxuto.tables import Table
    from enxuto.weights.dependency import Dependency
    from enxuto.weights.distribution import Measure, WeightShape

HELP = """Show what the weights of ONNX models or `.enx` files look like: most similar distributions, dependence.

Ten families of distributions are fitted to the histogram of each model, and with `--layers` of each layer, and ranked
by SSE and by D(P‖Q). `--dependence` measures what neighbouring weights tell of each other along every axis of a layer.
`--out` writes tables as Markdown and CSV, and charts. Needs SciPy and matplotlib: `pip install '.[report]'` in a
checkout.

    enxuto weights resnet20.onnx squeezenet.onnx
    enxuto weights resnet20.onnx --layers --dependence --out weights/
"""


def run(
    sources: Annotated[list[Path], typer.Argument(metavar="MODEL...", help="ONNX models or .enx files.")],
    layers: Annotated[bool, typer.Option("--layers", help="Each layer by itself too.")] = False,
    dependence: Annotated[
        bool, typer.Option("--dependence", help="Dependence of neighbouring weights, by sampling.")
    ] = False,
    by: Annotated[str, typer.Option(help="What layers are ranked by: sse or kl.")] = "kl",
    out: Annotated[Path | None, typer.Option(help="Folder for tables and charts.")] = None,
    svg: Annotated[bool, typer.Option("--svg", help="Charts as SVG instead of PNG.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the pairs drawn for --dependence.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Read, fit, show, write."""
    from enxuto.opening import load
    from enxuto.weights.dependency import dependencies
    from enxuto.weights.distribution import layer_shapes, model_shape

    if by not in ("sse", "kl"):
        raise UsageError(f"--by is sse or kl, not {by!r}")
    measure: Measure = "sse" if by == "sse" else "kl"
    names = _names(sources)
    whole: dict[str, WeightShape] = {}
    inside: dict[str, list[WeightShape]] = {}
    found: dict[str, list[Dependency]] = {}
    with progress_bar("fitting") as progress:
        for source, name in zip(sources, names, strict=True):
            model = load(source)
            progress(name, 0, 1)
            shape = model_shape(model, name)
            if shape is None:
                warn(f"{source}: its learned values are all equal, or there are none; it is left out")
                continue
            whole[name] = shape
            if layers:
                inside[name] = layer_shapes(model, partial(progress, name))
            if dependence:
                found[name] = dependencies(model, seed=seed, progress=partial(progress, name))
    if not whole:
        raise UsageError("no model has weights that differ; nothing to show")
    made = provenance(seed=seed)
    if out is not None:
        _write(out, whole, inside, found, measure, ".svg" if svg else ".png", seed)
        write_provenance(out, made)
    if json:
        print_json({**_as_json(whole, inside, found, seed), "provenance": made})
        return
    for table in _tables(whole, inside, found, measure):
        show(table)
    for name, all_of in found.items():
        say(_summary(name, all_of))


def _as_json(
    whole: dict[str, WeightShape],
    inside: dict[str, list[WeightShape]],
    found: dict[str, list[Dependency]],
    seed: int,
) -> dict[str, Any]:
    return {
        name: {
            **shape.to_dict(),
            "layers": [layer.to_dict() for layer in inside.get(name, ())],
            "dependence": [one.to_dict() for one in found.get(name, ())],
            "seed": seed,
        }
        for name, shape in whole.items()
    }


def _names(sources: list[Path]) -> list[str]:
    """Names of files without folder and ending, or the whole path where they would be the same."""
    stems = [source.stem for source in sources]
    return [
        stem if stems.count(stem) == 1 else str(source.with_suffix(""))
        for stem, source in zip(stems, sources, strict=True)
    ]


def _tables(
    whole: dict[str, WeightShape],
    inside: dict[str, list[WeightShape]],
    found: dict[str, list[Dependency]],
    by: Measure,
) -> list[Table]:
    from enxuto.weights.tables import dependency_table, layer_table, similar_table

    tables = [similar_table(list(whole.values()), "sse"), similar_table(list(whole.values()), "kl")]
    tables += [layer_table(name, shapes, by) for name, shapes in inside.items()]
    return tables + [dependency_table(name, all_of) for name, all_of in found.items()]


def _summary(name: str, found: list[Dependency]) -> str:
    from enxuto.weights.tables import strongest_axes

    means = ", ".join(f"{axis} {bits:.3f}" for axis, bits in strongest_axes(found).items())
    return (
        f"{name}: mean information of a neighbour, bits a weight: {means or 'no axis has neighbours enough'}"
    )


def _write(
    out: Path,
    whole: dict[str, WeightShape],
    inside: dict[str, list[WeightShape]],
    found: dict[str, list[Dependency]],
    by: Measure,
    ending: str,
    seed: int,
) -> None:
    """Tables and charts into a folder."""
    from enxuto.files import atomic_write
    from enxuto.report.figures.weights import draw_weights
    from enxuto.tables import as_markdown
    from enxuto.weights.tables import dependency_csv, shapes_csv

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {out}: {error.strerror or error}") from error
    texts = {"weights.md": as_markdown(_tables(whole, inside, found, by))}
    texts["weights.csv"] = shapes_csv({name: [shape, *inside.get(name, [])] for name, shape in whole.items()})
    if found:
        texts["dependence.csv"] = dependency_csv(found)
    for file, text in texts.items():
        with atomic_write(out / file) as target:
            target.write(text.encode())
    for name, shape in whole.items():
        draw_weights(name, shape, inside.get(name, ()), found.get(name, ()), out, ending, seed=seed)
    note(f"wrote tables and charts into {out}")

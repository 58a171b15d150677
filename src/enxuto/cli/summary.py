"""`enxuto summary`: the layer table of a network."""

from __future__ import annotations

from typing import Annotated

import typer

from enxuto.cli.shared.terminal import note, print_json, show_table, write_text
from enxuto.errors import UsageError

__all__ = ["HELP", "input_shape", "run"]

HELP = """Show the layer table of a network: volumes, kernels, parameters, memory, operations, receptive fields.

MODEL is an ONNX file, a name that `enxuto zoo` lists, or `module:factory`, a function without arguments that returns
a torch module (then `--input C,H,W` is needed). Nothing is run and no weight is computed with. Below the layers a
table of stages shows where parameters, activations and operations sit.

```
enxuto summary vgg16 --count lecture
enxuto summary model.onnx --depth 2 --json
```
"""


_LESS = ("no bias", "FLOPs", "memory", "input", "field", "window", "activ.", "operator", "MACs")


def run(
    model: Annotated[str, typer.Argument(help="An ONNX file, a network of the zoo, or module:factory.")],
    image: Annotated[
        str | None, typer.Option("--input", metavar="C,H,W", help="Channels, height and width of the input.")
    ] = None,
    classes: Annotated[int | None, typer.Option(help="Number of classes, for a network of the zoo.")] = None,
    depth: Annotated[
        int | None, typer.Option(help="One row a block: group by the first DEPTH parts of the names.")
    ] = None,
    count: Annotated[
        str,
        typer.Option(
            help="Activations: `all` operators' outputs; `volumes` of image, convolutions, pools and linear layers; "
            "`lecture`: what convolutions read and write and pools write."
        ),
    ] = "all",
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON to stdout.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Write Markdown to stdout.")] = False,
) -> None:
    """Show the layer table; see `HELP`."""
    from enxuto.summary import COUNTS, summarize, text

    counting = next((known for known in COUNTS if known == count), None)
    if counting is None:
        raise UsageError(f"--count must be one of {', '.join(COUNTS)}, not {count!r}")
    if as_json and as_markdown:
        raise UsageError("--json and --markdown exclude each other; leave one out")
    found = summarize(model, input_shape=input_shape(image), classes=classes)
    stages = found.stages(depth, counting)
    if as_json:
        print_json(found.to_dict(depth=depth, count=counting))
    elif as_markdown:
        write_text(text.markdown(found, depth=depth, count=counting))
    else:
        title = f"{found.source}, input {text.volume(found.input)}"
        if depth is None:
            cells = [text.layer_cells(row, counting) for row in found.layers]
            show_table(title, text.LAYER_COLUMNS, cells, give_way=_LESS)
            title = "where the parameters, the activations and the operations sit"
        caption = "\n".join(text.totals(found, counting))
        show_table(
            title,
            text.STAGE_COLUMNS,
            text.stage_cells(stages),
            caption=caption,
            give_way=("output", "layers", "activations"),
        )
    for remark in found.remarks:
        note(remark)


def input_shape(written: str | None) -> tuple[int, ...] | None:
    """The numbers of `3,224,224`; `UsageError` for anything else."""
    if written is None:
        return None
    parts = written.replace("×", ",").replace("x", ",").split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"--input must be channels,height,width as in 3,224,224, not {written!r}")
    return tuple(int(part) for part in parts)

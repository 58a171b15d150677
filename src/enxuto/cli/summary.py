"""`enxuto summary`: the layer table of a network."""

from __future__ import annotations

from typing import Annotated

import typer

from enxuto.cli.shared.common_options import InputShape, Json
from enxuto.cli.shared.completion import complete_networks
from enxuto.cli.shared.network_options import NetworkOptions
from enxuto.cli.shared.terminal import note, print_json, show_table, write_text
from enxuto.cli.shared.values import parse_input_shape
from enxuto.errors import UsageError, did_you_mean

__all__ = ["HELP", "run"]

HELP = """Show the layer table of a network: volumes, kernels, parameters, memory, operations, receptive fields.

MODEL is an ONNX or .enx file, a name that `enxuto zoo` lists, or `module:factory`, a function without arguments that
returns a torch module; a factory needs `--input-shape C,H,W`. `--option` builds another form of a zoo's network. The
network is not run, and its weights are not read.
Below the layers a table of stages shows where parameters, activations and operations are.

```
enxuto summary vgg16 --count lecture
enxuto summary mobilenet --option width=0.5 --option resolution=0.714
enxuto summary model.onnx --depth 2 --json
```
"""


_LESS = ("no bias", "FLOPs", "memory", "input", "field", "window", "activ.", "operator", "MACs")


def run(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            autocompletion=complete_networks,
            help="An ONNX or .enx file, a network of the zoo, or module:factory.",
        ),
    ],
    network_options: NetworkOptions,
    input_shape: InputShape = None,
    classes: Annotated[
        int | None, typer.Option(metavar="N", help="Number of classes, for a network of the zoo.")
    ] = None,
    depth: Annotated[
        int | None,
        typer.Option(metavar="N", help="Show one row a block: group by the first N parts of names."),
    ] = None,
    count: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Which activations are counted. all: outputs of all operators. volumes: the image and the outputs "
            "of convolutions, pools and linear layers. lecture: what convolutions read and write, and pools write.",
        ),
    ] = "all",
    as_json: Json = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the result as Markdown.")] = False,
) -> None:
    """Show the layer table; see `HELP`."""
    from enxuto.summary import COUNTS, summarize, text

    counting = next((known for known in COUNTS if known == count), None)
    if counting is None:
        raise UsageError(
            f"--count is {', '.join(COUNTS)}, not {count!r}{did_you_mean(count, COUNTS)}", code="E021"
        )
    if as_json and as_markdown:
        raise UsageError("--json and --markdown exclude each other; leave one out", code="E022")
    summary = summarize(
        model,
        input_shape=parse_input_shape(input_shape),
        classes=classes,
        options=network_options.read(model),
    )
    stages = summary.stages(depth, counting)
    if as_json:
        print_json(summary.to_dict(depth=depth, count=counting))
    elif as_markdown:
        write_text(text.markdown(summary, depth=depth, count=counting))
    else:
        title = f"{summary.source}, input {text.volume(summary.input)}"
        if depth is None:
            cells = [text.layer_cells(row, counting) for row in summary.layers]
            show_table(title, text.LAYER_COLUMNS, cells, give_way=_LESS)
            title = "where the parameters, the activations and the operations sit"
        caption = "\n".join(text.totals(summary, counting))
        show_table(
            title,
            text.STAGE_COLUMNS,
            text.stage_cells(stages),
            caption=caption,
            give_way=("output", "layers", "activations"),
        )
    for remark in summary.remarks:
        note(remark)

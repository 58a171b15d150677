"""`enxuto diff`: a newer network as what changed in an `.enx` file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from enxuto.cli.shared.common_options import Force, Json, Threads
from enxuto.cli.shared.outputs import default_file
from enxuto.cli.shared.provenance import provenance
from enxuto.cli.shared.terminal import note, print_json, warnings_as_remarks
from enxuto.tables import as_percent

HELP = """Write what changed since an `.enx` file: a network trained a little further in a tenth of its bytes.

Who has the old file needs only the difference: `enxuto apply` makes the new file of both, to the byte. The new network
is an `.enx` file, or an ONNX model, whose weights are then rounded on the old file's own grids. Where the old file was
compressed with images, `--original` is the model that it was made from: its rounding is then kept.

`--price` says how precise an ONNX model is kept: a level moves where it wins more squared error than its bits cost.

```
enxuto diff old.enx new.onnx -o patch.enxd
enxuto diff old.enx new.onnx --original old.onnx --price 0
enxuto diff old.enx new.enx
```
"""


def run(
    source: Annotated[Path, typer.Argument(metavar="OLD.enx", help="The file that its readers have.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The newer network, an .enx file or an ONNX model.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="The difference file; by default NEW's name with .enxd."
        ),
    ] = None,
    original: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL.onnx",
            help="Of a new ONNX model: what the old file was made from; needed where that was calibrated.",
        ),
    ] = None,
    price: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="X",
            help="Of a new ONNX model: what a bit is worth, in squared steps. Default 0.002; 0 rounds to the nearest.",
        ),
    ] = None,
    force: Force = False,
    threads: Threads = 0,
    json: Json = False,
) -> None:  # fmt: skip
    """Make the difference and write it."""
    from enxuto.differences.entry import diff

    target = output or default_file(new.with_suffix(".enxd"), force=force)
    with warnings_as_remarks():
        patch = diff(source, new, original=original, price=price, threads=threads)
    size = patch.save(target)
    changed = sum(change.how != "same" for change in patch.table.changed)
    if json:
        print_json({"output": str(target), "bytes": size, "payloads": patch.table.rows, "changed": changed,
                    "old_bytes": source.stat().st_size, "base": patch.table.base, "result": patch.table.result,
                    "provenance": provenance(threads=threads)})  # fmt: skip
    else:
        if size >= source.stat().st_size:
            note(
                f"the difference is no shorter than {source}: the networks share little, so send a new .enx file"
            )
        note(
            f"wrote {target} ({size:,} B, {as_percent(size / source.stat().st_size, 1)} of {source}): "
            f"{changed} of {patch.table.rows} payloads changed"
        )

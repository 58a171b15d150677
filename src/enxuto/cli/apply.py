"""`enxuto apply`: an `.enx` file and a difference file become the newer file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from enxuto.cli.shared.common_options import Force, Json, Threads
from enxuto.cli.shared.outputs import default_file
from enxuto.cli.shared.provenance import provenance
from enxuto.cli.shared.terminal import note, print_json

HELP = """Make the newer file of an `.enx` file and a difference file that `enxuto diff` wrote.

The new file is the one that was meant, to the byte: its hash is in the difference file, and so is that of the old file,
without which nothing is written. An output named .onnx is a plain ONNX model.

```
enxuto apply old.enx patch.enxd -o new.enx
enxuto apply old.enx patch.enxd -o new.onnx
```
"""


def run(
    source: Annotated[
        Path, typer.Argument(metavar="OLD.enx", help="The file that the difference was made to.")
    ],
    patch: Annotated[Path, typer.Argument(metavar="PATCH.enxd", help="The difference.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="The new file, .enx or .onnx; by default PATCH's name with .enx.",
        ),
    ] = None,
    force: Force = False,
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """Apply the difference and write the file."""
    from enxuto.differences.entry import apply
    from enxuto.differences.patch import Patch, hash_of_file

    target = output or default_file(patch.with_suffix(".enx"), force=force)
    read = Patch.read(patch)
    made = apply(source, read)
    if target.suffix.lower() == ".onnx":
        made.write_onnx(target, threads=threads)
        same = None
    else:
        made.save(target)
        same = hash_of_file(target) == read.table.result
    size = target.stat().st_size
    if json:
        print_json({"output": str(target), "bytes": size, "same_bytes": same,
                    "provenance": provenance(threads=threads)})  # fmt: skip
        return
    note(f"wrote {target} ({size:,} B) from {source} and {patch} ({patch.stat().st_size:,} B)")
    if same is False:
        note("its content is what was meant, but this machine's liblzma packs its head in other bytes")

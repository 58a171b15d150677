"""`enxuto decompress`: an `.enx` file becomes a plain ONNX model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from enxuto.cli.shared.outputs import default_file, refuse_terminal, to_stdout
from enxuto.cli.shared.terminal import note, print_json

HELP = """Turn an `.enx` file back into a plain ONNX model that any runtime accepts.

The same file gives the same bits on every machine. From 2 GB on, ONNX itself needs a second file for the weights,
which is then written beside the first. `-o -` writes to stdout.

    enxuto decompress model.enx
    enxuto decompress model.enx -o small.onnx --threads 1
"""


def run(
    source: Annotated[Path, typer.Argument(metavar="FILE.enx", help="The compressed model.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Where to write; default: the same name with .restored.onnx."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write over a file that has the default name.")
    ] = False,
    threads: Annotated[int, typer.Option(min=0, help="Threads; 0 takes one per processor.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Decode and write."""
    from enxuto.enx.file import CompressedModel
    from enxuto.onnx_model import total_bytes

    streamed = refuse_terminal(output, json=json)
    target = output or default_file(source.with_suffix(".restored.onnx"), force=force)
    compressed = CompressedModel.read(source)
    if streamed:
        to_stdout([compressed.to_model(threads=threads).to_bytes()])
        return
    compressed.write_onnx(target, threads=threads)
    size = total_bytes(target)
    if json:
        print_json({"output": str(target), "bytes": size, "enx_bytes": compressed.file_bytes})
    else:
        note(f"wrote {target} ({size:,} B) from {source.stat().st_size:,} B")

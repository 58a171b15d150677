"""`enxuto decompress`: an `.enx` file becomes a plain ONNX model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from enxuto.cli.shared.common_options import Force, Json, Threads
from enxuto.cli.shared.outputs import default_file, write_to_stdout, writes_to_stdout
from enxuto.cli.shared.provenance import provenance
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
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="The ONNX file; by default the same name with .restored.onnx. - writes to stdout.",
        ),
    ] = None,
    force: Force = False,
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """Decode the file and write the model."""
    from enxuto.enx.file import CompressedModel
    from enxuto.onnx_model import total_bytes

    streamed = writes_to_stdout(output, json=json)
    compressed = CompressedModel.read(source)
    target = output or default_file(source.with_suffix(".restored.onnx"), force=force)
    if streamed:
        write_to_stdout([compressed.to_model(threads=threads).to_bytes()])
        return
    compressed.write_onnx(target, threads=threads)
    size = total_bytes(target)
    if json:
        print_json({"output": str(target), "bytes": size, "enx_bytes": compressed.file_bytes,
                    "provenance": provenance(threads=threads)})  # fmt: skip
    else:
        note(f"wrote {target} ({size:,} B) from {source.stat().st_size:,} B")

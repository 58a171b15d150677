"""`enxuto inspect`: what is in a model or an `.enx` file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enxuto.cli.shared.common_options import Json
from enxuto.cli.shared.ledger import show_ledger
from enxuto.cli.shared.provenance import provenance
from enxuto.cli.shared.terminal import print_json, show_table

if TYPE_CHECKING:
    from enxuto.enx.file import CompressedModel

HELP = """Show the size ledger, the metadata and the tensor table of an `.enx` file, or the weights of an ONNX model.

```
enxuto inspect model.enx
enxuto inspect model.onnx --json
```
"""


def run(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="An .enx file or an ONNX model.")],
    json: Json = False,
) -> None:
    """Read the file and show what is in it."""
    from enxuto.enx.file import CompressedModel, is_enx

    if is_enx(source) or source.suffix == ".enx":
        _show_compressed(CompressedModel.read(source), source, json)
    else:
        _show_onnx(source, json)


def _show_compressed(compressed: CompressedModel, source: Path, json: bool) -> None:
    from enxuto.enx.inspect import tensor_facts
    from enxuto.enx.ledger import ledger_of

    ledger = ledger_of(compressed, file_bytes=source.stat().st_size)
    rows = [tensor_facts(entry, part) for entry, part in compressed.entries()]
    if json:
        print_json({"file": str(source), **ledger.to_dict(), "metadata": compressed.metadata,
                    "head_bytes": compressed.head_bytes, "tensors": rows,
                    "provenance": provenance()})  # fmt: skip
        return
    show_ledger(ledger, str(source))
    headings = ("name", "shape", "quantizer", "step", "coder", "bytes", "bits/value", "entropy")
    show_table(
        "tensors",
        {
            heading: "left" if heading in ("name", "shape", "quantizer", "coder") else "right"
            for heading in headings
        },
        [_cells(row) for row in rows],
        caption=f"table, graph and signature: {compressed.head_bytes:,} B. "
        "Entropy: of order 0, bits per value; coder contexts can do with less.",
        give_way=("coder", "entropy", "step", "shape"),
    )
    metadata = {
        key: value for key, value in compressed.metadata.items() if key not in ("original", "parameters")
    }
    if metadata:
        show_table(
            "metadata",
            {"key": "left", "value": "left"},
            [
                (key, f"{len(value)} entries" if isinstance(value, list) else str(value))
                for key, value in metadata.items()
            ],
        )


def _cells(facts: dict[str, Any]) -> tuple[str, ...]:
    """Return a row of the tensor table as text."""
    return (
        facts["name"],
        _shape_text(facts["shape"]),
        facts["quantizer"],
        facts["step"],
        facts["coder"],
        "shared" if facts["bytes"] is None else f"{facts['bytes']:,}",
        "" if facts["bits"] is None else f"{facts['bits']:.3f}",
        "" if facts["entropy"] is None else f"{facts['entropy']:.3f}",
    )


def _shape_text(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "scalar"


def _show_onnx(source: Path, json: bool) -> None:
    from enxuto.enx.learned import parameters
    from enxuto.onnx_model import Model, total_bytes

    model = Model.read(source)
    size = total_bytes(source)
    infos = list(model.infos())
    if json:
        weights = [
            {
                "name": info.name,
                "role": str(info.role),
                "shape": list(info.shape),
                "type": str(info.dtype),
                "bytes": info.bytes,
            }
            for info in infos
        ]
        print_json({"file": str(source), "bytes": size, "parameters": parameters(model), "weights": weights,
                    "provenance": provenance()})  # fmt: skip
        return
    show_table(
        f"{source} · {parameters(model):,} parameters · {size:,} B",
        {"name": "left", "role": "left", "shape": "left", "type": "left", "bytes": "right"},
        [
            (info.name, str(info.role), _shape_text(info.shape), str(info.dtype), f"{info.bytes:,}")
            for info in infos
        ],
        caption=f"{model.stripped_bytes:,} B of documentation and value types would be left out by compress"
        if model.stripped_bytes
        else None,
        give_way=("type", "role", "shape"),
    )

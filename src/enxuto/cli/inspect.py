"""`enxuto inspect`: what is in a model or an `.enx` file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enxuto.cli.shared.common_options import Json
from enxuto.cli.shared.ledger import show_ledger
from enxuto.cli.shared.provenance import provenance
from enxuto.cli.shared.terminal import print_json, show_table

if TYPE_CHECKING:
    from enxuto.enx.file import CompressedModel

_MOST_VALUES = 10  # of a list in the metadata; longer ones are counted

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
    from enxuto.enx.file import CompressedModel
    from enxuto.enx.signature import is_enx

    if is_enx(source) or source.suffix == ".enx":
        _show_compressed(CompressedModel.read(source), source, json)
    else:
        _show_onnx(source, json)


def _show_compressed(compressed: CompressedModel, source: Path, json: bool) -> None:
    from enxuto.enx.fingerprint import FINGERPRINT_KEY
    from enxuto.enx.inspect import rows_of_tensors
    from enxuto.enx.ledger import ledger_of

    ledger = ledger_of(compressed, file_bytes=source.stat().st_size)
    rows = rows_of_tensors(compressed)
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
        caption=f"table, graph (with tensors that stay in it) and signature: {compressed.head_bytes:,} B. Entropy: the "
        "fewest bits per value when each is coded alone. The coders contexts and trellis also look at neighbours, and "
        "can need fewer.",
        give_way=("coder", "entropy", "step", "shape"),
    )
    rows_of_metadata = [
        row
        for key, value in compressed.metadata.items()
        if key not in ("original", "parameters")
        for row in _metadata_rows("hash of the original's weights" if key == FINGERPRINT_KEY else key, value)
    ]
    if rows_of_metadata:
        show_table("metadata", {"key": "left", "value": "left"}, rows_of_metadata)


def _metadata_rows(key: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield a row for a value, or for each value inside it, such as `preprocess.mean`."""
    if isinstance(value, dict):
        for inner, one in value.items():
            yield from _metadata_rows(f"{key}.{inner}", one)
    elif isinstance(value, list):
        short = len(value) <= _MOST_VALUES and not any(isinstance(one, (dict, list)) for one in value)
        yield key, ", ".join(map(_value_text, value)) if short else f"{len(value):,} entries"
    else:
        yield key, _value_text(value)


def _value_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _cells(facts: dict[str, Any]) -> tuple[str, ...]:
    """Return a row of the tensor table as text."""
    return (
        facts["name"],
        _shape_text(facts["shape"]),
        _quantizer_text(facts),
        _step_text(facts),
        facts["coder"],
        "shared" if facts["bytes"] is None else f"{facts['bytes']:,}",
        "" if facts["bits"] is None else f"{facts['bits']:.3f}",
        "" if facts["entropy"] is None else f"{facts['entropy']:.3f}",
    )


def _quantizer_text(facts: dict[str, Any]) -> str:
    delta = facts["settings"].get("delta")
    return str(facts["quantizer"]) if delta is None else f"{facts['quantizer']} δ={delta:g}"


def _step_text(facts: dict[str, Any]) -> str:
    """Return the step, its range, or the numbers that a quantizer without a step has in its place."""
    step = facts["step"]
    if isinstance(step, list):
        return f"{step[0]:.3g} – {step[1]:.3g}"
    if step is not None:
        return f"{step:.4g}"
    numbers = {name: value for name, value in facts["settings"].items() if isinstance(value, (int, float))}
    return " ".join(f"{name}={value:g}" for name, value in numbers.items())


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

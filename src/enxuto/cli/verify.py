"""`enxuto verify`: checksums, decoding, comparison with the original."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from enxuto.cli.terminal import note, print_json, progress_bar, show_table

HELP = """Check an `.enx` file: checksums, decoding, and, with the original model, every weight against it.

Exit code 1 where anything is wrong. Exact tensors must be equal bit for bit, quantized ones within their step.

```
enxuto verify model.enx
enxuto verify model.enx model.onnx
```
"""


def run(
    source: Annotated[Path, typer.Argument(metavar="FILE.enx", help="The compressed model.")],
    original: Annotated[
        Path | None, typer.Argument(metavar="[MODEL.onnx]", help="The model it was made from.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Verify and report."""
    from enxuto.container import CompressedModel
    from enxuto.errors import FormatError
    from enxuto.onnx_model import Model
    from enxuto.verification import Verification, verify

    try:
        compressed = CompressedModel.read(source)
        with progress_bar("verifying") as progress:
            result = verify(compressed, Model.read(original) if original else None, progress=progress)
    except FormatError as error:
        result = Verification(0, 0, False, (), (str(error),))
    if json:
        print_json(result.to_dict())
    else:
        _show(result, source)
    if not result.ok:
        raise typer.Exit(1)


def _show(result: object, source: Path) -> None:
    from enxuto.verification import Verification

    assert isinstance(result, Verification)
    quantized = [check for check in result.checks if not check.exact]
    if quantized:
        show_table(
            "quantized tensors against the original",
            {"name": "left", "largest error": "right", "allowed": "right", "SQNR dB": "right", "": "left"},
            [
                (check.name, f"{check.largest_error:.4g}", "–" if check.bound is None else f"{check.bound:.4g}",
                 "–" if check.sqnr is None else f"{check.sqnr:.1f}", "" if check.ok else "WRONG")
                for check in quantized
            ],
            give_way=("SQNR dB", "allowed"),
        )  # fmt: skip
    for problem in result.problems:
        note(f"problem: {problem}")
    if result.ok:
        exact = sum(check.exact for check in result.checks)
        moved = sum(check.bound is None for check in quantized)
        more = ""
        if result.compared:
            more = f"; {exact} exact tensors equal bit for bit, {len(quantized) - moved} within their steps"
            more += f", {moved} moved by calibrated rounding, which has no bound" if moved else ""
        note(f"{source} is sound: {result.payloads} payloads, {result.tensors} tensors{more}")

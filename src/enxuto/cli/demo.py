"""`enxuto demo`: the whole path on a small real network, in seconds."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enxuto.cli.ledger import show_ledger
from enxuto.cli.provenance import provenance
from enxuto.cli.terminal import note, print_json, progress_bar, show_table

if TYPE_CHECKING:
    from enxuto.evaluation import Evaluation
    from enxuto.onnx_model import Model

HELP = """Shrink a small real network tenfold, decode it, and compare: no data, no torch, no network connection needed.

The package carries a LeNet for handwritten digits and 360 test images that it was not trained on.

    enxuto demo
    enxuto demo --bits 2.5 --keep demo-files
"""


def run(
    bits: Annotated[float, typer.Option(help="Bits per weight of the compressed file.")] = 2.9,
    keep: Annotated[
        Path | None, typer.Option(help="Folder to keep the three files in; default: none are kept.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Compress, decode, verify, evaluate before and after."""
    from enxuto.api import onnx_metadata, with_metadata
    from enxuto.compression import compress
    from enxuto.container import CompressedModel
    from enxuto.demo import MODEL
    from enxuto.errors import FormatError
    from enxuto.ledger import ledger_of, original_sizes
    from enxuto.onnx_model import Model

    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() if keep is None else nullcontext(str(keep)) as folder:
        source, small, restored = (
            Path(folder) / name for name in ("digits.onnx", "digits.enx", "digits-restored.onnx")
        )
        shutil.copyfile(MODEL, source)
        model = Model.read(source)
        with progress_bar("compressing") as progress:
            metadata = {**onnx_metadata(model), "original": original_sizes(source)}
            compressed = compress(model, bits=bits, metadata=metadata, progress=progress)
            compressed.save(small)
            read = CompressedModel.read(small)
            with_metadata(read).write_onnx(restored)
            decoded, again = Model.read(restored), compressed.to_model()
            if any(decoded.load(name).tobytes() != again.load(name).tobytes() for name in again.weight_names):
                raise FormatError("the decoded model is not what was coded; please report this")
            before, after = _evaluate(model, decoded)
    ledger = ledger_of(read)
    if json:
        made = provenance(samples=after.samples, data=after.data_hash)
        print_json(
            {**ledger.to_dict(), "before": before.to_dict(), "after": after.to_dict(), "provenance": made}
        )
        return
    show_ledger(ledger, "LeNet on handwritten digits")
    _show_accuracy(before, after)
    note(
        "The .enx file was decoded to plain ONNX again, bit for bit what was coded, and run by ONNX Runtime."
    )
    note("Next:  enxuto compress model.onnx              your own model, answers kept as they are")
    note("       enxuto compress model.onnx --bits 4     or a size you choose")
    note("       enxuto evaluate model.enx --data test.parquet --reference model.onnx")


def _evaluate(model: Model, decoded: Model) -> tuple[Evaluation, Evaluation]:
    """Score both models on the held-out images, the decoded one against the original."""
    from enxuto.api import onnx_metadata, preprocess_of
    from enxuto.data import Preprocess, open_dataset
    from enxuto.demo import TEST_IMAGES
    from enxuto.evaluation import evaluate
    from enxuto.runtime import Runner

    images = open_dataset(TEST_IMAGES)
    preprocess = preprocess_of(onnx_metadata(model)) or Preprocess(channels="L")
    original = Runner(model)
    before = evaluate(original.scores, images, preprocess=preprocess)
    after = evaluate(Runner(decoded).scores, images, preprocess=preprocess, reference=original.scores)
    return before, after


def _show_accuracy(before: Evaluation, after: Evaluation) -> None:
    agreement = "" if after.agreement is None else f"{after.agreement:.2%}"
    show_table(
        f"accuracy on {after.samples} held-out images",
        {"model": "left", "top-1": "right", "same answer as the original": "right"},
        [("original ONNX", f"{before.top1:.2%}", ""), ("decoded from .enx", f"{after.top1:.2%}", agreement)],
    )

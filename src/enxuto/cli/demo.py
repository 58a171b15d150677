"""`enxuto demo`: the whole path on a small real network, in seconds; without images, and calibrated on a few."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enxuto.cli.shared.calibration_options import CALIBRATED_STAGES, SEARCH_STAGES
from enxuto.cli.shared.common_options import Json
from enxuto.cli.shared.ledger import show_ledger
from enxuto.cli.shared.provenance import provenance
from enxuto.cli.shared.terminal import human_bytes, note, note_command, print_json, progress_bar, show_table
from enxuto.progress import Progress
from enxuto.tables import as_percent

if TYPE_CHECKING:
    from enxuto.compression.judge import Bounds
    from enxuto.compression.split import ImageSplit
    from enxuto.data import Dataset, Preprocess
    from enxuto.enx.file import CompressedModel
    from enxuto.enx.ledger import Ledger
    from enxuto.evaluation import Evaluation
    from enxuto.onnx_model import Model

HELP = """Shrink a small real network elevenfold, with a few images 28-fold, decode it and compare.

Needs no data, no PyTorch and no network connection. The package carries a LeNet for handwritten digits and 360 images
that it was not trained on. 64 of them calibrate, without their labels, and the others judge.

    enxuto demo
    enxuto demo --bits 2.5 -o demo-files
"""

_CALIBRATING = 64
_TARGET = 10_000  # bytes, with which nearly all answers of this network stay
_SEED = 0
_NEXT = {
    "enxuto compress model.onnx": "your own model, answers kept as they are",
    "enxuto compress model.onnx --bits 4": "or a size you choose",
    "enxuto compress model.onnx --data photos/ --max-drop 0.5": "or a loss, calibrated",
    "enxuto evaluate model.enx --data test.parquet --reference model.onnx": "what it still answers",
}


@dataclass(frozen=True)
class _CompressedFile:
    """A file of the demo: what it costs and what it answers."""

    ledger: Ledger
    answers: Evaluation


def run(
    bits: Annotated[
        float, typer.Option(metavar="X", help="Bits per weight of the file that is made without images.")
    ] = 2.9,
    folder: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="DIR", help="Keep the files in a folder; by default none is kept."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Compress, calibrate and compress, decode, verify, evaluate."""
    from enxuto.compression.data_free import compress
    from enxuto.compression.split import split_images
    from enxuto.data import Preprocess, open_dataset
    from enxuto.demo import MODEL, TEST_IMAGES
    from enxuto.enx.ledger import original_sizes
    from enxuto.evaluation import evaluate
    from enxuto.onnx_model import Model
    from enxuto.opening import onnx_metadata, preprocess_of
    from enxuto.runtime import Runner

    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() if folder is None else nullcontext(str(folder)) as place:
        source = Path(place) / "digits.onnx"
        shutil.copyfile(MODEL, source)
        model = Model.read(source)
        known = onnx_metadata(model)
        preprocess = preprocess_of(known) or Preprocess(channels="L")
        parts = split_images(open_dataset(TEST_IMAGES), None, _bounds(), _CALIBRATING, _SEED)
        assert parts.calibration is not None
        assert parts.held_out is not None
        judging = parts.held_out
        before = evaluate(Runner(model).scores, judging, preprocess=preprocess)
        metadata = {**known, "original": original_sizes(source)}
        with progress_bar("searching steps", SEARCH_STAGES[2:]) as progress:
            without_images = compress(model, bits=bits, metadata=metadata, progress=progress)
        with progress_bar("watching layers", CALIBRATED_STAGES[1:-1]) as progress:
            calibrated = _compress_calibrated(model, parts, preprocess, metadata, progress)
        first = _save_and_evaluate(without_images, model, Path(place) / "digits.enx", judging, preprocess)
        second = _save_and_evaluate(
            calibrated, model, Path(place) / "digits-calibrated.enx", judging, preprocess
        )
    if json:
        print_json(_as_json(before, first, second))
        return
    show_ledger(first.ledger, "LeNet on handwritten digits")
    _show_answers(before, first, second, len(parts.calibration))
    note(
        "Both .enx files were decoded to plain ONNX again, bit for bit what was coded, and run by ONNX Runtime."
    )
    note("Next:")
    for command, about in _NEXT.items():
        note_command(command, "  ", about)


def _compress_calibrated(
    model: Model, parts: ImageSplit, preprocess: Preprocess, metadata: dict[str, Any], progress: Progress
) -> CompressedModel:
    """Calibrate and search, as `enxuto compress --data` does; the calibration is not kept in the user's cache."""
    from enxuto.compression.calibrated import compress_within

    with tempfile.TemporaryDirectory() as cache:
        return compress_within(
            model, _bounds(), parts, preprocess, images=_CALIBRATING, metadata=metadata, seed=_SEED,
            cache=Path(cache), progress=progress,
        ).outcome.model  # fmt: skip


def _bounds() -> Bounds:
    from enxuto.compression.judge import Bounds

    return Bounds(max_bytes=_TARGET)


def _save_and_evaluate(
    compressed: CompressedModel, model: Model, path: Path, judging: Dataset, preprocess: Preprocess
) -> _CompressedFile:
    """Write, read, decode to plain ONNX beside it, compare every weight with what was coded, evaluate."""
    from enxuto.enx.file import CompressedModel
    from enxuto.enx.ledger import ledger_of
    from enxuto.errors import FormatError
    from enxuto.evaluation import evaluate
    from enxuto.onnx_model import Model
    from enxuto.runtime import Runner

    compressed.save(path)
    read = CompressedModel.read(path)
    restored = path.with_name(f"{path.stem}-restored.onnx")
    read.write_onnx(restored)
    decoded, coded = Model.read(restored), compressed.to_model()
    if any(decoded.load(name).tobytes() != coded.load(name).tobytes() for name in coded.weight_names):
        raise FormatError("the decoded model is not what was coded; please report this", code="E052")
    answers = evaluate(Runner(decoded).scores, judging, preprocess=preprocess, reference=Runner(model).scores)
    return _CompressedFile(ledger_of(read), answers)


def _as_json(original: Evaluation, first: _CompressedFile, second: _CompressedFile) -> dict[str, Any]:
    return {
        **first.ledger.to_dict(),
        "before": original.to_dict(),
        "after": first.answers.to_dict(),
        "calibrated": {**second.ledger.to_dict(), "after": second.answers.to_dict()},
        "provenance": provenance(
            samples={"calibration": _CALIBRATING, "judging": original.samples},
            seed=_SEED,
            data=original.data_hash,
        ),
    }


def _bytes(ledger: Ledger, name: str) -> int:
    return next(int(row.bytes) for row in ledger.rows if row.name == name)


def _show_answers(original: Evaluation, first: _CompressedFile, second: _CompressedFile, images: int) -> None:
    size = _bytes(first.ledger, "ONNX file")
    rows = [("original ONNX", human_bytes(size), "1.0×", as_percent(original.top1), "")]
    for name, one in ((".enx, no images needed", first), (f".enx, calibrated on {images} images", second)):
        small = _bytes(one.ledger, ".enx file")
        same = "" if one.answers.agreement is None else as_percent(one.answers.agreement)
        rows.append((name, human_bytes(small), f"{size / small:.1f}×", as_percent(one.answers.top1), same))
    show_table(
        f"answers on {original.samples} other images",
        {"model": "left", "size": "right", "smaller": "right", "top-1": "right", "same answers": "right"},
        rows,
        caption=f"data {original.data_hash}, seed {_SEED}",
    )

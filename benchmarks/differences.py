"""Difference files of fine-tuned networks: bytes, and what they keep, beside whole files and zstd --patch-from.

    python benchmarks/differences.py ../shared/models/resnet20-cifar10.onnx --data ../shared/data/cifar10-test.parquet \
        --train ../shared/data/cifar10-train.parquet --preprocess resnet-cifar [--bits 2] [--steps 50] [--prices 0.01]

The network is trained further in two ways: its last layer alone, and all of it for `--steps` steps of SGD (batches
of 64, with labels; `--norms`: batch normalisation in training mode). Old files are the default and, with `--bits`, a
calibrated one. For every tuning there is a line for the newer network compressed by itself, with its bytes and those of
`zstd -19 --patch-from` the old file, and for every price one for the difference file. "KL", "same" and top-1 compare
with the fine-tuned network on `--test` images of --data that nothing was trained or chosen on. The line "old" is the
old file's own, to show how far the training went.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import zstandard

import enxuto
from enxuto.cli.shared.preprocess_options import read_preprocess
from enxuto.compression.split import load_images
from enxuto.data import Dataset, Preprocess, open_dataset
from enxuto.enx.file import CompressedModel
from enxuto.onnx_model import Model
from enxuto.opening import load_with_metadata, plain_preprocess_of, preprocess_of
from enxuto.runtime import Runner

BATCH = 64


def fine_tune(
    model: Model,
    images: np.ndarray,
    labels: np.ndarray,
    steps: int,
    rate: float,
    *,
    last: bool,
    norms: bool = False,
) -> Model:
    """Return the model trained further on batches in order.

    last: its last layer of weights alone. norms: batch normalisation in training mode, whose statistics move too.
    """
    network = enxuto.load_module(model)
    named = dict(network.named_parameters())
    if last:
        weight = [name for name, value in named.items() if value.dim() > 1][-1]
        named = {
            name: value for name, value in named.items() if name.startswith(weight.removesuffix("weight"))
        }
    network.train(norms and not last)
    optimizer = torch.optim.SGD(named.values(), rate, momentum=0.9)
    for step in range(steps):
        chosen = np.arange(step * BATCH, (step + 1) * BATCH) % len(images)
        loss = torch.nn.functional.cross_entropy(
            network(torch.from_numpy(images[chosen])), torch.from_numpy(labels[chosen])
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    state = network.state_dict()
    arrays = {}
    for key, name in network.initializers.items():
        before, value = model.load(name), state[key].detach().numpy()
        if np.asarray(before).dtype == np.float32:
            value = value.T if value.shape != before.shape else value
            same = before.ndim == 2 and before.shape[0] == before.shape[1]
            arrays[name] = np.ascontiguousarray(value.T if same and _is_transposed(before, value) else value)
    return model.replace_weights(arrays)


def _is_transposed(before: np.ndarray, value: np.ndarray) -> bool:
    return float(np.abs(value.T - before).sum()) < float(np.abs(value - before).sum())


def zstd_patch(old: bytes, new: bytes) -> int:
    """Bytes of `new` by zstd -19 with `old` as its dictionary, as `zstd --patch-from` has it."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        19, window_log=max(20, (len(old) + len(new)).bit_length()), enable_ldm=True
    )
    dictionary = zstandard.ZstdCompressionDict(old, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    return len(zstandard.ZstdCompressor(dict_data=dictionary, compression_params=parameters).compress(new))


class Bench:
    """One network, its images, and the lines of the table."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.model, metadata = load_with_metadata(args.model)
        chosen = preprocess_of(metadata) if args.preprocess is None else read_preprocess(args.preprocess)
        self.preprocess: Preprocess = chosen or plain_preprocess_of(self.model)
        self.test: Dataset = open_dataset(args.data, limit=args.test, require_labels=True)
        self.train: Dataset = open_dataset(args.train or args.data, limit=args.images, require_labels=True)

    def line(
        self, name: str, size: int, share: float | None, zstd: int | None, model: Model, tuned: Model
    ) -> None:
        """Print one line of the table."""
        found = enxuto.evaluate(
            Runner(model, threads=1), self.test, preprocess=self.preprocess,
            reference=Runner(tuned, threads=1), threads=1,
        )  # fmt: skip
        shares = "" if share is None else f"{share:6.1%}"
        packed = "" if zstd is None else f"zstd {zstd:,} B"
        print(
            f"{name:<22} {size:>9,} B {shares:>6}  KL {found.kl:.5f}  same {found.agreement:.2%}  "
            f"top-1 {found.metrics['accuracy']:.2%}  {packed}", flush=True,
        )  # fmt: skip

    def run(self) -> None:
        """Fine-tune, make differences, print."""
        images, labels = load_images(self.train, self.preprocess), np.asarray(self.train.labels)
        tunings = {
            "last layer": fine_tune(
                self.model, images, labels, 2 * self.args.steps, self.args.rate, last=True
            ),
            f"all, {self.args.steps} steps": fine_tune(
                self.model, images, labels, self.args.steps, self.args.rate, last=False, norms=self.args.norms
            ),
        }
        for bits in (None, *self.args.bits):
            old = self.compress(self.model, bits)
            for name, tuned in tunings.items():
                print(f"{'default' if bits is None else f'calibrated, {bits} bits'}; {name}:")
                self.compare(old, tuned, bits)

    def compress(self, model: Model, bits: float | None) -> CompressedModel:
        """The default file, or a calibrated one."""
        if bits is None:
            return enxuto.compress(model, threads=1).compressed
        return enxuto.compress(
            model, bits=bits, calibration=self.train, data=self.train, preprocess=self.preprocess, threads=1
        ).compressed

    def compare(self, old: CompressedModel, tuned: Model, bits: float | None) -> None:
        """Lines of one tuning."""
        self.line("old", old.file_bytes, None, None, old.to_model(), tuned)
        fresh = self.compress(tuned, bits)
        zstd = zstd_patch(old.to_bytes(), fresh.to_bytes())
        self.line("new, by itself", fresh.file_bytes, None, zstd, fresh.to_model(), tuned)
        originals = [None] if bits is None else [None, self.model]
        for original in originals:
            for price in self.args.prices:
                patch = enxuto.diff(old, tuned, original=original, price=price, threads=1)
                new = enxuto.apply(old, patch)
                assert enxuto.diff(old, new).apply(old).to_bytes() == new.to_bytes()
                how = f"price {price:g}" + ("" if original is None else ", original")
                share = patch.file_bytes / new.file_bytes
                zstd = zstd_patch(old.to_bytes(), new.to_bytes())
                self.line(how, patch.file_bytes, share, zstd, new.to_model(), tuned)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--train", type=Path)
    parser.add_argument("--preprocess")
    parser.add_argument("--bits", type=float, nargs="*", default=[])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--rate", type=float, default=0.001)
    parser.add_argument("--norms", action="store_true")
    parser.add_argument("--images", type=int, default=3200)
    parser.add_argument("--test", type=int, default=2000)
    parser.add_argument("--prices", type=float, nargs="+", default=[0.002])
    Bench(parser.parse_args()).run()


if __name__ == "__main__":
    main()

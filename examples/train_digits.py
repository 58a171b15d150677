"""Train the small network that `enxuto demo` carries: a LeNet on the UCI handwritten digits (8×8, 10 classes).

    python examples/train_digits.py            # writes src/enxuto/demo/digits.onnx and digits.npz, about a minute

Needs enxuto[train] and scikit-learn, which ships the data set (1,797 images; Alpaydin & Kaynak 1998). A fifth of
the images, drawn with the seed, is held out and never trained on; these are the demo's test images.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from enxuto.data import Preprocess
from enxuto.files import atomic_write
from enxuto.onnx_model import Model
from enxuto.opening import LABELS_KEY, PREPROCESS_KEY

SEED = 7
EPOCHS = 60
HERE = Path(__file__).resolve().parent.parent / "src" / "enxuto" / "demo"


def lenet() -> nn.Sequential:
    """LeNet's sequence for 8×8 images: convolution, pool, convolution, pool, three linear layers."""
    return nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(24, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(256, 160), nn.ReLU(), nn.Linear(160, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def train(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Adam, one-cycle schedule, small random shifts; the images are (N, 1, 8, 8) in 0…1."""
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=1e-4)
    steps = EPOCHS * (len(images) // 64 + 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    model.train()
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(64):
            shift = tuple(int(s) for s in torch.randint(-1, 2, (2,)))
            pixels = torch.roll(images[batch], shift, dims=(2, 3)) if torch.rand(()) < 0.3 else images[batch]
            loss = nn.functional.cross_entropy(model(pixels), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def export(model: nn.Module, path: Path, preprocess: Preprocess) -> None:
    """Write the network as one ONNX file with its preprocessing and labels."""
    buffer = io.BytesIO()
    program = torch.onnx.export(
        model.eval(), (torch.zeros(2, 1, 8, 8),), dynamo=True, verbose=False, input_names=["image"],
        output_names=["logits"], dynamic_shapes=({0: torch.export.Dim("batch")},),
    )  # fmt: skip
    program.save(buffer)
    proto = Model.from_bytes(buffer.getvalue()).to_proto()
    for key, value in (
        (PREPROCESS_KEY, preprocess.to_dict()),
        (LABELS_KEY, [str(digit) for digit in range(10)]),
    ):
        proto.metadata_props.add(key=key, value=json.dumps(value))
    Model.from_proto(proto).write(path)


def main() -> None:
    """Train, report, write both files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=HERE)
    folder: Path = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    digits = load_digits()
    images, labels = np.rint(digits.images * (255 / 16)).astype(np.uint8), digits.target.astype(np.int64)
    parts = train_test_split(images, labels, test_size=0.2, random_state=SEED, stratify=labels)
    train_x, test_x, train_y, test_y = parts
    model = lenet()
    train(model, torch.tensor(train_x / 255.0, dtype=torch.float32)[:, None], torch.tensor(train_y))
    with torch.no_grad():
        answers = model.eval()(torch.tensor(test_x / 255.0, dtype=torch.float32)[:, None]).argmax(1).numpy()
    print(f"{(answers == test_y).sum()} of {len(test_y)} held-out images right")
    export(model, folder / "digits.onnx", Preprocess(channels="L"))
    with atomic_write(folder / "digits.npz") as file:
        np.savez_compressed(file, images=test_x, labels=test_y, classes=np.array([str(d) for d in range(10)]))


if __name__ == "__main__":
    main()

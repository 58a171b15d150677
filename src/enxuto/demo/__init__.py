"""The small real network that the package carries, and its held-out test images.

`digits.onnx`: a LeNet for the UCI handwritten digits (8×8 grey, 10 classes). `digits.npz`: the 360 images it was
not trained on. Both are made by `examples/train_digits.py`.
"""

from pathlib import Path

__all__ = ["MODEL", "TEST_IMAGES"]

MODEL = Path(__file__).with_name("digits.onnx")
TEST_IMAGES = Path(__file__).with_name("digits.npz")

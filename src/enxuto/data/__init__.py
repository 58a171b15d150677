"""Image data sets as batches: readers, the preprocessing that travels with a model, seeded splits."""

from enxuto.data.dataset import Dataset
from enxuto.data.opening import FORMATS, open_dataset
from enxuto.data.preprocess import PRESETS, Preprocess, preset

__all__ = ["FORMATS", "PRESETS", "Dataset", "Preprocess", "open_dataset", "preset"]

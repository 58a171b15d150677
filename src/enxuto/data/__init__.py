"""Image data sets as batches: readers, the preprocessing that travels with a model, seeded splits, downloads."""

from typing import TYPE_CHECKING, Any

from enxuto.data.arrays import dataset_of_arrays
from enxuto.data.dataset import Dataset
from enxuto.data.labels import LabelMatching, read_labels
from enxuto.data.opening import FORMATS, open_dataset
from enxuto.data.preprocess import PRESETS, Preprocess, plain_preprocess, preset
from enxuto.data.published import PUBLISHED, cache_folder, locate

if TYPE_CHECKING:
    from enxuto.data.downloads import download

__all__ = [
    "FORMATS",
    "PRESETS",
    "PUBLISHED",
    "Dataset",
    "LabelMatching",
    "Preprocess",
    "cache_folder",
    "dataset_of_arrays",
    "download",
    "locate",
    "open_dataset",
    "plain_preprocess",
    "preset",
    "read_labels",
]


def __getattr__(name: str) -> Any:
    """`download`, which needs Python's network modules, is imported when it is first asked for."""
    if name == "download":
        from enxuto.data.downloads import download

        return download
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Where the published data sets are, on the net and on this machine. Nothing is fetched here: see `data.downloads`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from enxuto.errors import DataError, UsageError, did_you_mean
from enxuto.escaping import shell_words
from enxuto.machine.folders import cache_folder

__all__ = ["PUBLISHED", "PublishedDataset", "RemoteFile", "cache_folder", "find_published", "locate"]


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch: its name, its addresses (tried in turn), its SHA-256 in hex, its length in bytes."""

    name: str
    urls: tuple[str, ...]
    sha256: str
    bytes: int


@dataclass(frozen=True)
class PublishedDataset:
    """A data set: the name of its folder, its files, and what is unpacked from them where they are archives."""

    folder: str
    files: tuple[RemoteFile, ...]
    unpacked_names: tuple[str, ...] = ()

    @property
    def file_names(self) -> tuple[str, ...]:
        """Names that lie in the folder of a whole download."""
        return self.unpacked_names or tuple(file.name for file in self.files)

    @property
    def bytes(self) -> int:
        """Size of the download."""
        return sum(file.bytes for file in self.files)


def _idx_set(folder: str, bases: tuple[str, ...], files: Sequence[tuple[str, str, int]]) -> PublishedDataset:
    """MNIST or a set like it; bases: folders of the mirrors."""
    names = [(f"{stem}-ubyte.gz", digest, size) for stem, digest, size in files]
    return PublishedDataset(
        folder, tuple(RemoteFile(n, tuple(base + n for base in bases), d, size) for n, d, size in names)
    )


_KRIZ = "https://www.cs.toronto.edu/~kriz/"
PUBLISHED: Mapping[str, PublishedDataset] = MappingProxyType(
    {
        "cifar10": PublishedDataset(
            "cifar-10-batches-bin",
            (
                RemoteFile(
                    "cifar-10-binary.tar.gz",
                    (f"{_KRIZ}cifar-10-binary.tar.gz",),
                    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                    170_052_171,
                ),
            ),
            (*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin", "batches.meta.txt"),
        ),
        "cifar100": PublishedDataset(
            "cifar-100-binary",
            (
                RemoteFile(
                    "cifar-100-binary.tar.gz",
                    (f"{_KRIZ}cifar-100-binary.tar.gz",),
                    "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
                    168_513_733,
                ),
            ),
            ("train.bin", "test.bin", "fine_label_names.txt", "coarse_label_names.txt"),
        ),
        "mnist": _idx_set(
            "mnist",
            (
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
            ),
            (
                (
                    "train-images-idx3",
                    "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                    9_912_422,
                ),
                (
                    "train-labels-idx1",
                    "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                    28_881,
                ),
                (
                    "t10k-images-idx3",
                    "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                    1_648_877,
                ),
                (
                    "t10k-labels-idx1",
                    "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                    4_542,
                ),
            ),
        ),
        "fashion-mnist": _idx_set(
            "fashion-mnist",
            (
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            ),
            (
                (
                    "train-images-idx3",
                    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                    26_421_880,
                ),
                (
                    "train-labels-idx1",
                    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                    29_515,
                ),
                (
                    "t10k-images-idx3",
                    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                    4_422_102,
                ),
                (
                    "t10k-labels-idx1",
                    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                    5_148,
                ),
            ),
        ),
    }
)
"""Name → where it is published. SHA-256 sums as TensorFlow Datasets, MLDatasets.jl and others have them on record."""


def locate(name: str, folder: str | Path | None = None) -> Path:
    """Where the data set `name` lies after a download; nothing is fetched.

    Raises `DataError` with the command that fetches it when it is not there, `UsageError` for unknown names.
    """
    dataset = find_published(name)
    place = (cache_folder() if folder is None else Path(folder)) / dataset.folder
    if all((place / part).is_file() for part in dataset.file_names):
        return place
    option = "" if folder is None else f" -o {shell_words([str(folder)])}"
    raise DataError(
        f"{name} is not in {place.parent}; to fetch it ({dataset.bytes / 1e6:.0f} MB): enxuto fetch {name}{option}",
        code="E010",
    )


def find_published(name: str) -> PublishedDataset:
    """The data set called `name`. Raises `UsageError` listing the names."""
    if name not in PUBLISHED:
        names = ", ".join(PUBLISHED)
        raise UsageError(
            f"no data set is called {name!r}{did_you_mean(name, PUBLISHED)}; there are {names}", code="E021"
        )
    return PUBLISHED[name]

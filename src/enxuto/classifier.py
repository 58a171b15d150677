"""`LoadedModel`: a model with its preprocessing and class names, which says what is on an image.

    model = enxuto.load("model.enx")
    for answer in model.predict(["cat.jpg", "dog.jpg"]):
        print(answer[0].name, answer[0].probability)

Probabilities are the model's own where it ends in a softmax, and a softmax of its scores otherwise. Where a sigmoid
makes each score by itself, that is the class's probability, and the classes' probabilities do not add up to 1.

Not here: labelled data and metrics (`evaluation`); which preprocessing a file holds (`opening`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from enxuto.data import Preprocess
from enxuto.data.images import IMAGE_FORMATS, decode_image
from enxuto.data.labels import Label
from enxuto.errors import DataError, EnxutoError, ModelError, UsageError, does_not_exist
from enxuto.files import read_small_file
from enxuto.machine.processors import check_threads
from enxuto.metrics.score_kinds import ScoreKindDetector
from enxuto.onnx_model import Ending, Model, output_ending
from enxuto.opening import labels_of, load_with_metadata, output_kinds_of, preprocess_of

if TYPE_CHECKING:
    from enxuto.runtime import Runner

__all__ = ["ClassScore", "ImageLike", "LoadedModel", "image_paths", "load", "read_image"]

ImageLike: TypeAlias = str | PathLike[str] | Image.Image | NDArray[np.uint8]
"""An image: a path, a Pillow image, or a uint8 array (H, W), (H, W, 1) or (H, W, 3) in RGB order."""

_LARGEST_FILE = 2**29  # bytes of an image file
_MOST_TOGETHER = 32  # images that are run in one batch
_IMAGES = "predict takes paths, Pillow images and uint8 arrays, one or several"
_EACH_BY_ITSELF = ("Sigmoid", "HardSigmoid", "QLinearSigmoid")


@dataclass(frozen=True)
class ClassScore:
    """One class of an answer: its place among the model's outputs, its name, and its probability from 0 to 1.

    A class without a name is called by its place.
    """

    index: int
    name: str
    probability: float


class LoadedModel(Model):
    """A `Model` that knows its preprocessing and class names, as far as its file holds them.

    Attributes:
        preprocess: how images become the model's input; None where the file does not say.
        labels: class names in the order of the model's outputs; None where the file names none.
        threads: threads that run the model; 0 takes one per processor.
        output_kinds: by output what it is judged as, where the file keeps that.
    """

    def __init__(
        self,
        model: Model,
        *,
        preprocess: Preprocess | None = None,
        labels: Sequence[Label] | None = None,
        threads: int = 0,
        output_kinds: Mapping[str, str] | None = None,
    ) -> None:
        """Make one of a `Model`, which shares its weights with the new one."""
        data = {name: model.data(name) for name in model.weight_names}
        super().__init__(model.proto, data, stripped_bytes=model.stripped_bytes)
        self.preprocess = preprocess
        self.labels = None if labels is None else tuple(labels)
        self.threads = threads
        self.output_kinds = dict(output_kinds or {})

    def configure(
        self, *, preprocess: Preprocess | None = None, labels: Sequence[Label] | None = None
    ) -> LoadedModel:
        """Return the same model with other preprocessing or class names; what is None stays as it is."""
        return LoadedModel(
            self,
            preprocess=self.preprocess if preprocess is None else preprocess,
            labels=self.labels if labels is None else labels,
            threads=self.threads,
            output_kinds=self.output_kinds,
        )

    @overload
    def predict(self, images: str | PathLike[str] | Image.Image, top: int = 5) -> list[ClassScore]: ...  # type: ignore[overload-overlap] # texts are iterable too

    @overload
    def predict(self, images: NDArray[np.uint8], top: int = 5) -> list[Any]: ...

    @overload
    def predict(self, images: Iterable[ImageLike], top: int = 5) -> list[list[ClassScore]]: ...

    def predict(self, images: ImageLike | Iterable[ImageLike], top: int = 5) -> list[Any]:
        """Say which classes images belong to.

        Args:
            images: one image or several; an array (N, H, W, 3) counts as N images. See `ImageLike`.
            top: how many classes to return for an image, the most probable first.

        Returns:
            The classes of a single image; of several, a list of classes for each image, in order.

        Raises:
            UsageError: E020 for a `top` below 1, E046 where no preprocessing is known, E042 for labels of another
                number than the model has outputs.
            DataError: E010, E011 or E041 for an image that cannot be read, E044 for one that does not fit the model.
            ModelError: E035 for a model that is not a classifier.
        """
        if isinstance(top, bool) or not isinstance(top, (int, np.integer)):
            raise UsageError(f"top= takes a whole number, not {top!r:.80}")
        if top < 1:
            raise UsageError(f"top is {top}; ask for at least 1 class", code="E020")
        preprocess = self.preprocess
        if preprocess is None:
            raise UsageError(
                "no preprocessing is known for this model; give it with "
                "model = model.configure(preprocess=enxuto.Preprocess(…))",
                code="E046",
            )
        found: list[list[ClassScore]] = []
        shaped = ((name, _batch_of_one(name, image, preprocess)) for name, image in _name_images(images))
        for names, batch in _batches(shaped):
            found += [self._top(row, top) for row in self._probabilities(names, batch)]
        return found[0] if _is_one_image(images) else found

    def _probabilities(self, names: Sequence[str], batch: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities (N, classes) for a preprocessed batch (N, …)."""
        try:
            output = self._runner.scores(batch)
        except DataError as error:
            hint = "; give resize=H,W" if self._lacks_size else ""
            raise DataError(f"{names[0]}: {error}{hint}", code="E044") from error
        sizes = [size for size in output.shape[1:] if size != 1]
        if len(output) != len(batch) or len(sizes) != 1:
            raise ModelError(
                f"the model is not a classifier: its output for {len(batch)} images has the shape {output.shape}; "
                "one score per class is needed",
                code="E035",
            )
        scores = output.reshape(len(batch), sizes[0]).astype(np.float64)
        if not np.isfinite(scores).all():
            bad = int(np.flatnonzero(~np.isfinite(scores).all(axis=1))[0])
            raise ModelError(f"{names[bad]}: the model's scores hold NaN or infinity", code="E035")
        self._check_labels(sizes[0])
        return self._as_probabilities(scores)

    @property
    def _lacks_size(self) -> bool:
        """Whether images keep the size they have, as nothing says to which to bring them."""
        return self.preprocess is not None and self.preprocess.resize is None and self.preprocess.crop is None

    def _as_probabilities(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        made_by = self._ending
        kind = made_by.kind
        if kind == "squashed" and made_by.operator in _EACH_BY_ITSELF:
            return scores
        if kind not in ("open", "probabilities", "log-probabilities"):
            raise ModelError(
                f"the model is not a classifier: its output comes from {made_by.operator}, which gives no scores "
                "of classes",
                code="E035",
            )
        if kind == "open":  # a softmax may be hidden in a subgraph: the values tell
            seen = ScoreKindDetector()
            seen.add(scores)
            kind = "probabilities" if seen.kind() == "probabilities" else "open"
        if kind == "probabilities":
            return scores
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float64)

    def _check_labels(self, classes: int) -> None:
        if self.labels is not None and len(self.labels) != classes:
            raise UsageError(
                f"there are {len(self.labels)} labels for the model's {classes} classes; give one name per class",
                code="E042",
            )

    def _top(self, row: NDArray[np.float64], top: int) -> list[ClassScore]:
        order = np.argsort(-row, kind="stable")[:top]
        return [ClassScore(int(index), self._name(int(index)), float(row[index])) for index in order]

    def _name(self, index: int) -> str:
        if self.labels is None:
            return str(index)
        label = self.labels[index]
        return label if isinstance(label, str) else label[0]

    @cached_property
    def _runner(self) -> Runner:
        # ONNX Runtime takes a while to import, and only predictions need it.
        from enxuto.runtime import Runner

        return Runner(self, threads=self.threads)

    @cached_property
    def _ending(self) -> Ending:
        return output_ending(self)


def load(path: str | Path, *, threads: int = 0) -> LoadedModel:
    """Read an `.enx` file (decoded at once) or an ONNX file, with its preprocessing and class names.

    Args:
        path: the file.
        threads: threads that decode and run the model; 0 takes one per processor.

    Raises:
        DataError, ModelError: the file cannot be read.
        FormatError: an `.enx` file is damaged.
    """
    check_threads(threads)
    model, metadata = load_with_metadata(path, threads=threads)
    return LoadedModel(
        model, preprocess=preprocess_of(metadata), labels=labels_of(model, metadata), threads=threads,
        output_kinds=output_kinds_of(metadata),
    )  # fmt: skip


def image_paths(patterns: Iterable[str | Path]) -> list[Path]:
    """Return the image files that paths, folders and patterns such as `photos/*.jpg` name, each once, in order.

    Of a folder these are the images in it and in its folders, sorted; hidden ones are left out. A file that is named
    is taken whatever its ending. Raises `DataError` (E010) where nothing is there.
    """
    found: list[Path] = []
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if _is_image(file, path))
            if not inside:
                raise DataError(f"{path} holds no images; name a folder that does, or a file", code="E010")
            found += inside
        elif path.exists() or not any(letter in str(pattern) for letter in "*?["):
            found.append(path)
        else:
            root = Path(path.anchor)
            matching = sorted(file for file in root.glob(str(path.relative_to(root))) if file.is_file())
            if not matching:
                raise DataError(f"no file is called {pattern}; check the pattern", code="E010")
            found += matching
    for path in found:
        if not path.exists():
            raise DataError(does_not_exist(path, "image"), code="E010")
    return list(dict.fromkeys(found))


def read_image(path: str | PathLike[str]) -> NDArray[np.uint8]:
    """Decode an image file to uint8 (H, W, 1) or (H, W, 3). Raises `DataError` naming the file."""
    try:
        return decode_image(read_small_file(fspath(path), _LARGEST_FILE))
    except FileNotFoundError as error:
        raise DataError(does_not_exist(fspath(path), "image"), code="E010") from error
    except OSError as error:
        raise DataError(
            f"cannot read {fspath(path)}: {error.strerror or error}; name an image", code="E011"
        ) from error
    except DataError as error:
        raise DataError(f"{fspath(path)} {error}", code="E041") from error


def _is_one_image(images: object) -> bool:
    return isinstance(images, (str, PathLike, Image.Image)) or (
        isinstance(images, np.ndarray) and images.ndim < 4
    )


def _name_images(images: ImageLike | Iterable[ImageLike]) -> Iterator[tuple[str, ImageLike]]:
    """Yield what an image is called in messages, and the image: its path, or its number."""
    alone = _is_one_image(images)
    if not alone and not isinstance(images, Iterable):
        raise UsageError(f"{_IMAGES}, not {type(images).__name__}")
    several: Iterable[Any] = [images] if alone else images  # type: ignore[assignment]
    for number, image in enumerate(several):
        if not isinstance(image, (str, PathLike, Image.Image, np.ndarray)):
            raise UsageError(f"{_IMAGES}, not {type(image).__name__} (image {number})")
        yield fspath(image) if isinstance(image, (str, PathLike)) else f"image {number}", image


def _batch_of_one(name: str, image: ImageLike, preprocess: Preprocess) -> NDArray[np.float32]:
    """One image, preprocessed, as a batch (1, …)."""
    pixels = read_image(image) if isinstance(image, (str, PathLike)) else image
    try:
        return preprocess.to_batch([preprocess.prepare_image(pixels)])
    except EnxutoError as error:
        raise DataError(f"{name} {error}", code="E041") from error


def _batches(
    shaped: Iterable[tuple[str, NDArray[np.float32]]],
) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
    """Put neighbours of the same shape together, at most `_MOST_TOGETHER` of them."""
    for _, same in groupby(shaped, key=lambda item: item[1].shape):
        names: list[str] = []
        rows: list[NDArray[np.float32]] = []
        for name, row in same:
            names.append(name)
            rows.append(row)
            if len(rows) == _MOST_TOGETHER:
                yield names, np.concatenate(rows)
                names, rows = [], []
        if rows:
            yield names, np.concatenate(rows)


def _is_image(file: Path, folder: Path) -> bool:
    """Whether a file in a folder has the ending of an image; neither it nor a folder on the way is hidden."""
    if any(part.startswith(".") for part in file.relative_to(folder).parts):
        return False
    return Image.EXTENSION.get(file.suffix.lower()) in IMAGE_FORMATS and file.is_file()

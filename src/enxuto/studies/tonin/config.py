"""What a study of Tonin's kind is made of, from one TOML file: networks × data × preprocessing, and which quantizers.

methods = ["midtread", "dead-zone 0.7"]      # all by default
levels = [4, 12]                             # 2 to 24 by default
[data.cifar10]
path = "cifar10-test.parquet"                # beside the file, unless absolute
limit = 2000
[[networks]]
model = "resnet20.onnx"                      # lists make the product of models, data and preprocessing
data = "cifar10"
preprocess = "resnet-cifar"
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from enxuto.data import Preprocess, preset
from enxuto.data.preprocess import PRESETS
from enxuto.data.readers.table import holds_folds
from enxuto.errors import UsageError, did_you_mean
from enxuto.files import read_toml
from enxuto.studies.tonin.quantizers import quantizer_settings
from enxuto.weights.tonin_published import BEST

__all__ = ["DataSet", "NetworkEntry", "ToninConfig", "Use", "read_config"]

Use = Literal["image", "age", "gender"]
"""What a network classifies, by which the source's tables are: images in 3.8 and 3.10, faces in 3.7 and 3.9."""

_Levels = Annotated[tuple[int, int], Field(strict=False)]
_Names = str | Annotated[list[str], Field(min_length=1)]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class DataSet(_Settings):
    """Labelled images: a path or the name of a published set, and what `open_dataset` takes besides."""

    path: str
    format: str | None = None
    split: str | None = None
    limit: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    image_column: str | None = None
    label_column: str | None = None

    def opening(self) -> dict[str, Any]:
        """Return what `open_dataset` is given besides the path."""
        return self.model_dump(exclude={"path"})


class NetworkEntry(_Settings):
    """Models on data sets with preprocessings: every combination is a row of the tables.

    Attributes:
        model: ONNX or `.enx` files.
        data: names of `[data.NAME]`, or paths.
        preprocess: presets, names of `[preprocess.NAME]` or TOML files; by default the model's own.
        name: in tables; by default the file's.
        published: a network of the source to stand beside, or `none`; by default by the file's name.
        use: `image`, `age` or `gender`; by default gender where there are two classes, else image.
        labels: a file with the names of the classes, in the order of the network's outputs.
        calibration: a data set that calibrates; by default images of `data` that judge nothing.
        retrained: files made of this model by retraining, which have rows of their own.
        methods, levels, bits: of this entry alone; by default those of the study.
    """

    model: _Names
    data: _Names
    preprocess: _Names | None = None
    name: str | None = None
    published: str | None = None
    use: Use | None = None
    labels: str | None = None
    calibration: str | None = None
    retrained: _Names = Field(default_factory=list)
    methods: list[str] | None = None
    levels: _Levels | None = None
    bits: list[float | int] | None = None


class ToninConfig(_Settings):
    """The whole study.

    Attributes:
        networks: what is measured.
        data, preprocess: by name, for networks to refer to.
        methods: some of the quantizers; all by default.
        levels: the least and the greatest i of 2^i levels.
        bits: sizes of calibrated files, bits per weight; empty for none.
        images: that calibrate; 0 for no calibration.
        choosing: the share of the images that choose each best setting, which the others report on. 0 does as the
            source: all images choose and report.
        max_drop: points of both top-1 and top-5 that a best setting may lose.
        seed: of what is drawn.
        folder: that paths are relative to; not a setting of the file.
    """

    networks: Annotated[list[NetworkEntry], Field(min_length=1)]
    data: dict[str, DataSet] = Field(default_factory=dict)
    preprocess: dict[str, dict[str, Any]] = Field(default_factory=dict)
    methods: list[str] | None = None
    levels: _Levels = (2, 24)
    bits: list[float | int] = [2, 3, 4]
    images: Annotated[int, Field(ge=0)] = 256
    choosing: Annotated[float | int, Field(ge=0, lt=1)] = 0.5
    max_drop: Annotated[float | int, Field(ge=0)] = 0.8
    seed: Annotated[int, Field(ge=0)] = 0
    folder: Path = Path()

    @model_validator(mode="after")
    def _check(self) -> ToninConfig:
        for low, high in (self.levels, *(entry.levels for entry in self.networks if entry.levels)):
            if not 1 <= low <= high <= 24:
                raise ValueError(f"levels are the least and the greatest i from 1 to 24, not {low}, {high}")
        if any(not 0 < one < math.inf for entry in self.networks for one in self.sizes(entry)):
            raise ValueError("bits are positive numbers")
        if self.images == 1:
            raise ValueError("images that calibrate are 2 or more, some hundreds are best; 0 for none")
        known = [row.key for row in BEST]
        for entry in self.networks:
            if entry.published not in (None, "none", *known):
                hint = did_you_mean(str(entry.published), known)
                raise ValueError(
                    f"published is {entry.published!r}{hint}; there are {', '.join(known)}, none"
                )
        return self

    def settings(self, entry: NetworkEntry) -> list[dict[str, Any]]:
        """Settings of the source's quantizers for an entry. Raises `UsageError` for an unknown method."""
        low, high = entry.levels or self.levels
        return quantizer_settings(
            self.methods if entry.methods is None else entry.methods, range(low, high + 1)
        )

    def sizes(self, entry: NetworkEntry) -> list[float]:
        """Return the bits per weight of an entry's calibrated files."""
        return list(self.bits if entry.bits is None else entry.bits)

    def data_set(self, name: str) -> DataSet:
        """Return the data set of that name, or the one at that path; of Adience all folds where none is named."""
        found = self.data.get(name) or DataSet(path=name)
        place = self.folder / found.path
        if name not in self.data and not place.exists() and (hint := did_you_mean(name, self.data)):
            raise UsageError(f"{place}: no such data, and no [data.{name}]{hint}", code="E010")
        if found.split is None and holds_folds(place):
            found = found.model_copy(update={"split": "all"})  # as the source: nothing is trained here
        return found.model_copy(update={"path": str(place)}) if place.exists() else found

    def preprocessing(self, name: str) -> Preprocess:
        """Return a preprocessing by its name in the file, as a TOML file, or as a preset."""
        if name in self.preprocess:
            try:
                return Preprocess.from_dict(self.preprocess[name])
            except UsageError as error:
                raise UsageError(f"[preprocess.{name}]: {error}", code=error.code) from error
        place = self.folder / name
        if name.endswith(".toml") or place.is_file():
            return Preprocess.from_toml(place)
        if name not in PRESETS and self.preprocess:
            known = [*self.preprocess, *PRESETS]
            raise UsageError(
                f"no preprocessing is called {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}",
                code="E021",
            )
        return preset(name)


def read_config(path: str | Path) -> ToninConfig:
    """Read a study's file. Raises `UsageError` in one line for what is no TOML or no such setting."""
    values = read_toml(path, "tonin")
    if "folder" in values:
        raise UsageError(f"{path}: folder: no such setting; paths are relative to the file", code="E021")
    try:
        config = ToninConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, _without_types(first["loc"])))
        known = ""
        if first["type"] == "extra_forbidden":
            fields = _fields_of(place)
            known = f"{did_you_mean(place.rsplit('.', 1)[-1], fields)}; known are {', '.join(fields)}"
        message = _PLAIN_WORDS.get(first["type"]) or first["msg"].removeprefix("Value error, ")
        if place.split(".")[-2:-1] == ["levels"] or place.endswith("levels"):
            place, message = place.partition("levels")[0] + "levels", "two whole numbers, such as [2, 12]"
        raise UsageError(
            f"{path}: {place + ': ' if place else ''}{message[:1].lower()}{message[1:]}{known}"
        ) from error
    for entry in config.networks:
        try:
            config.settings(entry)
        except UsageError as error:
            raise UsageError(f"{path}: {error}", code=error.code) from error
    return config.model_copy(update={"folder": Path(path).resolve().parent})


_PLAIN_WORDS = {"extra_forbidden": "no such setting", "missing": "is needed"}


def _without_types(places: Sequence[str | int]) -> list[str | int]:
    """The place of an error without pydantic's names of alternatives."""
    return [
        one for one in places if not (isinstance(one, str) and ("[" in one or one in ("str", "int", "float")))
    ]


def _fields_of(place: str) -> list[str]:
    """The settings of the table that a place is in."""
    first = place.split(".", 1)[0] if "." in place else ""
    tables: dict[str, type[BaseModel]] = {"networks": NetworkEntry, "data": DataSet}
    return [name for name in tables.get(first, ToninConfig).model_fields if name != "folder"]

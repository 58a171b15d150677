"""Compression without data at a price, so that a judge's bound can be searched by the steps' common factor."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from enxuto.compression import data_free
from enxuto.compression.at_price import PricedModel
from enxuto.compression.data_free import DEFAULT_SCHEME, Steps
from enxuto.compression.promise import StepsReport
from enxuto.enx.file import CompressedModel
from enxuto.onnx_model import Model, Role
from enxuto.progress import Progress
from enxuto.quantize.schemes import Scheme
from enxuto.rounding.data_free import Rounding

__all__ = ["START_PRICE", "DataFreePrices"]

START_PRICE = 1e-6
"""What the scheme's own steps count as; a halved step costs four times less."""


@dataclass(frozen=True)
class DataFreePrices:
    """Compression without images, with all that stays the same while a judge searches the steps.

    Each is an argument of `data_free.compress`.
    """

    model: Model
    scheme: Scheme | None
    rounding: Rounding | None
    roles: Collection[Role | str]
    keep_exact: Sequence[str]
    fold_bn: bool | None
    metadata: dict[str, Any]
    threads: int
    progress: Progress | None
    steps: Steps
    reports: list[StepsReport] = field(default_factory=list)
    """How steps were chosen, as far as that was checked."""

    def compress(
        self, scheme: Scheme | None, *, bits: float | None = None, rounding: Rounding | None = None
    ) -> CompressedModel:
        """Return the model compressed by a scheme, to a size where bits are given."""
        return data_free.compress(
            self.model, scheme, bits=bits, rounding=rounding or self.rounding, roles=self.roles,
            keep_exact=self.keep_exact, fold_bn=self.fold_bn, metadata=self.metadata, threads=self.threads,
            progress=self.progress, steps=self.steps, tell=self.reports.append,
        )  # fmt: skip

    def at_price(self, price: float) -> PricedModel:
        """Return the model with steps scaled as in calibrated rounding: a price four times as high doubles them."""
        scheme = (self.scheme or DEFAULT_SCHEME).scale_steps((price / START_PRICE) ** 0.5)
        rounding: Rounding = "trellis" if self.scheme is None else "nearest"
        return PricedModel(self.compress(scheme, rounding=self.rounding or rounding), price, ())

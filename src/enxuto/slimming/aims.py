"""What slimming aims at: a share of the multiplications, a share of the latency, or bytes alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from enxuto.errors import UsageError

__all__ = ["Aim", "parse_aim"]

_SHARES = (1.0, 0.85, 0.7, 0.55, 0.4)


@dataclass(frozen=True)
class Aim:
    """macs, latency: the share of the original's that shall be left, 0…1; at most one is given."""

    macs: float | None = None
    latency: float | None = None

    def __post_init__(self) -> None:
        if self.macs is not None and self.latency is not None:
            raise UsageError("macs= and target_latency= both say how much is pruned; give one", code="E022")
        for name, value in (("macs", self.macs), ("target_latency", self.latency)):
            if value is not None and not (math.isfinite(value) and 0 < value < 1):
                raise UsageError(f"{name}= is a share of the original's, such as 0.5 or 50%, not {value:g}")

    @property
    def shares(self) -> tuple[float, ...]:
        """The shares of the multiplications that are tried, descending; none where latency decides."""
        if self.latency is not None:
            return ()
        return _SHARES if self.macs is None else (self.macs,)


def parse_aim(macs: float | str | None, latency: float | str | None) -> Aim:
    """Read shares given as numbers 0…1 or as text with %. Raises `UsageError`."""
    return Aim(_share("macs", macs), _share("target_latency", latency))


def _share(name: str, value: float | str | None) -> float | None:
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return None if value is None else float(value)
    text = str(value).strip()
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise UsageError(f"{name}= is a share of the original's, such as 0.5 or 50%, not {value!r}") from None

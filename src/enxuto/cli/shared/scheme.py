"""From the options of the command line to a quantization scheme; contradictions are named."""

from __future__ import annotations

from dataclasses import dataclass, replace

from enxuto.compression.plain import DEFAULT_SCHEME
from enxuto.errors import UsageError
from enxuto.quantize.scalar import DeadZone, Half, Minifloat, MuLaw
from enxuto.quantize.schemes import Balanced, FittedMinifloat, Per, Ranged, Scaled, Scheme, Uniform
from enxuto.rounding.plain import Rounding

__all__ = ["QUANTIZERS", "SchemeOptions"]

QUANTIZERS = ("dead-zone", "midrise", "midtread", "mu-law", "minifloat", "half")
_DELTAS = {"midrise": 0.0, "midtread": 0.5}


@dataclass(frozen=True)
class SchemeOptions:
    """What the user said; `None` is what was left unsaid."""

    quantizer: str = "dead-zone"
    delta: float | None = None
    step: float | None = None
    levels: int | None = None
    range: tuple[float, float] | None = None
    clip: bool = False
    per: Per | None = None
    mu: float | None = None
    format: str | None = None

    def scheme(self) -> Scheme:
        """Return the scheme; `UsageError` for options that contradict each other or the quantizer."""
        if self.quantizer not in QUANTIZERS:
            raise UsageError(f"no quantizer is called {self.quantizer!r}; there are {', '.join(QUANTIZERS)}")
        if self.per is not None and self.per not in ("network", "tensor", "channel"):
            raise UsageError(f"--per is network, tensor or channel, not {self.per!r}")
        self._refuse_strays()
        match self.quantizer:
            case "half":
                return Uniform(Half())
            case "minifloat":
                return self._minifloat()
            case "mu-law":
                return self._mu_law()
            case _:
                return self._dead_zone()

    def rounding(self) -> Rounding:
        """Return how levels are chosen unless said otherwise: to nearest where the user chose what they are."""
        return "trellis" if replace(self, per=None) == SchemeOptions() else "nearest"

    def _refuse_strays(self) -> None:
        """Refuse options that the chosen quantizer has no use for."""
        uniform = self.quantizer in ("dead-zone", "midrise", "midtread")
        strays = {
            "--delta": self.delta is not None and self.quantizer != "dead-zone",
            "--step": self.step is not None and not uniform,
            "--levels": self.levels is not None and not (uniform or self.quantizer == "mu-law"),
            "--range": self.range is not None and self.levels is None,
            "--clip": self.clip and self.levels is None,
            "--mu": self.mu is not None and self.quantizer != "mu-law",
            "--format": self.format is not None and self.quantizer != "minifloat",
            "--per": self.per is not None and self.quantizer == "half",
        }
        for option, stray in strays.items():
            if stray:
                needs = (
                    "needs --levels"
                    if option in ("--range", "--clip")
                    else f"has no meaning for {self.quantizer}"
                )
                raise UsageError(f"{option} {needs}; leave it out or choose another --quantizer")
        if self.step is not None and self.levels is not None:
            raise UsageError("--step and --levels both fix the step; give one of them")
        if self.range is not None and not self.range[0] < self.range[1]:
            raise UsageError(
                f"--range {self.range[0]:g} {self.range[1]:g} is empty; give the lower end first"
            )
        if self.range is not None and self.per not in (None, "network"):
            raise UsageError(f"--range is one for the whole network; leave it out with --per {self.per}")
        if self.levels is not None and not 1 <= self.levels <= 24:
            raise UsageError(f"--levels is i in 2**i, from 1 to 24, not {self.levels}")

    def _dead_zone(self) -> Scheme:
        delta = _DELTAS.get(self.quantizer, 0.5 if self.delta is None else self.delta)
        if self.levels is not None:
            if self.per is None or self.range is not None:
                low, high = self.range or (-1.0, 1.0)
                clip = (low, high) if self.clip else None
                return Uniform(DeadZone((high - low) / 2**self.levels, delta, clip=clip))
            return Ranged(self.levels, self.per, "dead-zone", delta)
        if self.step is not None:
            if self.per is None or self.per == "network":
                return Uniform(DeadZone(self.step, delta))
            return Scaled(self.step, self.per, delta)
        assert isinstance(DEFAULT_SCHEME, Balanced)
        return replace(DEFAULT_SCHEME, per=self.per or DEFAULT_SCHEME.per, delta=delta)

    def _mu_law(self) -> Scheme:
        if self.levels is None:
            raise UsageError("--quantizer mu-law needs --levels i, for 2**i levels")
        if self.per is None or self.per == "network" or self.range is not None:
            low, high = self.range or (-1.0, 1.0)
            if low != -high:
                raise UsageError(f"μ-law needs a range symmetric about 0, not {low:g} to {high:g}")
            return Uniform(MuLaw(2**self.levels, self.mu or float(2**self.levels), high, clip=self.clip))
        return Ranged(self.levels, self.per, "mu-law", mu=self.mu)

    def _minifloat(self) -> Scheme:
        try:
            p, q = (int(field) for field in (self.format or "").split(","))
        except ValueError as error:
            raise UsageError(
                "--quantizer minifloat needs --format P,Q: exponent and mantissa bits, such as 4,3"
            ) from error
        return Uniform(Minifloat(p, q)) if self.per is None else FittedMinifloat(p, q, self.per)
